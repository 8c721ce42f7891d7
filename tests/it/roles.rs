//! Every method of every route for every role: the edge lets pass exactly what the policy says.

use std::collections::BTreeMap;
use std::time::SystemTime;

use gate::bundle::Standing;
use gate::cache::TokenCache;
use gate::headers::Seen;
use gate::policy::Document;
use gate::{Gate, Request, Verdict, judge};
use jsonwebtoken::{Algorithm, Header};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tests::api::{self, Operation};
use tests::echo;
use tests::edge::{Edge, configuration, hand_over};
use tests::world::shipped_policy;

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const ULID: &str = "01JD0000000000000000000000";

/// The shipped policy; its issuer's keys are those of the tests, and nothing is limited by number.
fn policy() -> Value {
    let mut policy = shipped_policy();
    policy["issuers"].as_array_mut().unwrap().truncate(1);
    policy["issuers"][0]["keys"] = json!({"jwks": {"keys": [cases::public_key("ed")]}});
    for (_, role) in policy["roles"].as_object_mut().unwrap() {
        role["requests"] = json!({"per_minute": 600_000, "burst": 100_000});
        role["in_flight"] = json!(1000);
    }
    for route in policy["routes"].as_array_mut().unwrap() {
        route.as_object_mut().unwrap().remove("limit");
    }
    policy
}

/// Who asks, and with which token.
fn callers(now: u64) -> Vec<(&'static str, Option<String>)> {
    let token = |role: &str, scope: &str, authenticated: u64| {
        let header =
            Header { typ: Some("at+jwt".to_owned()), kid: Some("ed".to_owned()), ..Header::new(Algorithm::EdDSA) };
        let claims = json!({"iss": "cosygate", "aud": "cosygate", "sub": "somebody", "role": role, "scope": scope,
            "iat": now, "exp": now + 3600, "auth_time": authenticated});
        Some(jsonwebtoken::encode(&header, &claims, &cases::private_key("ed")).unwrap())
    };
    vec![
        ("nobody", None),
        ("free", token("free", "speech", now)),
        ("premium", token("premium", "speech", now)),
        ("admin", token("admin", "speech", now)),
        ("enrol", token("enrol", "speech", now)),
        ("free without a scope", token("free", "", now)),
        ("admin of yesterday", token("admin", "speech", now - 86_400)),
        ("a role that the policy has not", token("owner", "speech", now)),
    ]
}

/// What the policy says: `pass`, or the code of the refusal.
fn declared(gate: &Gate, method: &str, target: &str, token: Option<&str>, now: u64) -> String {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers =
        vec![(":method", method.as_bytes()), (":path", target.as_bytes()), (":authority", b"gate.example")];
    headers.extend(bearer.as_ref().map(|bearer| ("authorization", bearer.as_bytes())));
    let request = Request {
        seen: &Seen::new(&headers),
        address: &|| "192.0.2.1".to_owned(),
        used_up: &|_| None,
        standing: Standing::default(),
    };
    match judge(gate, &mut TokenCache::default(), request, now) {
        Verdict::Pass(_) => "pass".to_owned(),
        Verdict::Preflight(_) => "preflight".to_owned(),
        Verdict::Refuse(refusal) => refusal.problem.code.as_str().to_owned(),
    }
}

/// What becomes of it at the edge. `HEAD` has no body, so its refusals are told by their status.
async fn actual(client: &Client, edge: &Edge, method: &str, target: &str, token: Option<&str>) -> (u16, String) {
    let request = client.request(Method::from_bytes(method.as_bytes()).unwrap(), format!("{}{target}", edge.url));
    let request =
        token.iter().fold(request.header("host", "gate.example"), |request, token| request.bearer_auth(token));
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    if status == 200 {
        return (status, "pass".to_owned());
    }
    let body = response.bytes().await.unwrap();
    let code =
        serde_json::from_slice::<Value>(&body).ok().and_then(|problem| problem["code"].as_str().map(str::to_owned));
    (status, code.unwrap_or_default())
}

/// Every path, its places filled; a place that nobody knows how to fill fails the test.
fn targets(operations: &[Operation]) -> BTreeMap<String, String> {
    let filled = operations.iter().map(|operation| {
        let value = match operation.placeholders().as_slice() {
            [] => "",
            ["id"] => ULID,
            ["secret" | "provider"] => "anything",
            ["number"] => "0",
            ["path"] => "style.css",
            other => panic!("{}: how is {other:?} filled in?", operation.name()),
        };
        (operation.path.clone(), operation.filled(value))
    });
    filled.collect()
}

#[tokio::test]
async fn every_cell_is_as_the_policy_declares_it() {
    let policy = policy();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let gate = Gate::new(&Document::parse(policy.to_string().as_bytes()).unwrap(), &|_| None).unwrap();
    let (folder, origin) = (tempfile::tempdir().unwrap(), echo::start().await);
    hand_over(folder.path(), 1, &configuration(&policy));
    let edge = Edge::start(folder.path(), origin, &[]).await;
    edge.answers("/", 200).await;
    let client = Client::new();
    let operations = api::operations(&api::printed());
    let (mut cells, mut passed, mut differ) = (0, 0, Vec::new());
    for (path, target) in targets(&operations) {
        for method in METHODS {
            for (who, token) in callers(now) {
                let wanted = declared(&gate, method, &target, token.as_deref(), now);
                let (status, got) = actual(&client, &edge, method, &target, token.as_deref()).await;
                let is_same = match method {
                    "HEAD" if wanted != "pass" => {
                        gate::Code::all().any(|code| code.as_str() == wanted && code.status() == status)
                    }
                    _ => wanted == got,
                };
                if !is_same {
                    differ.push(format!("{who}: {method} {path}: declared {wanted}, got {status} {got}"));
                }
                cells += 1;
                passed += u32::from(wanted == "pass");
            }
        }
    }
    println!("{cells} cells, {passed} of them pass");
    assert_eq!(differ, Vec::<String>::new());
    assert!(cells > 2500 && passed > 150 && passed < cells / 2, "{cells} cells, {passed} pass");
    // What is described can be reached by somebody; whoever adds a route routes it in the policy, too.
    for operation in &operations {
        let target = &targets(&operations)[&operation.path];
        let is_reached = callers(now)
            .iter()
            .any(|(_, token)| declared(&gate, &operation.method, target, token.as_deref(), now) == "pass");
        assert!(is_reached, "the policy lets nobody do {}", operation.name());
    }
}
