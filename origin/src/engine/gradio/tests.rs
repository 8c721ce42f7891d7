//! Against a page that answers with exactly the bytes a test wants, request by request.

use serde_json::{Value, json};

use crate::engine::cosyvoice_http::tests::{Act, Server, say, send, settings, spoken, status, voice};
use crate::engine::{CosyVoiceMode, CosyVoiceModel, EngineError, EngineKind, Utterance, VoiceSource, wav};

const UPLOADED: &str = r#"["/tmp/gradio/abc/reference.wav"]"#;
const CALLED: &str = r#"{"event_id": "e1"}"#;
const COMPLETE: &str = "event: heartbeat\ndata: null\n\nevent: generating\ndata: [null]\n\n\
    event: complete\ndata: [{\"path\": \"s1/r1/10/playlist.m3u8\", \"url\": \"/wrong\"}]\n\n";

fn file(pcm: &[u8], rate: u32) -> Vec<Act> {
    let wav = wav::file(pcm, rate).unwrap();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: audio/wav\r\ncontent-length: {}\r\n\r\n", wav.len());
    vec![send(head.as_bytes()), send(&wav)]
}

fn ok(body: &str) -> Vec<Act> {
    status("200 OK", body)
}

fn plays(result: Vec<Act>) -> Vec<Vec<Act>> {
    vec![ok(UPLOADED), ok(CALLED), ok(COMPLETE), result]
}

fn inputs(request: &str) -> Value {
    let body: Value = serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
    body["data"].clone()
}

#[tokio::test]
async fn upload_call_events_and_file_make_speech() {
    let server = Server::start(plays(file(&[1, 0, 2, 0], 24_000))).await;
    let (_directory, mut settings) = settings(&[&server]);
    settings.kind = EngineKind::Gradio;
    let slow = Utterance { speed: 0.5, ..say("Hi<|im_end|>there") };
    assert_eq!(spoken(&settings, slow).await, Ok(vec![1, 0, 2, 0]));
    let requests = server.requests();
    let lines: Vec<&str> = requests.iter().map(|request| request.lines().next().unwrap()).collect();
    assert_eq!(
        lines,
        [
            "POST /gradio_api/upload HTTP/1.1",
            "POST /gradio_api/call/generate_audio HTTP/1.1",
            "GET /gradio_api/call/generate_audio/e1 HTTP/1.1",
            "GET /gradio_api/stream/s1/r1/10/playlist-file HTTP/1.1",
        ]
    );
    let recording = json!({"path": "/tmp/gradio/abc/reference.wav", "meta": {"_type": "gradio.FileData"}});
    let transcript = "You are a helpful assistant.<|endofprompt|>Good morning.";
    let expected = json!(["Hi there", "3s极速复刻", "", transcript, recording, null, "", 0, false, 0.5]);
    assert_eq!(inputs(&requests[1]), expected);
}

#[tokio::test]
async fn a_preset_needs_no_upload() {
    let server = Server::start(plays(file(&[1, 0], 24_000)).split_off(1)).await;
    let (_directory, mut settings) = settings(&[&server]);
    (settings.kind, settings.mode) = (EngineKind::Gradio, CosyVoiceMode::Sft);
    settings.model = CosyVoiceModel::CosyVoice;
    settings.voices = vec![voice(VoiceSource::Preset { speaker_id: "中文女".into() })];
    assert_eq!(spoken(&settings, say("Hello")).await, Ok(vec![1, 0]));
    let expected = json!(["Hello", "预训练音色", "中文女", "", null, null, "", 0, false, 1.0]);
    assert_eq!(inputs(&server.requests()[0]), expected);
}

#[tokio::test]
async fn a_long_text_uploads_once() {
    let mut all = plays(file(&[1, 0], 24_000));
    all.extend([ok(CALLED), ok(COMPLETE), file(&[2, 0], 24_000)]);
    let server = Server::start(all).await;
    let (_directory, mut settings) = settings(&[&server]);
    settings.kind = EngineKind::Gradio;
    let text = format!("{}. {}.", "a".repeat(200), "b".repeat(200));
    assert_eq!(spoken(&settings, say(&text)).await, Ok(vec![1, 0, 2, 0]));
    assert_eq!(server.requests().len(), 7);
}

#[tokio::test]
async fn another_rate_is_resampled() {
    let server = Server::start(plays(file(&[0; 44_100], 22_050))).await;
    let (_directory, mut settings) = settings(&[&server]);
    settings.kind = EngineKind::Gradio;
    assert_eq!(spoken(&settings, say("Hello")).await.unwrap().len(), 48_000);
}

#[tokio::test]
async fn whatever_is_not_whole_is_a_failure() {
    let with = |at: usize, play: Vec<Act>| {
        let mut all = plays(file(&[1, 0], 24_000));
        all[at] = play;
        all
    };
    let outside = COMPLETE.replace("s1/r1/10/playlist.m3u8", "../../etc/passwd");
    for (name, all) in [
        ("an error", with(2, ok("event: error\ndata: null\n\n"))),
        ("no end", with(2, ok("event: generating\ndata: [null]\n\n"))),
        ("a path that leads out", with(2, ok(&outside))),
        ("an event that leads out", with(1, ok(r#"{"event_id": "../x"}"#))),
        ("no path", with(0, ok("[]"))),
        ("no WAV", with(3, ok("hello"))),
        ("no samples", with(3, file(&[], 24_000))),
        ("a cut", with(3, vec![send(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nRIFF")])),
        ("500", with(1, status("500 Oops", ""))),
        ("404", with(3, status("404 Not Found", ""))),
    ] {
        let server = Server::start(all).await;
        let (_directory, mut settings) = settings(&[&server]);
        settings.kind = EngineKind::Gradio;
        let error = spoken(&settings, say("Hello")).await.unwrap_err();
        assert!(matches!(error, EngineError::Failed(_)), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_full_queue_is_tried_elsewhere() {
    let full = Server::start(vec![ok(UPLOADED), status("503 Service Unavailable", "")]).await;
    let free = Server::start(plays(file(&[1, 0], 24_000))).await;
    let (_directory, mut settings) = settings(&[&full, &free]);
    settings.kind = EngineKind::Gradio;
    assert_eq!(spoken(&settings, say("Hello")).await, Ok(vec![1, 0]));
    settings.urls.pop();
    let error = spoken(&settings, say("Hello")).await.unwrap_err();
    assert!(matches!(error, EngineError::Unavailable { .. }), "{error}");
}
