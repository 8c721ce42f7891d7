//! What happens between the queue and the engine that no answer shows.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::jobs::LEASE;
use crate::test_app::{ADA, Mood, TestApp};
use crate::upkeep;

/// Starts a generation and leaves the client out of it.
async fn begin(app: &Arc<TestApp>) -> String {
    let mut request = app.request("POST", "/api/generate", Some((ADA, "free")), Some(&json!({"text": "hello"})));
    request.headers_mut().insert("prefer", "respond-async".parse().unwrap());
    let id = app.send(request).await.json()["job"]["id"].as_str().unwrap().to_owned();
    app.until_jobs(0, 1).await;
    id
}

#[tokio::test]
async fn a_lapsed_job_is_made_by_another_worker_and_charged_once() {
    let app = Arc::new(TestApp::new().await);
    app.set_mood(Mood::Wait);
    let id = begin(&app).await;
    let ms = i64::try_from(LEASE.as_millis()).unwrap();
    super::take_up(&app.app, app.app.clock.now_ms() + ms - 1).await.unwrap();
    app.until_jobs(0, 1).await;
    app.set_mood(Mood::Speak(10));
    super::take_up(&app.app, app.app.clock.now_ms() + ms).await.unwrap();
    app.until_jobs(0, 0).await;
    // The first worker wakes up and finds that the job is another's.
    app.engine.gate.add_permits(1);
    app.app.tasks.close();
    app.app.tasks.wait().await;
    let job = app.get(ADA, &format!("/api/jobs/{id}")).await.json();
    assert_eq!(job["state"], "done");
    let audio = app.get(ADA, &format!("/download/{id}")).await;
    assert_eq!(audio.body.len(), 44 + 20);
    assert_eq!(app.get(ADA, "/api/me/usage").await.json()["generations"]["used"], 1);
    app.assert_books_balance().await;
}

#[tokio::test]
async fn a_job_that_is_taken_away_stops_the_engine() {
    let app = Arc::new(TestApp::new().await);
    app.set_mood(Mood::Wait);
    let id = begin(&app).await;
    // As another origin would: nobody here is told.
    let caller = crate::test_app::caller(ADA, "free");
    let audit = caller.audit(&app.app.clock, "cancel", "ok");
    assert!(app.app.store.of(&caller).cancel_job(&id, true, &audit).await.unwrap());
    app.app.clock.advance(60_000);
    app.app.tasks.close();
    tokio::time::timeout(Duration::from_secs(30), app.app.tasks.wait()).await.unwrap();
    upkeep::once(&app.app).await.unwrap();
    assert_eq!(app.audio_files(), Vec::<String>::new());
    app.assert_books_balance().await;
}
