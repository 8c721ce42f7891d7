//! Voices of users, through the edge to an engine that says whose voice it was given.

use reqwest::multipart::{Form, Part};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tests::stub_engine::{StubEngine, markers};
use tests::world::{User, World};

use crate::engines::{recording, world_with};

const CONSENT: &str = "This is a recording of my own voice, and I agree that a synthetic voice is made of it.";

pub(crate) async fn upload(world: &World, user: &User, name: &str, sample: Vec<u8>) -> Response {
    let texts = [("name", name), ("transcript", "Good morning."), ("consent", CONSENT)];
    let form = texts.iter().fold(Form::new(), |form, (name, value)| form.text(*name, (*value).to_owned()));
    let form = form.part("sample", Part::bytes(sample).file_name("me.wav"));
    world.request(Method::POST, "/api/voices").bearer_auth(&user.token).multipart(form).send().await.unwrap()
}

pub(crate) async fn added(world: &World, user: &User, seconds: u32) -> Value {
    let response = upload(world, user, "mine", recording(seconds)).await;
    let status = response.status();
    let body: Value = response.json().await.unwrap();
    assert_eq!(status, StatusCode::CREATED, "{body}");
    body
}

#[tokio::test]
async fn two_users_with_one_transcript_keep_their_own_voices() {
    let stub = StubEngine::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (world, _) = world_with(&stub, folder.path()).await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let mut heard = Vec::new();
    for (user, seconds) in [(&ada, 4), (&bob, 5)] {
        let voice = added(&world, user, seconds).await;
        let spoken = world.post_as(user, "/api/generate", json!({"text": "Hello.", "voice": "mine"})).await;
        let spoken: Value = spoken.json().await.unwrap();
        assert_eq!(spoken["voice"], voice["id"], "{spoken}");
        let wav = world.get_as(user, spoken["audio_url"].as_str().unwrap()).await.bytes().await.unwrap();
        let preview = world.get_as(user, voice["preview_url"].as_str().unwrap()).await.bytes().await.unwrap();
        // The engine was given the very recording that its owner hears.
        let last = stub.requests().pop().unwrap();
        assert_eq!(last.prompt_wav.as_deref(), Some(preview.as_ref()));
        assert!(last.fields["prompt_text"].ends_with("<|endofprompt|>Good morning."));
        heard.push(markers(&wav[44..])[0].voice);
    }
    assert_ne!(heard[0], heard[1]);
    assert_eq!(stub.counters().rule_violations, 0);

    let voices: Value = world.get_as(&ada, "/api/voices").await.json().await.unwrap();
    let id = voices["own"][0]["id"].as_str().unwrap().to_owned();
    for path in [format!("/api/voices/{id}"), format!("/api/voices/{id}/preview")] {
        assert_eq!(world.get_as(&bob, &path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(world.delete_as(&bob, &format!("/api/voices/{id}")).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(world.delete_as(&ada, &format!("/api/voices/{id}")).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(world.get_as(&ada, &format!("/api/voices/{id}")).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_large_recording_passes_and_a_larger_one_does_not() {
    let world = World::start().await;
    let ada = world.user("ada").await;
    // More than the role's 256 KiB, less than the route's ten MiB.
    added(&world, &ada, 29).await;
    let refused = upload(&world, &ada, "larger", vec![0; 10 * 1024 * 1024 + 1]).await;
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let elsewhere = world.post_as(&ada, "/api/generate", json!({"text": "x".repeat(300 * 1024)})).await;
    assert_eq!(elsewhere.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(world.blobs().len(), 1);
}

#[tokio::test]
async fn deleting_a_voice_asks_for_a_fresh_login() {
    let strict = |policy: &mut Value| {
        let routes = policy["routes"].as_array_mut().unwrap();
        let delete = routes.iter_mut().find(|r| r["prefix"] == "/api/voices/" && r["methods"] == json!(["DELETE"]));
        delete.unwrap()["fresh_login_s"] = json!(1);
    };
    let world = World::with(strict, &[]).await;
    let ada = world.user("ada").await;
    let id = added(&world, &ada, 4).await["id"].as_str().unwrap().to_owned();
    // The login grows older than the one second that the policy allows.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let refused = world.delete_as(&ada, &format!("/api/voices/{id}")).await;
    let status = refused.status();
    let body: Value = refused.json().await.unwrap();
    assert_eq!((status, &body["code"]), (StatusCode::UNAUTHORIZED, &json!("step_up_required")), "{body}");
    assert_eq!(world.blobs().len(), 1);
}
