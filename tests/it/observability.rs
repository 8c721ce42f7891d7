//! What an operator sees of the edge: its figures, the dashboard and alerts on them, the access log.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};
use tests::echo;
use tests::edge::{Edge, configuration, hand_over};
use tests::process::{free_port, workspace};

/// What the filter counts. Everything else that is asked for must be Envoy's own.
const COUNTED: [&str; 14] = [
    "cosygate_edge_requests_total",
    "cosygate_edge_refusals_total",
    "cosygate_edge_token_cache_total",
    "cosygate_edge_limiter_total",
    "cosygate_edge_shadow_differences_total",
    "cosygate_edge_key_fetches_total",
    "cosygate_edge_bundles_total",
    "cosygate_edge_streams_ended_total",
    "cosygate_edge_bundle_serial",
    "cosygate_edge_bundle_expires_seconds",
    "cosygate_edge_clock_offset_seconds",
    "cosygate_edge_policy_rev",
    "cosygate_edge_keys_age_seconds",
    "cosygate_edge_keys_max_stale_seconds",
];

const REV: u64 = 41;

/// An edge with the golden table's routes before an echo, and a sound token of the role `free`.
async fn judging_edge(folder: &Path) -> (Edge, String) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let (_, mut suite) = cases::suites(now).into_iter().find(|(file, _)| *file == "routes.json").unwrap();
    let bearer = suite.cases.iter().find(|case| case.name == "with a token").unwrap().headers[0].1.clone();
    suite.policy["rev"] = json!(REV);
    hand_over(folder, REV, &configuration(&suite.policy));
    let edge = Edge::start(folder, echo::start().await, &[]).await;
    until(&edge, "the policy", async || reqwest::get(format!("{}/", edge.url)).await.unwrap().status() == 200).await;
    (edge, bearer.strip_prefix("Bearer ").unwrap().to_owned())
}

/// Waits until something holds, five seconds at most.
async fn until(edge: &Edge, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !holds().await {
        assert!(Instant::now() < end, "{what}: not within five seconds\n{}", edge.envoy.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn scrape(edge: &Edge) -> String {
    let response = reqwest::get(format!("{}/stats/prometheus", edge.metrics_url)).await.unwrap();
    assert_eq!(response.status(), 200);
    response.text().await.unwrap()
}

/// The sum of a metric over all series that have these labels. A series with another set of labels than
/// the metric should have is a defect of the rules in envoy.yaml.
fn total(scrape: &str, name: &str, names: &[&str], wanted: &[(&str, &str)]) -> f64 {
    let mut sum = 0.0;
    for line in scrape.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')) {
        let (labels, value) = line.rsplit_once("} ").unwrap();
        let labels: BTreeMap<&str, &str> = labels
            .split(',')
            .filter_map(|label| label.split_once('='))
            .map(|(name, value)| (name, value.trim_matches('"')))
            .collect();
        assert_eq!(labels.keys().copied().collect::<BTreeSet<_>>(), names.iter().copied().collect(), "{name}{{{line}");
        if wanted.iter().all(|(name, value)| labels.get(name) == Some(value)) {
            sum += value.parse::<f64>().unwrap();
        }
    }
    sum
}

#[tokio::test]
async fn decisions_are_counted_by_route_and_role() {
    let folder = tempfile::tempdir().unwrap();
    let (edge, token) = judging_edge(folder.path()).await;
    let client = Client::new();
    for (times, bearer, status) in [(3, Some(&token), 200), (2, None, 401)] {
        for _ in 0..times {
            let mut request = client.get(format!("{}/api/me?x=1", edge.url));
            if let Some(token) = bearer {
                request = request.bearer_auth(token);
            }
            assert_eq!(request.send().await.unwrap().status(), status);
        }
    }
    let requests = ["decision", "route", "role"];
    let passed = [("decision", "pass"), ("route", "/api/me"), ("role", "free")];
    let refused = [("decision", "token_missing"), ("route", "/api/me"), ("role", "none")];
    let public = [("decision", "pass"), ("route", "/"), ("role", "none")];
    let code = [("code", "token_missing")];
    // Each worker hands in what it counted a few times a second.
    until(&edge, "five requests and the policy counted", async || {
        let seen = scrape(&edge).await;
        total(&seen, COUNTED[0], &requests, &passed) == 3.0
            && total(&seen, COUNTED[0], &requests, &refused) == 2.0
            && total(&seen, COUNTED[0], &requests, &public) > 0.0
            && total(&seen, COUNTED[1], &["code", "cause"], &code) == 2.0
            && total(&seen, "cosygate_edge_token_cache_total", &["outcome"], &[("outcome", "miss")]) > 0.0
            && total(&seen, "cosygate_edge_policy_rev", &[], &[]) == 41.0
    })
    .await;
}

/// The status of one request, sent as it is written.
fn status(address: &str, method: &str, target: &str) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let request = format!("{method} {target} HTTP/1.1\r\nhost: edge\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8_lossy(&answer)[9..].parse().unwrap()
}

#[tokio::test]
async fn two_pages_of_the_admin_are_served_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut edge = Edge::start(folder.path(), nobody, &[]).await;
    let address = edge.metrics_url.strip_prefix("http://").unwrap().to_owned();
    assert_eq!(reqwest::get(format!("{}/ready", edge.url)).await.unwrap().status(), 503, "nothing passes the gate");
    assert!(scrape(&edge).await.contains("\nenvoy_server_live{} 1\n"));
    assert_eq!(status(&address, "GET", "/stats/prometheus?usedonly"), 200);
    let pages = ["config_dump", "clusters", "server_info", "certs", "stats", "help", "logging", "memory", "listeners"];
    let changes = ["quitquitquit", "healthcheck/fail", "drain_listeners", "reset_counters", "runtime_modify?x=y"];
    for page in pages.iter().chain(&changes) {
        for target in ["/", "//", "/ready/", "/ready/../", "/stats/prometheus/../../", "/ready?/", "/ready;/"] {
            // The query of a page that is served changes nothing.
            let wanted = if target == "/ready?/" { 200 } else { 404 };
            assert_eq!(status(&address, "GET", &format!("{target}{page}")), wanted, "{target}{page}");
            assert_eq!(status(&address, "POST", &format!("{target}{page}")), 404, "{target}{page}");
        }
    }
    for target in ["/", "/stats/", "/READY", "/ready/", "/stats?format=prometheus", "/stats/prometheus%3f"] {
        assert_eq!(status(&address, "GET", target), 404, "{target}");
    }
    for target in ["/stats%2fprometheus", "/stats%5cprometheus", "/ready%00"] {
        assert_eq!(status(&address, "GET", target), 400, "{target}");
    }
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE"] {
        for target in ["/ready", "/stats/prometheus"] {
            assert_eq!(status(&address, method, target), 404, "{method} {target}");
        }
    }
    let ready = reqwest::get(format!("{}/ready", edge.metrics_url)).await.unwrap();
    assert_eq!((ready.status().as_u16(), ready.text().await.unwrap().as_str()), (200, "LIVE\n"));
    assert!(edge.envoy.is_running());
    // Who scrapes is not in the access log, which is written soon but not at once.
    reqwest::get(format!("{}/the-last-one", edge.url)).await.unwrap();
    until(&edge, "the last one logged", async || edge.envoy.log().contains("/the-last-one")).await;
    assert!(!edge.envoy.log().contains("/stats/prometheus"), "{}", edge.envoy.log());
}

#[tokio::test]
async fn the_access_log_tells_the_trace_and_no_secret() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let folder = tempfile::tempdir().unwrap();
    let (edge, token) = judging_edge(folder.path()).await;
    let (head, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    let forged = format!("{head}.{first}{}", &signature[1..]);
    // What every request carries, beside a credential.
    let query = "password=correct-horse-battery&access_token=token-in-a-query";
    let client = Client::builder().user_agent("observed").build().unwrap();
    let get = |target: &str| client.get(format!("{}{target}?{query}", edge.url)).header("traceparent", TRACE);
    let with_cookie = |target: &str| get(target).header("cookie", "session=secret-of-a-session");

    let passed = with_cookie("/api/me").bearer_auth(&token).send().await.unwrap();
    assert_eq!(passed.status(), 200);
    let received: Value = passed.json().await.unwrap();
    let header = |name: &str| -> Vec<&str> {
        let pairs = received["headers"].as_array().unwrap().iter();
        pairs.filter(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap()).collect()
    };
    assert_eq!(header("traceparent"), [TRACE], "the origin goes on with the client's trace");

    let others = [
        (200, get("/api/me").header("cookie", format!("cosygate={token}"))),
        (401, with_cookie("/api/me").bearer_auth(&forged)),
        (401, with_cookie("/api/me").basic_auth("ada", Some("password-of-ada"))),
        (401, get("/api/me").bearer_auth(&token).header("cookie", format!("cosygate={token}"))),
        (404, with_cookie("/nowhere").bearer_auth(&token)),
        (200, client.post(format!("{}/login?{query}", edge.url)).body("{\"password\": \"in-a-body\"}")),
        // Refused before the filter takes the credential away.
        (400, with_cookie("/api%2fme").bearer_auth(&token)),
        (200, client.get(format!("{}/", edge.url)).header("traceparent", "x".repeat(500))),
    ];
    let count = others.len() + 1;
    for (status, request) in others {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{}", response.text().await.unwrap());
    }
    let logged = || -> Vec<Value> {
        let lines = edge.envoy.log();
        let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["user_agent"] == "observed").collect()
    };
    until(&edge, "all requests logged", async || logged().len() >= count).await;

    let lines = logged();
    assert_eq!(lines.len(), count);
    // Two workers may write in any order.
    let line = |path: &str, decision: &str| {
        let mut found = lines.iter().filter(|line| line["path"] == path && line["decision"] == decision);
        found.next().unwrap_or_else(|| panic!("no {decision} for {path} in {lines:#?}"))
    };
    let passed = line("/api/me", "via_upstream");
    assert_eq!(
        (&passed["traceparent"], &passed["status"], &passed["role"]),
        (&json!(TRACE), &json!(200), &json!("free"))
    );
    assert!(passed["first_byte_ms"].as_u64().unwrap() <= passed["duration_ms"].as_u64().unwrap(), "{passed}");
    let refused = line("/nowhere", "cosygate_not_found:not_found");
    assert_eq!((&refused["traceparent"], &refused["first_byte_ms"]), (&json!(TRACE), &Value::Null));
    assert_eq!(line("/", "via_upstream")["traceparent"].as_str().unwrap().len(), 64, "however long it was");
    let all = edge.envoy.log();
    let mut secrets = vec!["password", "horse", "token-in-a-query", "secret-of-a-session", "in-a-body"];
    secrets.extend(token.split('.').chain(forged.split('.')));
    secrets.push("YWRhOnBhc3N3b3JkLW9mLWFkYQ"); // ada:password-of-ada
    secrets.extend(header("x-cosygate-identity"));
    for secret in secrets {
        assert!(!all.contains(secret), "{secret} is in the log:\n{all}");
    }
}

#[tokio::test]
async fn dashboard_and_alerts_ask_only_for_what_there_is() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let mut shown: BTreeSet<String> = targets.flat_map(|target| metrics_of(target["expr"].as_str().unwrap())).collect();
    for variable in dashboard["templating"]["list"].as_array().unwrap().iter().filter(|one| one["type"] == "query") {
        // `label_values(metric, label)`
        let (metric, _) = variable["query"]["query"].as_str().unwrap().rsplit_once(',').unwrap();
        shown.extend(metrics_of(metric));
    }
    let alerted: BTreeSet<String> = alerts().iter().flat_map(|rule| metrics_of(&rule["expr"])).collect();
    assert!(shown.len() > 20 && alerted.len() > 10, "{shown:?} {alerted:?}");
    let manual = std::fs::read_to_string(workspace().join("docs/OPERATIONS.md")).unwrap();
    for name in COUNTED {
        assert!(shown.contains(name), "nobody would see {name}");
        assert!(manual.contains(&format!("`{name}`")), "docs/OPERATIONS.md does not explain {name}");
    }

    let folder = tempfile::tempdir().unwrap();
    let (edge, _) = judging_edge(folder.path()).await;
    let seen = scrape(&edge).await;
    let there: BTreeSet<&str> = seen.lines().filter_map(|line| line.split(['{', ' ']).next()).chain(COUNTED).collect();
    let asked = shown.union(&alerted).map(String::as_str);
    let missing: Vec<&str> = asked.filter(|name| !there.contains(name)).collect();
    assert!(missing.is_empty(), "neither Envoy nor the filter counts {missing:?}");
}

#[test]
fn the_dashboard_can_be_imported_and_explains_itself() {
    let dashboard = dashboard();
    let variables: Vec<&Value> =
        dashboard["templating"]["list"].as_array().unwrap().iter().map(|variable| &variable["name"]).collect();
    assert_eq!(variables, ["datasource", "job", "instance"]);
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels have the id {}", panel["id"]);
        let place = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{panel}");
        for cell in (0..place("w")).flat_map(|x| (0..place("h")).map(move |y| (x, y))) {
            assert!(taken.insert((place("x") + cell.0, place("y") + cell.1)), "{} lies on another", panel["title"]);
        }
        assert!(!panel["title"].as_str().unwrap().is_empty());
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().unwrap().len() > 20, "{panel}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{panel}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}");
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            // Without the job, figures of the origin that have the same name would be added.
            let selectors = expression.matches('{').count();
            assert_eq!(expression.matches("{job=~\"$job\",instance=~\"$instance\"").count(), selectors, "{expression}");
            assert!(selectors > 0 || expression == "vector($bound)", "{expression}");
        }
    }
    assert!(ids.len() > 20);
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_to_do() {
    let rules = alerts();
    let names: BTreeSet<&str> = rules.iter().map(|rule| rule["alert"].as_str()).collect();
    assert_eq!(names.len(), rules.len(), "two alerts have one name");
    assert!(rules.len() > 10);
    for rule in &rules {
        let keys: BTreeSet<&str> = rule.keys().map(String::as_str).collect();
        let wanted = ["action", "alert", "annotations", "description", "expr", "for", "labels", "summary"];
        assert_eq!(keys, wanted.into(), "{rule:?}");
        let severities = ["{severity: critical}", "{severity: warning}", "{severity: info}"];
        assert!(severities.contains(&rule["labels"].as_str()), "{rule:?}");
        assert!(rule["for"].strip_suffix('m').is_some_and(|minutes| minutes.parse::<u8>().is_ok()), "{rule:?}");
    }
}

fn dashboard() -> Value {
    serde_json::from_slice(&std::fs::read(workspace().join("envoy/grafana-dashboard.json")).unwrap()).unwrap()
}

/// The rules of the alerts' file, each with its keys and texts. This reads as much of YAML as is used
/// there, and refuses what would be something else in YAML.
fn alerts() -> Vec<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(workspace().join("envoy/prometheus-alerts.yaml")).unwrap();
    let mut rules: Vec<BTreeMap<String, String>> = Vec::new();
    let mut folded: Option<(usize, String)> = None;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let inner = line.trim_start_matches([' ', '-']);
        let indent = line.len() - line.trim_start().len();
        if let Some((outer, key)) = &folded
            && indent > *outer
        {
            let text = rules.last_mut().unwrap().get_mut(key).unwrap();
            text.push_str(line.trim());
            text.push(' ');
            continue;
        }
        folded = None;
        let (key, value) = inner.split_once(':').unwrap_or_else(|| panic!("not `key: value`: {line}"));
        let value = value.trim();
        let is_plain = !value.starts_with(['"', '{', '>', '|', '\'', '&', '*', '!', '%', '@', '`']);
        let is_quoted = value.len() > 1 && value.starts_with('"') && !value.trim_matches('"').contains(['"', '\\']);
        let is_sound = is_quoted || is_plain && !value.contains(": ") && !value.contains(" #");
        assert!(is_sound || value == ">-" || value.starts_with("{severity: "), "quote or fold it: {line}");
        if key == "alert" {
            rules.push(BTreeMap::new());
        }
        let Some(rule) = rules.last_mut() else { continue };
        if value == ">-" {
            folded = Some((indent, key.to_owned()));
        }
        let text = if value == ">-" { "" } else { value.trim_matches('"') };
        assert!(rule.insert(key.to_owned(), text.to_owned()).is_none(), "twice in one rule: {line}");
    }
    rules
}

/// The names of the metrics in an expression of PromQL: every word that is neither quoted, nor between
/// braces or brackets, nor a label, nor one of the language's own.
fn metrics_of(expression: &str) -> BTreeSet<String> {
    const OPERATORS: [&str; 9] = ["and", "or", "unless", "offset", "sum", "max", "min", "count", "avg"];
    const BEFORE_LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
    let is_of_word = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | ':' | '$' | '.');
    let mut found = BTreeSet::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let after = |end: char| rest[1..].find(end).map_or("", |place| &rest[place + 2..]);
        rest = match first {
            '"' => after('"'),
            '{' => after('}'),
            '[' => after(']'),
            letter if !is_of_word(letter) => &rest[letter.len_utf8()..],
            letter => {
                let (word, tail) = rest.split_at(rest.find(|letter| !is_of_word(letter)).unwrap_or(rest.len()));
                let is_call = tail.trim_start().starts_with('(');
                if BEFORE_LABELS.contains(&word) {
                    tail.split_once(')').map_or("", |(_, tail)| tail)
                } else {
                    if !is_call && letter.is_ascii_alphabetic() && !OPERATORS.contains(&word) {
                        found.insert(word.to_owned());
                    }
                    tail
                }
            }
        };
    }
    found
}
