//! A policy that is judged beside the one in force, and never instead of it.

use std::time::SystemTime;

use reqwest::Client;
use serde_json::json;
use tests::edge::{Edge, configuration, hand_over};
use tests::scripted::{Scripted, eventually};

#[tokio::test]
async fn what_the_shadow_would_decide_is_counted_logged_and_never_done() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let suite = cases::suites(now).into_iter().find(|(file, _)| *file == "sites.json").unwrap().1;
    let bearer = suite.cases.iter().find(|case| case.name == "a route's own OPTIONS is no preflight either").unwrap();
    let bearer = bearer.headers[0].1.clone();
    let mut policy = suite.policy;
    policy["routes"].as_array_mut().unwrap().push(json!({"path": "/", "methods": ["GET"], "public": true}));
    let mut shadow = policy.clone();
    shadow["routes"][1] = json!({"path": "/api/me", "methods": ["GET"], "roles": ["free"], "scopes": ["admin"]});
    shadow["roles"]["free"]["requests"] = json!({"per_minute": 1, "burst": 2});
    policy["shadow"] = shadow;

    let (folder, origin) = (tempfile::tempdir().unwrap(), Scripted::start().await);
    hand_over(folder.path(), 1, &configuration(&policy));
    let edge = Edge::start(folder.path(), origin.address, &[]).await;
    edge.answers("/", 200).await;
    let client = Client::new();
    let call = |method: &str, path: &str| {
        let method = method.parse().unwrap();
        let request = client.request(method, format!("{}{path}", edge.url)).header("authorization", &bearer);
        async move { request.send().await.unwrap() }
    };
    let mut request_id = String::new();
    for _ in 0..4 {
        let response = call("GET", "/api/me").await;
        assert_eq!(response.status(), 200, "a shadow refuses nobody");
        request_id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    }
    for _ in 0..6 {
        let response = call("POST", "/api/generate").await;
        assert_eq!(response.status(), 200);
        let left = response.headers()["ratelimit"].to_str().unwrap().to_owned();
        assert!(left.contains("r=9"), "the shadow counts apart: {left}");
    }
    eventually("differences counted", async || {
        let seen = reqwest::get(format!("{}/stats/prometheus", edge.metrics_url)).await.unwrap().text().await.unwrap();
        let counted = |shadow: &str, count: u32| {
            let line = format!("cosygate_edge_shadow_differences_total{{active=\"pass\",shadow=\"{shadow}\"}} {count}");
            seen.lines().any(|seen| seen == line)
        };
        // Of six requests that cost something, the shadow's burst lets two pass.
        counted("scope_missing", 4) && counted("rate_limited", 4)
    })
    .await;
    let line = format!("the shadow says scope_missing instead of pass, request {request_id}");
    eventually("the difference in the log", async || edge.envoy.log().contains(&line)).await;
}
