//! Envoys before an echo: ours, one with `jwt_authn`, and one with nothing.
//!
//! The second one is what a careful operator has without us: the same envoy.yaml with all that it
//! hardens, the same keys, issuers, audiences, routes and roles. Only the filter is another.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::mint::{ALGORITHMS, AUDIENCE, EC, ED, HS, Mint, RS256, RSA, SUBJECT, TWIN};
use super::{MARK, Site};
use crate::edge::{Edge, configuration, hand_over};

/// An issuer: its name, the prefix of its users, its algorithms, its public keys.
struct Issuer {
    name: &'static str,
    prefix: Option<&'static str>,
    algorithms: Vec<&'static str>,
    keys: Vec<Value>,
}

fn issuers() -> Vec<Issuer> {
    let algorithms =
        |issuer| ALGORITHMS.iter().filter(|known| known.issuer == issuer).map(|known| known.name).collect();
    let key = cases::public_key;
    let with = |mut key: Value, member: &str, value: &str| {
        key[member] = json!(value);
        key
    };
    let issuer = |name, prefix, algorithms, keys| Issuer { name, prefix, algorithms, keys };
    vec![
        issuer(ED, None, algorithms(ED), vec![key("ed")]),
        issuer(EC, Some("ec"), algorithms(EC), vec![key("p256"), key("p384")]),
        issuer(RSA, Some("rsa"), algorithms(RSA), vec![key("rsa")]),
        issuer(RS256, Some("rs256"), vec!["RS256"], vec![with(key("rsa"), "alg", "RS256")]),
        issuer(HS, Some("hs"), algorithms(HS), Vec::new()),
        issuer(TWIN, Some("twin"), vec!["EdDSA"], vec![with(key("ed-other"), "kid", "ed")]),
    ]
}

/// The policy of our edge: no limit that a corpus would reach.
pub fn policy() -> Value {
    let issuers: Vec<Value> = issuers()
        .into_iter()
        .map(|issuer| {
            let keys = if issuer.keys.is_empty() {
                json!({"secret_env": "CASES_SECRET"})
            } else {
                json!({"jwks": {"keys": issuer.keys}})
            };
            let mut written = json!({
                "issuer": issuer.name, "audiences": [AUDIENCE], "algorithms": issuer.algorithms, "keys": keys,
                "types": ["at+jwt"]
            });
            if let Some(prefix) = issuer.prefix {
                written["user_prefix"] = json!(prefix);
            }
            written
        })
        .collect();
    let role = json!({
        "requests": {"per_minute": 6_000_000, "burst": 100_000},
        "body_kb": 64,
        "jobs_running": 1,
        "characters_per_request": 500,
        "characters_per_day": 5000,
        "generations_per_day": 50,
        "storage_mb": 200,
        "retention_days": 7,
    });
    let everybody = ["free", "premium", "admin"];
    json!({
        "rev": 1,
        "issuers": issuers,
        "roles": {"free": role, "premium": role, "admin": role},
        "routes": [
            {"path": "/", "methods": ["GET"], "public": true},
            {"prefix": "/assets/", "methods": ["GET"], "public": true},
            {"path": "/login", "methods": ["POST"], "public": true},
            {"path": "/api/me", "methods": ["GET"], "roles": everybody},
            {"path": "/api/generate", "methods": ["POST"], "roles": everybody, "scopes": ["speech"]},
            {"prefix": "/api/outputs/", "methods": ["GET", "DELETE"], "roles": everybody},
            {"prefix": "/api/admin/", "methods": ["GET", "POST"], "roles": ["admin"]},
        ],
    })
}

/// What the corpus has to know of each of them.
pub fn site(edge: &Edge, mint: &Mint) -> Site {
    Site {
        address: edge.address,
        // The same for all, so that all get the same bytes.
        host: "gate.example".to_owned(),
        path: "/api/me".to_owned(),
        open: Some("/login".to_owned()),
        token: Some(mint.sound(&ALGORITHMS[0])),
        user: Some(SUBJECT.to_owned()),
        echo: true,
        nowhere: None,
    }
}

/// Starts our edge and waits until it judges.
pub async fn cosygate(folder: &Path, origin: SocketAddr) -> Edge {
    hand_over(folder, 1, &configuration(&policy()));
    let edge = Edge::start(folder, origin, &[]).await;
    until_judging(&edge).await;
    edge
}

/// Starts the one with `jwt_authn`.
pub async fn jwt_authn(folder: &Path, origin: SocketAddr) -> Edge {
    let edge = Edge::start_with(folder, origin, &[], |yaml| instead_of_us(&yaml, &[jwt_filter(), rbac()])).await;
    until_judging(&edge).await;
    edge
}

/// Starts one that lets everything pass: what does not get through it shows nothing elsewhere.
pub async fn open(folder: &Path, origin: SocketAddr) -> Edge {
    Edge::start_with(folder, origin, &[], |yaml| instead_of_us(&yaml, &[])).await
}

/// Both workers must have it; each connection belongs to one of them.
async fn until_judging(edge: &Edge) {
    let end = Instant::now() + Duration::from_secs(30);
    let mut in_a_row = 0;
    while in_a_row < 20 {
        assert!(Instant::now() < end, "the edge does not judge:\n{}", edge.envoy.log());
        let passes = reqwest::get(format!("{}/", edge.url)).await.is_ok_and(|response| response.status() == 200);
        in_a_row = if passes { in_a_row + 1 } else { 0 };
    }
}

/// envoy.yaml with other filters in place of ours, each with its `@type`.
pub fn instead_of_us(yaml: &str, filters: &[Value]) -> String {
    let router = "                  - name: envoy.filters.http.router\n";
    let (before, rest) = yaml.split_once("                  - name: cosygate\n").expect("envoy.yaml names our filter");
    let (_, behind) = rest.split_once(router).expect("the router is behind it");
    let filters: String = filters
        .iter()
        .map(|filter| {
            let kind = filter["@type"].as_str().unwrap().rsplit('.').next().unwrap();
            format!("                  - {}\n", json!({"name": kind, "typed_config": filter}))
        })
        .collect();
    let text = format!("{before}{filters}{router}{behind}");
    let changes = [
        // Their refusals keep their status, as ours do.
        ("response.code_details.startsWith('cosygate_')", "response.code > 0"),
        // What our filter removes beyond what envoy.yaml does by itself.
        ("prefix: \"x-user-\"", "prefix: \"x-user\""),
        ("prefix: \"x-cosygate-\"", "prefix: \"x-cosygate\""),
    ];
    changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "envoy.yaml has no `{from}`");
        text.replace(from, to)
    })
}

/// One provider for each issuer; the token's `iss` selects.
fn jwt_filter() -> Value {
    let providers: serde_json::Map<String, Value> = issuers()
        .into_iter()
        .map(|issuer| {
            let keys = match issuer.keys.is_empty() {
                true => vec![json!({"kty": "oct", "k": cases::secret(), "kid": "secret"})],
                false => issuer.keys,
            };
            let provider = json!({
                "issuer": issuer.name,
                "audiences": [AUDIENCE],
                "local_jwks": {"inline_string": json!({"keys": keys}).to_string()},
                // Not in the query, which is the default beside the header.
                "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
                "from_cookies": ["cosygate"],
                "clock_skew_seconds": 30,
                "require_expiration": true,
                "max_lifetime": "7200s",
                "payload_in_metadata": "claims",
                "header_in_metadata": "header",
                "claim_to_headers": [
                    {"header_name": "x-user-id", "claim_name": "sub"},
                    {"header_name": "x-user-role", "claim_name": "role"}
                ],
            });
            (issuer.name.to_owned(), provider)
        })
        .collect();
    let any: Vec<Value> = providers.keys().map(|name| json!({"provider_name": name})).collect();
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        "providers": providers,
        "rules": [
            {"match": {"path": "/"}},
            {"match": {"prefix": "/assets/"}},
            {"match": {"path": "/login"}},
            {"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": any}}},
        ],
    })
}

/// The same routes and roles; everything else is denied.
fn rbac() -> Value {
    let metadata = |path: &[&str], text: Value| {
        let path: Vec<Value> = path.iter().map(|key| json!({"key": key})).collect();
        let matcher = json!({"filter": "envoy.filters.http.jwt_authn", "path": path, "value": {"string_match": text}});
        json!({"sourced_metadata": {"metadata_matcher": matcher, "metadata_source": "DYNAMIC"}})
    };
    let one_of = |roles: &[&str]| {
        let roles: Vec<Value> =
            roles.iter().map(|role| metadata(&["claims", "role"], json!({"exact": role}))).collect();
        let kind = metadata(&["header", "typ"], json!({"exact": "at+jwt", "ignore_case": true}));
        json!({"and_ids": {"ids": [kind, {"or_ids": {"ids": roles}}]}})
    };
    let path = |kind: &str, text: &str| match kind {
        "path" => json!({"url_path": {"path": {"exact": text}}}),
        _ => json!({"url_path": {"path": {"prefix": text}}}),
    };
    let methods = |names: &[&str]| {
        let names: Vec<Value> =
            names.iter().map(|name| json!({"header": {"name": ":method", "string_match": {"exact": name}}})).collect();
        json!({"or_rules": {"rules": names}})
    };
    let policies: serde_json::Map<String, Value> = policy()["routes"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .map(|(index, route)| {
            let kind = if route["path"].is_string() { "path" } else { "prefix" };
            let mut names: Vec<&str> = route["methods"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            if names.contains(&"GET") {
                names.push("HEAD");
            }
            let principal = match route["roles"].as_array() {
                Some(roles) => one_of(&roles.iter().filter_map(Value::as_str).collect::<Vec<_>>()),
                None => json!({"any": true}),
            };
            let permission =
                json!({"and_rules": {"rules": [path(kind, route[kind].as_str().unwrap()), methods(&names)]}});
            (format!("route-{index}"), json!({"permissions": [permission], "principals": [principal]}))
        })
        .collect();
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
        "rules": {"action": "ALLOW", "policies": policies},
    })
}

/// Requests that must pass, or nothing that is refused says anything.
///
/// # Errors
/// Which of them did not.
pub async fn check(edge: &Edge, mint: &Mint) -> anyhow::Result<()> {
    let client = reqwest::Client::new();
    for algorithm in &ALGORITHMS {
        let request =
            client.get(format!("{}/api/me", edge.url)).bearer_auth(mint.sound(algorithm)).header("x-attack", MARK);
        let response = request.send().await?;
        anyhow::ensure!(response.status() == 200, "a sound {} token gets {}", algorithm.name, response.status());
    }
    let admin = mint.token(&ALGORITHMS[0], |_, claims| drop(claims.insert("role".to_owned(), json!("admin"))));
    let response = client.get(format!("{}/api/admin/policy", edge.url)).bearer_auth(admin).send().await?;
    anyhow::ensure!(response.status() == 200, "an admin gets {}", response.status());
    Ok(())
}
