//! A filter that falls over lets nothing pass, takes no other worker along, and comes back.

use std::time::{Duration, Instant, SystemTime};

use reqwest::{Client, StatusCode};
use serde_json::Value;
use tests::edge::{Edge, configuration, hand_over, hand_over_module};
use tests::process::artefact;
use tests::scripted::{Scripted, eventually};

/// A policy and a sound credential for its protected path.
fn policy_and_bearer() -> (Value, String) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let suite = cases::suites(now).into_iter().find(|(file, _)| *file == "routes.json").unwrap().1;
    let bearer = suite.cases.iter().find(|case| case.name == "with a token").unwrap().headers[0].1.clone();
    (suite.policy, bearer)
}

/// Clients with a connection each, spread over both workers.
async fn clients(edge: &Edge) -> Vec<Client> {
    let clients: Vec<Client> = (0..24).map(|_| Client::new()).collect();
    for client in &clients {
        assert_eq!(client.get(format!("{}/", edge.url)).send().await.unwrap().status(), 200);
    }
    clients
}

async fn status(edge: &Edge, client: &Client, bearer: Option<&str>, fault: Option<&str>) -> StatusCode {
    let mut request = client.get(format!("{}/api/me", edge.url));
    for (name, value) in [("authorization", bearer), ("x-fault", fault)] {
        if let Some(value) = value {
            request = request.header(name, value);
        }
    }
    let response = request.send().await.unwrap();
    let status = response.status();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        assert!(response.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
        assert_eq!(response.json::<Value>().await.unwrap()["code"], "policy_unavailable");
    }
    status
}

async fn falls_and_comes_back(fault: &str) {
    let (folder, origin) = (tempfile::tempdir().unwrap(), Scripted::start().await);
    let (policy, bearer) = policy_and_bearer();
    let module = artefact("FILTER_WASM_FAULTS", "target/edge/cosygate-filter-faults.wasm");
    hand_over_module(folder.path(), 1, &configuration(&policy), &module);
    let edge = Edge::start(folder.path(), origin.address, &[]).await;
    edge.answers("/", 200).await;
    let clients = clients(&edge).await;

    assert_eq!(status(&edge, &clients[0], Some(&bearer), Some(fault)).await, 503, "who falls into it is told so");
    let fell = Instant::now();
    let (mut passed, mut turned_away) = (0, 0);
    for client in &clients {
        match status(&edge, client, Some(&bearer), None).await.as_u16() {
            200 => passed += 1,
            503 => turned_away += 1,
            other => panic!("{other}"),
        }
    }
    assert!(passed > 0, "the other worker goes on");
    assert!(turned_away > 0, "the fallen one cannot judge, so it turns away");
    // Until it is back, and after, nobody gets in who may not.
    loop {
        let mut statuses = Vec::new();
        for client in &clients {
            let stranger = status(&edge, client, None, None).await;
            assert!(stranger == 401 || stranger == 503, "{stranger} without a token");
            statuses.push(status(&edge, client, Some(&bearer), None).await);
        }
        if statuses.iter().all(|status| *status == 200) {
            break;
        }
        assert!(fell.elapsed() < Duration::from_secs(10), "it does not come back: {statuses:?}");
    }
    println!("{fault}: both workers judge again after {:?}", fell.elapsed());
}

#[tokio::test]
async fn a_trap_is_one_workers_and_over_soon() {
    falls_and_comes_back("trap").await;
}

#[tokio::test]
async fn running_out_of_memory_is_one_workers_and_over_soon() {
    falls_and_comes_back("memory").await;
}

#[tokio::test]
async fn a_module_that_is_none_leaves_the_one_before_in_force() {
    let (folder, origin) = (tempfile::tempdir().unwrap(), Scripted::start().await);
    let (policy, bearer) = policy_and_bearer();
    hand_over(folder.path(), 1, &configuration(&policy));
    let edge = Edge::start(folder.path(), origin.address, &[]).await;
    edge.answers("/", 200).await;
    let clients = clients(&edge).await;
    let whole = std::fs::read(tests::edge::filter_module()).unwrap();
    for (version, bytes) in (2..).zip([&b""[..], b"not a module", &whole[..whole.len() / 2]]) {
        // Another name each time: Envoy does not look again at what it has refused.
        let module = folder.path().join(format!("corrupt-{version}.wasm"));
        std::fs::write(&module, bytes).unwrap();
        hand_over_module(folder.path(), version, &configuration(&policy), &module);
        let refused =
            || async { reqwest::get(format!("{}/stats/prometheus", edge.metrics_url)).await.unwrap().text().await };
        let wanted = format!("update_rejected{{}} {}", version - 1);
        eventually("a refused update", async || {
            let seen = refused().await.unwrap();
            seen.lines().any(|line| line.starts_with("envoy_extension_config_discovery") && line.ends_with(&wanted))
        })
        .await;
        for client in &clients {
            assert_eq!(status(&edge, client, Some(&bearer), None).await, 200);
            assert_eq!(status(&edge, client, None, None).await, 401);
        }
    }
}
