use axum::body::Body;
use axum::http::Request;
use gate::bundle::Standing;
use gate::cache::TokenCache;
use gate::headers::Seen;
use gate::identity::{HEADER, Sealed};
use gate::status::Withdrawn;
use gate::{Gate, Verdict, judge};
use serde_json::{Value, json};

use crate::policy::environment_secret;
use crate::store::{AuditEntry, Change, RevocationRecord, Whose};
use crate::test_app::{NOW_MS, Reply, TestApp};

const LOGIN: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
const DAY_MS: i64 = 86_400_000;

/// An app with somebody in it, and their id.
async fn with_ada() -> (TestApp, String) {
    let app = TestApp::new().await;
    let body = app.post("/register", json!({"username": "ada", "password": "correct horse"})).await.json();
    (app, body["user_id"].as_str().unwrap().to_owned())
}

async fn make(app: &TestApp, user: &str, body: Value) -> Reply {
    let mut request = app.request_in(LOGIN, "POST", "/api/tokens", user);
    request.headers_mut().insert("content-type", "application/json".parse().unwrap());
    *request.body_mut() = Body::from(body.to_string());
    app.send(request).await
}

async fn made(app: &TestApp, user: &str) -> Value {
    let reply = make(app, user, json!({"name": "laptop"})).await;
    assert_eq!(reply.status.as_u16(), 201, "{reply:?}");
    reply.json()
}

async fn listed(app: &TestApp, user: &str) -> Vec<Value> {
    app.send(app.request_in(LOGIN, "GET", "/api/tokens", user)).await.json()["tokens"].as_array().unwrap().clone()
}

async fn delete(app: &TestApp, user: &str, token: &Value) -> Reply {
    let target = format!("/api/tokens/{}", token["id"].as_str().unwrap());
    app.send(app.request_in(LOGIN, "DELETE", &target, user)).await
}

/// What the edge says to a call with a token, under the policy and withdrawals as they are told to
/// it after the follower has looked.
async fn at_the_edge(app: &TestApp, token: &str, method: &str, path: &str) -> Result<(String, String), &'static str> {
    let app = &app.app;
    let document = app.policy.now().document.clone().with_origin_keys(&app.policy.issuer().keys());
    let records = app.store.control().unlisted_revocations(app.clock.now_ms(), 1000).await.unwrap();
    let named = crate::bundles::revocation(&records, &app.policy.now().document.issuers);
    let gate =
        Gate::new(&document, &environment_secret).unwrap().withdrawing(Withdrawn { named, ..Withdrawn::default() });
    let header = format!("Bearer {token}");
    let headers = [(":method", method.as_bytes()), (":path", path.as_bytes()), ("authorization", header.as_bytes())];
    let request = gate::Request {
        seen: &Seen::new(&headers),
        address: &String::new,
        used_up: &|_| None,
        standing: Standing::default(),
    };
    match judge(&gate, &mut TokenCache::default(), request, app.clock.now_s()) {
        Verdict::Pass(pass) => {
            let caller = pass.caller.unwrap();
            Ok((caller.user_id.clone(), caller.role.clone()))
        }
        Verdict::Refuse(refusal) => Err(refusal.problem.code.as_str()),
        Verdict::Preflight(_) => panic!("a preflight"),
    }
}

fn text<'a>(body: &'a Value, name: &str) -> &'a str {
    body[name].as_str().unwrap()
}

#[tokio::test]
async fn a_token_is_shown_once_and_is_its_user_at_the_edge() {
    let (app, ada) = with_ada().await;
    let body = json!({"name": "OpenAI client", "scopes": ["speech"], "expires_in_days": 365});
    let mut made = make(&app, &ada, body).await.json();
    let token = made.as_object_mut().unwrap().remove("token").unwrap();
    let token = token.as_str().unwrap();
    assert_eq!((text(&made, "name"), text(&made, "role")), ("OpenAI client", "free"));
    assert_eq!(made["expires_at"], "2027-11-23T12:00:00Z");
    assert_eq!(listed(&app, &ada).await, [made]);
    let caller = Ok((ada.clone(), "free".to_owned()));
    assert_eq!(at_the_edge(&app, token, "POST", "/api/generate").await, caller);
    app.app.clock.advance(364 * DAY_MS);
    assert_eq!(at_the_edge(&app, token, "GET", "/api/me").await, caller);
    // Not even just made is it a login.
    assert_eq!(at_the_edge(&app, token, "POST", "/api/tokens").await, Err("step_up_required"));
    app.app.clock.advance(DAY_MS + 31_000);
    assert_eq!(at_the_edge(&app, token, "GET", "/api/me").await, Err("token_expired"));
    assert_eq!(listed(&app, &ada).await, [] as [Value; 0]);
    let without = make(&app, &ada, json!({"name": "x", "scopes": []})).await.json();
    assert_eq!(at_the_edge(&app, text(&without, "token"), "POST", "/api/generate").await, Err("scope_missing"));
}

#[tokio::test]
async fn a_deleted_token_stays_withdrawn_to_its_end() {
    let (app, ada) = with_ada().await;
    let (first, second) = (made(&app, &ada).await, made(&app, &ada).await);
    assert_eq!(delete(&app, "01ARZ3NDEKTSV4RRFFQ69G5FAU", &first).await.code(), "not_found");
    assert_eq!(delete(&app, &ada, &first).await.status.as_u16(), 204);
    assert_eq!(delete(&app, &ada, &first).await.code(), "not_found");
    for _ in 0..8 {
        assert_eq!(at_the_edge(&app, text(&first, "token"), "GET", "/api/me").await, Err("token_revoked"));
        assert!(at_the_edge(&app, text(&second, "token"), "GET", "/api/me").await.is_ok());
        app.app.clock.advance(11 * DAY_MS);
        crate::upkeep::once(&app.app).await.unwrap();
    }
    app.app.clock.advance(2 * DAY_MS + 121_000);
    crate::upkeep::once(&app.app).await.unwrap();
    assert!(
        app.app.store.control().revocations(0, 10).await.unwrap().is_empty(),
        "not a moment longer than it could hold"
    );
}

/// A withdrawal of a user is forgotten after hours; their tokens would hold again.
#[tokio::test]
async fn a_changed_role_and_a_withdrawn_user_take_the_tokens_along() {
    let (app, ada) = with_ada().await;
    let token = made(&app, &ada).await;
    let record = || RevocationRecord {
        kind: Whose::User.as_str().to_owned(),
        subject: ada.clone(),
        not_before: app.app.clock.now_ms() / 1000 + 1,
        expires_at: app.app.clock.now_ms() + 7_290_000,
        at: app.app.clock.now_ms(),
        author: "cli:test".to_owned(),
        reason: String::new(),
    };
    let audit = AuditEntry::of_system(NOW_MS, "test");
    app.app.store.accounts().change(&ada, Change::Role("premium"), &record(), &audit).await.unwrap();
    app.app.clock.advance(DAY_MS);
    crate::upkeep::once(&app.app).await.unwrap();
    assert_eq!(at_the_edge(&app, text(&token, "token"), "GET", "/api/me").await, Err("token_revoked"));
    let ended = &listed(&app, &ada).await[0];
    assert_eq!((&ended["ended_why"], &ended["ended_at"]), (&json!("role_changed"), &json!("2026-11-23T12:00:00Z")));

    let token = made(&app, &ada).await;
    assert_eq!(token["role"], "premium");
    app.app.store.control().revoke(&record(), &audit).await.unwrap();
    app.app.clock.advance(DAY_MS);
    crate::upkeep::once(&app.app).await.unwrap();
    assert_eq!(at_the_edge(&app, text(&token, "token"), "GET", "/api/me").await, Err("token_revoked"));
    assert_eq!(listed(&app, &ada).await[0]["ended_why"], "revoked");
    app.app.store.accounts().change(&ada, Change::Disabled(Some(NOW_MS)), &record(), &audit).await.unwrap();
    assert_eq!(make(&app, &ada, json!({"name": "x"})).await.code(), "token_revoked");
}

#[tokio::test]
async fn twenty_hold_at_a_time() {
    let (app, ada) = with_ada().await;
    let mut tokens = Vec::new();
    for _ in 0..20 {
        tokens.push(made(&app, &ada).await);
    }
    let reply = make(&app, &ada, json!({"name": "one more"})).await;
    assert_eq!((reply.status.as_u16(), reply.code().as_str()), (409, "conflict"));
    for token in &tokens {
        assert_eq!(delete(&app, &ada, token).await.status.as_u16(), 204);
    }
    let reply = make(&app, &ada, json!({"name": "one more"})).await;
    assert!(reply.json()["detail"].as_str().unwrap().starts_with("You have deleted 20 tokens"), "{reply:?}");
    app.app.clock.advance(90 * DAY_MS);
    made(&app, &ada).await;
}

#[tokio::test]
async fn what_is_asked_for_must_make_sense() {
    let (app, ada) = with_ada().await;
    for (body, reason) in [
        (json!({"name": ""}), "name"),
        (json!({"name": "a\nb"}), "name"),
        (json!({"name": "x".repeat(65)}), "name"),
        (json!({"name": "x", "expires_in_days": 0}), "expires_in_days"),
        (json!({"name": "x", "expires_in_days": 366}), "expires_in_days"),
        (json!({"name": "x", "scopes": ["speech", "admin"]}), "there is no scope `admin`"),
    ] {
        let reply = make(&app, &ada, body).await;
        assert_eq!(reply.code(), "request_invalid");
        assert!(reply.json()["detail"].as_str().unwrap().starts_with(reason), "{reply:?}");
    }
    let none = TestApp::with_policy(|policy| policy["issuers"].as_array_mut().unwrap().truncate(1)).await;
    assert_eq!(make(&none, "ada", json!({"name": "x"})).await.code(), "role_forbidden");
}

/// A token may be in many hands; it neither makes others nor looks after logins.
#[tokio::test]
async fn a_token_is_no_login_and_its_use_is_noted() {
    let (app, ada) = with_ada().await;
    let token = made(&app, &ada).await;
    let call = |method: &str, target: &str| {
        let sealed = Sealed {
            sub_iss: Some("cosygate-pat".into()),
            sid: Some(text(&token, "id").to_owned().into()),
            ..app.sealed(method, target, Some((ada.as_str(), "free")))
        };
        let seal = app.ring.seal(&sealed).unwrap();
        Request::builder().method(method).uri(target).header(HEADER, seal).body(Body::empty()).unwrap()
    };
    for (method, target) in
        [("GET", "/api/tokens"), ("POST", "/api/tokens"), ("GET", "/api/logins"), ("DELETE", "/api/logins")]
    {
        assert_eq!(app.send(call(method, target)).await.code(), "role_forbidden", "{method} {target}");
    }
    app.app.clock.advance(90_500);
    assert_eq!(app.send(call("GET", "/api/me")).await.status.as_u16(), 200);
    crate::upkeep::once(&app.app).await.unwrap();
    assert_eq!(listed(&app, &ada).await[0]["used_at"], "2026-11-23T12:01:00Z");
    // Logging out with it ends nothing.
    assert_eq!(app.send(call("POST", "/logout")).await.status.as_u16(), 204);
    assert!(listed(&app, &ada).await[0]["ended_at"].is_null());
}
