use std::sync::Arc;

use serde_json::json;

use crate::test_app::{ADA, BOB, Mood, TestApp};
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
        (json!({"voice": "first"}), "missing field `text`"),
    ] {
        let reply = app.generate(ADA, body).await;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (400, "request_invalid"), "{reason}");
        assert!(reply.json()["detail"].as_str().unwrap().contains(reason), "{reason}: {reply:?}");
    }
    assert_nothing_is_left(&app).await;
    let made = app.generate(ADA, json!({"text": "x", "format": "mp3"})).await.json();
    assert_eq!(made["audio_url"], format!("/download/{}?format=mp3", made["id"].as_str().unwrap()));
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

/// Waits until so many reservations of Ada are under way.
async fn until_waiting(app: &TestApp, count: usize) {
    for _ in 0..500 {
        if app.app.tasks.len() == count {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{} generations are under way", app.app.tasks.len());
}

#[tokio::test]
async fn no_more_run_at_a_time_than_the_role_allows() {
    let app = Arc::new(TestApp::new().await);
    app.set_mood(Mood::Wait);
    let running = tokio::spawn({
        let app = Arc::clone(&app);
        async move { app.generate(ADA, json!({"text": "hello"})).await }
    });
    until_waiting(&app, 1).await;
    let second = app.generate(ADA, json!({"text": "hello"})).await;
    assert_eq!((second.status.as_u16(), second.code().as_str()), (429, "concurrency_exceeded"));
    assert_eq!(second.header("retry-after"), "1");
    app.engine.gate.add_permits(2);
    assert_eq!(running.await.unwrap().status.as_u16(), 200);
    assert_eq!(app.generate(ADA, json!({"text": "hello"})).await.status.as_u16(), 200);
}

#[tokio::test]
async fn a_client_that_leaves_loses_nothing() {
    let app = Arc::new(TestApp::new().await);
    app.set_mood(Mood::Wait);
    let leaving = tokio::spawn({
        let app = Arc::clone(&app);
        async move { app.generate(ADA, json!({"text": "hello"})).await }
    });
    until_waiting(&app, 1).await;
    leaving.abort();
    assert!(leaving.await.unwrap_err().is_cancelled());
    app.engine.gate.add_permits(1);
    app.app.tasks.close();
    app.app.tasks.wait().await;
    let history = app.get(ADA, "/api/outputs").await.json();
    assert_eq!(history["outputs"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_killed_process_leaves_nothing_for_long() {
    let app = TestApp::new().await;
    app.set_mood(Mood::Wait);
    let mut request = Box::pin(app.generate(ADA, json!({"text": "hello"})));
    let waiting = async {
        until_waiting(&app, 1).await;
    };
    tokio::select! {
        _ = &mut request => panic!("it should wait"),
        () = waiting => {}
    }
    // As after a kill: the reservation stands, a half-written file lies there, nobody works.
    let folder = app.app.settings.blobs_folder().join("users").join(ADA);
    std::fs::create_dir_all(&folder).unwrap();
    let id = reserved_id(&app).await;
    std::fs::write(folder.join(format!("{id}.wav#1")), "half").unwrap();
    upkeep::recover(&app.app).await.unwrap();
    app.app.clock.advance(60_000);
    upkeep::once(&app.app).await.unwrap();
    assert_nothing_is_left(&app).await;
    // Had it been alive after all, it could not book any more.
    app.engine.gate.add_permits(1);
    assert_eq!(request.await.code(), "internal");
    app.app.clock.advance(60_000);
    upkeep::once(&app.app).await.unwrap();
    assert_nothing_is_left(&app).await;
}

async fn reserved_id(app: &TestApp) -> String {
    let path = app.app.settings.database_file();
    let pool = sqlx::SqlitePool::connect(path.to_str().unwrap()).await.unwrap();
    sqlx::query_scalar("SELECT id FROM reservations").fetch_one(&pool).await.unwrap()
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
