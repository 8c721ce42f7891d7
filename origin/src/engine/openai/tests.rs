//! Against servers that answer with exactly the bytes a test wants.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::engine::cosyvoice_http::tests::{Server, good, say, settings, spoken, status, voice};
use crate::engine::{CosyVoiceMode, CosyVoiceModel, EngineError, EngineKind, Reference, Utterance, VoiceSource, wav};

const PREFIX: &str = "You are a helpful assistant.<|endofprompt|>";

fn asked(server: &Server) -> Value {
    let request = server.requests().pop().unwrap();
    assert!(request.starts_with("POST /v1/audio/speech HTTP/1.1"), "{request}");
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn the_recording_goes_along_with_each_request() {
    let server = Server::start(vec![good(&[1, 2])]).await;
    let (_directory, mut settings) = settings(&[&server]);
    settings.kind = EngineKind::OpenAi;
    assert_eq!(spoken(&settings, say("Hi<|im_end|>there")).await, Ok(vec![1, 2]));
    let mut body = asked(&server);
    let audio = body.as_object_mut().unwrap().remove("ref_audio").unwrap();
    let audio = STANDARD.decode(audio.as_str().unwrap().strip_prefix("data:audio/wav;base64,").unwrap()).unwrap();
    assert_eq!(audio, wav::file(&[0; 32_000], 16_000).unwrap());
    let expected = json!({
        "model": "FunAudioLLM/Fun-CosyVoice3-0.5B-2512", "input": "Hi there", "response_format": "pcm",
        "stream": true, "stream_format": "audio", "ref_text": format!("{PREFIX}Good morning."),
    });
    assert_eq!(body, expected);

    let reference = Reference { wav: Bytes::from_static(b"RIFFmine"), transcript: "I <|am|> me.".to_owned() };
    let own = Utterance { voice: "01J".into(), reference: Some(reference), speed: 1.5, ..say("Hello") };
    settings.model = CosyVoiceModel::CosyVoice2;
    spoken(&settings, own).await.unwrap();
    let body = asked(&server);
    assert_eq!((&body["speed"], &body["stream"], &body["ref_text"]), (&json!(1.5), &Value::Null, &json!("I   me.")));
    assert_eq!(body["ref_audio"], format!("data:audio/wav;base64,{}", STANDARD.encode(b"RIFFmine")));
}

#[tokio::test]
async fn presets_are_named() {
    let server = Server::start(vec![good(&[1, 2])]).await;
    let (_directory, mut settings) = settings(&[&server]);
    (settings.kind, settings.mode) = (EngineKind::OpenAi, CosyVoiceMode::Sft);
    settings.model = CosyVoiceModel::CosyVoice2;
    settings.voices = vec![voice(VoiceSource::Preset { speaker_id: "vivian".into() })];
    spoken(&settings, say("Hello")).await.unwrap();
    assert_eq!((&asked(&server)["voice"], &asked(&server)["ref_audio"]), (&json!("vivian"), &Value::Null));
    let reference = Some(Reference { wav: Bytes::new(), transcript: String::new() });
    let refused = spoken(&settings, Utterance { reference, ..say("Hello") }).await;
    assert!(matches!(refused, Err(EngineError::Rejected(_))), "{refused:?}");
}

#[tokio::test]
async fn errors_are_failures() {
    for (line, is_now) in [("400 Bad Request", false), ("500 Oops", false), ("503 Service Unavailable", true)] {
        let server = Server::start(vec![status(line, r#"{"error":{"message":"x"}}"#)]).await;
        let (_directory, mut settings) = settings(&[&server]);
        settings.kind = EngineKind::OpenAi;
        let error = spoken(&settings, say("Hello")).await.unwrap_err();
        assert_eq!(matches!(error, EngineError::Unavailable { .. }), is_now, "{line}: {error}");
    }
}
