use axum::body::Body;
use axum::http::Request;
use gate::identity::{HEADER, Sealed};
use serde_json::{Value, json};

use super::MOST;
use crate::test_app::{ADA, TestApp};

const ISSUER: &str = "https://partner.example";

async fn world(accounts: &str) -> TestApp {
    let accounts = accounts.to_owned();
    TestApp::with_policy(move |policy| {
        policy["issuers"].as_array_mut().unwrap().push(json!({
            "issuer": ISSUER, "audiences": ["cosygate"], "algorithms": ["EdDSA"], "user_prefix": "partner",
            "keys": {"jwks": crate::issuer::Issuer::sample_keys().logins}, "accounts": accounts,
        }));
    })
    .await
}

/// A request with a token of the other issuer.
fn request(app: &TestApp, user_id: &str, method: &str, target: &str) -> Request<Body> {
    let sealed = Sealed { sub_iss: Some(ISSUER.into()), ..app.sealed(method, target, Some((user_id, "premium"))) };
    let sealed = Sealed { sub: Some(user_id.to_owned().into()), role: Some("premium".into()), ..sealed };
    let seal = app.ring.seal(&sealed).unwrap();
    let request = Request::builder().method(method).uri(target).header(HEADER, seal);
    request.header("content-type", "application/json").body(Body::from("{}")).unwrap()
}

async fn as_admin(app: &TestApp, method: &str, target: &str, body: Option<Value>) -> crate::test_app::Reply {
    app.send(app.request(method, target, Some((ADA, "admin")), body.as_ref())).await
}

#[tokio::test]
async fn nobody_gets_an_account_unless_the_policy_says_so() {
    let app = world("none").await;
    assert_eq!(app.send(request(&app, "partner:42", "GET", "/api/me")).await.json()["created_at"], Value::Null);
    assert!(app.app.store.accounts().by_id("partner:42").await.unwrap().is_none());
}

#[tokio::test]
async fn fifty_requests_at_once_make_one_account() {
    let app = world("first_use").await;
    let replies =
        futures::future::join_all((0..50).map(|_| app.send(request(&app, "partner:42", "GET", "/api/me")))).await;
    assert!(replies.iter().all(|reply| reply.status.as_u16() == 200));
    let users = as_admin(&app, "GET", "/api/admin/users", None).await.json();
    assert_eq!(users["users"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&users["users"][0]["user_id"], &users["users"][0]["username"], &users["users"][0]["role"]),
        (&json!("partner:42"), &json!("partner:42"), &json!("premium"))
    );
    assert_eq!(app.app.store.audited("first_use", "ok").await.len(), 1);
    // Others who look alike are others; accounts of ours are no concern.
    for user_id in ["partner:l", "partner:1", "partner:I", "partner:a%40b"] {
        assert_eq!(app.send(request(&app, user_id, "GET", "/api/me")).await.status.as_u16(), 200);
    }
    app.register("partner").await;
    assert_eq!(as_admin(&app, "GET", "/api/admin/users", None).await.json()["users"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn they_are_disabled_and_erased_like_others() {
    let app = world("first_use").await;
    let me = async |user_id: &str| app.send(request(&app, user_id, "GET", "/api/me")).await;
    for user_id in ["partner:42", "partner:a%40b"] {
        assert_eq!(me(user_id).await.status.as_u16(), 200);
    }
    // In a path `~` stands for what no path can have.
    let one = "/api/admin/users/partner:a~40b";
    assert_eq!(as_admin(&app, "GET", one, None).await.json()["user_id"], "partner:a%40b");
    assert_eq!(as_admin(&app, "PATCH", one, Some(json!({"role": "free"}))).await.code(), "conflict");
    assert_eq!(as_admin(&app, "POST", &format!("{one}/reset"), None).await.code(), "conflict");
    let disabled = as_admin(&app, "PATCH", one, Some(json!({"disabled": true}))).await;
    assert_eq!(disabled.status.as_u16(), 200, "{disabled:?}");
    let told = app.app.store.control().revocations(app.app.clock.now_ms(), 10).await.unwrap();
    assert_eq!(told[0].subject, "partner:a%40b");
    // Tokens that the issuer gives out after that are refused, too, once this origin has followed.
    app.app.policy.look().await;
    assert_eq!(me("partner:a%40b").await.code(), "token_revoked");
    assert_eq!(me("partner:42").await.status.as_u16(), 200);
    as_admin(&app, "PATCH", one, Some(json!({"disabled": false}))).await;
    app.app.policy.look().await;
    assert_eq!(me("partner:a%40b").await.status.as_u16(), 200);
    // They have no password here.
    assert_eq!(app.send(request(&app, "partner:42", "DELETE", "/api/me")).await.status.as_u16(), 204);
    assert!(app.app.store.accounts().by_id("partner:42").await.unwrap().is_none());
    assert_eq!(app.login("partner:42", "").await.code(), "token_invalid");
}

#[tokio::test]
async fn what_is_remembered_is_bounded() {
    let outsiders = super::Outsiders::default();
    for n in 0..=MOST {
        outsiders.remember(&format!("partner:{n}"), super::Known { serial: 1, is_disabled: false });
    }
    assert_eq!(outsiders.known.lock().unwrap().len(), 1);
    assert!(outsiders.recall("partner:0").is_none());
}
