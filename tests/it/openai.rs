//! Programs made for OpenAI's speech API, through the edge and with the official libraries.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use tests::process::{artefact, workspace};
use tests::world::World;

const CONSENT: &str = "This is a recording of my own voice, and I agree that a synthetic voice is made of it.";

/// What a script beside the services says of what it was given.
async fn asked(script: &'static str, given: Value) -> Value {
    let asking = tokio::task::spawn_blocking(move || {
        let mut command = match script.ends_with(".py") {
            true => Command::new(artefact("SERVICES_PYTHON", ".tools/services/bin/python")),
            false => Command::new("node"),
        };
        let mut child = command
            .arg(workspace().join("tests/services").join(script))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(given.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    });
    asking.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_library_speaks_and_fails_as_it_should() {
    // Two are spoken before the quota is looked at.
    let few = |policy: &mut Value| policy["roles"]["free"]["generations_per_day"] = json!(3);
    let world = World::with(few, &[]).await;
    let ada = world.user("ada").await;
    let folder = tempfile::tempdir().unwrap();
    let sample = folder.path().join("sample.wav");
    std::fs::write(&sample, crate::engines::recording(6)).unwrap();
    let given = json!({
        "base_url": format!("{}/v1", world.edge.url), "token": ada.token, "sample": sample, "consent": CONSENT,
    });
    let said = asked("openai_check.py", given).await;
    assert_eq!(said["models"], json!(["espeak", "tts-1", "tts-1-hd", "gpt-4o-mini-tts"]));
    assert_eq!(said["mp3"][0], "audio/mpeg");
    let mp3 = STANDARD.decode(said["mp3"][1].as_str().unwrap()).unwrap();
    assert!(mp3.len() > 4000 && mp3.starts_with(&[0xFF, 0xF3]), "{} bytes", mp3.len());
    assert_eq!(said["wav"], "RIFF");
    assert_eq!(said["voice"], json!(["audio.voice", "Anna", "audio_sample"]));
    // espeak cannot clone.
    assert_eq!(said["own"], json!(["BadRequestError", 400, "request_invalid"]));
    assert_eq!(said["aac"], json!(["BadRequestError", 400, "request_invalid"]));
    assert_eq!(said["model"], json!(["NotFoundError", 404, "not_found"]));
    assert_eq!(said["stranger"], json!(["AuthenticationError", 401, null]));
    assert_eq!(said["quota"][0], Value::Null);
    assert_eq!(said["quota"][1][0], "RateLimitError");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_library_speaks_and_fails_as_it_should() {
    let world = World::start().await;
    let ada = world.user("ada").await;
    let said =
        asked("openai_check.mjs", json!({"base_url": format!("{}/v1", world.edge.url), "token": ada.token})).await;
    assert_eq!(said["models"][0], "espeak");
    assert_eq!(said["flac"], "fLaC");
    assert_eq!(said["events"], json!(["speech.audio.delta", "speech.audio.done"]));
    assert_eq!(said["voice"], json!(["BadRequestError", 400, "request_invalid"]));
    assert_eq!(said["model"], json!(["NotFoundError", 404, "not_found"]));
    assert_eq!(said["stranger"], json!(["AuthenticationError", 401]));
}

/// It lists voices and models without its key, and speaks with it.
#[tokio::test(flavor = "multi_thread")]
async fn open_webui_speaks_whoever_it_says_is_there() {
    let world = World::start().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let made = world.post_as(&ada, "/api/tokens", json!({"name": "open-webui", "scopes": ["speech"]})).await;
    let key = made.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
    for (path, list) in [("/v1/audio/voices", "voices"), ("/v1/models", "data")] {
        assert_eq!(world.get(path).await.status(), 401);
        let listed: Value =
            world.request(Method::GET, path).bearer_auth(&key).send().await.unwrap().json().await.unwrap();
        assert!(listed[list][0]["id"].is_string(), "{listed}");
    }
    let spoken = world
        .request(Method::POST, "/v1/audio/speech")
        .bearer_auth(&key)
        .header("X-OpenWebUI-User-Name", "bob")
        .header("X-OpenWebUI-User-Id", &bob.id)
        .header("X-OpenWebUI-User-Email", "bob@example.com")
        .header("X-OpenWebUI-User-Role", "admin")
        .json(&json!({"input": "Hello, world.", "voice": "alloy", "model": "tts-1", "response_format": "mp3"}))
        .send()
        .await
        .unwrap();
    assert_eq!((spoken.status().as_u16(), &spoken.headers()["content-type"]), (200, &"audio/mpeg".parse().unwrap()));
    assert!(spoken.bytes().await.unwrap().starts_with(&[0xFF, 0xF3]));
    for (user, count) in [(&ada, 1), (&bob, 0)] {
        let history: Value = world.get_as(user, "/api/outputs").await.json().await.unwrap();
        assert_eq!(history["outputs"].as_array().unwrap().len(), count, "{history}");
    }
}
