//! Who gets in, and with what.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::scripted::eventually;
use tests::world::World;

#[tokio::test]
async fn wrong_passwords_and_bad_names_are_refused() {
    let world = World::start().await;
    world.user("ada").await;
    let wrong = world.post("/login", json!({"username": "ada", "password": "not hers"})).await;
    let unknown = world.post("/login", json!({"username": "nobody", "password": "not hers"})).await;
    assert_eq!((wrong.status(), unknown.status()), (StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED));
    let without_id = |mut body: Value| {
        body["request_id"] = Value::Null;
        body
    };
    let (wrong, unknown) = (wrong.json().await.unwrap(), unknown.json().await.unwrap());
    assert_eq!(without_id(wrong), without_id(unknown), "nobody learns which names exist");
    let taken = world.post("/register", json!({"username": "ADA", "password": "another long one"})).await;
    assert_eq!(taken.status(), StatusCode::CONFLICT, "names differ by more than their case");
    for body in [
        json!({"username": "x", "password": "long enough it is"}),
        json!({"username": "../etc", "password": "long enough it is"}),
        json!({"username": "bob", "password": "short"}),
        json!({"username": "bob"}),
        json!({"username": "bob", "password": "long enough it is", "role": "admin"}),
        json!([]),
    ] {
        let response = world.post("/register", body.clone()).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
    let plain = world.request(Method::POST, "/login").body("username=ada").send().await.unwrap();
    assert_eq!(plain.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn tokens_end_and_cannot_be_mended() {
    let exact = |policy: &mut Value| policy["issuers"][0]["clock_skew_s"] = json!(0);
    let world = World::with(exact, &[("COSYGATE_TOKEN_LIFETIME_SECONDS", "3")]).await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    assert_eq!(world.get_as(&ada, "/api/me").await.status(), 200);

    let refused = async |token: String| {
        let response = world.request(Method::GET, "/api/me").bearer_auth(token).send().await.unwrap();
        let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
        assert_eq!(response.status(), 401);
        let body: Value = response.json().await.unwrap();
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        body["code"].as_str().unwrap().to_owned()
    };
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (a, b) = (parts(&ada.token), parts(&bob.token));
    assert_eq!(refused(format!("{}.{}.{}", a[0], b[1], a[2])).await, "token_invalid", "claims swapped");
    assert_eq!(refused(format!("{}.{}.{}", a[0], a[1], b[2])).await, "token_invalid", "signatures swapped");
    assert_eq!(refused(format!("{}.{}.", a[0], a[1])).await, "token_invalid", "signature gone");

    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(refused(ada.token).await, "token_expired");
}

#[tokio::test]
async fn roles_decide_and_change() {
    let world = World::start().await;
    let (ada, admin) = (world.user("ada").await, world.admin().await);
    let refused = world.get_as(&ada, "/api/admin/policy").await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "role_forbidden");
    let policy = world.get_as(&admin, "/api/admin/policy").await;
    assert_eq!(policy.status(), 200);
    assert!(policy.json::<Value>().await.unwrap()["document"]["roles"]["free"].is_object());

    assert!(world.cosygate(&["user", "role", "ada", "premium"]).status.success());
    let promoted = world.login("ada", "ada's own long password").await;
    assert_eq!(world.get_as(&promoted, "/api/me").await.json::<Value>().await.unwrap()["role"], "premium");
    // A token that states the old role is worth nothing any more, and neither is one of somebody
    // who is kept out.
    eventually("the old role", async || world.is_withdrawn(&ada).await).await;
    assert!(world.cosygate(&["user", "disable", "ada"]).status.success());
    eventually("kept out", async || world.is_withdrawn(&promoted).await).await;
    let body = json!({"username": "ada", "password": "ada's own long password"});
    assert_eq!(world.post("/login", body).await.status(), StatusCode::UNAUTHORIZED);
    assert!(world.cosygate(&["user", "enable", "ada"]).status.success());
    let back = world.login("ada", "ada's own long password").await;
    assert_eq!(world.get_as(&back, "/api/me").await.status(), 200);
}

#[tokio::test]
async fn the_cookie_serves_the_page_and_nobody_else() {
    let world = World::start().await;
    world.user("ada").await;
    let login = json!({"username": "ada", "password": "ada's own long password", "cookie": true});
    let response = world.post("/login", login).await;
    let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(response.json::<Value>().await.unwrap().get("token").is_none());
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let with_cookie = |method, path| world.request(method, path).header("cookie", &cookie);
    assert_eq!(with_cookie(Method::GET, "/api/me").send().await.unwrap().status(), 200);
    let speak = |site: &'static str| {
        with_cookie(Method::POST, "/api/generate").header("sec-fetch-site", site).json(&json!({"text": "hello"})).send()
    };
    assert_eq!(speak("cross-site").await.unwrap().status(), 403);
    assert_eq!(speak("same-origin").await.unwrap().status(), 200);
    let out = with_cookie(Method::POST, "/logout").header("sec-fetch-site", "same-origin").send().await.unwrap();
    assert_eq!(out.status(), 204);
    assert!(out.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
}
