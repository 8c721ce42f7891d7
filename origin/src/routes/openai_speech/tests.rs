use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::audio::tests::recording;
use crate::test_app::{ADA, BOB, Mood, Reply, TestApp};
use crate::voices::CONSENTS;

async fn speak(app: &TestApp, body: Value) -> Reply {
    app.send(app.request("POST", "/v1/audio/speech", Some((ADA, "free")), Some(&body))).await
}

fn error(reply: &Reply) -> (u16, String, String) {
    assert_eq!(reply.header("content-type"), "application/json");
    let error = &reply.json()["error"];
    let text = |member: &str| error[member].as_str().unwrap().to_owned();
    assert!(error["param"].is_null() && !text("message").is_empty());
    (reply.status.as_u16(), text("type"), text("code"))
}

#[tokio::test]
async fn speech_comes_in_the_wanted_format_and_is_kept() {
    let app = TestApp::new().await;
    for (format, kind, start) in [
        (None, "audio/mpeg", &b"\xff\xf3"[..]),
        (Some("wav"), "audio/wav", b"RIFF"),
        (Some("flac"), "audio/flac", b"fLaC"),
        (Some("opus"), "audio/ogg; codecs=opus", b"OggS"),
        (Some("pcm"), "audio/pcm", &[7; 4]),
    ] {
        let mut body = json!({"model": "tts-1", "input": "Hello", "voice": "alloy"});
        if let Some(format) = format {
            body["response_format"] = json!(format);
        }
        let reply = speak(&app, body).await;
        assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, kind), "{format:?}");
        assert!(reply.body.starts_with(start), "{format:?}: {:?}", &reply.body[..4]);
        assert!(reply.header("x-cosygate-quota").starts_with("r="));
        let kept = app.get(ADA, reply.header("content-location")).await;
        // A file that is sent while it is made does not begin with its length.
        let (of_kept, of_reply) = match format {
            Some("wav") => (44, 44),
            None => (192, 0),
            _ => (0, 0),
        };
        assert!(kept.body[of_kept..] == reply.body[of_reply..], "{format:?}");
    }
    assert_eq!(app.get(ADA, "/api/me/usage").await.json()["generations"]["used"], 5);
}

#[tokio::test]
async fn samples_come_while_they_are_made() {
    let app = TestApp::new().await;
    let body = |format: &str| json!({"model": "fake", "input": "Hello", "voice": "first", "response_format": format});
    app.set_mood(Mood::Pieces);
    for (format, header) in [("wav", 44), ("pcm", 0)] {
        app.engine.gate.add_permits(1);
        let request = app.request("POST", "/v1/audio/speech", Some((ADA, "free")), Some(&body(format)));
        // The engine has made one piece of three.
        let reply = app.respond(request).await;
        assert_eq!(reply.status().as_u16(), 200, "{format}");
        app.engine.gate.add_permits(2);
        let audio = axum::body::to_bytes(reply.into_body(), usize::MAX).await.unwrap();
        assert_eq!(audio[header..], [7; 600], "{format}");
    }
    app.assert_books_balance().await;
    // What needs the whole is refused if there is no whole.
    let mut app = TestApp::new().await;
    app.settings_mut().engine.sample_rate_hz = 22_050;
    let app = app.with_router();
    app.set_mood(Mood::PiecesThenFail);
    app.engine.gate.add_permits(6);
    for format in ["flac", "pcm"] {
        assert_eq!(error(&speak(&app, body(format)).await).0, 502, "{format}");
    }
    app.assert_books_balance().await;
}

#[tokio::test]
async fn a_key_makes_it_once() {
    let app = TestApp::new().await;
    let keyed = async |format: &str| {
        let body = json!({"model": "fake", "input": "Hello", "voice": "first", "response_format": format});
        let mut request = app.request("POST", "/v1/audio/speech", Some((ADA, "free")), Some(&body));
        request.headers_mut().insert("idempotency-key", "k".parse().unwrap());
        app.send(request).await
    };
    let first = keyed("flac").await;
    assert_eq!(keyed("flac").await.body, first.body);
    assert_eq!(keyed("opus").await.json()["error"]["code"], "idempotency_conflict");
    let id = first.header("content-location").strip_prefix("/download/").unwrap().strip_suffix("?format=flac").unwrap();
    assert_eq!(app.delete(ADA, &format!("/api/outputs/{id}")).await.status.as_u16(), 204);
    assert_eq!(keyed("flac").await.json()["error"]["code"], "conflict");
    assert_eq!(app.get(ADA, "/api/me/usage").await.json()["generations"]["used"], 1);
}

#[tokio::test]
async fn events_come_while_the_audio_is_made() {
    let app = TestApp::new().await;
    app.set_mood(Mood::Pieces);
    let body =
        json!({"model": "fake", "input": "Hello", "voice": "first", "response_format": "pcm", "stream_format": "sse"});
    let request = app.request("POST", "/v1/audio/speech", Some((ADA, "free")), Some(&body));
    app.engine.gate.add_permits(1);
    let mut events = app.respond(request).await.into_body().into_data_stream();
    let first = events.next().await.unwrap().unwrap();
    assert!(first.starts_with(b"data: {\"audio\""), "{first:?}");
    app.engine.gate.add_permits(2);
    let rest: Vec<_> = events.map(Result::unwrap).collect().await;
    assert!(rest.concat().ends_with(b"}\n\n") && rest.concat().windows(18).any(|part| part == b"speech.audio.done\""));

    // What breaks off never says that it is done.
    app.set_mood(Mood::PiecesThenFail);
    app.engine.gate.add_permits(1);
    let request = app.request("POST", "/v1/audio/speech", Some((ADA, "free")), Some(&body));
    let mut events = app.respond(request).await.into_body().into_data_stream();
    let first = events.next().await.unwrap().unwrap();
    assert!(first.starts_with(b"data: {\"audio\""), "{first:?}");
    app.engine.gate.add_permits(2);
    let rest: Vec<_> = events.collect().await;
    assert!(rest.last().is_some_and(Result::is_err), "{rest:?}");
    app.assert_books_balance().await;
}

#[tokio::test]
async fn events_hold_the_same_audio() {
    let app = TestApp::new().await;
    app.set_mood(Mood::Speak(60_000));
    let body =
        json!({"model": "fake", "input": "Hello", "voice": "first", "response_format": "pcm", "stream_format": "sse"});
    let reply = speak(&app, body).await;
    assert_eq!(reply.header("content-type"), "text/event-stream");
    let text = std::str::from_utf8(&reply.body).unwrap();
    let events: Vec<Value> = text
        .split("\n\n")
        .filter(|event| !event.is_empty())
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect();
    let (done, deltas) = events.split_last().unwrap();
    assert!(deltas.len() > 1 && deltas.iter().all(|event| event["type"] == "speech.audio.delta"));
    let audio: Vec<u8> = deltas.iter().flat_map(|e| STANDARD.decode(e["audio"].as_str().unwrap()).unwrap()).collect();
    assert_eq!(audio, vec![7; 120_000]);
    assert_eq!(done["type"], "speech.audio.done");
    assert_eq!(done["usage"]["input_tokens"], 5);
}

#[tokio::test]
async fn voices_are_named_as_everywhere_or_as_by_openai() {
    let app = TestApp::new().await;
    let texts = [("name", "Anna"), ("ref_text", "Hello."), ("consent", CONSENTS[0].statement)];
    let made = app.upload(ADA, "/v1/audio/voices", &texts, ("audio_sample", &recording(6.0))).await;
    assert_eq!(made.status.as_u16(), 200, "{made:?}");
    let made = made.json();
    assert_eq!((&made["object"], &made["name"]), (&json!("audio.voice"), &json!("Anna")));
    let id = made["id"].as_str().unwrap();
    let listed = app.get(ADA, "/v1/audio/voices").await.json()["voices"].clone();
    assert_eq!(listed[0], json!({"id": "first", "name": "first", "own": false}));
    assert_eq!(listed[2], json!({"id": id, "name": "Anna", "own": true}));
    assert_eq!(app.get(BOB, "/v1/audio/voices").await.json()["voices"].as_array().unwrap().len(), 2);
    for (voice, expected) in [
        (json!("first"), "first"),
        (json!("ash"), "second"),
        (json!("ballad"), "first"),
        (json!("Anna"), id),
        (json!({"id": id}), id),
    ] {
        app.app.clock.advance(1);
        let reply = speak(&app, json!({"model": "tts-1", "input": "Hello", "voice": voice})).await;
        assert_eq!(reply.status.as_u16(), 200, "{reply:?}");
        let outputs = app.get(ADA, "/api/outputs?limit=1").await.json();
        assert_eq!(outputs["outputs"][0]["voice"], expected);
    }
}

#[tokio::test]
async fn errors_have_the_shape_of_openai() {
    let app = TestApp::new().await;
    let good = json!({"model": "tts-1", "input": "Hello", "voice": "alloy"});
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let invalid = (400, "invalid_request_error".to_owned(), "request_invalid".to_owned());
    for body in [
        with("response_format", json!("aac")),
        with("voice", json!("nobody")),
        with("input", json!("")),
        with("input", json!("x".repeat(501))),
        with("speed", json!(4.0)),
        with("colour", json!("red")),
        with("stream_format", json!("video")),
    ] {
        let reply = speak(&app, body.clone()).await;
        assert_eq!(error(&reply), invalid, "{body}");
    }
    let model = speak(&app, with("model", json!("gpt-9"))).await;
    assert_eq!(error(&model), (404, "invalid_request_error".into(), "not_found".into()));
    let nobody = app.send(app.request("POST", "/v1/audio/speech", None, Some(&good))).await;
    assert_eq!(error(&nobody), (401, "authentication_error".into(), "token_missing".into()));
    app.set_mood(Mood::Fail(0));
    assert_eq!(error(&speak(&app, good.clone()).await), (502, "server_error".into(), "engine_failed".into()));
    let unknown = app.get(ADA, "/v1/nothing").await;
    assert_eq!(error(&unknown), (404, "invalid_request_error".into(), "not_found".into()));
}

#[tokio::test]
async fn models_are_listed() {
    let app = TestApp::new().await;
    let models = app.get(ADA, "/v1/models").await.json();
    assert_eq!(models["object"], "list");
    let ids: Vec<&str> = models["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["fake", "tts-1", "tts-1-hd", "gpt-4o-mini-tts"]);
}
