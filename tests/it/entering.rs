//! Accounts through the real edge: how they are made, guessed at and got back.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::scripted::eventually;
use tests::world::{User, World};

/// The edge's own limits by address are out of the way.
fn unhurried(policy: &mut Value) {
    for route in policy["routes"].as_array_mut().unwrap() {
        if route["limit"]["by"] == "address" {
            route["limit"] = json!({"by": "address", "per_minute": 100_000, "burst": 10_000});
        }
    }
}

/// Whether a token is withdrawn. A request that is under way in that moment is ended without an answer.
async fn is_withdrawn(world: &World, user: &User) -> bool {
    let request = world.request(Method::GET, "/api/me").bearer_auth(&user.token);
    request.send().await.is_ok_and(|response| response.status() == StatusCode::UNAUTHORIZED)
}

/// The secret in the link that a command printed.
fn secret(world: &World, arguments: &[&str]) -> String {
    let output = world.cosygate(arguments);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    printed.trim_end().rsplit('=').next().unwrap().to_owned()
}

#[tokio::test]
async fn guesses_count_by_where_they_really_come_from() {
    let world = World::with(unhurried, &[]).await;
    world.user("ada").await;
    let right = json!({"username": "ada", "password": "ada's own long password"});
    let login: Value = world.post("/login", right.clone()).await.json().await.unwrap();
    let guess = async |n: usize| {
        let body = json!({"username": format!("user{n}"), "password": "wrong"});
        let forged = format!("198.51.100.{n}");
        let request = world.request(Method::POST, "/login").json(&body);
        request.header("x-forwarded-for", &forged).header("forwarded", format!("for={forged}")).send().await.unwrap()
    };
    for n in 0..20 {
        assert_eq!(guess(n).await.status(), StatusCode::UNAUTHORIZED, "{n}");
    }
    let refused = guess(20).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u32 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "rate_limited");
    // Unknown from here on, but for a device that has logged in before.
    assert_eq!(world.post("/login", right.clone()).await.status(), StatusCode::TOO_MANY_REQUESTS);
    let mut known = right.clone();
    known["device_token"] = login["device_token"].clone();
    assert_eq!(world.post("/login", known).await.status(), StatusCode::OK);
    let cookie = format!("cosygate_device={}", login["device_token"].as_str().unwrap());
    let known = world.request(Method::POST, "/login").json(&right).header("cookie", cookie);
    assert_eq!(known.send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_reset_ends_what_was_before() {
    let world = World::start().await;
    let ada = world.user("ada").await;
    let token = secret(&world, &["user", "reset", "ada"]);
    let set = async |password: &str| world.post("/reset", json!({"token": token, "password": password})).await;
    assert_eq!(set("password").await.status(), StatusCode::BAD_REQUEST, "a common password");
    assert_eq!(set("another long password of ada").await.status(), StatusCode::OK);
    assert_eq!(set("a third long password of ada").await.status(), StatusCode::BAD_REQUEST, "used already");
    eventually("the old token", async || is_withdrawn(&world, &ada).await).await;
    let back = world.login("ada", "another long password of ada").await;

    let change = json!({"current": "another long password of ada", "new": "a third long password of ada"});
    assert_eq!(world.post_as(&back, "/api/me/password", change).await.status(), StatusCode::OK);
    eventually("the changed one", async || is_withdrawn(&world, &back).await).await;
    let again = world.login("ada", "a third long password of ada").await;
    assert_eq!(world.get_as(&again, "/api/me").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn invited_users_register_and_admins_look_after_them() {
    let world = World::with(|policy| policy["registration"]["open"] = json!(false), &[]).await;
    let admin = world.admin().await;
    let body = |name: &str, invitation: &str| json!({"username": name, "password": "a long enough one", "invitation": invitation});
    assert_eq!(world.post("/register", body("张伟", "made up")).await.status(), StatusCode::FORBIDDEN);
    let invitation = secret(&world, &["user", "invite", "--role", "premium", "--uses", "2"]);
    let made = world.post("/register", body("张伟", &invitation)).await;
    assert_eq!(made.status(), StatusCode::CREATED);
    let made: Value = made.json().await.unwrap();
    assert_eq!(made["role"], "premium");
    // Cyrillic letters that look like Latin ones.
    assert_eq!(world.post("/register", body("adмin", &invitation)).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(world.post("/register", body("аdмін", &invitation)).await.status(), StatusCode::BAD_REQUEST);
    let user = world.login("张伟", "a long enough one").await;

    let one = format!("/api/admin/users/{}", made["user_id"].as_str().unwrap());
    let found: Value = world.get_as(&admin, "/api/admin/users?search=%E5%BC%A0").await.json().await.unwrap();
    assert_eq!(found["users"][0]["user_id"], made["user_id"]);
    assert_eq!(world.get_as(&user, &one).await.status(), StatusCode::FORBIDDEN);
    let patch = world.request(Method::PATCH, &one).bearer_auth(&admin.token).json(&json!({"disabled": true}));
    assert_eq!(patch.send().await.unwrap().status(), StatusCode::OK);
    eventually("kept out", async || is_withdrawn(&world, &user).await).await;
    let last = world.cosygate(&["user", "disable", "admin"]);
    assert!(!last.status.success() && String::from_utf8_lossy(&last.stderr).contains("last admin"));
}
