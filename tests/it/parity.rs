//! What the golden table says of the reference library, put to the library: Envoy's own filter.

use std::time::SystemTime;

use cases::reference::Reference;
use cases::sets::{self, PAIRS};
use cases::{Case, Suite};
use jsonwebtoken::Header;
use reqwest::{Client, Method};
use serde_json::{Map, Value, json};
use tests::attack::edges::instead_of_us;
use tests::edge::Edge;
use tests::scripted::{Answer, Scripted};

/// Cases that stand for what they say without being it: no test key of ours signs with ES512, and
/// the filter reads PEM in no configuration.
const STAND_INS: [&str; 2] = ["parity.json: reference library: ES512", "key set: PEM"];

/// The header by which a request says which providers it is for.
const FOR: &str = "x-parity";

#[tokio::test]
async fn the_reference_library_does_what_the_table_says_of_it() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let suites = cases::suites(now);
    let (mut providers, mut rules) = (Map::new(), Vec::new());
    for (file, suite) in &suites {
        let of_suite = |name: &str, more: Value| {
            let providers = suite.policy["issuers"].as_array().unwrap().iter().filter_map(provider);
            providers
                .map(|provider| merged(provider, &more))
                .enumerate()
                .map(|(index, provider)| (format!("{file}{name}{index}"), provider))
                .collect::<Map<_, _>>()
        };
        for (name, more) in [
            ("", json!({})),
            ("+cookie", json!({"from_cookies": ["cosygate"]})),
            ("+lifetime", json!({"max_lifetime": "7200s"})),
        ] {
            let of_suite = of_suite(name, more);
            rules.push(rule(&format!("{file}{name}"), of_suite.keys(), None));
            rules.push(rule(&format!("{file}{name}+public"), of_suite.keys(), Some("allow_missing")));
            providers.extend(of_suite);
        }
    }
    let (sets, origin) = (sets::all(), Scripted::start().await);
    for (index, set) in sets.iter().enumerate() {
        let name = format!("set-{index}");
        origin.answer(&name, Answer::Raw(200, set.text().into_bytes()));
        let uri = json!({"uri": format!("http://origin/keys/{name}"), "cluster": "origin", "timeout": "3s"});
        providers.insert(name.clone(), json!({"issuer": name, "remote_jwks": {"http_uri": uri}}));
        rules.push(rule(&name, [&name], None));
    }
    let filter = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        "providers": providers, "rules": rules,
    });
    let folder = tempfile::tempdir().unwrap();
    let edge = Edge::start_with(folder.path(), origin.address, &[], |yaml| instead_of_us(&yaml, &[filter])).await;
    let (mut count, mut wrong) = (0, Vec::new());
    let mut compare = |name: String, accepted: bool, reference: &Reference, why: String| {
        count += 1;
        if !STAND_INS.contains(&name.as_str()) && accepted == reference.accepts.is_empty() {
            wrong.push(format!("{name}: {why}"));
        }
    };
    for (file, suite) in &suites {
        for (case, reference) in suite.cases.iter().filter_map(|case| Some((case, case.reference.as_ref()?))) {
            let (accepted, why) = put(&edge, file, suite, case).await;
            compare(format!("{file}: {}", case.name), accepted, reference, why);
        }
    }
    for (index, set) in sets.iter().enumerate() {
        let Some(reference) = &set.reference else { continue };
        let mut answers = Vec::new();
        for (key, algorithm) in PAIRS {
            let request = Client::new().get(format!("{}/api/me", edge.url)).header(FOR, format!("set-{index}"));
            let response =
                request.bearer_auth(token(&format!("set-{index}"), key, algorithm, now)).send().await.unwrap();
            answers.push(if response.status() == 200 { "passes".to_owned() } else { response.text().await.unwrap() });
        }
        // It says the same of a set that it cannot use as of one that does not come.
        let loaded = answers.iter().all(|answer| !answer.contains("fetch"));
        compare(format!("key set: {}", set.name), loaded, reference, answers.join(", "));
    }
    println!("{count} verdicts of the reference library are as the table says");
    assert!(wrong.is_empty() && count > 150, "{count} compared, these are not so:\n{}", wrong.join("\n"));
}

/// A provider as the table's issuer.
fn provider(issuer: &Value) -> Option<Value> {
    let keys = match (&issuer["keys"]["jwks"], &issuer["keys"]["secret_env"]) {
        (keys @ Value::Object(_), _) => keys.clone(),
        (_, Value::String(_)) => json!({"keys": [{"kty": "oct", "k": cases::secret()}]}),
        _ => return None,
    };
    Some(json!({
        "issuer": issuer["issuer"], "audiences": issuer["audiences"], "local_jwks": {"inline_string": keys.to_string()},
        "clock_skew_seconds": issuer["clock_skew_s"].as_u64().unwrap_or(30),
    }))
}

fn merged(mut provider: Value, more: &Value) -> Value {
    provider.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    provider
}

fn rule<'a>(name: &str, providers: impl IntoIterator<Item = &'a String>, or: Option<&str>) -> Value {
    let any = providers.into_iter().map(|name| json!({"provider_name": name})).chain(or.map(|or| json!({or: {}})));
    let any: Vec<Value> = any.collect();
    let requires = if let [one] = &any[..] { one.clone() } else { json!({"requires_any": {"requirements": any}}) };
    json!({"match": {"prefix": "/", "headers": [{"name": FOR, "string_match": {"exact": name}}]}, "requires": requires})
}

/// Whether the library lets the request of a case pass, and what it says.
async fn put(edge: &Edge, file: &str, suite: &Suite, case: &Case) -> (bool, String) {
    let has = |name: &str| case.headers.iter().any(|(header, _)| header == name);
    let public = suite.policy["routes"]
        .as_array()
        .unwrap()
        .iter()
        .any(|route| route["path"] == case.target && route["public"] == true);
    let aim = match () {
        () if public => "+public",
        () if has("cookie") => "+cookie",
        () if case.name.starts_with("lives longer") => "+lifetime",
        () => "",
    };
    let method: Method = case.method.parse().unwrap();
    let mut request =
        Client::new().request(method, format!("{}{}", edge.url, case.target)).header(FOR, format!("{file}{aim}"));
    for (name, value) in &case.headers {
        request = request.header(name, value);
    }
    let response = request.send().await.unwrap();
    (
        response.status() == 200,
        format!("{} {}", response.status(), response.text().await.unwrap().chars().take(90).collect::<String>()),
    )
}

fn token(issuer: &str, key: &str, algorithm: &str, now: u64) -> String {
    let header = Header { kid: Some(key.into()), ..Header::new(algorithm.parse().unwrap()) };
    jsonwebtoken::encode(&header, &json!({"iss": issuer, "exp": now + 600}), &cases::private_key(key)).unwrap()
}
