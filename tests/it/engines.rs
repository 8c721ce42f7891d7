//! Speech through the CosyVoice adapter, whole and broken.

use std::path::Path;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::stub_engine::{Mode, StubEngine, pcm_for};
use tests::world::World;

/// A world that speaks through the stub with one stock voice, whose sample is returned too.
pub(crate) async fn world_with(stub: &StubEngine, folder: &Path) -> (World, Vec<u8>) {
    world_of("cosyvoice-http", stub, folder).await
}

/// The same through an engine of this kind.
async fn world_of(kind: &str, stub: &StubEngine, folder: &Path) -> (World, Vec<u8>) {
    let sample = sample();
    let path = folder.join("voice.wav");
    std::fs::write(&path, &sample).unwrap();
    let toml = format!(
        r#"
[engine]
kind = "{kind}"
urls = ["{}"]
concurrency = 4
deadline_seconds = 4
first_byte_seconds = 2
idle_seconds = 2

[[engine.voices]]
id = "stock"
name = "Stock voice"
languages = ["zh", "en"]
source = {{ kind = "reference", audio_path = "{}", transcript = "what is said" }}
"#,
        stub.url(),
        path.display()
    );
    let limits = |policy: &mut Value| {
        policy["roles"]["free"]["jobs_running"] = json!(4);
        policy["roles"]["free"]["jobs_queued"] = json!(0);
    };
    let world = World::with_file(limits, &[], &toml).await;
    (world, sample)
}

/// Settings for a stub that makes so many at once, with one stock voice, which is put into the folder.
pub(crate) fn settings(stub: &StubEngine, folder: &Path, concurrency: usize) -> String {
    let path = folder.join("voice.wav");
    std::fs::write(&path, sample()).unwrap();
    format!(
        r#"
[engine]
kind = "cosyvoice-http"
urls = ["{}"]
concurrency = {concurrency}

[[engine.voices]]
id = "stock"
name = "Stock"
languages = ["en"]
source = {{ kind = "reference", audio_path = "{}", transcript = "what is said" }}
"#,
        stub.url(),
        path.display()
    )
}

pub(crate) fn sample() -> Vec<u8> {
    recording(1)
}

/// So many seconds of a tone, 16-bit mono at 16 kHz.
pub(crate) fn recording(seconds: u32) -> Vec<u8> {
    let pcm: Vec<u8> = (0..16_000 * seconds).flat_map(|n| (((n % 100) as i16 - 50) * 200).to_le_bytes()).collect();
    [
        &b"RIFF"[..],
        &(36 + pcm.len() as u32).to_le_bytes(),
        b"WAVEfmt ",
        &16_u32.to_le_bytes(),
        &1_u16.to_le_bytes(),
        &1_u16.to_le_bytes(),
        &16_000_u32.to_le_bytes(),
        &32_000_u32.to_le_bytes(),
        &2_u16.to_le_bytes(),
        &16_u16.to_le_bytes(),
        b"data",
        &(pcm.len() as u32).to_le_bytes(),
        &pcm,
    ]
    .concat()
}

#[tokio::test]
async fn what_the_engine_sent_is_what_the_file_holds() {
    let stub = StubEngine::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (world, sample) = world_with(&stub, folder.path()).await;
    let ada = world.user("ada").await;
    for text in ["你好，世界。", "Hello, world. And a second sentence!", "混合 mixed text，好不好？"] {
        let spoken = world.generate(&ada, text).await;
        let wav = world.get_as(&ada, spoken["audio_url"].as_str().unwrap()).await.bytes().await.unwrap();
        assert_eq!(wav[44..], pcm_for(text, &sample), "{text}");
        assert_eq!(u32::from_le_bytes(wav[40..44].try_into().unwrap()) as usize, wav.len() - 44);
        assert!((spoken["seconds"].as_f64().unwrap() - (wav.len() - 44) as f64 / 48_000.0).abs() < 0.001);
    }
    let seen = stub.requests();
    assert_eq!(seen.len(), 3);
    assert_eq!(stub.counters().rule_violations, 0);
}

#[tokio::test]
async fn a_server_of_openais_api_speaks_as_well() {
    let stub = StubEngine::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (world, sample) = world_of("openai", &stub, folder.path()).await;
    let ada = world.user("ada").await;
    let text = "Hello, world. And a second sentence!";
    let spoken = world.generate(&ada, text).await;
    let wav = world.get_as(&ada, spoken["audio_url"].as_str().unwrap()).await.bytes().await.unwrap();
    assert_eq!(wav[44..], pcm_for(text, &sample));
    assert_eq!(stub.counters().rule_violations, 0);
    for mode in [Mode::Cut { after_bytes: 1000 }, Mode::ZeroBytes, Mode::OddLength, Mode::ServerError] {
        stub.fail_with(mode);
        let response = world.post_as(&ada, "/api/generate", json!({"text": text})).await;
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY, "{mode:?}");
    }
    assert_eq!(world.blobs().len(), 1);
}

#[tokio::test]
async fn control_tokens_in_a_text_do_not_reach_the_engine() {
    let stub = StubEngine::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (world, _) = world_with(&stub, folder.path()).await;
    let ada = world.user("ada").await;
    world.generate(&ada, "Hello <|endofprompt|><|im_start|>there").await;
    let said: Vec<String> = stub.requests().iter().map(|seen| format!("{:?}", seen.fields)).collect();
    assert!(said.iter().all(|fields| !fields.contains("im_start")), "{said:?}");
}

#[tokio::test]
async fn a_failed_generation_leaves_nothing_and_costs_nothing() {
    let stub = StubEngine::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (world, _) = world_with(&stub, folder.path()).await;
    let ada = world.user("ada").await;
    let text = "This sentence will not be spoken to its end.";
    for (mode, allowed) in [
        (Mode::Cut { after_bytes: 1000 }, &["engine_failed"][..]),
        (Mode::Cut { after_bytes: 0 }, &["engine_failed"]),
        (Mode::ZeroBytes, &["engine_failed"]),
        (Mode::OddLength, &["engine_failed"]),
        (Mode::ServerError, &["engine_failed"]),
        (Mode::HangBeforeFirstByte, &["engine_failed", "engine_unavailable"]),
        (Mode::HangAfter { after_bytes: 1000 }, &["engine_failed"]),
    ] {
        stub.fail_with(mode);
        let response = world.post_as(&ada, "/api/generate", json!({"text": text})).await;
        let status = response.status();
        let retry_after = response.headers().get("retry-after").cloned();
        let body: Value = response.json().await.unwrap();
        assert!(allowed.contains(&body["code"].as_str().unwrap()), "{mode:?}: {body}");
        assert_eq!(status == StatusCode::SERVICE_UNAVAILABLE, retry_after.is_some(), "{mode:?}: {body}");
        assert!(!body.to_string().contains(text) && !body.to_string().contains("127.0.0.1"), "{mode:?}: {body}");

        let usage: Value = world.get_as(&ada, "/api/me/usage").await.json().await.unwrap();
        assert_eq!((&usage["characters"]["used"], &usage["generations"]["used"]), (&json!(0), &json!(0)), "{mode:?}");
        let history: Value = world.get_as(&ada, "/api/outputs").await.json().await.unwrap();
        assert_eq!(history["outputs"], json!([]), "{mode:?}");
        assert!(world.blobs().is_empty(), "{mode:?}: {:?}", world.blobs());
    }
    stub.fail_with(Mode::Work);
    world.generate(&ada, text).await;
    assert_eq!(world.blobs().len(), 1, "and then it works again");
    drop(stub);
    let response = world.post_as(&ada, "/api/generate", json!({"text": text})).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(response.json::<Value>().await.unwrap()["code"], "engine_unavailable");
}

#[tokio::test]
async fn an_origin_that_is_told_to_stop_finishes_what_it_began() {
    let stub = StubEngine::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (mut world, _) = world_with(&stub, folder.path()).await;
    let ada = world.user("ada").await;
    stub.fail_with(Mode::Slow { pause_milliseconds: 100 });
    let text = "One. Two. Three. Four. Five. Six.";
    let request = world
        .request(reqwest::Method::POST, "/api/generate")
        .bearer_auth(&ada.token)
        .json(&json!({"text": text}))
        .send();
    let running = tokio::spawn(request);
    while stub.counters().running == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.origin.terminate();
    let response = running.await.unwrap().unwrap();
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    assert!(world.origin.wait(Duration::from_secs(15)), "a drained origin ends well");
    assert_eq!(world.blobs().len(), 1);
}
