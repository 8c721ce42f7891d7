use serde_json::json;

use crate::test_app::{ADA, BOB, Mood, Reply, TestApp};

async fn ask(app: &TestApp, user: &str, text: &str) -> String {
    let mut request = app.request("POST", "/api/generate", Some((user, "free")), Some(&json!({"text": text})));
    request.headers_mut().insert("prefer", "respond-async".parse().unwrap());
    app.send(request).await.json()["job"]["id"].as_str().unwrap().to_owned()
}

async fn job(app: &TestApp, id: &str) -> serde_json::Value {
    app.get(ADA, &format!("/api/jobs/{id}")).await.json()
}

#[tokio::test]
async fn jobs_are_listed_and_belong_to_their_user() {
    let app = TestApp::new().await;
    app.set_mood(Mood::Wait);
    let first = ask(&app, ADA, "你好").await;
    app.until_jobs(0, 1).await;
    let second = ask(&app, ADA, "hello").await;
    let expected = json!({
        "id": second, "state": "queued", "position": 1, "characters": 5, "sentences": {"done": 0, "total": 0},
        "error": null, "audio_url": null, "created_at": "2026-11-23T12:00:00Z", "started_at": null, "ended_at": null,
    });
    assert_eq!(job(&app, &second).await, expected);
    let running = job(&app, &first).await;
    assert_eq!((&running["state"], &running["position"]), (&json!("running"), &json!(null)));
    let mut ids = [first.clone(), second.clone()];
    ids.sort();
    let page = app.get(ADA, "/api/jobs?limit=1").await.json();
    assert_eq!((&page["jobs"][0]["id"], &page["next"]), (&json!(ids[1]), &json!(ids[1])));
    let rest = app.get(ADA, &format!("/api/jobs?before={}", ids[1])).await.json();
    assert_eq!((&rest["jobs"][0]["id"], &rest["next"]), (&json!(ids[0]), &json!(null)));
    assert_eq!(app.get(ADA, "/api/jobs?limit=0").await.code(), "request_invalid");
    // Somebody else finds nothing, exactly as if there were nothing.
    let without_id = |reply: Reply| {
        let request_id = reply.header("x-request-id").to_owned();
        String::from_utf8_lossy(&reply.body).replace(&request_id, "")
    };
    for path in ["", "/events"] {
        let foreign = app.get(BOB, &format!("/api/jobs/{first}{path}")).await;
        let unknown = app.get(BOB, &format!("/api/jobs/01ARZ3NDEKTSV4RRFFQ69G5FAV{path}")).await;
        assert_eq!(foreign.status.as_u16(), 404);
        assert_eq!(without_id(foreign), without_id(unknown));
    }
    assert_eq!(app.delete(BOB, &format!("/api/jobs/{first}")).await.code(), "not_found");
    assert_eq!(app.get(BOB, "/api/jobs").await.json(), json!({"jobs": [], "next": null}));
    app.engine.gate.add_permits(2);
    app.until_jobs(0, 0).await;
    let done = job(&app, &first).await;
    assert_eq!((&done["state"], &done["audio_url"]), (&json!("done"), &json!(format!("/download/{first}"))));
}

#[tokio::test]
async fn what_is_not_done_can_be_cancelled() {
    let app = TestApp::new().await;
    app.set_mood(Mood::Wait);
    let running = ask(&app, ADA, "one").await;
    app.until_jobs(0, 1).await;
    let queued = ask(&app, ADA, "two").await;
    for id in [&queued, &running, &running] {
        assert_eq!(app.delete(ADA, &format!("/api/jobs/{id}")).await.status.as_u16(), 204);
        assert_eq!(job(&app, id).await["state"], "cancelled");
    }
    // The engine was stopped, so its slot is free; nothing is left and nothing charged.
    app.set_mood(Mood::Speak(10));
    let next = ask(&app, ADA, "three").await;
    app.until_jobs(0, 0).await;
    let done = app.delete(ADA, &format!("/api/jobs/{next}")).await;
    assert_eq!((done.status.as_u16(), done.code().as_str()), (409, "conflict"));
    assert_eq!(app.audio_files().len(), 1);
    assert_eq!(app.get(ADA, "/api/me/usage").await.json()["characters"]["used"], 5);
    app.assert_books_balance().await;
}

#[tokio::test]
async fn whoever_waits_for_a_cancelled_one_is_told() {
    let app = TestApp::new().await;
    app.set_mood(Mood::Wait);
    let waiting = app.generate(ADA, json!({"text": "hello"}));
    let cancelling = async {
        app.until_jobs(0, 1).await;
        let id = app.get(ADA, "/api/jobs").await.json()["jobs"][0]["id"].as_str().unwrap().to_owned();
        app.delete(ADA, &format!("/api/jobs/{id}")).await
    };
    let (told, cancelled) = tokio::join!(waiting, cancelling);
    assert_eq!(cancelled.status.as_u16(), 204);
    assert_eq!((told.status.as_u16(), told.code().as_str()), (409, "conflict"));
}

#[tokio::test]
async fn events_tell_what_becomes_of_a_job() {
    let app = TestApp::new().await;
    app.set_mood(Mood::Wait);
    let id = ask(&app, ADA, "hello").await;
    app.until_jobs(0, 1).await;
    let path = format!("/api/jobs/{id}/events");
    let reading = app.get(ADA, &path);
    let ending = async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        app.engine.gate.add_permits(1);
    };
    let (reply, ()) = tokio::join!(reading, ending);
    assert_eq!(reply.header("content-type"), "text/event-stream");
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    let events: Vec<&str> = text.split("\n\n").filter(|event| !event.is_empty()).collect();
    assert!(events[0].contains("event: job") && events[0].contains("\"state\":\"running\""), "{text}");
    let last = events[events.len() - 1];
    assert!(last.contains("\"state\":\"done\"") && last.contains("id: end"), "{text}");
    // Whoever has seen the end is told not to come again; anybody else sees the state first.
    let mut again = app.request("GET", &path, Some((ADA, "free")), None);
    again.headers_mut().insert("last-event-id", "end".parse().unwrap());
    assert_eq!(app.send(again).await.status.as_u16(), 204);
    let mut again = app.request("GET", &path, Some((ADA, "free")), None);
    again.headers_mut().insert("last-event-id", "1".parse().unwrap());
    assert!(String::from_utf8(app.send(again).await.body.to_vec()).unwrap().contains("\"state\":\"done\""));
}
