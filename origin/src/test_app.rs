//! What tests of routes need: the whole origin over a temporary folder, a standing clock, an
//! engine that does as it is told, and sealed headers as an edge would make them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use gate::identity::{AUDIENCE, HEADER, KeyRing, Sealed};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use crate::accounts::{PasswordSettings, Passwords};
use crate::app::{App, open_master};
use crate::caller::{Caller, Visit};
use crate::clock::{Clock, new_id};
use crate::config::Settings;
use crate::engine::{Abilities, Engine, EngineError, Reference, Sentences, Speech, Utterance, Voice};
use crate::oidc::{OidcSettings, Providers};
use crate::passkeys::RelyingParty;
use crate::policy::BUILT_IN;
use crate::store::Store;
use crate::{books, openapi, routes};

/// The time at which every test begins: noon of 2026-11-23, UTC.
pub(crate) const NOW_MS: i64 = 1_795_435_200_000;
/// A user id that no account has.
pub(crate) const ADA: &str = "ada";
/// Another.
pub(crate) const BOB: &str = "bob";

/// What the engine does with the next texts.
#[derive(Clone, Debug)]
pub(crate) enum Mood {
    /// So many samples of a quiet ramp.
    Speak(usize),
    /// Fails before, or after so many samples.
    Fail(usize),
    Unavailable,
    Reject,
    Panic,
    /// Waits until the test adds permits.
    Wait,
    /// Three pieces of 100 samples; each waits for a permit.
    Pieces,
    /// The same, with a failure in place of the last one.
    PiecesThenFail,
}

pub(crate) struct FakeEngine {
    voices: Vec<Voice>,
    pub(crate) mood: Mutex<Mood>,
    pub(crate) gate: Arc<Semaphore>,
    /// How many have come to the gate in [`Mood::Wait`].
    pub(crate) came: AtomicUsize,
    /// The engine has only its own voices.
    pub(crate) is_robot: AtomicBool,
    /// With what it was asked to speak last.
    pub(crate) reference: Mutex<Option<Reference>>,
}

impl FakeEngine {
    fn answer(&self) -> Result<Speech, EngineError> {
        let secret = || "engine internals".to_owned();
        let piece = |samples: usize| Ok(Bytes::from(vec![7; samples * 2]));
        let mood = self.mood.lock().unwrap().clone();
        let pcm = match mood {
            Mood::Speak(samples) => stream::iter(vec![piece(samples)]).boxed(),
            Mood::Fail(0) => return Err(EngineError::Failed(secret())),
            Mood::Fail(samples) => stream::iter(vec![piece(samples), Err(EngineError::Failed(secret()))]).boxed(),
            Mood::Unavailable => {
                return Err(EngineError::Unavailable { retry_after_seconds: 5, reason: secret() });
            }
            Mood::Reject => return Err(EngineError::Rejected("There is nothing to speak.".to_owned())),
            Mood::Panic => panic!("the engine panics"),
            Mood::Wait => stream::iter(vec![piece(10)]).boxed(),
            Mood::Pieces | Mood::PiecesThenFail => {
                let gate = Arc::clone(&self.gate);
                let last = if matches!(mood, Mood::Pieces) { piece(100) } else { Err(EngineError::Failed(secret())) };
                let pieces = stream::iter(vec![piece(100), piece(100), last]);
                let one_by_one = pieces.then(move |piece| {
                    let gate = Arc::clone(&gate);
                    async move {
                        gate.acquire().await.unwrap().forget();
                        piece
                    }
                });
                one_by_one.boxed()
            }
        };
        Ok(Speech { sample_rate: 24_000, pcm, sentences: Sentences::default() })
    }
}

impl Engine for FakeEngine {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn voices(&self) -> &[Voice] {
        &self.voices
    }

    fn notice(&self) -> Option<&str> {
        None
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            speed: true,
            instruct: true,
            reference: !self.is_robot.load(Ordering::SeqCst),
            ..Default::default()
        }
    }

    fn check(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        async { Ok(()) }.boxed()
    }

    fn speak(&self, utterance: Utterance) -> BoxFuture<'_, Result<Speech, EngineError>> {
        *self.reference.lock().unwrap() = utterance.reference;
        async {
            if matches!(*self.mood.lock().unwrap(), Mood::Wait) {
                self.came.fetch_add(1, Ordering::SeqCst);
                self.gate.acquire().await.unwrap().forget();
            }
            self.answer()
        }
        .boxed()
    }
}

pub(crate) struct TestApp {
    pub(crate) app: Arc<App>,
    pub(crate) engine: Arc<FakeEngine>,
    pub(crate) ring: KeyRing,
    pub(crate) folder: TempDir,
    router: Router,
}

/// A response, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// The code of a problem, after checking its form.
    pub(crate) fn code(&self) -> String {
        let json = self.json();
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(json["status"], self.status.as_u16());
        assert_eq!(json["error"], json["detail"]);
        assert_eq!(json["request_id"], self.header("x-request-id"));
        json["code"].as_str().unwrap().to_owned()
    }

    /// What it sets as cookies.
    pub(crate) fn cookies(&self) -> Vec<&str> {
        self.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl TestApp {
    pub(crate) async fn new() -> Self {
        Self::with_policy(|_| {}).await
    }

    /// With a changed copy of the built-in policy.
    pub(crate) async fn with_policy(change: impl FnOnce(&mut Value)) -> Self {
        Self::over(None, change).await
    }

    /// Over a database of one's own.
    pub(crate) async fn over(store: Option<Store>, change: impl FnOnce(&mut Value)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut policy = serde_json::from_slice(BUILT_IN).unwrap();
        change(&mut policy);
        std::fs::write(folder.path().join("policy.json"), policy.to_string()).unwrap();
        let keys = format!("test:{}", URL_SAFE_NO_PAD.encode([5; 32]));
        let settings = Settings {
            data: folder.path().to_owned(),
            origin_addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            metrics_addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            identity_keys: Some(keys.clone().into()),
            ..Settings::default()
        };
        let store = match store {
            Some(store) => store,
            None => Store::open_file(&settings.database_file()).await.unwrap(),
        };
        store.migrate().await.unwrap();
        let voice = |id: &str| Voice {
            id: id.to_owned(),
            name: id.to_owned(),
            languages: vec!["en".to_owned()],
            description: String::new(),
        };
        let engine = Arc::new(FakeEngine {
            voices: vec![voice("first"), voice("second")],
            mood: Mutex::new(Mood::Speak(24_000)),
            gate: Arc::new(Semaphore::new(0)),
            came: AtomicUsize::new(0),
            is_robot: AtomicBool::new(false),
            reference: Mutex::default(),
        });
        let passwords =
            Passwords::new(&PasswordSettings { memory_kib: 64, passes: 1, ..settings.passwords.clone() }).unwrap();
        let clock = Clock::standing(NOW_MS);
        let app = App::with_parts(settings, clock, store, passwords, Arc::clone(&engine) as _).await.unwrap();
        let app = Arc::new(app);
        let router = routes::router(Arc::clone(&app));
        Self { app, engine, ring: KeyRing::parse(&keys).unwrap(), folder, router }
    }

    /// For settings that are read late. The router, which holds the app, too, is gone then.
    pub(crate) fn settings_mut(&mut self) -> &mut Settings {
        self.router = Router::new();
        &mut Arc::get_mut(&mut self.app).unwrap().settings
    }

    /// With a router again, after [`TestApp::settings_mut`].
    pub(crate) fn with_router(mut self) -> Self {
        self.router = routes::router(Arc::clone(&self.app));
        self
    }

    /// Waits until so many generations wait and so many run.
    pub(crate) async fn until_jobs(&self, queued: i64, running: i64) {
        for _ in 0..3000 {
            if self.app.store.queue().depth().await.unwrap() == (queued, running) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("(waiting, running): {:?}", self.app.store.queue().depth().await);
    }

    /// Charged is what was delivered, and every output has its audio.
    pub(crate) async fn assert_books_balance(&self) {
        let verdict = books::verify(&self.app.store, &self.app.blobs, &self.app.clock).await.unwrap();
        assert_eq!(verdict.mistakes, []);
        assert_eq!(verdict.outputs, self.audio_files().len() as u64);
    }

    /// Hashes passwords in another way from now on.
    pub(crate) fn passwords_mut(&mut self, passwords: Passwords) {
        self.router = Router::new();
        Arc::get_mut(&mut self.app).unwrap().passwords = passwords;
        self.router = routes::router(Arc::clone(&self.app));
    }

    /// Makes passkeys for another origin from now on.
    pub(crate) fn passkeys_mut(&mut self, passkeys: RelyingParty) {
        self.router = Router::new();
        Arc::get_mut(&mut self.app).unwrap().passkeys = passkeys;
        self.router = routes::router(Arc::clone(&self.app));
    }

    /// With these providers from now on. The second of two with one issuer is there for tests alone.
    pub(crate) fn set_providers(&mut self, providers: Vec<OidcSettings>) {
        self.router = Router::new();
        let app = Arc::get_mut(&mut self.app).unwrap();
        app.settings.oidc = providers;
        app.oidc = Providers::new(&app.settings, &open_master(&app.settings).unwrap()).unwrap();
        self.router = routes::router(Arc::clone(&self.app));
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        *self.engine.mood.lock().unwrap() = mood;
    }

    /// What an edge would vouch for; `user` is an id and a role.
    pub(crate) fn sealed(&self, method: &str, target: &str, user: Option<(&str, &str)>) -> Sealed<'static> {
        let now = self.app.clock.now_s();
        Sealed {
            iss: "edge:local".to_owned().into(),
            aud: AUDIENCE.to_owned().into(),
            sub: user.map(|(id, _)| id.to_owned().into()),
            sub_iss: user.map(|_| "cosygate".to_owned().into()),
            role: user.map(|(_, role)| role.to_owned().into()),
            scope: None,
            sid: None,
            auth_time: None,
            jti: new_id(NOW_MS).into(),
            iat: now,
            exp: now + 30,
            htm: method.to_owned().into(),
            htu: target.to_owned().into(),
            rev: 1,
        }
    }

    /// A request with a good seal and a JSON body, if any.
    pub(crate) fn request(
        &self,
        method: &str,
        target: &str,
        user: Option<(&str, &str)>,
        body: Option<&Value>,
    ) -> Request<Body> {
        let seal = self.ring.seal(&self.sealed(method, target, user)).unwrap();
        let request = Request::builder().method(method).uri(target).header(HEADER, seal);
        match body {
            Some(body) => {
                request.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap()
            }
            None => request.body(Body::empty()).unwrap(),
        }
    }

    /// A request of somebody by the token of this login.
    pub(crate) fn request_in(&self, login: &str, method: &str, target: &str, user: &str) -> Request<Body> {
        let sealed = Sealed { sid: Some(login.to_owned().into()), ..self.sealed(method, target, Some((user, "free"))) };
        let seal = self.ring.seal(&sealed).unwrap();
        Request::builder().method(method).uri(target).header(HEADER, seal).body(Body::empty()).unwrap()
    }

    /// What an edge sends on its own behalf, sealed for this audience.
    pub(crate) fn edge_request(&self, target: &str, audience: &str, headers: &[(&'static str, &str)]) -> Request<Body> {
        let sealed = Sealed { aud: audience.to_owned().into(), ..self.sealed("GET", target, None) };
        let request = Request::builder().uri(target).header(HEADER, self.ring.seal(&sealed).unwrap());
        headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value))
            .body(Body::empty())
            .unwrap()
    }

    /// The head of the answer; its body comes as it comes.
    pub(crate) async fn respond(&self, request: Request<Body>) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.router.clone().oneshot(request).await.unwrap();
        openapi::assert_described(method.as_str(), &path, &response);
        response
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.respond(request).await;
        let (parts, body) = response.into_parts();
        Reply { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
    }

    /// As nobody, with a body.
    pub(crate) async fn post(&self, target: &str, body: Value) -> Reply {
        self.send(self.request("POST", target, None, Some(&body))).await
    }

    /// Makes an account with the password `correct horse`, and returns its id.
    pub(crate) async fn register(&self, username: &str) -> String {
        let reply =
            self.post("/register", serde_json::json!({"username": username, "password": "correct horse"})).await;
        assert_eq!(reply.status.as_u16(), 201, "{reply:?}");
        reply.json()["user_id"].as_str().unwrap().to_owned()
    }

    /// From an unknown device.
    pub(crate) async fn login(&self, username: &str, password: &str) -> Reply {
        self.post("/login", serde_json::json!({"username": username, "password": password})).await
    }

    /// As a free user.
    pub(crate) async fn get(&self, user: &str, target: &str) -> Reply {
        self.send(self.request("GET", target, Some((user, "free")), None)).await
    }

    /// As a free user.
    pub(crate) async fn delete(&self, user: &str, target: &str) -> Reply {
        self.send(self.request("DELETE", target, Some((user, "free")), None)).await
    }

    /// As a free user.
    pub(crate) async fn generate(&self, user: &str, body: Value) -> Reply {
        self.send(self.request("POST", "/api/generate", Some((user, "free")), Some(&body))).await
    }

    /// A form with texts and one file, as a free user. An empty file is left out.
    pub(crate) async fn upload(&self, user: &str, target: &str, texts: &[(&str, &str)], file: (&str, &[u8])) -> Reply {
        const BOUNDARY: &str = "boundary-of-a-test";
        let mut body = Vec::new();
        for (name, value) in texts {
            let head = format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n");
            body.extend_from_slice(format!("{head}{value}\r\n").as_bytes());
        }
        let (name, content) = file;
        if !content.is_empty() {
            let disposition = format!("form-data; name=\"{name}\"; filename=\"../../x.wav\"");
            let head = format!("--{BOUNDARY}\r\ncontent-disposition: {disposition}\r\ncontent-type: audio/wav\r\n\r\n");
            body.extend_from_slice(&[head.as_bytes(), content, b"\r\n"].concat());
        }
        body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        let mut request = self.request("POST", target, Some((user, "free")), None);
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        request.headers_mut().insert("content-type", kind.parse().unwrap());
        *request.body_mut() = Body::from(body);
        self.send(request).await
    }

    /// Paths of all audio files.
    pub(crate) fn audio_files(&self) -> Vec<String> {
        let users = std::fs::read_dir(self.app.settings.blobs_folder().join("users"));
        let folders = users.into_iter().flatten().map(|user| user.unwrap().path());
        let files = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap());
        files.map(|file| file.unwrap().path().display().to_string()).collect()
    }
}

/// A permit for tests of the store.
pub(crate) fn caller(user_id: &str, role: &str) -> Caller {
    let visit = Visit {
        request_id: "request".to_owned(),
        started_ms: NOW_MS,
        policy_rev: 1,
        is_secure: false,
        address: Some([192, 0, 2, 7].into()),
        region: "local".to_owned(),
    };
    let sealed = Sealed {
        iss: "edge:local".to_owned().into(),
        aud: AUDIENCE.to_owned().into(),
        sub: Some(user_id.to_owned().into()),
        sub_iss: None,
        role: Some(role.to_owned().into()),
        scope: None,
        sid: None,
        auth_time: None,
        jti: "one".to_owned().into(),
        iat: 0,
        exp: 0,
        htm: "".into(),
        htu: "".into(),
        rev: 1,
    };
    Caller::from_sealed(&sealed, &visit).unwrap()
}
