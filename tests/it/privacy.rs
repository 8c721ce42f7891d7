//! Taking everything along and being erased, through the edge.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::scripted::eventually;
use tests::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_user_leaves_with_everything_and_nothing_stays() {
    let world = World::start().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let made = world.generate(&ada, "words of ada").await;
    world.generate(&bob, "words of bob").await;

    let begun = world.post_as(&ada, "/api/me/export", json!({})).await;
    assert_eq!(begun.status(), StatusCode::ACCEPTED);
    let export = loop {
        let export: Value = world.get_as(&ada, "/api/me/export").await.json().await.unwrap();
        if export["state"] != "running" {
            break export;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let archive = world.get_as(&ada, export["download_url"].as_str().unwrap()).await.bytes().await.unwrap();
    let has = |words: &str| archive.windows(words.len()).any(|window| window == words.as_bytes());
    assert!(has("words of ada") && has(&format!("audio/{}.wav", made["id"].as_str().unwrap())) && !has("words of bob"));
    let own: Value = world.get_as(&ada, "/api/me/audit").await.json().await.unwrap();
    let entry = own["entries"].as_array().unwrap().iter().find(|entry| entry["action"] == "generate").unwrap();
    assert_eq!(entry["via"], "edge:local");
    // Envoy says its machine's own address for somebody on the same machine.
    assert!(entry["address"].as_str().is_some_and(|address| address.parse::<std::net::IpAddr>().is_ok()), "{entry}");

    let leave = async |password: &str| {
        let request = world.request(Method::DELETE, "/api/me").bearer_auth(&ada.token);
        request.json(&json!({ "password": password })).send().await.unwrap().status()
    };
    assert_eq!(leave("not the password").await, StatusCode::BAD_REQUEST);
    assert_eq!(leave("ada's own long password").await, StatusCode::NO_CONTENT);
    eventually("the token ends", async || world.is_withdrawn(&ada).await).await;
    assert_eq!(world.blobs().len(), 1);
    assert_eq!(world.get_as(&bob, "/api/me").await.status(), StatusCode::OK);
    let verified = world.cosygate(&["audit", "verify", "--json"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}
