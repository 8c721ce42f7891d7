use serde_json::{Value, json};

use crate::test_app::{Reply, TestApp};

struct User {
    id: String,
    logins: Vec<String>,
}

/// Somebody with so many logins.
async fn user(app: &TestApp, name: &str, logins: usize) -> User {
    app.post("/register", json!({"username": name, "password": "correct horse"})).await;
    let mut user = User { id: String::new(), logins: Vec::new() };
    for _ in 0..logins {
        app.app.clock.advance(1000);
        let body = json!({"username": name, "password": "correct horse"});
        let mut request = app.request("POST", "/login", None, Some(&body));
        request.headers_mut().insert("user-agent", "curl/8.14.1".parse().unwrap());
        request.headers_mut().insert("x-forwarded-for", "198.51.100.7".parse().unwrap());
        let body = app.send(request).await.json();
        user.id = body["user_id"].as_str().unwrap().to_owned();
        user.logins.push(body["refresh_token"].as_str().unwrap().split_once('.').unwrap().0.to_owned());
    }
    user
}

async fn send(app: &TestApp, user: &User, method: &str, target: &str) -> Reply {
    app.send(app.request_in(&user.logins[0], method, target, &user.id)).await
}

async fn listed(app: &TestApp, user: &User) -> Vec<Value> {
    send(app, user, "GET", "/api/logins").await.json()["logins"].as_array().unwrap().clone()
}

#[tokio::test]
async fn logins_are_listed_and_ended_by_their_user_alone() {
    let app = TestApp::new().await;
    let (ada, bob) = (user(&app, "ada", 3).await, user(&app, "bob", 1).await);
    let list = listed(&app, &ada).await;
    assert_eq!(list.len(), 3);
    let expected = json!({
        "id": ada.logins[0], "current": true, "label": "curl", "address": "198.51.100.7", "region": "local",
        "created_at": "2026-11-23T12:00:01Z", "seen_at": "2026-11-23T12:00:01Z", "expires_at": "2026-12-23T12:00:01Z",
        "ended_at": null, "ended_why": null
    });
    assert_eq!(list[2], expected);
    assert_eq!(list[0]["current"], false);

    let target = format!("/api/logins/{}", ada.logins[1]);
    let foreign = send(&app, &bob, "DELETE", &target).await;
    let unknown = send(&app, &bob, "DELETE", "/api/logins/01ARZ3NDEKTSV4RRFFQ69G5FAU").await;
    let without_id = |reply: &Reply| {
        let mut body = reply.json();
        body["request_id"] = Value::Null;
        (reply.status.as_u16(), body)
    };
    assert_eq!((without_id(&foreign).0, without_id(&foreign)), (404, without_id(&unknown)));
    assert_eq!(send(&app, &ada, "DELETE", &target).await.status.as_u16(), 204);
    assert_eq!(send(&app, &ada, "DELETE", &target).await.status.as_u16(), 404, "once");
    let ended = &listed(&app, &ada).await[1];
    assert_eq!((ended["id"].as_str().unwrap(), &ended["ended_why"]), (ada.logins[1].as_str(), &json!("owner")));
    let withdrawn = app.app.store.control().revocations(0, 10).await.unwrap();
    let withdrawn: Vec<_> = withdrawn.iter().map(|one| (one.kind.as_str(), one.subject.as_str())).collect();
    assert_eq!(withdrawn, [("session", ada.logins[1].as_str())]);
}

#[tokio::test]
async fn all_others_end_or_all() {
    let app = TestApp::new().await;
    let (ada, bob) = (user(&app, "ada", 3).await, user(&app, "bob", 1).await);
    let reply = send(&app, &ada, "DELETE", "/api/logins").await;
    assert_eq!((reply.json(), reply.cookies().len()), (json!({"ended": 2}), 0));
    let reply = send(&app, &ada, "DELETE", "/api/logins?all=true").await;
    assert_eq!((reply.json(), reply.cookies().len()), (json!({"ended": 1}), 2));
    assert_eq!(send(&app, &ada, "DELETE", "/api/logins?every=true").await.code(), "request_invalid");
    assert!(listed(&app, &bob).await[0]["ended_at"].is_null());
    assert_eq!(app.app.store.control().revocations(0, 10).await.unwrap().len(), 3);
}

#[tokio::test]
async fn what_ran_out_by_itself_is_not_withdrawn() {
    let app = TestApp::new().await;
    let old = user(&app, "ada", 1).await;
    app.app.clock.advance(86_400_000);
    let new = user(&app, "ada", 1).await;
    assert_eq!(send(&app, &new, "DELETE", "/api/logins").await.json(), json!({"ended": 1}));
    assert!(app.app.store.control().revocations(0, 10).await.unwrap().is_empty(), "{:?}", old.logins);
}

#[tokio::test]
async fn logging_out_ends_the_login() {
    let app = TestApp::new().await;
    let ada = user(&app, "ada", 1).await;
    let reply = send(&app, &ada, "POST", "/logout").await;
    assert_eq!((reply.status.as_u16(), reply.cookies().len()), (204, 2));
    assert_eq!(listed(&app, &ada).await[0]["ended_why"], "logout");
    // Nobody at all can log out as well; there is nothing to end.
    let reply = app.send(app.request("POST", "/logout", None, None)).await;
    assert_eq!(reply.status.as_u16(), 204);
    assert_eq!(reply.cookies()[0], "cosygate=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0");
}

#[tokio::test]
async fn it_takes_a_login_of_this_server() {
    let app = TestApp::new().await;
    for (method, target) in [("GET", "/api/logins"), ("DELETE", "/api/logins")] {
        let reply = app.send(app.request(method, target, Some(("partner:42", "free")), None)).await;
        assert_eq!(reply.code(), "role_forbidden", "{reply:?}");
        assert_eq!(app.send(app.request(method, target, None, None)).await.code(), "token_missing");
    }
}
