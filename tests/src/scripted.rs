//! An origin that does what a test tells it: publishes keys and bundles, holds a request, streams, becomes a
//! WebSocket, or fails as servers fail.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};

/// How one path under `/keys/` answers.
#[derive(Clone)]
pub enum Answer {
    /// With a JWK Set.
    Keys(Value),
    /// With a status and bytes.
    Raw(u16, Vec<u8>),
    /// Never.
    Silence,
}

/// What an edge said when it asked for a bundle.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Report {
    /// Its name.
    pub node: String,
    /// What all its workers judge by.
    pub serial: u64,
    /// The revision of the policy.
    pub rev: u64,
    /// What was wrong with the last bundle.
    pub error: String,
}

/// What is answered to whoever asks for a bundle: a status, a tag and bytes.
type Offer = (u16, String, Vec<u8>);

/// The origin and what a test may turn.
#[derive(Clone)]
pub struct Scripted {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Inner>,
}

struct Inner {
    answers: Mutex<HashMap<String, Answer>>,
    fetches: AtomicUsize,
    /// Held requests go on as this gets permits.
    held: Semaphore,
    holding: AtomicUsize,
    offer: watch::Sender<Offer>,
    lists: Mutex<HashMap<String, String>>,
    listed_bytes: AtomicUsize,
    reports: Mutex<Vec<Report>>,
}

impl Scripted {
    /// Serves on a free loopback port until the test's runtime ends.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Inner {
            answers: Mutex::default(),
            fetches: AtomicUsize::new(0),
            held: Semaphore::new(0),
            holding: AtomicUsize::new(0),
            offer: watch::Sender::new((404, String::new(), Vec::new())),
            lists: Mutex::default(),
            listed_bytes: AtomicUsize::new(0),
            reports: Mutex::default(),
        });
        let app = Router::new()
            .route("/keys/{name}", get(keys))
            .route("/internal/edge/bundle", get(bundle))
            .route("/internal/edge/list", get(list))
            .route("/hold", get(hold))
            .route("/events", get(events))
            .route("/live", get(live))
            .fallback(crate::echo::echo)
            .with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, state }
    }

    /// Sets how `/keys/<name>` answers; until then it has nothing.
    pub fn answer(&self, name: &str, answer: Answer) {
        self.state.answers.lock().unwrap().insert(format!("/keys/{name}"), answer);
    }

    /// Answers with this to whoever asks for a bundle and has another one.
    pub fn offer(&self, tag: &str, text: impl Into<Vec<u8>>) {
        self.state.offer.send_replace((200, tag.to_owned(), text.into()));
    }

    /// Answers with this status to whoever asks for a bundle.
    pub fn offer_nothing(&self, status: u16) {
        self.state.offer.send_replace((status, String::new(), Vec::new()));
    }

    /// Answers with this to whoever asks for a status list of this name; until then it has none.
    pub fn offer_list(&self, uri: &str, text: impl Into<String>) {
        self.state.lists.lock().unwrap().insert(uri.to_owned(), text.into());
    }

    /// How many bytes of status lists edges have fetched.
    pub fn listed_bytes(&self) -> usize {
        self.state.listed_bytes.load(Ordering::SeqCst)
    }

    /// What edges have said so far.
    pub fn reports(&self) -> Vec<Report> {
        self.state.reports.lock().unwrap().clone()
    }

    /// How often keys were asked for.
    pub fn fetches(&self) -> usize {
        self.state.fetches.load(Ordering::SeqCst)
    }

    /// Lets this many held requests go on.
    pub fn release(&self, count: usize) {
        self.state.held.add_permits(count);
    }

    /// How many requests have come to be held so far.
    pub fn holding(&self) -> usize {
        self.state.holding.load(Ordering::SeqCst)
    }
}

async fn keys(State(state): State<Arc<Inner>>, request: Request) -> Response {
    state.fetches.fetch_add(1, Ordering::SeqCst);
    let answer = state.answers.lock().unwrap().get(request.uri().path()).cloned();
    match answer {
        Some(Answer::Keys(set)) => axum::Json(set).into_response(),
        Some(Answer::Raw(status, bytes)) => (StatusCode::from_u16(status).unwrap(), bytes).into_response(),
        Some(Answer::Silence) => std::future::pending().await,
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn bundle(State(state): State<Arc<Inner>>, Query(report): Query<Report>, headers: HeaderMap) -> Response {
    state.reports.lock().unwrap().push(report);
    let mut offers = state.offer.subscribe();
    loop {
        let (status, tag, text) = offers.borrow_and_update().clone();
        let tag = format!("\"{tag}\"");
        if status != 200 || headers.get("if-none-match").is_none_or(|known| known.as_bytes() != tag.as_bytes()) {
            return (StatusCode::from_u16(status).unwrap(), [("etag", tag)], text).into_response();
        }
        let is_patient = headers.get("prefer").is_some_and(|wait| wait.as_bytes() != b"wait=0");
        let wait = Duration::from_secs(if is_patient { 10 } else { 0 });
        if tokio::time::timeout(wait, offers.changed()).await.is_err() {
            return (StatusCode::NOT_MODIFIED, [("etag", tag)]).into_response();
        }
    }
}

async fn list(State(state): State<Arc<Inner>>, Query(wanted): Query<HashMap<String, String>>) -> Response {
    let text = wanted.get("uri").and_then(|uri| state.lists.lock().unwrap().get(uri).cloned());
    let Some(text) = text else { return StatusCode::NOT_FOUND.into_response() };
    state.listed_bytes.fetch_add(text.len(), Ordering::SeqCst);
    text.into_response()
}

async fn hold(State(state): State<Arc<Inner>>) -> &'static str {
    state.holding.fetch_add(1, Ordering::SeqCst);
    state.held.acquire().await.unwrap().forget();
    "held"
}

/// Three server-sent events; each waits for a permit.
async fn events(State(state): State<Arc<Inner>>) -> Response {
    let events = futures::stream::unfold((state, 1), |(state, number)| async move {
        if number > 3 {
            return None;
        }
        state.held.acquire().await.unwrap().forget();
        Some((Ok::<_, Infallible>(Bytes::from(format!("data: {number}\n\n"))), (state, number + 1)))
    });
    ([("content-type", "text/event-stream")], Body::from_stream(events)).into_response()
}

/// Becomes a WebSocket that sends back whatever comes, byte for byte; the tests do not look into
/// frames.
async fn live(mut request: Request) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(stream) = upgrade.await else { return };
        let (mut reader, mut writer) = tokio::io::split(TokioIo::new(stream));
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        .body(Body::empty())
        .unwrap()
}

/// How long a test waits for something that takes a moment.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Asks until the answer fits, at most [`PATIENCE`].
pub async fn eventually(what: &str, holds: impl AsyncFnMut() -> bool) {
    within(PATIENCE, what, holds).await;
}

/// Whether it holds at every worker of an edge. Each worker takes up by itself what is new; if every
/// question has a connection of its own, so many in a row reach all of them.
pub async fn everywhere(mut holds: impl AsyncFnMut() -> bool) -> bool {
    for _ in 0..12 {
        if !holds().await {
            return false;
        }
    }
    true
}

/// Asks until the answer fits, at most for so long.
pub async fn within(patience: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = std::time::Instant::now() + patience;
    while !holds().await {
        assert!(std::time::Instant::now() < end, "{what}: not within {patience:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
