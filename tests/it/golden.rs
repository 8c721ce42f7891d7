//! The gate's golden table, through the compiled filter in a real Envoy.

use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cases::{Case, Expect};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tests::echo;
use tests::edge::{Edge, configuration, hand_over};

/// A public route that every policy gets, to see which one is in force.
const PROBE: &str = "/probe-of-the-tests";

#[tokio::test]
async fn every_case_gets_its_verdict_in_envoy() {
    let folder = tempfile::tempdir().unwrap();
    let edge = Edge::start(folder.path(), echo::start().await, &[]).await;
    let client = Client::new();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let (mut count, mut skipped) = (0, 0);
    for (rev, (file, mut suite)) in (1_u64..).zip(cases::suites(now)) {
        suite.policy["rev"] = json!(rev);
        let probe = json!({"path": PROBE, "methods": ["GET"], "public": true});
        suite.policy["routes"].as_array_mut().unwrap().push(probe);
        hand_over(folder.path(), rev, &configuration(&suite.policy));
        wait_for(&client, &edge, rev).await;
        for case in &suite.cases {
            if case.not_in_envoy.is_some() {
                skipped += 1;
                continue;
            }
            let got = verdict(&client, &edge, case).await;
            let wanted = Expect { cause: None, ..case.expect.clone() };
            assert_eq!(got, wanted, "{file}: {}", case.name);
            count += 1;
        }
    }
    println!("envoy: {count} golden cases judged, {skipped} cannot be put to it");
    assert!(count > 150);
}

async fn wait_for(client: &Client, edge: &Edge, rev: u64) {
    let end = Instant::now() + Duration::from_secs(30);
    // Both workers must have it; each connection belongs to one of them.
    let mut in_a_row = 0;
    while in_a_row < 20 {
        assert!(Instant::now() < end, "policy {rev} did not arrive:\n{}", edge.envoy.log());
        let client = if in_a_row % 2 == 0 { client.clone() } else { Client::new() };
        let response = client.get(format!("{}{PROBE}", edge.url)).send().await.unwrap();
        let seen =
            if response.status() == 200 { sealed(&response.json().await.unwrap())["rev"].as_u64() } else { None };
        in_a_row = if seen == Some(rev) { in_a_row + 1 } else { 0 };
    }
}

async fn verdict(client: &Client, edge: &Edge, case: &Case) -> Expect {
    let method =
        if case.method == "BREW" { Method::from_bytes(b"BREW").unwrap() } else { case.method.parse().unwrap() };
    let mut request = client.request(method, format!("{}{}", edge.url, case.target)).header("host", "gate.example");
    for (name, value) in &case.headers {
        request = request.header(name, value);
    }
    let response = request.send().await.unwrap();
    let wanted = case.expect.challenge.clone().unwrap_or_default();
    if response.status() == 204 {
        let allowed = &response.headers()["access-control-allow-origin"];
        assert!(case.headers.iter().any(|(name, value)| name == "Origin" && *value == *allowed), "{}", case.name);
        return Expect { preflight: true, ..Expect::default() };
    }
    if response.status() == 200 && case.method == "HEAD" {
        return Expect::default();
    }
    if response.status() == 200 {
        let received: Value = response.json().await.unwrap();
        let identity = sealed(&received);
        let text = |name: &str| identity[name].as_str().map(str::to_owned);
        assert_eq!(header(&received, "x-user-id"), text("sub"), "{}", case.name);
        assert_eq!(header(&received, "x-user-role"), text("role"), "{}", case.name);
        assert_eq!(header(&received, "authorization"), None, "the credential must not reach the origin");
        assert!(!header(&received, "cookie").unwrap_or_default().contains("cosygate="));
        return Expect { user: text("sub"), role: text("role"), ..Expect::default() };
    }
    let challenge =
        challenge(&response).filter(|sent| sent.contains(&wanted)).map(|_| wanted).filter(|text| !text.is_empty());
    let problem: Value = response.json().await.unwrap();
    Expect { code: problem["code"].as_str().map(str::to_owned), challenge, ..Expect::default() }
}

fn challenge(response: &Response) -> Option<String> {
    let headers = response.headers();
    let value = headers.get("www-authenticate").or(headers.get("allow"))?;
    Some(value.to_str().unwrap().to_owned())
}

/// The one value of a header that the echo received.
fn header(received: &Value, name: &str) -> Option<String> {
    let values: Vec<&str> = received["headers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|pair| pair[0] == name)
        .map(|pair| pair[1].as_str().unwrap())
        .collect();
    assert!(values.len() <= 1, "{name} arrived {} times", values.len());
    values.first().map(|value| (*value).to_owned())
}

/// The claims of the sealed identity that the echo received.
fn sealed(received: &Value) -> Value {
    let token = header(received, "x-cosygate-identity").expect("every forwarded request is sealed");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}
