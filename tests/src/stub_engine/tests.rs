use std::time::Duration;

use reqwest::multipart::{Form, Part};

use super::{Marker, Mode, Model, Options, StubEngine, markers, pcm_for};

const TEXT: &str = "First sentence. 第二句。";
const PREFIX: &str = "You are a helpful assistant.<|endofprompt|>";

/// A WAV of silence that differs by its last byte.
fn recording(tag: u8, rate: u32) -> Vec<u8> {
    let mut wav = b"RIFF____WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    wav.extend_from_slice(&rate.to_le_bytes());
    wav.extend_from_slice(&[0; 100]);
    wav.push(tag);
    wav
}

fn form(prompt: &str, recording: Vec<u8>) -> Form {
    let upload = Part::bytes(recording).file_name("reference.wav");
    Form::new().text("tts_text", TEXT).text("prompt_text", prompt.to_owned()).part("prompt_wav", upload)
}

fn request(stub: &StubEngine) -> reqwest::RequestBuilder {
    let url = format!("{}/inference_zero_shot", stub.url());
    reqwest::Client::new().post(url).multipart(form(&format!("{PREFIX}Hello"), recording(1, 16_000)))
}

async fn until(condition: impl Fn() -> bool) {
    for _ in 0..100 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not come true");
}

#[tokio::test]
async fn speaks_the_wire_format() {
    let stub = StubEngine::start().await;
    let response = request(&stub).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.headers().get("content-type").is_none());
    assert_eq!(response.headers()["transfer-encoding"], "chunked");
    let pcm = response.bytes().await.unwrap();
    let voice = recording(1, 16_000);
    assert_eq!(pcm, pcm_for(TEXT, &voice));
    assert_eq!(markers(&pcm), [Marker::new("First sentence", &voice), Marker::new("第二句", &voice)]);
    let seen = stub.requests().remove(0);
    assert_eq!((seen.path.as_str(), seen.prompt_wav.unwrap().to_vec()), ("/inference_zero_shot", voice));
}

#[test]
fn audio_tells_voices_and_texts_apart() {
    assert_ne!(pcm_for("a", b"x"), pcm_for("a", b"y"));
    assert_ne!(pcm_for("a", b"x"), pcm_for("b", b"x"));
    let parts = [pcm_for("“One two!” ", b"x"), pcm_for("Three 3.5?", b"x")].concat();
    assert_eq!(parts, pcm_for("“One two!” Three 3.5?", b"x"));
}

#[tokio::test]
async fn presets_by_get_with_an_urlencoded_body() {
    let options = Options { model: Model::CosyVoice2, ..Options::default() };
    let stub = StubEngine::start_with(options).await.unwrap();
    let url = format!("{}/inference_sft", stub.url());
    let ask = |speaker| reqwest::Client::new().get(&url).form(&[("tts_text", TEXT), ("spk_id", speaker)]).send();
    let pcm = ask("中文女").await.unwrap().bytes().await.unwrap();
    assert_eq!(pcm, pcm_for(TEXT, "中文女".as_bytes()));
    let unknown = ask("nobody").await.unwrap();
    assert_eq!(unknown.status(), 200);
    assert!(unknown.bytes().await.is_err());
}

#[tokio::test]
async fn refuses_like_the_real_server() {
    let stub = StubEngine::start().await;
    let client = reqwest::Client::new();
    let url = format!("{}/inference_zero_shot", stub.url());
    let missing = client.post(&url).form(&[("tts_text", "x")]).send().await.unwrap();
    assert_eq!(missing.status(), 422);
    let problem: serde_json::Value = missing.json().await.unwrap();
    assert_eq!(problem["detail"][0]["type"], "missing");
    assert_eq!(problem["detail"][1]["loc"], serde_json::json!(["body", "prompt_wav"]));
    for bad in [b"not audio".to_vec(), recording(1, 8_000)] {
        let response = client.post(&url).multipart(form(PREFIX, bad)).send().await.unwrap();
        assert_eq!(response.status(), 500);
        assert_eq!(response.text().await.unwrap(), "Internal Server Error");
    }
    assert_eq!(client.get(stub.url()).send().await.unwrap().status(), 404);
    assert_eq!(client.put(&url).send().await.unwrap().status(), 405);
}

#[tokio::test]
async fn a_prompt_without_its_end_mark_never_ends() {
    let stub = StubEngine::start().await;
    let url = format!("{}/inference_zero_shot", stub.url());
    let form = form("Hello", recording(1, 16_000));
    let response = reqwest::Client::new().post(url).multipart(form).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let body = tokio::time::timeout(Duration::from_millis(300), response.bytes()).await;
    assert!(body.is_err());
    assert_eq!(stub.counters().rule_violations, 1);
    until(|| stub.counters().aborted == 1).await;
}

#[tokio::test]
async fn misbehaves_on_command() {
    let stub = StubEngine::start().await;
    let whole = pcm_for(TEXT, &recording(1, 16_000));
    let answer = async |mode| {
        stub.fail_with(mode);
        let mut response = request(&stub).send().await.unwrap();
        let mut body = Vec::new();
        loop {
            match tokio::time::timeout(Duration::from_millis(500), response.chunk()).await {
                Err(_) => return (body, "hangs"),
                Ok(Err(_)) => return (body, "is cut"),
                Ok(Ok(None)) => return (body, "ends"),
                Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            }
        }
    };
    let odd = whole.len() - 1;
    for (mode, length, end) in [
        (Mode::Cut { after_bytes: 1000 }, 1000, "is cut"),
        (Mode::Cut { after_bytes: 0 }, 0, "is cut"),
        (Mode::HangBeforeFirstByte, 0, "hangs"),
        (Mode::HangAfter { after_bytes: 1001 }, 1001, "hangs"),
        (Mode::ZeroBytes, 0, "ends"),
        (Mode::OddLength, odd, "ends"),
        (Mode::Slow { pause_milliseconds: 5 }, whole.len(), "ends"),
        (Mode::Work, whole.len(), "ends"),
    ] {
        let (body, ended) = answer(mode).await;
        assert_eq!((body.len(), ended), (length, end), "{mode:?}");
        assert_eq!(body, whole[..length], "{mode:?}");
    }
    stub.fail_with(Mode::ServerError);
    assert_eq!(request(&stub).send().await.unwrap().status(), 500);
    until(|| stub.counters().running == 0).await;
    let counters = stub.counters();
    assert_eq!((counters.requests, counters.finished, counters.aborted), (9, 7, 2));
}

#[tokio::test]
async fn counts_what_runs_at_once() {
    let options = Options { cost: Duration::from_millis(200), ..Options::default() };
    let stub = StubEngine::start_with(options).await.unwrap();
    let (first, second) = tokio::join!(request(&stub).send(), request(&stub).send());
    let (first, second) = tokio::join!(first.unwrap().bytes(), second.unwrap().bytes());
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(stub.counters().max_running, 2);
}

#[tokio::test]
async fn is_steered_over_http_too() {
    let stub = StubEngine::start().await;
    let client = reqwest::Client::new();
    let mode = serde_json::json!({"mode": "cut", "after_bytes": 10});
    let changed = client.post(format!("{}/stub/mode", stub.url())).json(&mode).send().await.unwrap();
    assert_eq!(changed.status(), 204);
    assert!(request(&stub).send().await.unwrap().bytes().await.is_err());
    let counters = client.get(format!("{}/stub/counters", stub.url())).send().await.unwrap();
    assert_eq!(counters.json::<super::Counters>().await.unwrap().requests, 1);
}

#[tokio::test]
async fn stops_when_dropped() {
    let stub = StubEngine::start().await;
    stub.fail_with(Mode::HangBeforeFirstByte);
    let url = stub.url();
    let response = request(&stub).send().await.unwrap();
    drop(stub);
    assert!(response.bytes().await.is_err());
    assert!(reqwest::get(url).await.unwrap_err().is_connect());
}

#[tokio::test]
async fn the_page_uploads_speaks_and_hands_out() {
    let stub = StubEngine::start().await;
    let client = reqwest::Client::new();
    let voice = recording(1, 16_000);
    let form = Form::new().part("files", Part::bytes(voice.clone()).file_name("r.wav"));
    let uploaded = client.post(format!("{}/gradio_api/upload", stub.url())).multipart(form).send().await.unwrap();
    let uploaded: Vec<String> = uploaded.json().await.unwrap();
    let call = format!("{}/gradio_api/call/generate_audio", stub.url());
    let speak = async |path: &str| {
        let recording = serde_json::json!({"path": path});
        let prompt = format!("{PREFIX}Hello");
        let data = serde_json::json!([TEXT, "3s极速复刻", "", prompt, recording, null, "", 0, false, 1.0]);
        let called = client.post(&call).json(&serde_json::json!({ "data": data })).send().await.unwrap();
        let event: serde_json::Value = called.json().await.unwrap();
        let events = client.get(format!("{call}/{}", event["event_id"].as_str().unwrap())).send().await.unwrap();
        events.text().await.unwrap()
    };
    let events = speak(&uploaded[0]).await;
    let data = events.lines().last().filter(|line| !line.is_empty()).or(events.lines().rev().nth(1)).unwrap();
    let made: serde_json::Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    let path = made[0]["path"].as_str().unwrap().strip_suffix("/playlist.m3u8").unwrap().to_owned();
    let file = client.get(format!("{}/gradio_api/stream/{path}/playlist-file", stub.url())).send().await.unwrap();
    assert_eq!(file.bytes().await.unwrap()[44..], pcm_for(TEXT, &voice));
    assert!(speak("/tmp/elsewhere.wav").await.contains("event: error"));
    stub.fail_with(Mode::ZeroBytes);
    assert!(speak(&uploaded[0]).await.ends_with("event: complete\ndata: [null]\n\n"));
    assert_eq!((stub.counters().requests, stub.counters().finished), (3, 3));
}
