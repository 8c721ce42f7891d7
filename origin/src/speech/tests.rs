//! Audio while it is made.

use std::time::Duration;

use axum::http::Response;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::json;

use crate::test_app::{ADA, Mood, TestApp};

async fn begin(app: &TestApp, text: &str) -> Response<axum::body::Body> {
    let body = json!({"text": text, "stream": true});
    app.respond(app.request("POST", "/api/generate", Some((ADA, "free")), Some(&body))).await
}

/// The next data, or what ended the body.
async fn next(response: &mut Response<axum::body::Body>) -> Option<Result<Bytes, axum::Error>> {
    let frame = tokio::time::timeout(Duration::from_secs(10), response.body_mut().frame()).await.unwrap()?;
    Some(frame.map(|frame| frame.into_data().unwrap()))
}

async fn until_broken(response: &mut Response<axum::body::Body>) {
    while next(response).await.expect("a clean end of half an audio").is_ok() {}
}

async fn used(app: &TestApp) -> (i64, i64) {
    let usage = app.get(ADA, "/api/me/usage").await.json();
    (usage["characters"]["used"].as_i64().unwrap(), usage["generations"]["used"].as_i64().unwrap())
}

#[tokio::test]
async fn audio_comes_while_it_is_made_and_is_stored() {
    let app = TestApp::new().await;
    app.set_mood(Mood::Pieces);
    app.engine.gate.add_permits(1);
    let mut response = begin(&app, "hello world").await;
    assert_eq!(response.headers()["content-type"], "audio/wav");
    let location = response.headers()["content-location"].to_str().unwrap().to_owned();
    let header = next(&mut response).await.unwrap().unwrap();
    assert_eq!((&header[..4], &header[40..]), (&b"RIFF"[..], &[0xFF; 4][..]));
    // The first piece is here, and the engine has not made the second yet.
    let mut heard = next(&mut response).await.unwrap().unwrap().to_vec();
    assert_eq!(heard, vec![7; 200]);
    assert_eq!(used(&app).await, (0, 0));
    app.engine.gate.add_permits(2);
    while let Some(piece) = next(&mut response).await {
        heard.extend_from_slice(&piece.unwrap());
    }
    let stored = app.get(ADA, &location).await;
    assert_eq!((heard.len(), &stored.body[44..]), (600, heard.as_slice()));
    assert_eq!(used(&app).await, (11, 1));
    app.assert_books_balance().await;
}

#[tokio::test]
async fn what_breaks_off_ends_abnormally_and_costs_nothing() {
    let app = TestApp::new().await;
    app.set_mood(Mood::Fail(100));
    let mut response = begin(&app, "hello").await;
    // The failure may be faster than the answer: then it is a refusal like any other.
    if response.status() == 200 {
        until_broken(&mut response).await;
    } else {
        assert_eq!(response.status(), 502);
    }
    app.set_mood(Mood::PiecesThenFail);
    app.engine.gate.add_permits(1);
    let mut response = begin(&app, "hello").await;
    assert_eq!(response.status(), 200);
    for _ in 0..2 {
        next(&mut response).await.unwrap().unwrap();
    }
    app.engine.gate.add_permits(2);
    until_broken(&mut response).await;
    app.until_jobs(0, 0).await;
    assert_eq!((app.audio_files(), used(&app).await), (vec![], (0, 0)));
    app.set_mood(Mood::Fail(0));
    assert_eq!(begin(&app, "hello").await.status(), 502);
    app.assert_books_balance().await;
}

#[tokio::test]
async fn who_leaves_pays_for_what_was_heard() {
    let app = TestApp::new().await;
    app.set_mood(Mood::Pieces);
    app.engine.gate.add_permits(1);
    let mut response = begin(&app, "hello world").await;
    for _ in 0..2 {
        next(&mut response).await.unwrap().unwrap();
    }
    drop(response);
    app.until_jobs(0, 0).await;
    app.app.tasks.close();
    app.app.tasks.wait().await;
    // The engine does not tell sentences, so the whole text counts; and it went no further.
    assert_eq!((app.audio_files(), used(&app).await), (vec![], (11, 1)));
    assert_eq!(app.engine.gate.available_permits(), 0);
    app.assert_books_balance().await;
}

#[tokio::test]
async fn who_leaves_before_the_first_audio_pays_nothing() {
    let app = TestApp::new().await;
    app.set_mood(Mood::Wait);
    {
        let running = begin(&app, "one");
        tokio::pin!(running);
        tokio::select! {
            _ = &mut running => panic!("nothing to hear yet"),
            () = app.until_jobs(0, 1) => {}
        }
        // One that waits for its turn goes as well.
        let queued = begin(&app, "two");
        tokio::select! {
            _ = queued => panic!("nothing to hear yet"),
            () = app.until_jobs(1, 1) => {}
        }
    }
    app.until_jobs(0, 0).await;
    assert_eq!((app.audio_files(), used(&app).await), (vec![], (0, 0)));
    app.assert_books_balance().await;
}

#[tokio::test]
async fn a_repeated_stream_is_the_same_to_the_byte() {
    let app = TestApp::new().await;
    let keyed = async || {
        let body = json!({"text": "hello", "stream": true});
        let mut request = app.request("POST", "/api/generate", Some((ADA, "free")), Some(&body));
        request.headers_mut().insert("idempotency-key", "k".parse().unwrap());
        app.send(request).await
    };
    let (first, second) = (keyed().await, keyed().await);
    assert_eq!((first.body.len(), &first.body), (44 + 48_000, &second.body));
    assert_eq!(first.header("content-location"), second.header("content-location"));
    assert_eq!(used(&app).await, (5, 1));
}

#[tokio::test]
async fn whoever_leaves_while_a_job_is_added_leaves_nothing_lying() {
    let app = TestApp::new().await;
    for (patience, is_live) in (0..60).map(|number| (number / 2, number % 2 == 0)) {
        let body = json!({"text": "hello", "stream": is_live});
        let mut asking = Box::pin(app.respond(app.request("POST", "/api/generate", Some((ADA, "free")), Some(&body))));
        // A little further each time.
        for _ in 0..patience {
            if futures::poll!(&mut asking).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(asking);
    }
    // All are added, and nobody looks for dead workers here: what lies there would lie for ever.
    app.app.tasks.close();
    app.app.tasks.wait().await;
    app.until_jobs(0, 0).await;
    app.app.tasks.wait().await;
    let (_, charged) = used(&app).await;
    assert_eq!(app.audio_files().len(), usize::try_from(charged).unwrap());
    app.assert_books_balance().await;
}
