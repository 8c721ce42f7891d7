//! An edge and its control plane: what it takes, what it refuses, and what it does without.

use std::path::Path;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tests::bundle::{Root, claims, following, now};
use tests::edge::{Edge, hand_over};
use tests::scripted::{Scripted, eventually, everywhere};

use crate::under_way::{token, token_of};

/// A policy that says its revision in the burst of the role.
fn policy(rev: u64) -> Value {
    let mut policy = cases::suites(1).into_iter().find(|(file, _)| *file == "sites.json").unwrap().1.policy;
    policy["rev"] = json!(rev);
    policy["roles"]["free"]["requests"] = json!({"per_minute": 600_000, "burst": 1000 + rev});
    policy["routes"] = json!([
        {"path": "/", "methods": ["GET"], "public": true},
        {"path": "/echo", "methods": ["GET"], "roles": ["free"]},
        {"path": "/events", "methods": ["GET"], "roles": ["free"]},
    ]);
    policy
}

/// The status of a request without a token, or with one.
async fn status(edge: &Edge, path: &str, user: Option<&str>) -> StatusCode {
    let request = Client::new().get(format!("{}{path}", edge.url));
    let request = if let Some(user) = user { request.bearer_auth(token(user)) } else { request };
    request.send().await.unwrap().status()
}

/// The revision that a fresh connection is judged by; 0 if none lets it pass.
async fn rev(edge: &Edge) -> u64 {
    let response = Client::new().get(format!("{}/echo", edge.url)).bearer_auth(token("ada")).send().await.unwrap();
    let policy = response.headers().get("ratelimit-policy").map(|value| value.to_str().unwrap().to_owned());
    let burst = policy.and_then(|policy| policy.split("q=").nth(1)?.split(';').next()?.parse::<u64>().ok());
    burst.map_or(0, |burst| burst - 1000)
}

/// Waits until both workers judge by a revision: so many fresh connections in a row.
async fn judged_by(edge: &Edge, wanted: u64) {
    eventually("the revision", async || everywhere(async || rev(edge).await == wanted).await).await;
}

async fn start(folder: &Path, origin: &Scripted, roots: &[&Root], seed: Option<&str>) -> Edge {
    hand_over(folder, 1, &following(roots, seed));
    Edge::start(folder, origin.address, &[]).await
}

#[tokio::test]
async fn what_is_signed_and_newer_is_taken_and_nothing_else() {
    let (folder, origin, root) = (tempfile::tempdir().unwrap(), Scripted::start().await, Root::new(7));
    let edge = start(folder.path(), &origin, &[&root, &Root::new(8)], None).await;
    assert_eq!(status(&edge, "/", None).await, StatusCode::SERVICE_UNAVAILABLE, "there is no policy yet");
    let offer = |claims: &Value| origin.offer(claims["jti"].as_str().unwrap(), root.sign(claims));
    offer(&claims(10, &policy(1)));
    judged_by(&edge, 1).await;
    offer(&claims(11, &policy(2)));
    judged_by(&edge, 2).await;
    eventually("the report", async || origin.reports().last().is_some_and(|report| report.serial == 11)).await;
    let report = origin.reports().pop().unwrap();
    assert_eq!((report.node.as_str(), report.rev, report.error.as_str()), ("edge-1", 2, ""));

    let sound = claims(12, &policy(3));
    let with = |member: &str, value: Value| {
        let mut claims = sound.clone();
        claims[member] = value;
        root.sign(&claims)
    };
    let mut flipped = root.sign(&sound);
    let middle = flipped.len() / 2;
    flipped.replace_range(middle..=middle, if flipped.as_bytes()[middle] == b'A' { "B" } else { "A" });
    let mut unsound = policy(3);
    unsound["roles"]["free"]["requests"]["burst"] = json!(0);
    let mut surplus = policy(3);
    surplus["colour"] = json!("red");
    let refused = [
        ("older", root.sign(&claims(9, &policy(3)))),
        ("older", root.sign(&claims(10, &policy(1)))),
        ("audience", with("aud", json!("edge:other"))),
        ("expired", with("exp", json!(now() - 1))),
        ("signature", flipped),
        ("signature", Root::new(9).sign(&sound)),
        ("malformed", root.sign(&sound)[..middle].to_owned()),
        ("malformed", "<html>".to_owned()),
        ("malformed", String::new()),
        ("policy", root.sign(&claims(12, &unsound))),
        ("policy", root.sign(&claims(12, &surplus))),
        ("too large", "a".repeat(10 * 1024 * 1024)),
    ];
    for (number, (reason, text)) in refused.into_iter().enumerate() {
        origin.offer(&format!("bad-{number}"), text);
        eventually(reason, async || origin.reports().last().unwrap().error.starts_with(reason)).await;
        assert_eq!((rev(&edge).await, origin.reports().last().unwrap().serial), (2, 11), "{reason}");
    }
    let figures = reqwest::get(format!("{}/stats/prometheus", edge.metrics_url)).await.unwrap().text().await.unwrap();
    for outcome in ["older", "audience", "expired", "signature", "malformed", "policy", "too_large", "applied"] {
        assert!(
            figures.contains(&format!("cosygate_edge_bundles_total{{outcome=\"{outcome}\"")),
            "{outcome}: {figures}"
        );
    }
    // The other root key will do, and so will one that the same content is signed with again.
    let next = claims(12, &policy(4));
    origin.offer("next", Root::new(8).sign(&next));
    judged_by(&edge, 4).await;
    eventually("no error", async || origin.reports().last().unwrap().error.is_empty()).await;
}

#[tokio::test]
async fn without_a_control_plane_the_last_good_policy_stays_until_it_runs_out() {
    let (folder, origin, root) = (tempfile::tempdir().unwrap(), Scripted::start().await, Root::new(7));
    let seed = root.sign(&claims(5, &policy(1)));
    origin.offer_nothing(503);
    let edge = start(folder.path(), &origin, &[&root], Some(&seed)).await;
    // It was just started, and cannot know which tokens were withdrawn since the seed was signed.
    eventually("the seed", async || status(&edge, "/", None).await == StatusCode::OK).await;
    assert_eq!(status(&edge, "/echo", Some("ada")).await, StatusCode::SERVICE_UNAVAILABLE);
    eventually("the report", async || origin.reports().last().is_some_and(|report| report.error.contains("503"))).await;

    // Older than the seed is refused by an edge that has been cut off since.
    origin.offer("older", root.sign(&claims(4, &policy(9))));
    eventually("refused", async || origin.reports().last().unwrap().error.starts_with("older")).await;
    assert_eq!(status(&edge, "/echo", Some("ada")).await, StatusCode::SERVICE_UNAVAILABLE);

    let mut short = claims(6, &policy(2));
    short["exp"] = json!(now() + 4);
    origin.offer("short", root.sign(&short));
    judged_by(&edge, 2).await;
    origin.offer_nothing(503);
    assert_eq!(status(&edge, "/echo", Some("ada")).await, StatusCode::OK, "what was heard stays");
    let is_silent = async || status(&edge, "/", None).await == StatusCode::SERVICE_UNAVAILABLE;
    eventually("run out", async || everywhere(is_silent).await).await;
    assert!(now() >= short["exp"].as_u64().unwrap());
    assert_eq!(status(&edge, "/echo", Some("ada")).await, StatusCode::SERVICE_UNAVAILABLE);
    origin.offer("back", root.sign(&claims(7, &policy(3))));
    judged_by(&edge, 3).await;
}

#[tokio::test]
async fn an_operator_may_prefer_old_knowledge_to_none() {
    let (folder, origin, root) = (tempfile::tempdir().unwrap(), Scripted::start().await, Root::new(7));
    let mut open = policy(1);
    open["failure"] = json!({"policy": "allow", "revocation": "allow"});
    let mut seed = claims(5, &open);
    seed["exp"] = json!(now() - 10);
    let edge = start(folder.path(), &origin, &[&root], Some(&root.sign(&seed))).await;
    judged_by(&edge, 1).await;
}

#[tokio::test]
async fn what_is_withdrawn_ends_at_once_even_in_the_middle_of_a_stream() {
    let (folder, origin, root) = (tempfile::tempdir().unwrap(), Scripted::start().await, Root::new(7));
    let first = claims(5, &policy(1));
    let seed = root.sign(&first);
    origin.offer(first["jti"].as_str().unwrap(), &*seed);
    let edge = start(folder.path(), &origin, &[&root], Some(&seed)).await;
    judged_by(&edge, 1).await;
    let (ada, bob) = (token("ada"), token("bob"));
    let get = async |path: &str, token: &str| {
        Client::new().get(format!("{}{path}", edge.url)).bearer_auth(token).send().await.unwrap()
    };
    let (mut hers, mut his) = (get("/events", &ada).await, get("/events", &bob).await);
    assert_eq!((hers.status(), his.status()), (StatusCode::OK, StatusCode::OK));
    // One event for each of them.
    origin.release(2);
    assert!(hers.chunk().await.unwrap().is_some() && his.chunk().await.unwrap().is_some());

    let mut withdrawing = claims(6, &policy(1));
    withdrawing["revocation"] = json!({"users": {"ada": now() + 1}});
    origin.offer(withdrawing["jti"].as_str().unwrap(), root.sign(&withdrawing));
    let ended = tokio::time::timeout(Duration::from_secs(2), hers.chunk()).await;
    assert!(ended.expect("her stream goes on").is_err(), "it breaks off, so that nobody takes it for whole");
    eventually("refused by both workers", async || {
        everywhere(async || get("/echo", &ada).await.status() == StatusCode::UNAUTHORIZED).await
    })
    .await;
    assert_eq!(get("/echo", &bob).await.status(), StatusCode::OK);
    // One for each of them: the origin may not have noticed yet that hers is gone.
    origin.release(2);
    let goes_on = tokio::time::timeout(Duration::from_secs(10), his.chunk()).await;
    assert!(goes_on.expect("his stands still").unwrap().is_some(), "his goes on");
}

/// A token of this user with a place in a status list.
fn listed(user: &str, uri: &str, index: u64) -> String {
    let claims = json!({
        "iss": "https://issuer.example", "aud": "cosygate", "sub": user, "role": "free",
        "iat": now(), "exp": now() + 600, "status": {"status_list": {"uri": uri, "idx": index}},
    });
    token_of(&claims)
}

#[tokio::test]
async fn a_bundle_is_taken_with_its_status_lists_or_not_at_all() {
    let (folder, origin, root) = (tempfile::tempdir().unwrap(), Scripted::start().await, Root::new(7));
    let edge = start(folder.path(), &origin, &[&root], None).await;
    let offer = |claims: &Value| origin.offer(claims["jti"].as_str().unwrap(), root.sign(claims));
    offer(&claims(10, &policy(1)));
    judged_by(&edge, 1).await;
    let uri = "https://issuer.example/status/3";
    let tokens = [("ada", 5), ("bob", 6)].map(|(user, index)| listed(user, uri, index));
    let judged = async |which: usize| {
        Client::new().get(format!("{}/echo", edge.url)).bearer_auth(&tokens[which]).send().await.unwrap().status()
    };
    assert_eq!((judged(0).await, judged(1).await), (StatusCode::OK, StatusCode::OK));

    let with = |serial: u64, rev: u64, least: u64| {
        let mut claims = claims(serial, &policy(rev));
        claims["lists"] = json!({uri: least});
        claims
    };
    let mut bits = vec![0; gate::status::LIST_BYTES];
    bits[0] = 1 << 5;
    let complains = async |serial: u64| {
        eventually("the complaint", async || {
            origin.reports().last().is_some_and(|report| report.serial == serial && report.error.starts_with("list: "))
        })
        .await;
    };
    // None there; another one; a stranger's; one from before; one without an end.
    offer(&with(11, 2, 11));
    complains(10).await;
    for wrong in [
        root.sign_list("https://issuer.example/status/4", 11, &bits),
        Root::new(8).sign_list(uri, 11, &bits),
        root.sign_list(uri, 10, &bits),
        "a".repeat(1_000_000),
    ] {
        origin.offer_list(uri, wrong);
        let seen = origin.reports().len();
        eventually("another question", async || origin.reports().len() > seen + 1).await;
        complains(10).await;
        assert_eq!((rev(&edge).await, judged(0).await), (1, StatusCode::OK), "the last good one stays");
    }
    origin.offer_list(uri, root.sign_list(uri, 12, &bits));
    judged_by(&edge, 2).await;
    assert_eq!((judged(0).await, judged(1).await), (StatusCode::UNAUTHORIZED, StatusCode::OK));

    // The next bundle needs nothing newer, so nothing is fetched.
    let fetched = origin.listed_bytes();
    offer(&with(12, 3, 11));
    judged_by(&edge, 3).await;
    assert_eq!((origin.listed_bytes(), judged(0).await), (fetched, StatusCode::UNAUTHORIZED));
    bits[0] |= 1 << 6;
    origin.offer_list(uri, root.sign_list(uri, 13, &bits));
    offer(&with(13, 3, 13));
    eventually("the second", async || judged(1).await == StatusCode::UNAUTHORIZED).await;
    // A list that is named no more says nothing any more.
    offer(&claims(14, &policy(4)));
    judged_by(&edge, 4).await;
    assert_eq!(judged(0).await, StatusCode::OK);
}
