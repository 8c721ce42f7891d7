//! An edge that cannot judge lets nothing pass.

use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};
use tests::echo;
use tests::edge::{Edge, configuration, hand_over};

async fn nothing_passes(edge: &Edge) {
    for path in ["/", "/login", "/api/me", "/api/admin/policy", "/.well-known/jwks.json"] {
        for client in [Client::new(), Client::builder().http2_prior_knowledge().build().unwrap()] {
            let response = client.get(format!("{}{path}", edge.url)).header("x-user-id", "evil").send().await.unwrap();
            assert_eq!(response.status(), 503, "{path}");
            assert!(response.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            assert_eq!(response.json::<Value>().await.unwrap()["code"], "policy_unavailable", "{path}");
        }
    }
}

async fn passes(edge: &Edge) {
    let end = Instant::now() + Duration::from_secs(30);
    while reqwest::get(format!("{}/", edge.url)).await.unwrap().status() != 200 {
        assert!(Instant::now() < end, "{}", edge.envoy.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn good_policy() -> Value {
    cases::suites(1).into_iter().find(|(file, _)| *file == "routes.json").unwrap().1.policy
}

#[tokio::test]
async fn without_a_sound_policy_everything_is_denied() {
    let mut unknown_field = good_policy();
    unknown_field["roles"]["free"]["reqests"] = json!({});
    let mut weak_key = good_policy();
    weak_key["issuers"][0]["keys"]["jwks"] = json!({"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]});
    let mut secret_missing = good_policy();
    secret_missing["issuers"][0]["algorithms"] = json!(["HS256"]);
    secret_missing["issuers"][0]["keys"] = json!({"secret_env": "COSYGATE_NOT_SET"});
    let refused = [
        None,
        Some(String::new()),
        Some("not JSON".to_owned()),
        Some(json!({"region": "test"}).to_string()),
        Some(configuration(&unknown_field)),
        Some(configuration(&weak_key)),
        Some(configuration(&secret_missing)),
    ];
    let folder = tempfile::tempdir().unwrap();
    let edge = Edge::start(folder.path(), echo::start().await, &[]).await;
    for (version, text) in (1..).zip(&refused) {
        if let Some(text) = text {
            hand_over(folder.path(), version, text);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        nothing_passes(&edge).await;
    }
    hand_over(folder.path(), 100, &configuration(&good_policy()));
    passes(&edge).await;
    // From here on a refused one leaves the last good one in force.
    for (version, text) in (101..).zip(refused.iter().flatten()) {
        hand_over(folder.path(), version, text);
        tokio::time::sleep(Duration::from_millis(300)).await;
        passes(&edge).await;
        let unjudged = reqwest::get(format!("{}/api/me", edge.url)).await.unwrap();
        assert_eq!(unjudged.status(), 401);
    }
}

#[tokio::test]
async fn an_edge_without_its_key_denies_everything() {
    let folder = tempfile::tempdir().unwrap();
    hand_over(folder.path(), 1, &configuration(&good_policy()));
    let edge = Edge::start(folder.path(), echo::start().await, &[("COSYGATE_IDENTITY_KEYS", "short:AAAA")]).await;
    nothing_passes(&edge).await;
}

#[tokio::test]
async fn an_origin_that_is_gone_is_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    hand_over(folder.path(), 1, &configuration(&good_policy()));
    let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], tests::process::free_port()));
    let edge = Edge::start(folder.path(), nobody, &[]).await;
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let response = reqwest::get(format!("{}/", edge.url)).await.unwrap();
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key("retry-after"));
        let body: Value = response.json().await.unwrap();
        if body["code"] == "origin_unavailable" {
            break;
        }
        assert!(Instant::now() < end, "{body}");
    }
}
