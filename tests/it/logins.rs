//! Logins through the edge: renewed, ended, and what a program uses in their place.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use reqwest::{Method, Response};
use serde_json::{Value, json};
use tests::world::{User, World};

const PASSWORD: &str = "ada's own long password";

async fn body(response: Response) -> Value {
    let status = response.status();
    let body: Value = response.json().await.unwrap();
    assert!(status.is_success(), "{status}: {body}");
    body
}

fn text(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap_or_else(|| panic!("no {name}: {body}")).to_owned()
}

/// A login with its refresh token.
async fn login(world: &World) -> (User, String) {
    let body = body(world.post("/login", json!({"username": "ada", "password": PASSWORD})).await).await;
    (User { token: text(&body, "token"), id: text(&body, "user_id") }, text(&body, "refresh_token"))
}

async fn refresh(world: &World, token: &str) -> Response {
    world.post("/refresh", json!({"refresh_token": token})).await
}

/// Asks as somebody until the edge says that the token was withdrawn; two seconds are allowed.
async fn is_withdrawn(world: &World, user: &User) {
    let end = Instant::now() + Duration::from_secs(2);
    while !world.is_withdrawn(user).await {
        assert!(Instant::now() < end, "still let in after two seconds");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_login_is_ended_from_another_one() {
    let world = World::start().await;
    world.user("ada").await;
    let ((here, _), (laptop, laptop_refresh), (phone, phone_refresh)) =
        (login(&world).await, login(&world).await, login(&world).await);
    let list = body(world.get_as(&here, "/api/logins").await).await;
    let logins = list["logins"].as_array().unwrap();
    assert_eq!(logins.len(), 4, "{list}");
    let current: Vec<_> = logins.iter().filter(|login| login["current"] == true).collect();
    assert_eq!((current.len(), &current[0]["region"]), (1, &json!("local")));
    assert!(text(current[0], "address").parse::<IpAddr>().is_ok(), "{list}");

    let id = laptop_refresh.split_once('.').unwrap().0;
    assert_eq!(world.delete_as(&here, &format!("/api/logins/{id}")).await.status(), 204);
    is_withdrawn(&world, &laptop).await;
    assert_eq!(refresh(&world, &laptop_refresh).await.status(), 401);
    assert_eq!(world.get_as(&phone, "/api/me").await.status(), 200);

    // Who logs out is out, and so is everybody whose refresh token comes twice.
    let first = body(refresh(&world, &phone_refresh).await).await;
    let second = body(refresh(&world, &text(&first, "refresh_token")).await).await;
    assert_eq!(refresh(&world, &phone_refresh).await.status(), 401);
    let newest = User { token: text(&second, "token"), id: phone.id.clone() };
    is_withdrawn(&world, &newest).await;
    is_withdrawn(&world, &phone).await;
    assert_eq!(refresh(&world, &text(&second, "refresh_token")).await.status(), 401);

    assert_eq!(world.post_as(&here, "/logout", json!({})).await.status(), 204);
    is_withdrawn(&world, &here).await;
    let kept = String::from_utf8(world.cosygate(&["user", "logins", "ada"]).stdout).unwrap();
    for why in ["\towner ", "\trefresh_reused ", "\tlogout "] {
        assert_eq!(kept.matches(why).count(), 1, "{kept}");
    }
}

#[tokio::test]
async fn cookies_are_renewed_by_the_page_alone() {
    let world = World::start().await;
    world.user("ada").await;
    let response = world.post("/login", json!({"username": "ada", "password": PASSWORD, "cookie": true})).await;
    let cookies = |response: &Response| -> Vec<String> {
        let all = response.headers().get_all("set-cookie").iter();
        all.map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap().to_owned()).collect()
    };
    let before = cookies(&response);
    let send = |path: &str, cookies: &[String], site: &str| {
        let request = world.request(Method::POST, path).header("cookie", cookies.join("; "));
        request.header("sec-fetch-site", site).send()
    };
    assert_eq!(send("/refresh", &before, "same-site").await.unwrap().status(), 403);
    assert_eq!(send("/refresh", &before, "cross-site").await.unwrap().status(), 403);
    let response = send("/refresh", &before, "same-origin").await.unwrap();
    let after = cookies(&response);
    let told = body(response).await;
    assert!(told.get("token").is_none() && told.get("refresh_token").is_none(), "{told}");
    assert!(before[0] != after[0] && before[1] != after[1] && after[1].starts_with("cosygate-refresh="));
    let me = async |cookie: &str| world.request(Method::GET, "/api/me").header("cookie", cookie).send().await.unwrap();
    assert_eq!(me(&after.join("; ")).await.status(), 200);
    // The name for TLS is none here, and nothing else is a credential by it.
    assert_eq!(me(&format!("__Host-{}", after[0])).await.json::<Value>().await.unwrap()["code"], "token_missing");
    assert_eq!(send("/logout", &after, "same-origin").await.unwrap().status(), 204);
    assert_eq!(send("/refresh", &after, "same-origin").await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_personal_token_is_its_user_until_it_is_deleted() {
    let world = World::start().await;
    let ada = world.user("ada").await;
    let made = body(world.post_as(&ada, "/api/tokens", json!({"name": "laptop", "expires_in_days": 365})).await).await;
    let personal = User { token: text(&made, "token"), id: ada.id.clone() };
    world.generate(&personal, "by a program").await;
    let told = body(world.get_as(&personal, "/api/me").await).await;
    assert_eq!(text(&told, "user_id"), ada.id);
    assert_eq!(world.get_as(&personal, "/api/logins").await.status(), 403);
    let again = world.post_as(&personal, "/api/tokens", json!({"name": "another"})).await;
    assert_eq!(again.json::<Value>().await.unwrap()["code"], "step_up_required");
    // Another key signs logins, so what happens to that one does not matter here.
    assert!(world.cosygate(&["keys", "rotate", "issuer"]).status.success());
    assert_eq!(world.delete_as(&ada, &format!("/api/tokens/{}", text(&made, "id"))).await.status(), 204);
    is_withdrawn(&world, &personal).await;

    let made = body(world.post_as(&ada, "/api/tokens", json!({"name": "laptop"})).await).await;
    let personal = User { token: text(&made, "token"), id: ada.id.clone() };
    assert_eq!(world.get_as(&personal, "/api/me").await.status(), 200);
    assert!(world.cosygate(&["user", "role", "ada", "premium"]).status.success());
    is_withdrawn(&world, &personal).await;
    let back = world.login("ada", PASSWORD).await;
    let list = body(world.get_as(&back, "/api/tokens").await).await;
    assert_eq!(list["tokens"][0]["ended_why"], "role_changed", "{list}");
}
