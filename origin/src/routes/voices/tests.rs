use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::audio::tests::recording;
use crate::test_app::{ADA, BOB, Mood, Reply, TestApp};
use crate::upkeep;
use crate::voices::CONSENTS;

const CONSENT: &str = CONSENTS[0].statement;

async fn add(app: &TestApp, user: &str, name: &str) -> Reply {
    let texts = [("name", name), ("transcript", " Good\n morning. "), ("language", "en"), ("consent", CONSENT)];
    app.upload(user, "/api/voices", &texts, ("sample", &recording(6.0))).await
}

async fn added(app: &TestApp, user: &str, name: &str) -> Value {
    let reply = add(app, user, name).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    reply.json()
}

async fn patch(app: &TestApp, user: &str, id: &str, body: Value) -> Reply {
    app.send(app.request("PATCH", &format!("/api/voices/{id}"), Some((user, "free")), Some(&body))).await
}

#[tokio::test]
async fn the_engine_is_described() {
    let app = TestApp::new().await;
    let body = app.get(ADA, "/api/voices").await.json();
    assert_eq!((&body["engine"], &body["notice"]), (&"fake".into(), &Value::Null));
    assert_eq!(body["voices"][0]["id"], "first");
    assert_eq!((&body["own"], &body["own_limit"], &body["cloning"]), (&json!([]), &json!(2), &json!(true)));
    assert_eq!((&body["abilities"]["instruct"], &body["abilities"]["seed"]), (&json!(true), &json!(false)));
    assert_eq!(body["instructs"], json!([]));
    assert_eq!(body["consents"][0], json!({"kind": "own", "language": "en", "statement": CONSENT}));
}

#[tokio::test]
async fn a_recording_becomes_a_voice_of_its_owner() {
    let app = TestApp::new().await;
    let reply = add(&app, ADA, "My voice").await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    let mut made = reply.json();
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!(reply.header("location"), format!("/api/voices/{id}"));
    assert_eq!(made["advice"], json!([]));
    made.as_object_mut().unwrap().remove("advice");
    let expected = json!({
        "id": id, "name": "My voice", "transcript": "Good morning.", "language": "en", "seconds": 6.0,
        "sample_rate": 24_000, "bytes": 288_044,
        "consent": {"statement": CONSENT, "agreed_at": "2026-11-23T12:00:00Z"},
        "preview_url": format!("/api/voices/{id}/preview"), "created_at": "2026-11-23T12:00:00Z",
    });
    assert_eq!(made, expected);
    assert_eq!(app.get(ADA, &format!("/api/voices/{id}")).await.json(), expected);
    assert_eq!(app.get(ADA, "/api/voices").await.json()["own"], json!([expected]));

    let preview = app.get(ADA, &format!("/api/voices/{id}/preview")).await;
    assert_eq!((preview.header("content-type"), preview.body.len()), ("audio/wav", 288_044));
    let mut part = app.request("GET", &format!("/api/voices/{id}/preview"), Some((ADA, "free")), None);
    part.headers_mut().insert("range", "bytes=4-7".parse().unwrap());
    let part = app.send(part).await;
    assert_eq!((part.status.as_u16(), part.body.as_ref()), (206, &preview.body[4..8]));

    // The engine gets recording and transcript, by id and by name alike.
    for voice in [id.as_str(), "My voice"] {
        let spoken = app.generate(ADA, json!({"text": "Hello", "voice": voice})).await;
        assert_eq!((spoken.status.as_u16(), &spoken.json()["voice"]), (200, &json!(id)), "{spoken:?}");
        let reference = app.engine.reference.lock().unwrap().take().unwrap();
        assert_eq!((reference.wav, reference.transcript.as_str()), (preview.body.clone(), "Good morning."));
    }
    app.generate(ADA, json!({"text": "Hello", "voice": "first"})).await;
    assert!(app.engine.reference.lock().unwrap().is_none());
}

#[tokio::test]
async fn voices_of_others_are_not_there() {
    let app = TestApp::new().await;
    let id = added(&app, ADA, "mine").await["id"].as_str().unwrap().to_owned();
    assert_eq!(app.get(BOB, "/api/voices").await.json()["own"], json!([]));
    let unknown = crate::clock::new_id(0);
    for (method, end) in [("GET", ""), ("GET", "/preview"), ("PATCH", ""), ("DELETE", "")] {
        let mut answers = Vec::new();
        for wanted in [id.as_str(), &unknown, "x"] {
            let body = (method == "PATCH").then(|| json!({"name": "stolen"}));
            let target = format!("/api/voices/{wanted}{end}");
            let mut request = app.request(method, &target, Some((BOB, "free")), body.as_ref());
            request.headers_mut().insert("x-request-id", "same".parse().unwrap());
            let reply = app.send(request).await;
            assert_eq!(reply.code(), "not_found", "{method} {target}");
            answers.push((reply.body, reply.headers));
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{method} {end}");
    }
    let mut answers = Vec::new();
    for voice in [id.as_str(), "mine", &unknown] {
        let reply = app.generate(BOB, json!({"text": "Hello", "voice": voice})).await;
        answers.push(reply.json()["detail"].clone());
    }
    answers.dedup();
    assert_eq!(answers, ["voice is not one of /api/voices."]);
}

#[tokio::test]
async fn what_is_not_good_is_refused_and_leaves_nothing() {
    let app = TestApp::new().await;
    let good = [("name", "a"), ("transcript", "Hello."), ("consent", CONSENT)];
    let with = |name: &'static str, value: &'static str| {
        let mut texts = good.to_vec();
        texts.retain(|(other, _)| *other != name);
        texts.push((name, value));
        texts
    };
    let sample = recording(6.0);
    for (texts, expected) in [
        (with("name", " "), "name must have"),
        (with("name", "a\nb"), "name must have"),
        (with("name", "01ARZ3NDEKTSV4RRFFQ69G5FAV"), "name must have"),
        (with("name", "first"), "a stock voice's"),
        (with("transcript", ""), "transcript must say"),
        (with("transcript", "a<|endofprompt|>"), "control tokens"),
        (with("language", "en us"), "language must be"),
        (with("consent", "yes"), "consent must be one of these sentences"),
        (with("colour", "red"), "not known here"),
        (good[..2].to_vec(), "consent is missing"),
        ([good.to_vec(), vec![("name", "b")]].concat(), "name twice"),
    ] {
        let reply = app.upload(ADA, "/api/voices", &texts, ("sample", &sample)).await;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (400, "request_invalid"), "{expected}");
        assert!(reply.json()["detail"].as_str().unwrap().contains(expected), "{expected}: {reply:?}");
    }
    for (sample, expected) in
        [(b"MZ".to_vec(), "no audio file"), (recording(31.0), "longer than 30"), (Vec::new(), "sample is missing")]
    {
        let reply = app.upload(ADA, "/api/voices", &good, ("sample", &sample)).await;
        assert_eq!(reply.code(), "request_invalid");
        assert!(reply.json()["detail"].as_str().unwrap().contains(expected), "{expected}: {reply:?}");
    }
    let large = app.upload(ADA, "/api/voices", &good, ("sample", &vec![0; 10 * 1024 * 1024])).await;
    assert_eq!(large.code(), "body_too_large");
    let text = app.send(app.request("POST", "/api/voices", Some((ADA, "free")), Some(&json!({})))).await;
    assert_eq!(text.code(), "unsupported_media");
    assert_eq!(app.get(ADA, "/api/voices").await.json()["own"], json!([]));
    assert!(app.audio_files().is_empty());
}

#[tokio::test]
async fn a_poor_recording_is_taken_with_advice() {
    let app = TestApp::new().await;
    let texts = [("name", "a"), ("transcript", "Hello."), ("consent", CONSENT)];
    let made = app.upload(ADA, "/api/voices", &texts, ("sample", &recording(3.0))).await.json();
    assert_eq!(made["advice"][0]["code"], "short");
}

#[tokio::test]
async fn the_role_bounds_the_voices() {
    let app = TestApp::new().await;
    let first = added(&app, ADA, "a").await;
    added(&app, ADA, "b").await;
    let refused = add(&app, ADA, "c").await;
    assert_eq!(refused.code(), "role_forbidden");
    assert!(refused.json()["detail"].as_str().unwrap().contains("2 voices"));
    added(&app, BOB, "a").await;
    let target = format!("/api/voices/{}", first["id"].as_str().unwrap());
    assert_eq!(app.delete(ADA, &target).await.status, StatusCode::NO_CONTENT);
    added(&app, ADA, "c").await;
    let none =
        TestApp::with_policy(|policy| drop(policy["roles"]["free"].as_object_mut().unwrap().remove("voices"))).await;
    assert_eq!(add(&none, ADA, "a").await.code(), "role_forbidden");
}

#[tokio::test]
async fn names_and_transcripts_change() {
    let app = TestApp::new().await;
    let id = added(&app, ADA, "a").await["id"].as_str().unwrap().to_owned();
    added(&app, ADA, "b").await;
    assert_eq!(add(&app, ADA, "b").await.code(), "role_forbidden");
    let changed = patch(&app, ADA, &id, json!({"name": " Anna ", "transcript": "Hi."})).await.json();
    assert_eq!((&changed["name"], &changed["transcript"]), (&json!("Anna"), &json!("Hi.")));
    assert_eq!(app.generate(ADA, json!({"text": "x", "voice": "Anna"})).await.json()["voice"], json!(id));
    for (body, code) in [
        (json!({"name": "b"}), "conflict"),
        (json!({"name": "second"}), "request_invalid"),
        (json!({}), "request_invalid"),
        (json!({"consent": "x"}), "request_invalid"),
    ] {
        assert_eq!(patch(&app, ADA, &id, body).await.code(), code);
    }
}

#[tokio::test]
async fn deleting_takes_the_recording_along() {
    let app = TestApp::new().await;
    let id = added(&app, ADA, "a").await["id"].as_str().unwrap().to_owned();
    assert_eq!(app.audio_files().len(), 1);
    let reply = app.delete(ADA, &format!("/api/voices/{id}")).await;
    assert_eq!((reply.status, reply.body.len()), (StatusCode::NO_CONTENT, 0));
    assert!(app.audio_files().is_empty());
    assert_eq!(app.delete(ADA, &format!("/api/voices/{id}")).await.code(), "not_found");
    let spoken = app.generate(ADA, json!({"text": "x", "voice": id})).await;
    assert_eq!(spoken.code(), "request_invalid");
}

#[tokio::test]
async fn a_voice_that_goes_while_its_text_waits_is_an_error_that_costs_nothing() {
    let app = Arc::new(TestApp::new().await);
    let id = added(&app, ADA, "a").await["id"].as_str().unwrap().to_owned();
    app.set_mood(Mood::Wait);
    let begin = |voice: &str| {
        let (app, body) = (Arc::clone(&app), json!({"text": "x", "voice": voice}));
        tokio::spawn(async move { app.generate(ADA, body).await })
    };
    let running = begin("first");
    app.until_jobs(0, 1).await;
    let waiting = begin(&id);
    app.until_jobs(1, 1).await;
    app.delete(ADA, &format!("/api/voices/{id}")).await;
    app.engine.gate.add_permits(2);
    assert_eq!(running.await.unwrap().status, StatusCode::OK);
    let gone = waiting.await.unwrap();
    assert_eq!(
        (gone.code().as_str(), &gone.json()["detail"]),
        ("request_invalid", &json!("The voice is not there any more."))
    );
    assert_eq!(app.get(ADA, "/api/me/usage").await.json()["generations"]["used"], 1);
    app.assert_books_balance().await;
}

#[tokio::test]
async fn an_engine_without_cloning_says_so() {
    let app = TestApp::new().await;
    added(&app, ADA, "a").await;
    app.engine.is_robot.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(app.get(ADA, "/api/voices").await.json()["cloning"], false);
    let reply = app.generate(ADA, json!({"text": "x", "voice": "a"})).await;
    assert_eq!((reply.status.as_u16(), reply.code().as_str()), (400, "request_invalid"));
    assert!(reply.json()["detail"].as_str().unwrap().contains("cannot speak with a voice of yours"));
}

#[tokio::test]
async fn the_housekeeper_leaves_recordings_of_voices_alone() {
    let app = TestApp::new().await;
    added(&app, ADA, "a").await;
    app.app.clock.advance(400 * 86_400_000);
    upkeep::once(&app.app).await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
    assert_eq!(app.audio_files().len(), 1);
}
