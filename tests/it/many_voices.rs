//! Fifty users at once, each with a voice of their own and all with the same words.

use std::sync::Arc;

use futures::future::join_all;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::stub_engine::{Marker, StubEngine, markers};
use tests::world::{User, World};

use crate::engines::recording;

const USERS: usize = 50;
const ROUNDS: usize = 3;
const TEXT: &str = "All of us say this.";
const CONSENT: &str = "This is a recording of my own voice, and I agree that a synthetic voice is made of it.";

/// Four seconds that differ from user to user.
fn sample(user: usize) -> Vec<u8> {
    let mut wav = recording(4);
    for (at, byte) in wav.iter_mut().enumerate().skip(44).step_by(2) {
        *byte = byte.wrapping_add((at / (100 + user) % 64) as u8);
    }
    wav
}

async fn with_a_voice(world: &World, number: usize) -> (User, Vec<u8>) {
    let user = world.user(&format!("user-{number}")).await;
    let texts = [("name", "mine"), ("transcript", "The same words."), ("consent", CONSENT)];
    let form = texts.iter().fold(Form::new(), |form, (name, value)| form.text(*name, *value));
    let form = form.part("sample", Part::bytes(sample(number)).file_name("me.wav"));
    let made =
        world.request(Method::POST, "/api/voices").bearer_auth(&user.token).multipart(form).send().await.unwrap();
    assert_eq!(made.status(), StatusCode::CREATED, "user {number}");
    let made: Value = made.json().await.unwrap();
    let preview = world.get_as(&user, made["preview_url"].as_str().unwrap()).await.bytes().await.unwrap();
    (user, preview.to_vec())
}

#[tokio::test]
async fn everybody_speaks_with_their_own_voice() {
    let stubs = [StubEngine::start().await, StubEngine::start().await];
    let toml = format!(
        r#"
[engine]
kind = "cosyvoice-http"
urls = ["{}", "{}"]
concurrency = 8
queue_length = 1000
queue_seconds = 120

[[engine.voices]]
id = "stock"
name = "Stock voice"
source = {{ kind = "reference", audio_path = "stock.wav", transcript = "The same words." }}
"#,
        stubs[0].url(),
        stubs[1].url()
    );
    let folder = tempfile::tempdir().unwrap();
    let stock = folder.path().join("stock.wav");
    std::fs::write(&stock, recording(1)).unwrap();
    let toml = toml.replace("stock.wav", stock.to_str().unwrap());
    let limits = |policy: &mut Value| {
        policy["roles"]["free"]["jobs_running"] = json!(ROUNDS);
        policy["roles"]["free"]["requests"] = json!({"per_minute": 6000, "burst": 1000});
        for route in policy["routes"].as_array_mut().unwrap() {
            if route.get("limit").is_some_and(|limit| limit["by"] == "address") {
                route["limit"] = json!({"by": "address", "per_minute": 6000, "burst": 1000});
            }
        }
    };
    let world = Arc::new(World::with_file(limits, &[], &toml).await);
    let mut users = Vec::new();
    for number in 0..USERS {
        users.push(with_a_voice(&world, number).await);
    }
    let spoken =
        join_all(users.iter().enumerate().flat_map(|(number, user)| (0..ROUNDS).map(move |_| (number, user))).map(
            |(number, (user, preview))| {
                let world = Arc::clone(&world);
                async move {
                    let body = json!({"text": TEXT, "voice": "mine"});
                    let response = world.post_as(user, "/api/generate", body).await;
                    let status = response.status();
                    let body: Value = response.json().await.unwrap();
                    assert_eq!(status, StatusCode::OK, "user {number}: {body}");
                    let wav = world.get_as(user, body["audio_url"].as_str().unwrap()).await.bytes().await.unwrap();
                    assert_eq!(markers(&wav[44..]), [Marker::new(TEXT, preview)], "user {number} has another's voice");
                    markers(&wav[44..])[0].voice
                }
            },
        ))
        .await;
    let voices: std::collections::HashSet<_> = spoken.iter().collect();
    assert_eq!((spoken.len(), voices.len()), (USERS * ROUNDS, USERS));
    let counters = stubs.map(|stub| stub.counters());
    assert!(counters.iter().all(|counters| counters.max_running > 1 && counters.rule_violations == 0), "{counters:?}");
    assert_eq!(counters.iter().map(|counters| counters.finished).sum::<usize>(), USERS * ROUNDS);
}
