//! Every way of reaching an engine, whole and broken, through the edge.

use std::path::Path;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::stub_engine::{Mode, StubEngine, pcm_for};
use tests::world::{User, World};

use crate::engines::recording;

const KINDS: [&str; 4] = ["cosyvoice-http", "cosyvoice-grpc", "gradio", "openai"];
const TEXT: &str = "This sentence will not be spoken to its end.";
pub(crate) const FAILED: (u16, &str) = (502, "engine_failed");
pub(crate) const UNAVAILABLE: (u16, &str) = (503, "engine_unavailable");

/// A world that speaks through servers of this kind with one stock voice, whose sample is returned.
pub(crate) async fn world_of(kind: &str, urls: &[String], folder: &Path, more: &str) -> (World, Vec<u8>) {
    let sample = recording(1);
    let path = folder.join("voice.wav");
    std::fs::write(&path, &sample).unwrap();
    let source =
        format!("{{ kind = \"reference\", audio_path = \"{}\", transcript = \"what is said\" }}", path.display());
    (world_with(kind, urls, more, &source).await, sample)
}

/// The same with a stock voice of this source.
pub(crate) async fn world_with(kind: &str, urls: &[String], more: &str, source: &str) -> World {
    let toml = format!(
        r#"
[engine]
kind = "{kind}"
urls = {urls:?}
deadline_per_audio_second = 0.0
{more}

[[engine.voices]]
id = "stock"
name = "Stock voice"
languages = ["zh", "en"]
source = {source}
"#
    );
    let limits = |policy: &mut Value| {
        policy["roles"]["free"]["jobs_running"] = json!(4);
        policy["roles"]["free"]["requests"] = json!({"per_minute": 6000, "burst": 1000});
    };
    World::with_file(limits, &[], &toml).await
}

/// What an adapter's voice is told apart by: gRPC sends samples without a header.
fn voice_of<'a>(kind: &str, sample: &'a [u8]) -> &'a [u8] {
    if kind == "cosyvoice-grpc" { &sample[44..] } else { sample }
}

/// How each failure is answered: what the client is told does not depend on who failed.
fn expected(kind: &str, mode: Mode) -> (u16, &'static str) {
    match mode {
        Mode::QueueFull | Mode::HangBeforeFirstByte => UNAVAILABLE,
        // A page hands out whole files: before they are whole, nothing has begun.
        Mode::HangAfter { .. } if kind == "gradio" => UNAVAILABLE,
        _ => FAILED,
    }
}

/// A text is answered with this status and code, and leaves nothing and costs nothing.
pub(crate) async fn fails(world: &World, ada: &User, text: &str, expected: (u16, &str), name: &str) {
    let response = world.post_as(ada, "/api/generate", json!({"text": text})).await;
    let status = response.status().as_u16();
    let has_retry_after = response.headers().contains_key("retry-after");
    let body: Value = response.json().await.unwrap();
    assert_eq!((status, body["code"].as_str().unwrap()), expected, "{name}: {body}");
    assert_eq!(has_retry_after, expected == UNAVAILABLE, "{name}: {body}");
    assert!(!body.to_string().contains(text) && !body.to_string().contains("127.0.0.1"), "{name}: {body}");
    let usage: Value = world.get_as(ada, "/api/me/usage").await.json().await.unwrap();
    assert_eq!((&usage["characters"]["used"], &usage["generations"]["used"]), (&json!(0), &json!(0)), "{name}");
    let history: Value = world.get_as(ada, "/api/outputs").await.json().await.unwrap();
    assert_eq!(history["outputs"], json!([]), "{name}");
    assert!(world.blobs().is_empty(), "{name}: {:?}", world.blobs());
}

#[tokio::test]
async fn every_failure_of_every_adapter_is_clear_and_costs_nothing() {
    for kind in KINDS {
        let stub = StubEngine::start().await;
        let folder = tempfile::tempdir().unwrap();
        let patience = "deadline_seconds = 3\nfirst_byte_seconds = 1\nidle_seconds = 1\nhealth_seconds = 0";
        let (world, sample) = world_of(kind, &[stub.url()], folder.path(), patience).await;
        let ada = world.user("ada").await;
        for mode in [
            Mode::Cut { after_bytes: 1000 },
            Mode::Cut { after_bytes: 0 },
            Mode::HangBeforeFirstByte,
            Mode::HangAfter { after_bytes: 1000 },
            Mode::ZeroBytes,
            Mode::OddLength,
            Mode::ServerError,
            Mode::Unprocessable,
            Mode::TooLarge,
            Mode::QueueFull,
        ] {
            stub.fail_with(mode);
            fails(&world, &ada, TEXT, expected(kind, mode), &format!("{kind} {mode:?}")).await;
        }
        stub.fail_with(Mode::Work);
        let text = "And then it works again. 混合 mixed text，好不好？";
        let spoken = world.generate(&ada, text).await;
        let wav = world.get_as(&ada, spoken["audio_url"].as_str().unwrap()).await.bytes().await.unwrap();
        assert_eq!(wav[44..], pcm_for(text, voice_of(kind, &sample)), "{kind}");
        assert_eq!((&spoken["engine"], stub.counters().rule_violations), (&json!(kind), 0));
        let id = spoken["id"].as_str().unwrap();
        assert_eq!(world.delete_as(&ada, &format!("/api/outputs/{id}")).await.status(), StatusCode::NO_CONTENT);
        drop(stub);
        let response = world.post_as(&ada, "/api/generate", json!({"text": TEXT})).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{kind}");
        assert!(world.blobs().is_empty());
    }
}

#[tokio::test]
async fn what_an_engine_can_do_is_told_and_held_to() {
    for (kind, speed, instruct) in [
        ("cosyvoice-http", false, true),
        ("cosyvoice-grpc", false, false),
        ("gradio", true, false),
        ("openai", true, false),
    ] {
        let stub = StubEngine::start().await;
        let folder = tempfile::tempdir().unwrap();
        let (world, _) = world_of(kind, &[stub.url()], folder.path(), "").await;
        let ada = world.user("ada").await;
        let told: Value = world.get_as(&ada, "/api/voices").await.json().await.unwrap();
        let abilities = &told["abilities"];
        assert_eq!((&abilities["speed"], &abilities["instruct"]), (&json!(speed), &json!(instruct)), "{kind}");
        assert_eq!((&abilities["reference"], &abilities["seed"]), (&json!(true), &json!(false)), "{kind}");
        assert_eq!(told["instructs"].as_array().unwrap().len(), if instruct { 26 } else { 0 }, "{kind}");
        for (body, can) in [
            (json!({"text": "Hello.", "speed": 1.5}), speed),
            (json!({"text": "Hello.", "instruct": "cantonese"}), instruct),
        ] {
            let status = world.post_as(&ada, "/api/generate", body.clone()).await.status();
            let expected = if can { StatusCode::OK } else { StatusCode::BAD_REQUEST };
            assert_eq!(status, expected, "{kind}: {body}");
        }
        assert_eq!(stub.counters().rule_violations, 0, "{kind}");
    }
}

#[tokio::test]
async fn a_style_and_a_sound_reach_the_engine_and_an_unknown_one_does_not() {
    let stub = StubEngine::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (world, _) = world_of("cosyvoice-http", &[stub.url()], folder.path(), "").await;
    let ada = world.user("ada").await;
    let text = "Well [breath] I <strong>do</strong> not [know].<|endofprompt|>";
    let body = json!({"text": text, "instruct": "Cantonese"});
    assert_eq!(world.post_as(&ada, "/api/generate", body).await.status(), StatusCode::OK);
    let seen = stub.requests().pop().unwrap();
    assert_eq!(seen.path, "/inference_instruct2");
    assert_eq!(seen.fields["instruct_text"], "You are a helpful assistant. 请用广东话表达。<|endofprompt|>");
    assert_eq!(seen.fields["tts_text"], "Well [breath] I <strong>do</strong> not  know .");
}

#[tokio::test]
async fn a_server_that_fails_or_is_gone_is_left_alone_and_the_others_do_its_work() {
    for kind in ["cosyvoice-http", "cosyvoice-grpc"] {
        let (broken, fine) = (StubEngine::start().await, StubEngine::start().await);
        let gone = StubEngine::start().await;
        broken.fail_with(Mode::ServerError);
        let urls = [broken.url(), gone.url(), fine.url()];
        drop(gone);
        let folder = tempfile::tempdir().unwrap();
        let (world, _) = world_of(kind, &urls, folder.path(), "health_seconds = 1").await;
        let ada = world.user("ada").await;
        for _ in 0..12 {
            world.generate(&ada, "Hello.").await;
        }
        assert_eq!(fine.counters().finished, 12, "{kind}");
        assert!(broken.counters().requests < 12, "{kind}: {:?}", broken.counters());
    }
}
