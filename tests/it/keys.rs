//! Keys that an issuer publishes: fetched once, again in time, and never lost to a bad answer.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use cases::sets::PAIRS;
use jsonwebtoken::Header;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tests::edge::{Edge, configuration, hand_over};
use tests::scripted::{Answer, Scripted, eventually, everywhere};

/// A policy with one issuer for each name, its keys at `/keys/<name>`.
fn policy(names: &[&str], refresh_s: u32, max_stale_s: u32) -> Value {
    let mut policy = cases::suites(1).into_iter().find(|(file, _)| *file == "routes.json").unwrap().1.policy;
    let issuer = |name: &&str| {
        json!({
            "issuer": name, "audiences": ["cosygate"], "algorithms": ["EdDSA"], "types": ["at+jwt"], "user_prefix": name,
            "keys": {
                "jwks_path": format!("/keys/{name}"), "cluster": "origin",
                "refresh_s": refresh_s, "max_stale_s": max_stale_s,
            },
        })
    };
    policy["issuers"] = names.iter().map(issuer).collect();
    policy["routes"] = json!([
        {"path": "/", "methods": ["GET"], "public": true},
        {"path": "/api/me", "methods": ["GET"], "roles": ["free"]},
    ]);
    policy
}

fn keys(names: &[&str]) -> Answer {
    Answer::Keys(json!({"keys": names.iter().map(|name| cases::public_key(name)).collect::<Vec<_>>()}))
}

fn token(issuer: &str, key: &str) -> String {
    signed_by(if key == "ed-other" { "ed-other" } else { "ed" }, issuer, key, "EdDSA")
}

fn signed(issuer: &str, key: &str, algorithm: &str) -> String {
    signed_by(key, issuer, key, algorithm)
}

fn signed_by(signer: &str, issuer: &str, key: &str, algorithm: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({
        "iss": issuer, "aud": "cosygate", "sub": "ada", "role": "free", "scope": "speech", "iat": now, "exp": now + 600,
    });
    let header =
        Header { typ: Some("at+jwt".into()), kid: Some(key.into()), ..Header::new(algorithm.parse().unwrap()) };
    jsonwebtoken::encode(&header, &claims, &cases::private_key(signer)).unwrap()
}

async fn call(edge: &Edge, token: &str) -> Response {
    // A connection of its own, so that both workers are asked.
    reqwest::Client::new().get(format!("{}/api/me", edge.url)).bearer_auth(token).send().await.unwrap()
}

async fn code(response: Response) -> String {
    response.json::<Value>().await.unwrap()["code"].as_str().unwrap_or_default().to_owned()
}

async fn start(folder: &Path, origin: &Scripted, policy: &Value) -> Edge {
    hand_over(folder, 1, &configuration(policy));
    let edge = Edge::start(folder, origin.address, &[]).await;
    edge.answers("/", 200).await;
    edge
}

async fn passes_everywhere(edge: &Edge, token: &str) {
    eventually("keys at every worker", async || {
        everywhere(async || call(edge, token).await.status() == StatusCode::OK).await
    })
    .await;
}

#[tokio::test]
async fn without_keys_nobody_is_told_that_the_token_is_bad() {
    let (folder, origin) = (tempfile::tempdir().unwrap(), Scripted::start().await);
    origin.answer("idp", Answer::Raw(500, b"not now".to_vec()));
    let edge = start(folder.path(), &origin, &policy(&["idp"], 300, 3600)).await;
    let ada = token("idp", "ed");
    let refused = call(&edge, &ada).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
    assert_eq!(code(refused).await, "keys_unavailable");
    origin.answer("idp", keys(&["ed"]));
    passes_everywhere(&edge, &ada).await;
    let fetches = origin.fetches();
    // Another policy with the same issuer goes on with the keys that are there: no gap, no fetch.
    for rev in 2..6 {
        let mut next = policy(&["idp"], 300, 3600);
        next["rev"] = json!(rev);
        hand_over(folder.path(), rev, &configuration(&next));
        for _ in 0..30 {
            assert_eq!(call(&edge, &ada).await.status(), StatusCode::OK, "policy {rev}");
        }
    }
    assert_eq!(origin.fetches(), fetches, "one fetch serves all workers and policies");
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_once_in_a_while() {
    let (folder, origin) = (tempfile::tempdir().unwrap(), Scripted::start().await);
    origin.answer("idp", keys(&["ed"]));
    let edge = start(folder.path(), &origin, &policy(&["idp"], 300, 3600)).await;
    passes_everywhere(&edge, &token("idp", "ed")).await;
    assert_eq!(origin.fetches(), 1, "two workers, one fetch");
    // The issuer goes over to another key without having published it before.
    origin.answer("idp", keys(&["ed", "ed-other"]));
    let rotated = token("idp", "ed-other");
    for number in 0..300 {
        let unknown = call(&edge, &token("idp", &format!("unknown-{number}"))).await;
        assert_eq!(unknown.status(), StatusCode::UNAUTHORIZED);
    }
    assert!(origin.fetches() <= 2, "{} fetches for 300 unknown keys", origin.fetches());
    let mut waited = Duration::ZERO;
    while call(&edge, &rotated).await.status() != StatusCode::OK {
        waited += Duration::from_millis(100);
        assert!(waited < Duration::from_secs(20), "the new key never came");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    passes_everywhere(&edge, &rotated).await;
    assert!(origin.fetches() <= 3);
}

#[tokio::test]
async fn whatever_the_key_server_answers_the_last_good_set_stays() {
    let weak = json!({"keys": [{"kty": "RSA", "kid": "ed", "n": "AQAB", "e": "AQAB"}]});
    let mut private = cases::public_key("ed");
    private["d"] = json!("AAAA");
    let many: Vec<Value> = (0..10_000)
        .map(|number| {
            let mut key = cases::public_key("ed");
            key["kid"] = json!(number.to_string());
            key
        })
        .collect();
    let hostile = [
        ("html", Answer::Raw(200, b"<html>please log in</html>".to_vec())),
        ("large", Answer::Raw(200, vec![b' '; 10 * 1024 * 1024])),
        ("many", Answer::Keys(json!({ "keys": many }))),
        ("garbage", Answer::Raw(200, (0..=255).cycle().take(4096).collect())),
        ("none", Answer::Keys(json!({"keys": []}))),
        ("nothing", Answer::Raw(204, Vec::new())),
        ("error", Answer::Raw(500, b"{\"keys\": []}".to_vec())),
        ("moved", Answer::Raw(302, Vec::new())),
        ("weak", Answer::Keys(weak)),
        ("private", Answer::Keys(json!({"keys": [private]}))),
        ("twice", Answer::Raw(200, b"{\"keys\": [], \"keys\": []}".to_vec())),
        ("silent", Answer::Silence),
    ];
    let (folder, origin) = (tempfile::tempdir().unwrap(), Scripted::start().await);
    let mut names: Vec<&str> = hostile.iter().map(|(name, _)| *name).collect();
    names.push("stale");
    for name in &names {
        origin.answer(name, keys(&["ed"]));
    }
    let mut policy = policy(&names, 10, 3600);
    policy["issuers"][hostile.len()]["keys"]["max_stale_s"] = json!(11);
    let edge = start(folder.path(), &origin, &policy).await;
    let tokens: Vec<String> = names.iter().map(|name| token(name, "ed")).collect();
    for token in &tokens {
        passes_everywhere(&edge, token).await;
    }
    assert_eq!(origin.fetches(), names.len());
    for (name, answer) in hostile {
        origin.answer(name, answer);
    }
    origin.answer("stale", Answer::Raw(500, Vec::new()));
    // Every set is fetched again, and the one that may not grow old is used no more.
    let end = std::time::Instant::now() + Duration::from_secs(30);
    let stale = tokens.last().unwrap();
    while origin.fetches() < 2 * names.len() || call(&edge, stale).await.status() == StatusCode::OK {
        assert!(std::time::Instant::now() < end, "{} fetches", origin.fetches());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(code(call(&edge, stale).await).await, "keys_unavailable", "too old is as good as none");
    // Past the silence of the last one, too.
    tokio::time::sleep(Duration::from_secs(4)).await;
    for (name, token) in names.iter().zip(&tokens).take(names.len() - 1) {
        for _ in 0..4 {
            assert_eq!(call(&edge, token).await.status(), StatusCode::OK, "after the answer `{name}`");
        }
    }
    let log = edge.envoy.log();
    for name in names {
        assert!(log.contains(&format!("no keys from origin origin /keys/{name}")), "{name}: no reason in the log");
    }
}

/// Every set of the golden table, each published by an issuer of its own.
#[tokio::test]
async fn every_key_set_of_the_table_is_good_for_what_it_says() {
    let (folder, origin) = (tempfile::tempdir().unwrap(), Scripted::start().await);
    let sets = cases::sets::all();
    let names: Vec<String> = (0..sets.len()).map(|number| format!("set-{number}")).collect();
    for (name, set) in names.iter().zip(&sets) {
        origin.answer(name, Answer::Raw(200, set.text().into_bytes()));
    }
    let mut policy = policy(&names.iter().map(String::as_str).collect::<Vec<_>>(), 3600, 7200);
    let algorithms = json!(["EdDSA", "ES256", "ES384", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]);
    for issuer in policy["issuers"].as_array_mut().unwrap() {
        issuer["algorithms"] = algorithms.clone();
    }
    let edge = start(folder.path(), &origin, &policy).await;
    // That there are no keys must come of the set, not of a fetch that is still to come.
    eventually("a verdict on every set", async || {
        let log = edge.envoy.log();
        let says = |name: &str, reason: &str| {
            let place = format!("no keys from origin origin /keys/{name}: ");
            log.lines().any(|line| line.contains(&place) && line.contains(reason))
        };
        names.iter().zip(&sets).all(|(name, set)| set.refused.as_ref().is_none_or(|reason| says(name, reason)))
    })
    .await;
    let (mut held, mut refused) = (0, 0);
    for (name, set) in names.iter().zip(&sets) {
        if set.refused.is_none() {
            let (key, algorithm) = PAIRS.into_iter().find(|(key, algorithm)| set.holds(key, algorithm)).unwrap();
            passes_everywhere(&edge, &signed(name, key, algorithm)).await;
        }
        for (key, algorithm) in PAIRS {
            let wanted = match &set.refused {
                Some(_) => "keys_unavailable",
                None if set.holds(key, algorithm) => "",
                None => "token_invalid",
            };
            assert_eq!(
                code(call(&edge, &signed(name, key, algorithm)).await).await,
                wanted,
                "{}: {key} {algorithm}",
                set.name
            );
            if wanted.is_empty() { held += 1 } else { refused += 1 }
        }
    }
    println!("{} key sets: {held} tokens pass, {refused} do not", sets.len());
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_as_good_as_no_keys() {
    let (folder, origin) = (tempfile::tempdir().unwrap(), Scripted::start().await);
    let mut policy = policy(&["idp"], 300, 3600);
    policy["issuers"][0]["keys"]["cluster"] = json!("nowhere");
    let edge = start(folder.path(), &origin, &policy).await;
    assert_eq!(code(call(&edge, &token("idp", "ed")).await).await, "keys_unavailable");
    eventually("a word in the log", async || edge.envoy.log().contains("this Envoy has no such cluster")).await;
}

/// The longest that a set may be old before it is fetched again, with the time that takes and a tick.
const REFRESHED: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn ten_issuers_change_their_keys_under_load_and_no_valid_token_is_refused() {
    let (folder, origin) = (tempfile::tempdir().unwrap(), Scripted::start().await);
    let names: Vec<String> = (0..10).map(|number| format!("idp-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for name in &names {
        origin.answer(name, keys(&["ed"]));
    }
    let mut policy = policy(&names, 10, 3600);
    policy["roles"]["free"]["requests"] = json!({"per_minute": 6_000_000, "burst": 100_000});
    let edge = start(folder.path(), &origin, &policy).await;
    let old: Vec<String> = names.iter().map(|name| token(name, "ed")).collect();
    let new: Vec<String> = names.iter().map(|name| token(name, "ed-other")).collect();
    for token in &old {
        passes_everywhere(&edge, token).await;
    }
    // Valid tokens at any moment; what else than 200 they get is a failure.
    let valid = Mutex::new(old.clone());
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    let load = async |task: usize| {
        let client = reqwest::Client::new();
        for number in task.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let token = {
                let valid = valid.lock().unwrap();
                valid[number % valid.len()].clone()
            };
            let answer = client.get(format!("{}/api/me", edge.url)).bearer_auth(&token).send().await.unwrap();
            let status = answer.status();
            assert_eq!(status, StatusCode::OK, "{number}: {}", code(answer).await);
            sent.fetch_add(1, Ordering::Relaxed);
        }
    };
    let rotation = async || {
        // Each publishes its next key before it signs with it. Three cannot be reached when their turn comes.
        for (number, name) in names.iter().enumerate() {
            origin.answer(
                name,
                match number {
                    0 => Answer::Silence,
                    1 => Answer::Raw(500, Vec::new()),
                    2 => Answer::Raw(200, b"<html>please log in</html>".to_vec()),
                    _ => keys(&["ed", "ed-other"]),
                },
            );
        }
        tokio::time::sleep(REFRESHED).await;
        valid.lock().unwrap().extend_from_slice(&new[3..]);
        for name in &names[..3] {
            origin.answer(name, keys(&["ed", "ed-other"]));
        }
        tokio::time::sleep(REFRESHED).await;
        valid.lock().unwrap().extend_from_slice(&new[..3]);
        // Long enough for every worker to see each of them, then the old ones end.
        tokio::time::sleep(Duration::from_secs(1)).await;
        valid.lock().unwrap().retain(|token| !old.contains(token));
        for name in &names {
            origin.answer(name, keys(&["ed-other"]));
        }
        tokio::time::sleep(REFRESHED).await;
        for token in &old {
            for _ in 0..4 {
                assert_eq!(call(&edge, token).await.status(), StatusCode::UNAUTHORIZED, "the old key still counts");
            }
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(load(0), load(1), load(2), load(3), rotation());
    let sent = sent.load(Ordering::Relaxed);
    println!(
        "envoy: ten issuers changed their keys; {sent} requests, {}/s, none refused",
        sent / began.elapsed().as_secs()
    );
}
