//! Clients that are cut off on their way through the edge and try again under the same key: one job, one charge, one
//! answer.
//!
//! `COSYGATE_GENERATIONS=1000` is the long version.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::attack::wire::request;
use tests::stub_engine::{Options, StubEngine};
use tests::world::{User, World, roomy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::killed::{random, setting};

const USERS: usize = 8;
/// What a generation takes the engine.
const COST: Duration = Duration::from_millis(20);

fn body(number: usize) -> Value {
    json!({"text": format!("This is sentence {number}.")})
}

/// Begins a request and resets the connection: while it is sent, right after, a while later, or while the answer comes.
async fn cut_off(world: &World, user: &User, key: &str, body: &Value) {
    let request = request("POST", "/api/generate", "localhost").bearer(Some(&user.token));
    let request = request.header("idempotency-key", key).header("content-type", "application/json");
    let bytes = request.body(body.to_string()).bytes();
    let mut stream = TcpStream::connect(world.edge.address).await.unwrap();
    stream.set_zero_linger().unwrap();
    let kind = random(4);
    let sent = if kind == 0 { 1 + random(bytes.len() as u64 - 1) as usize } else { bytes.len() };
    stream.write_all(&bytes[..sent]).await.unwrap();
    match kind {
        2 => tokio::time::sleep(Duration::from_micros(random(2 * COST.as_micros() as u64))).await,
        3 => {
            let mut some = vec![0; 1 + random(400) as usize];
            stream.read_exact(&mut some).await.unwrap();
        }
        _ => {}
    }
}

/// Asks until it is answered.
async fn insist(world: &World, user: &User, key: &str, body: &Value) -> Vec<u8> {
    for _ in 0..1000 {
        let asked = world.request(Method::POST, "/api/generate").bearer_auth(&user.token);
        let answer = asked.header("idempotency-key", key).json(body).send().await.unwrap();
        match answer.status() {
            StatusCode::OK => return answer.bytes().await.unwrap().to_vec(),
            StatusCode::TOO_MANY_REQUESTS => tokio::time::sleep(COST).await,
            other => panic!("{other}: {}", answer.text().await.unwrap()),
        }
    }
    panic!("{key} was never answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_tries_again_pays_once() {
    let generations = setting("COSYGATE_GENERATIONS", 100) / USERS;
    let engine = StubEngine::start_with(Options { cost: COST, ..Options::default() }).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let toml = crate::engines::settings(&engine, folder.path(), 4);
    let world = Arc::new(World::with_file(roomy, &[], &toml).await);
    let cuts = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for number in 0..USERS {
        let (world, cuts) = (Arc::clone(&world), Arc::clone(&cuts));
        let user = world.user(&format!("user{number}")).await;
        clients.push(tokio::spawn(async move {
            let mut answers = Vec::new();
            for number in 0..generations {
                let key = format!("key-{number}");
                for _ in 0..=random(5) {
                    cut_off(&world, &user, &key, &body(number)).await;
                    cuts.fetch_add(1, Ordering::Relaxed);
                }
                answers.push(insist(&world, &user, &key, &body(number)).await);
            }
            (user, answers)
        }));
    }
    for client in clients {
        let (user, answers) = client.await.unwrap();
        let mut characters = 0;
        for (number, answer) in answers.iter().enumerate() {
            let key = format!("key-{number}");
            assert_eq!(&insist(&world, &user, &key, &body(number)).await, answer, "a repetition is answered alike");
            characters += body(number)["text"].as_str().unwrap().chars().count();
        }
        let other = world.request(Method::POST, "/api/generate").bearer_auth(&user.token);
        let other = other.header("idempotency-key", "key-0").json(&json!({"text": "Something else."})).send();
        assert_eq!(other.await.unwrap().status(), StatusCode::CONFLICT);
        let usage: Value = world.get_as(&user, "/api/me/usage").await.json().await.unwrap();
        let used = (&usage["characters"]["used"], &usage["generations"]["used"]);
        assert_eq!(used, (&json!(characters), &json!(generations)));
        let mut listed = 0;
        let mut path = "/api/outputs?limit=100".to_owned();
        loop {
            let page: Value = world.get_as(&user, &path).await.json().await.unwrap();
            listed += page["outputs"].as_array().unwrap().len();
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/api/outputs?limit=100&before={next}");
        }
        assert_eq!(listed, generations, "one output each");
    }
    for kept in ["books", "audit"] {
        let verified = world.cosygate(&[kept, "verify"]);
        assert!(verified.status.success(), "{kept}: {}", String::from_utf8_lossy(&verified.stdout));
    }
    println!("{} generations, {} requests cut off on the way", generations * USERS, cuts.load(Ordering::Relaxed));
}
