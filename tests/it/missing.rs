//! What the edge does when something that a decision needs is absent, old or out of reach: the
//! table in docs/SECURITY.md, as far as other files do not show it (keys: `keys`; no policy:
//! `refusal`; no module: `falls`).

use std::collections::HashMap;
use std::time::SystemTime;

use gate::limit::Key;
use jsonwebtoken::{Algorithm, Header};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tests::edge::{Edge, configuration, hand_over};
use tests::scripted::{Scripted, eventually};
use tests::world::World;

async fn code(response: reqwest::Response) -> (u16, String) {
    let status = response.status().as_u16();
    (status, response.json::<Value>().await.unwrap()["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn without_its_origin_the_edge_still_judges_and_remembers() {
    let one = |policy: &mut Value| policy["roles"]["free"]["generations_per_day"] = json!(1);
    let mut world = World::with(one, &[]).await;
    let (ada, bob, eve) = (world.user("ada").await, world.user("bob").await, world.user("eve").await);
    world.generate(&ada, "hello").await;
    world.edit_policy(|policy| policy["revocation"] = json!({"users": {eve.id.as_str(): 4_000_000_000_u64}}));
    let speak = |user| world.post_as(user, "/api/generate", json!({"text": "hello"}));
    eventually("the revocation", async || world.is_withdrawn(&eve).await).await;
    // A policy that cannot be meant leaves the last good one, revocations and all, in force.
    world.edit_policy(|policy| {
        policy["revocation"] = json!({});
        policy["roles"] = json!({});
    });
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(code(speak(&eve).await).await, (401, "token_revoked".to_owned()));

    world.origin.kill();
    let speak = |user| world.post_as(user, "/api/generate", json!({"text": "hello"}));
    eventually("an origin that is gone", async || speak(&bob).await.status() == StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(code(speak(&bob).await).await, (503, "origin_unavailable".to_owned()), "nobody knows what is left");
    assert_eq!(code(speak(&ada).await).await, (429, "quota_exhausted".to_owned()), "it was said that nothing is");
    assert_eq!(code(speak(&eve).await).await, (401, "token_revoked".to_owned()));
    assert_eq!(code(world.get("/api/me").await).await, (401, "token_missing".to_owned()));
    assert_eq!(code(world.get("/nothing").await).await, (404, "not_found".to_owned()));
}

/// Users whose counts fall into one slot, one more than it has room for.
fn neighbours() -> Vec<String> {
    let mut by_slot: HashMap<u32, Vec<String>> = HashMap::new();
    for number in 0.. {
        let user = format!("user-{number}");
        let slot = by_slot.entry(Key::new("role", &format!("free {user}")).slot).or_default();
        slot.push(user);
        if slot.len() > gate::limit::WAYS {
            return slot.clone();
        }
    }
    unreachable!()
}

fn token(user: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({
        "iss": "https://issuer.example", "aud": "cosygate", "sub": user, "role": "free", "iat": now, "exp": now + 600,
    });
    let header = Header { typ: Some("at+jwt".into()), kid: Some("ed".into()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, &claims, &cases::private_key("ed")).unwrap()
}

#[tokio::test]
async fn a_limit_that_cannot_be_counted_does_what_the_policy_says() {
    let (folder, origin) = (tempfile::tempdir().unwrap(), Scripted::start().await);
    let mut policy = cases::suites(1).into_iter().find(|(file, _)| *file == "sites.json").unwrap().1.policy;
    policy["roles"]["free"]["requests"] = json!({"per_minute": 1, "burst": 1});
    policy["routes"] = json!([
        {"path": "/", "methods": ["GET"], "public": true},
        {"path": "/api/me", "methods": ["GET"], "roles": ["free"]},
    ]);
    hand_over(folder.path(), 1, &configuration(&policy));
    let edge = Edge::start(folder.path(), origin.address, &[]).await;
    edge.answers("/", 200).await;
    let client = Client::new();
    let call = |user: &str| {
        let request = client.get(format!("{}/api/me", edge.url)).bearer_auth(token(user));
        async move { request.send().await.unwrap() }
    };
    let users = neighbours();
    let (newcomer, active) = users.split_last().unwrap();
    for user in active {
        assert_eq!(call(user).await.status(), StatusCode::OK);
        assert_eq!(call(user).await.status(), StatusCode::TOO_MANY_REQUESTS);
    }
    let refused = call(newcomer).await;
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
    assert_eq!(code(refused).await, (503, "overloaded".to_owned()));
    assert_eq!(call(&active[0]).await.status(), StatusCode::TOO_MANY_REQUESTS, "nobody's count was given away");

    policy["failure"] = json!({"limits": "allow"});
    policy["rev"] = json!(2);
    hand_over(folder.path(), 2, &configuration(&policy));
    eventually("the other way", async || call(newcomer).await.status() == StatusCode::OK).await;
    assert_eq!(call(&active[0]).await.status(), StatusCode::TOO_MANY_REQUESTS, "what can be counted still is");
}
