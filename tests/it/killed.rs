//! An origin that is killed, and clients that are cut off: nothing that was acknowledged is lost,
//! nothing is made or charged twice, and the books balance.
//!
//! `COSYGATE_KILLS=50 COSYGATE_GENERATIONS=1000` is the long version of both tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gate::identity::{AUDIENCE, HEADER, KeyRing, Sealed};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::edge::IDENTITY_KEYS;
use tests::process::{Program, artefact, free_port};
use tests::stub_engine::{Options, StubEngine};

const USERS: usize = 8;

/// What was acknowledged to whom: key, text and answer of each.
type Acknowledged = BTreeMap<String, Vec<(String, String, Vec<u8>)>>;

/// An origin without an edge; the test seals what an edge would.
struct Origin {
    url: String,
    metrics: String,
    folder: TempDir,
    client: Client,
    ring: KeyRing,
    count: AtomicUsize,
    _engine: StubEngine,
}

pub(crate) fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |value| value.parse().unwrap())
}

/// A number below `bound`, another one each time.
pub(crate) fn random(bound: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    (now.as_nanos() as u64).wrapping_mul(6_364_136_223_846_793_005).rotate_left(23) % bound
}

impl Origin {
    async fn prepare(cost: Duration) -> Arc<Self> {
        let engine = StubEngine::start_with(Options { cost, ..Options::default() }).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let toml = crate::engines::settings(&engine, folder.path(), 4);
        std::fs::write(folder.path().join("cosygate.toml"), toml).unwrap();
        Arc::new(Self {
            url: format!("http://127.0.0.1:{}", free_port()),
            metrics: format!("127.0.0.1:{}", free_port()),
            folder,
            client: Client::new(),
            ring: KeyRing::parse(IDENTITY_KEYS).unwrap(),
            count: AtomicUsize::new(0),
            _engine: engine,
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(artefact("COSYGATE_BIN", "target/release/cosygate"));
        command
            .current_dir(self.folder.path())
            .env("COSYGATE_DATA", self.data())
            .env("COSYGATE_ORIGIN_ADDR", self.url.trim_start_matches("http://"))
            .env("COSYGATE_METRICS_ADDR", &self.metrics)
            .env("COSYGATE_ADMIN_PASSWORD", tests::world::ADMIN_PASSWORD)
            .env("COSYGATE_IDENTITY_KEYS", IDENTITY_KEYS)
            .env("COSYGATE_FILTER_WASM", tests::edge::filter_module());
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    async fn start(&self) -> Program {
        self.start_by(self.command().arg("serve")).await
    }

    async fn start_by(&self, command: &mut Command) -> Program {
        let mut program = Program::start(command, &self.folder.path().join("origin.log"));
        let (ready, end) = (format!("http://{}/readyz", self.metrics), Instant::now() + Duration::from_secs(30));
        while !self.client.get(&ready).send().await.is_ok_and(|response| response.status() == 200) {
            assert!(program.is_running() && Instant::now() < end, "the origin did not start:\n{}", program.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        program
    }

    async fn send(
        &self,
        user: &str,
        method: Method,
        target: &str,
        key: Option<&str>,
        body: Option<Value>,
        longest: Duration,
    ) -> reqwest::Result<Response> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let sealed = Sealed {
            iss: "edge:local".into(),
            aud: AUDIENCE.into(),
            sub: Some(user.to_owned().into()),
            sub_iss: Some("cosygate".into()),
            role: Some("admin".into()),
            scope: None,
            sid: None,
            auth_time: None,
            jti: format!("{now}-{number}").into(),
            iat: now,
            exp: now + 30,
            htm: method.to_string().into(),
            htu: target.to_owned().into(),
            rev: 1,
        };
        let request = self.client.request(method, format!("{}{target}", self.url)).timeout(longest);
        let mut request = request.header(HEADER, self.ring.seal(&sealed).unwrap());
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await
    }

    async fn get(&self, user: &str, target: &str) -> Response {
        self.send(user, Method::GET, target, None, None, Duration::from_secs(30)).await.unwrap()
    }

    /// Asks until there is an answer that will not change.
    async fn insist(&self, user: &str, key: &str, text: &str) -> Vec<u8> {
        let end = Instant::now() + Duration::from_secs(300);
        loop {
            assert!(Instant::now() < end, "{key} was never answered");
            let body = json!({"text": text});
            let longest = Duration::from_secs(60);
            let response = self.send(user, Method::POST, "/api/generate", Some(key), Some(body), longest).await;
            if let Ok(response) = response {
                let status = response.status().as_u16();
                if let Ok(answer) = response.bytes().await {
                    match status {
                        200 => return answer.to_vec(),
                        // As a client does that was told to come again.
                        409 | 429 | 500 | 502 | 503 => {}
                        _ => panic!("{status}: {}", String::from_utf8_lossy(&answer)),
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(20 + random(50))).await;
        }
    }

    /// Everything that was acknowledged is there once, was charged once, and the books balance.
    async fn assert_all_is_well(&self, acknowledged: &Acknowledged) {
        for (user, made) in acknowledged {
            let mut ids = BTreeSet::new();
            let mut characters = 0;
            for (key, text, answer) in made {
                let id = serde_json::from_slice::<Value>(answer).unwrap()["id"].as_str().unwrap().to_owned();
                characters += text.chars().count();
                assert_eq!(&self.insist(user, key, text).await, answer, "{key}: a repetition is answered alike");
                let audio = self.get(user, &format!("/download/{id}")).await;
                assert_eq!(audio.status(), 200, "{id} was acknowledged");
                assert!(ids.insert(id), "two keys, one output");
            }
            let usage: Value = self.get(user, "/api/me/usage").await.json().await.unwrap();
            assert_eq!(
                (&usage["characters"]["used"], &usage["generations"]["used"]),
                (&json!(characters), &json!(made.len()))
            );
            let mut listed = 0;
            let mut target = "/api/outputs?limit=100".to_owned();
            loop {
                let page: Value = self.get(user, &target).await.json().await.unwrap();
                listed += page["outputs"].as_array().unwrap().len();
                let Some(next) = page["next"].as_str() else { break };
                target = format!("/api/outputs?limit=100&before={next}");
            }
            assert_eq!(listed, made.len(), "{user} has duplicates");
        }
        for kept in ["books", "audit"] {
            let verified = self.command().args([kept, "verify"]).output().unwrap();
            assert!(verified.status.success(), "{kept}: {}", String::from_utf8_lossy(&verified.stdout));
        }
        self.assert_audited(acknowledged);
        assert_eq!(left_over(&self.data().join("blobs/staging")), 0, "half-written audio is left");
    }

    /// The audit has the end of every acknowledged output once, and of no other.
    fn assert_audited(&self, acknowledged: &Acknowledged) {
        let exported = self.command().args(["audit", "export", "--action", "generate"]).output().unwrap();
        assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
        let mut audited = Vec::new();
        for line in String::from_utf8(exported.stdout).unwrap().lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            if row["result"] == "ok" {
                audited.push(row["object"].as_str().unwrap().to_owned());
            }
        }
        audited.sort();
        let answers = acknowledged.values().flatten().map(|(_, _, answer)| answer);
        let id = |answer: &Vec<u8>| serde_json::from_slice::<Value>(answer).unwrap()["id"].as_str().unwrap().to_owned();
        let mut ids: Vec<String> = answers.map(id).collect();
        ids.sort();
        assert_eq!(audited, ids, "audited and acknowledged");
    }
}

fn left_over(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread")]
async fn at_random_moments_the_origin_dies() {
    let (kills, generations) = (setting("COSYGATE_KILLS", 5), setting("COSYGATE_GENERATIONS", 100));
    let origin = Origin::prepare(Duration::from_millis(40)).await;
    let mut program = origin.start().await;
    let clients = (0..USERS).map(|user| {
        let origin = Arc::clone(&origin);
        tokio::spawn(async move {
            let user = format!("user-{user}");
            let mut made = Vec::new();
            for number in 0..generations / USERS {
                let (key, text) = (format!("key-{number}"), format!("This is sentence {number}."));
                let answer = origin.insist(&user, &key, &text).await;
                made.push((key, text, answer));
            }
            (user, made)
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut slowest = Duration::ZERO;
    let mut killed = 0;
    while killed < kills && clients.iter().any(|client| !client.is_finished()) {
        tokio::time::sleep(Duration::from_millis(50 + random(300))).await;
        program.kill();
        killed += 1;
        let begin = Instant::now();
        program = origin.start().await;
        slowest = slowest.max(begin.elapsed());
    }
    let mut acknowledged = BTreeMap::new();
    for client in clients {
        let (user, made) = client.await.unwrap();
        acknowledged.insert(user, made);
    }
    println!("{killed} kills, {generations} generations, ready again within {slowest:?}");
    assert!(killed > 0 && slowest < Duration::from_secs(5), "{killed} kills, ready after {slowest:?}");
    origin.assert_all_is_well(&acknowledged).await;
    drop(program);
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_clients_get_one_job_and_one_charge() {
    let generations = setting("COSYGATE_GENERATIONS", 100);
    let origin = Origin::prepare(Duration::from_millis(5)).await;
    let program = origin.start().await;
    let cuts = Arc::new(AtomicUsize::new(0));
    let clients = (0..USERS).map(|user| {
        let (origin, cuts) = (Arc::clone(&origin), Arc::clone(&cuts));
        tokio::spawn(async move {
            let user = format!("user-{user}");
            let mut made = Vec::new();
            for number in 0..generations / USERS {
                let (key, text) = (format!("key-{number}"), format!("This is sentence {number}."));
                // Cut off one to five times, if it is not faster.
                let mut left = 1 + random(5);
                for _ in 0..20 {
                    let (body, longest) = (json!({"text": text}), Duration::from_micros(500 + random(9500)));
                    let cut = origin.send(&user, Method::POST, "/api/generate", Some(&key), Some(body), longest).await;
                    cuts.fetch_add(usize::from(cut.is_err()), Ordering::Relaxed);
                    left -= u64::from(cut.is_err());
                    if left == 0 {
                        break;
                    }
                }
                let answer = origin.insist(&user, &key, &text).await;
                made.push((key, text, answer));
            }
            (user, made)
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut acknowledged = BTreeMap::new();
    for client in clients {
        let (user, made) = client.await.unwrap();
        acknowledged.insert(user, made);
    }
    let cuts = cuts.load(Ordering::Relaxed);
    println!("{generations} generations, {cuts} requests cut off on the way");
    assert!(cuts > 0, "no client was ever cut off");
    origin.assert_all_is_well(&acknowledged).await;
    drop(program);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stop_leaves_unfinished_is_made_after_the_next_start() {
    let origin = Origin::prepare(Duration::from_secs(3)).await;
    let mut program = origin.start_by(origin.command().arg("serve").env("COSYGATE_DRAIN_SECONDS", "1")).await;
    let asking = tokio::spawn({
        let origin = Arc::clone(&origin);
        async move { origin.insist("ada", "key", "Hello.").await }
    });
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let jobs: Value = origin.get("ada", "/api/jobs").await.json().await.unwrap();
        if jobs["jobs"][0]["state"] == "running" {
            break;
        }
        assert!(Instant::now() < end, "{jobs}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    program.terminate();
    assert!(program.wait(Duration::from_secs(20)), "{}", program.log());
    assert!(program.log().contains("handed back to the queue"), "{}", program.log());
    let program = origin.start().await;
    let answer = asking.await.unwrap();
    let made = vec![("key".to_owned(), "Hello.".to_owned(), answer)];
    origin.assert_all_is_well(&BTreeMap::from([("ada".to_owned(), made)])).await;
    drop(program);
}

/// A disk that is full is the real thing here: a tmpfs of 256 KiB, in a mount namespace.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stores_and_charges_nothing() {
    let origin = Origin::prepare(Duration::ZERO).await;
    let script = "mkdir -p \"$COSYGATE_DATA/blobs\" && mount -t tmpfs -o size=256k tmpfs \"$COSYGATE_DATA/blobs\"";
    let namespace = ["--map-root-user", "--mount", "sh", "-c"];
    let can = Command::new("unshare").args(namespace).arg("mount -t tmpfs tmpfs /mnt").output();
    if !can.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no mount namespaces here");
        return;
    }
    let serve = origin.command();
    let mut command = Command::new("unshare");
    command.args(namespace).arg(format!("{script} && exec \"$0\" serve")).arg(serve.get_program());
    command.current_dir(origin.folder.path());
    for (name, value) in serve.get_envs() {
        command.env(name, value.unwrap());
    }
    let program = origin.start_by(&mut command).await;
    let ask = async |number: usize| {
        let body = json!({"text": format!("This is sentence number {number}, and it is not short.")});
        let longest = Duration::from_secs(30);
        origin.send("ada", Method::POST, "/api/generate", None, Some(body), longest).await.unwrap()
    };
    let mut made = Vec::new();
    let refused = loop {
        let response = ask(made.len()).await;
        if response.status() != 200 {
            break response;
        }
        made.push(response.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned());
        assert!(made.len() < 100, "the disk never fills up");
    };
    assert_eq!((refused.status().as_u16(), made.is_empty()), (507, false));
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "storage_full");
    let usage: Value = origin.get("ada", "/api/me/usage").await.json().await.unwrap();
    assert_eq!(usage["generations"]["used"], json!(made.len()));
    for id in &made {
        let audio = origin.get("ada", &format!("/download/{id}")).await;
        assert_eq!(audio.status(), 200);
        assert_eq!(audio.content_length().unwrap(), audio.bytes().await.unwrap().len() as u64);
    }
    // With room again, all is well.
    let target = format!("/api/outputs/{}", made[0]);
    let deleted = origin.send("ada", Method::DELETE, &target, None, None, Duration::from_secs(30)).await.unwrap();
    assert_eq!((deleted.status().as_u16(), ask(0).await.status().as_u16()), (204, 200));
    drop(program);
}
