use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::test_app::{ADA, BOB, Mood, Reply, TestApp};
use crate::upkeep;

#[tokio::test]
async fn speech_is_stored_listed_and_charged() {
    let app = TestApp::new().await;
    let reply = app.generate(ADA, json!({"text": " 你好, world\n", "speed": 1.5, "project_id": "a.B_c-1"})).await;
    assert_eq!(reply.status.as_u16(), 200, "{reply:?}");
    let made = reply.json();
    let id = made["id"].as_str().unwrap();
    let expected = json!({
        "id": id, "audio_url": format!("/download/{id}"), "seconds": 1.0, "characters": 9, "voice": "first",
        "engine": "fake", "sample_rate": 24_000, "created_at": "2026-11-23T12:00:00Z",
    });
    assert_eq!(made, expected);
    let entry = app.get(ADA, &format!("/api/outputs/{id}")).await.json();
    let expected = json!({
        "id": id, "text": "你好, world", "voice": "first", "engine": "fake", "characters": 9, "seconds": 1.0,
        "bytes": 48_044, "sample_rate": 24_000, "project_id": "a.B_c-1", "audio_url": format!("/download/{id}"),
        "created_at": "2026-11-23T12:00:00Z", "share_links": 0,
    });
    assert_eq!(entry, expected);
    assert_eq!(app.get(ADA, "/api/outputs").await.json(), json!({"outputs": [entry], "next": null}));
    assert_eq!(app.audio_files().len(), 1);
}

#[tokio::test]
async fn wrong_requests_are_explained_and_cost_nothing() {
    let app = TestApp::new().await;
    for (body, reason) in [
        (json!({"text": ""}), "text is empty"),
        (json!({"text": " \n\t"}), "text is empty"),
        (json!({"text": "x".repeat(501)}), "text has 501 characters; your role allows 500"),
        (json!({"text": "x", "voice": "third"}), "voice is not one of"),
        (json!({"text": "x", "voice": "first", "voice_type": "first"}), "give one"),
        (json!({"text": "x", "speed": 0.4}), "speed must be"),
        (json!({"text": "x", "speed": 2.1}), "speed must be"),
        (json!({"text": "x", "speed": "fast"}), "invalid type"),
        (json!({"text": "x", "instruct": "y".repeat(501)}), "instruct may have"),
        (json!({"text": "x", "project_id": "a/b"}), "project_id must be"),
        (json!({"text": "x", "project_id": ""}), "project_id must be"),
        (json!({"text": "x", "colour": "red"}), "unknown field `colour`"),
        (json!({"text": "x", "format": "aac"}), "must be one of wav, pcm, flac, opus, mp3"),
        (
            json!({"text": "x", "format": "flac", "stream": true}),
            "While it is made, audio comes as one of wav, pcm, opus, mp3",
        ),
        (json!({"voice": "first"}), "missing field `text`"),
    ] {
        let reply = app.generate(ADA, body).await;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (400, "request_invalid"), "{reason}");
        assert!(reply.json()["detail"].as_str().unwrap().contains(reason), "{reason}: {reply:?}");
    }
    assert_nothing_is_left(&app).await;
    let made = app.generate(ADA, json!({"text": "x", "format": "mp3"})).await.json();
    assert_eq!(made["audio_url"], format!("/download/{}?format=mp3", made["id"].as_str().unwrap()));
    let jobs = app.get(ADA, "/api/jobs").await.json();
    assert_eq!(jobs["jobs"][0]["audio_url"], made["audio_url"]);
    let alias = app.generate(ADA, json!({"text": "é".repeat(500), "voice_type": "second"})).await.json();
    assert_eq!((&alias["voice"], &alias["characters"]), (&json!("second"), &json!(500)));
}

#[tokio::test]
async fn a_failing_engine_leaves_nothing() {
    let app = TestApp::new().await;
    for (mood, status, code) in [
        (Mood::Fail(0), 502, "engine_failed"),
        (Mood::Fail(5000), 502, "engine_failed"),
        (Mood::Speak(0), 502, "engine_failed"),
        // Longer than ten minutes.
        (Mood::Speak(10 * 60 * 24_000 + 1), 502, "engine_failed"),
        (Mood::Unavailable, 503, "engine_unavailable"),
        (Mood::Reject, 400, "request_invalid"),
        (Mood::Panic, 500, "internal"),
    ] {
        app.set_mood(mood.clone());
        let reply = app.generate(ADA, json!({"text": "hello"})).await;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (status, code), "{mood:?}");
        assert!(!String::from_utf8_lossy(&reply.body).contains("internals"), "{reply:?}");
        assert_eq!(reply.header("retry-after").is_empty(), status != 503);
        assert_nothing_is_left(&app).await;
    }
    // And nothing blocks the next one.
    app.set_mood(Mood::Speak(10));
    assert_eq!(app.generate(ADA, json!({"text": "hello"})).await.status.as_u16(), 200);
}

#[tokio::test]
async fn a_full_disk_leaves_nothing() {
    let app = TestApp::new().await;
    // A file where the folder of users should be makes every write fail.
    std::fs::write(app.app.settings.blobs_folder().join("users"), "").unwrap();
    let reply = app.generate(ADA, json!({"text": "hello"})).await;
    assert_eq!((reply.status.as_u16(), reply.code().as_str()), (500, "internal"));
    let usage = app.get(ADA, "/api/me/usage").await.json();
    assert_eq!(usage["generations"]["used"], 0);
    assert_eq!(app.get(ADA, "/api/outputs").await.json()["outputs"], json!([]));
}

async fn assert_nothing_is_left(app: &TestApp) {
    assert_eq!(app.audio_files(), Vec::<String>::new());
    assert_eq!(app.get(ADA, "/api/outputs").await.json(), json!({"outputs": [], "next": null}));
    let usage = app.get(ADA, "/api/me/usage").await.json();
    for counter in ["characters", "generations", "storage_bytes"] {
        assert_eq!(usage[counter]["used"], 0, "{counter}");
    }
}

#[tokio::test]
async fn quotas_are_told_apart() {
    let app = TestApp::with_policy(|policy| {
        let free = &mut policy["roles"]["free"];
        free["characters_per_request"] = json!(10);
        free["characters_per_day"] = json!(25);
        free["generations_per_day"] = json!(3);
        free["storage_mb"] = json!(1);
    })
    .await;
    let text = |characters: usize| json!({"text": "x".repeat(characters)});
    assert_eq!(app.generate(ADA, text(10)).await.status.as_u16(), 200);
    assert_eq!(app.generate(ADA, text(10)).await.status.as_u16(), 200);
    let too_much = app.generate(ADA, text(6)).await;
    assert_eq!((too_much.status.as_u16(), too_much.code().as_str()), (429, "quota_exhausted"));
    assert_eq!(too_much.header("retry-after"), (12 * 3600 + 1).to_string());
    assert!(too_much.json()["detail"].as_str().unwrap().contains("5 are left"), "{too_much:?}");
    assert_eq!(app.generate(ADA, text(5)).await.status.as_u16(), 200);
    let too_many = app.generate(ADA, text(1)).await;
    assert_eq!(too_many.code(), "quota_exhausted");
    // Somebody else's quota is untouched; tomorrow is another day.
    assert_eq!(app.generate(BOB, text(10)).await.status.as_u16(), 200);
    app.app.clock.advance(12 * 3_600_000);
    app.set_mood(Mood::Speak(500_000));
    assert_eq!(app.generate(ADA, text(10)).await.status.as_u16(), 200);
    let full = app.generate(ADA, text(10)).await;
    assert_eq!(full.code(), "quota_exhausted");
    assert!(full.json()["detail"].as_str().unwrap().contains("Delete something"), "{full:?}");
}

/// A generation on its way; it waits until the test lets the engine speak.
fn begin(app: &Arc<TestApp>, user: &'static str, text: &str) -> tokio::task::JoinHandle<Reply> {
    let (app, body) = (Arc::clone(app), json!({"text": text}));
    tokio::spawn(async move { app.generate(user, body).await })
}

#[tokio::test]
async fn what_exceeds_the_role_waits_and_then_is_refused() {
    let app = TestApp::with_policy(|policy| policy["roles"]["free"]["jobs_queued"] = json!(1)).await;
    let app = Arc::new(app);
    app.set_mood(Mood::Wait);
    let running = begin(&app, ADA, "one");
    app.until_jobs(0, 1).await;
    let queued = begin(&app, ADA, "two");
    app.until_jobs(1, 1).await;
    let third = app.generate(ADA, json!({"text": "three"})).await;
    assert_eq!((third.status.as_u16(), third.code().as_str()), (429, "concurrency_exceeded"));
    assert_eq!(third.header("retry-after"), "1");
    // Somebody else has a slot of the engine meanwhile.
    let others = begin(&app, BOB, "four");
    app.until_jobs(1, 2).await;
    app.engine.gate.add_permits(3);
    for reply in [running, queued, others] {
        assert_eq!(reply.await.unwrap().status.as_u16(), 200);
    }
    app.assert_books_balance().await;
}

#[tokio::test]
async fn a_client_that_leaves_loses_nothing() {
    let app = Arc::new(TestApp::new().await);
    app.set_mood(Mood::Wait);
    let leaving = begin(&app, ADA, "hello");
    app.until_jobs(0, 1).await;
    leaving.abort();
    assert!(leaving.await.unwrap_err().is_cancelled());
    app.engine.gate.add_permits(1);
    app.until_jobs(0, 0).await;
    let history = app.get(ADA, "/api/outputs").await.json();
    assert_eq!(history["outputs"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_killed_process_leaves_its_work_to_the_next() {
    let app = Arc::new(TestApp::new().await);
    app.set_mood(Mood::Wait);
    let request = begin(&app, ADA, "hello");
    app.until_jobs(0, 1).await;
    // As after a kill: the job stands, a half-written file lies there, nobody works. The engine
    // holds the worker of before; what it will make counts no more.
    let staging = app.app.settings.blobs_folder().join("staging");
    std::fs::create_dir_all(&staging).unwrap();
    let id = app.get(ADA, "/api/jobs").await.json()["jobs"][0]["id"].as_str().unwrap().to_owned();
    std::fs::write(staging.join(format!("{id}.1")), "half").unwrap();
    while app.engine.came.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    app.set_mood(Mood::Speak(10));
    upkeep::recover(&app.app).await.unwrap();
    assert_eq!(request.await.unwrap().json()["id"], json!(id));
    app.engine.gate.add_permits(1);
    app.app.tasks.close();
    app.app.tasks.wait().await;
    assert_eq!((app.audio_files().len(), std::fs::read_dir(&staging).unwrap().count()), (1, 0));
    assert_eq!(app.get(ADA, "/api/me/usage").await.json()["generations"]["used"], 1);
    app.assert_books_balance().await;
}

#[tokio::test]
async fn whoever_prefers_gets_the_job_at_once() {
    let app = TestApp::new().await;
    app.set_mood(Mood::Wait);
    let mut request = app.request("POST", "/api/generate", Some((ADA, "free")), Some(&json!({"text": "hello"})));
    request.headers_mut().insert("prefer", "wait=5, Respond-Async; x=1".parse().unwrap());
    let reply = app.send(request).await;
    assert_eq!((reply.status.as_u16(), reply.header("preference-applied")), (202, "respond-async"));
    let job = &reply.json()["job"];
    assert_eq!(reply.header("location"), job["url"]);
    app.engine.gate.add_permits(1);
    app.until_jobs(0, 0).await;
    let ended = app.get(ADA, job["url"].as_str().unwrap()).await.json();
    assert_eq!((&ended["state"], &ended["id"]), (&json!("done"), &job["id"]));
    assert_eq!(app.get(ADA, ended["audio_url"].as_str().unwrap()).await.status.as_u16(), 200);
}

async fn keyed(app: &TestApp, key: &str, body: &Value) -> Reply {
    let mut request = app.request("POST", "/api/generate", Some((ADA, "free")), Some(body));
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    app.send(request).await
}

#[tokio::test]
async fn the_same_key_makes_it_once() {
    let app = Arc::new(TestApp::new().await);
    app.set_mood(Mood::Wait);
    let body = json!({"text": "hello", "speed": 1.0});
    let cut = tokio::spawn({
        let (app, body) = (Arc::clone(&app), body.clone());
        async move { keyed(&app, "k", &body).await }
    });
    app.until_jobs(0, 1).await;
    cut.abort();
    // While the first one runs, and after it; what means the same is the same.
    let again = tokio::spawn({
        let app = Arc::clone(&app);
        async move { keyed(&app, "k", &json!({"text": " hello"})).await }
    });
    app.engine.gate.add_permits(9);
    let (first, later) = (again.await.unwrap(), keyed(&app, "k", &body).await);
    assert_eq!((first.status.as_u16(), &first.body), (200, &later.body));
    let other = keyed(&app, "k", &json!({"text": "bye"})).await;
    assert_eq!((other.status.as_u16(), other.code().as_str()), (409, "idempotency_conflict"));
    let encoded = keyed(&app, "k", &json!({"text": "hello", "format": "mp3"})).await;
    assert_eq!(encoded.code(), "idempotency_conflict");
    let live = keyed(&app, "k", &json!({"text": "hello", "stream": true})).await;
    assert_eq!(live.code(), "idempotency_conflict");
    // Even when it has been deleted since, it is not made twice.
    assert_eq!(
        app.delete(ADA, &format!("/api/outputs/{}", first.json()["id"].as_str().unwrap())).await.status.as_u16(),
        204
    );
    assert_eq!(keyed(&app, "k", &body).await.body, first.body);
    assert_eq!(app.get(ADA, "/api/me/usage").await.json()["generations"]["used"], 1);
    // Tomorrow the key is forgotten.
    app.app.clock.advance(86_400_001);
    upkeep::once(&app.app).await.unwrap();
    assert_ne!(keyed(&app, "k", &body).await.json()["id"], first.json()["id"]);
    for bad in ["", &"x".repeat(256)] {
        assert_eq!(keyed(&app, bad, &body).await.code(), "request_invalid");
    }
    assert_eq!(keyed(&app, &"x".repeat(255), &body).await.status.as_u16(), 200);
    app.assert_books_balance().await;
}

#[tokio::test]
async fn a_failure_frees_its_key() {
    let app = TestApp::new().await;
    let body = json!({"text": "hello"});
    app.set_mood(Mood::Unavailable);
    assert_eq!(keyed(&app, "k", &body).await.code(), "engine_unavailable");
    app.set_mood(Mood::Speak(10));
    assert_eq!(keyed(&app, "k", &body).await.status.as_u16(), 200);
}

#[tokio::test]
async fn who_waits_too_long_is_told_so() {
    let mut app = TestApp::new().await;
    app.settings_mut().queue.wait_seconds = 0;
    let app = Arc::new(app.with_router());
    app.set_mood(Mood::Wait);
    // Whoever said not to wait is left alone.
    let mut running = app.request("POST", "/api/generate", Some((ADA, "free")), Some(&json!({"text": "one"})));
    running.headers_mut().insert("prefer", "respond-async".parse().unwrap());
    assert_eq!(app.send(running).await.status.as_u16(), 202);
    app.until_jobs(0, 1).await;
    let reply = app.generate(ADA, json!({"text": "two"})).await;
    assert_eq!((reply.status.as_u16(), reply.code().as_str()), (503, "overloaded"));
    assert_eq!(reply.header("retry-after"), "5");
    app.engine.gate.add_permits(1);
    app.until_jobs(0, 0).await;
    assert_eq!(app.audio_files().len(), 1);
    app.assert_books_balance().await;
}

#[tokio::test]
async fn outputs_retire_with_their_audio() {
    let app = TestApp::new().await;
    app.generate(ADA, json!({"text": "hello"})).await;
    app.app.clock.advance(7 * 86_400_000);
    upkeep::once(&app.app).await.unwrap();
    assert_eq!(app.audio_files().len(), 1);
    app.app.clock.advance(1);
    upkeep::once(&app.app).await.unwrap();
    app.app.clock.advance(60_000);
    upkeep::once(&app.app).await.unwrap();
    assert_nothing_is_left(&app).await;
}

#[tokio::test]
async fn the_audit_has_every_result_and_no_text() {
    let app = TestApp::new().await;
    app.generate(ADA, json!({"text": "a private sentence"})).await;
    app.set_mood(Mood::Fail(0));
    app.generate(ADA, json!({"text": "a private sentence"})).await;
    app.generate(ADA, json!({"text": "x".repeat(501)})).await;
    let path = app.app.settings.database_file();
    let pool = sqlx::SqlitePool::connect(path.to_str().unwrap()).await.unwrap();
    let rows: Vec<(String, Option<String>, String, i64)> = sqlx::query_as(
        "SELECT result, user_id, request_id, policy_rev FROM audit JOIN audit_subjects USING (subject) \
         WHERE action = 'generate' ORDER BY seq",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let mut results: Vec<&str> = rows.iter().map(|row| row.0.as_str()).collect();
    results.sort_unstable();
    assert_eq!(results, ["engine_failed", "ok"]);
    assert!(rows.iter().all(|row| row.1.as_deref() == Some(ADA) && row.2.len() == 26 && row.3 == 1));
    let whole: Vec<Option<String>> =
        sqlx::query_scalar("SELECT object || personal FROM audit").fetch_all(&pool).await.unwrap();
    assert!(!format!("{whole:?}").contains("private"));
}
