//! Too fast, too much, too large; and well again after the wait.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::edge::{Edge, configuration, hand_over};
use tests::scripted::{Scripted, eventually, everywhere};
use tests::world::World;

#[tokio::test]
async fn a_limit_is_reached_told_and_recovered_from() {
    let tight = |policy: &mut Value| policy["roles"]["free"]["requests"] = json!({"per_minute": 60, "burst": 5});
    let world = World::with(tight, &[]).await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let mut passed = 0;
    let refused = loop {
        let response = world.get_as(&ada, "/api/me").await;
        if response.status() != 200 {
            break response;
        }
        assert!(response.headers()["ratelimit-policy"].to_str().unwrap().starts_with("\"free\";q=5;w=5"));
        passed += 1;
        assert!(passed < 20);
    };
    assert!((5..8).contains(&passed), "{passed} passed at once");
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(refused.headers()["ratelimit"].to_str().unwrap().contains("r=0"));
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "rate_limited");
    assert_eq!(world.get_as(&bob, "/api/me").await.status(), 200, "one user's haste is not another's");
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(world.get_as(&ada, "/api/me").await.status(), 200, "waiting as told is enough");
}

#[tokio::test]
async fn a_thousand_at_once_get_exactly_the_burst() {
    let exact = |policy: &mut Value| {
        policy["roles"]["free"]["requests"] = json!({"per_minute": 1, "burst": 100});
        policy["roles"]["free"]["in_flight"] = json!(1000);
    };
    let world = World::with(exact, &[]).await;
    let ada = world.user("ada").await;
    let calls = (0..1000).map(|_| async { world.get_as(&ada, "/api/voices").await.status() });
    let statuses = futures::future::join_all(calls).await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 100);
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 900);
}

#[tokio::test]
async fn strangers_are_limited_by_address() {
    let tight = |policy: &mut Value| {
        let routes = policy["routes"].as_array_mut().unwrap();
        let login = routes.iter_mut().find(|route| route["path"] == "/login").unwrap();
        login["limit"] = json!({"by": "address", "per_minute": 1, "burst": 3});
    };
    let world = World::with(tight, &[]).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(world.post("/login", json!({"username": "x", "password": "y"})).await.status().as_u16());
    }
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
}

#[tokio::test]
async fn the_days_allowance_ends_and_says_so() {
    let small = |policy: &mut Value| {
        policy["roles"]["free"]["characters_per_request"] = json!(20);
        policy["roles"]["free"]["characters_per_day"] = json!(30);
    };
    let world = World::with(small, &[]).await;
    let ada = world.user("ada").await;
    let too_long = world.post_as(&ada, "/api/generate", json!({"text": "a".repeat(21)})).await;
    assert_eq!(too_long.status(), StatusCode::BAD_REQUEST);
    world.generate(&ada, &"好".repeat(20)).await;
    let refused = world.post_as(&ada, "/api/generate", json!({"text": "eleven char"})).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "quota_exhausted");
    world.generate(&ada, "ten chars!").await;
    let usage: Value = world.get_as(&ada, "/api/me/usage").await.json().await.unwrap();
    assert_eq!(usage["characters"], json!({"used": 30, "limit": 30}));
}

#[tokio::test]
async fn bodies_are_bounded() {
    let world = World::start().await;
    let ada = world.user("ada").await;
    let long = json!({"text": "a".repeat(300 * 1024)});
    let announced = world.post_as(&ada, "/api/generate", long.clone()).await;
    assert_eq!(announced.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let chunks = long
        .to_string()
        .into_bytes()
        .chunks(4096)
        .map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()))
        .collect::<Vec<_>>();
    let endless = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    let request =
        world.request(Method::POST, "/api/generate").bearer_auth(&ada.token).header("content-type", "application/json");
    let counted = request.body(endless).send().await.unwrap();
    assert_eq!(counted.status(), StatusCode::PAYLOAD_TOO_LARGE, "counted even when it does not announce itself");
}

#[tokio::test]
async fn a_day_that_is_used_up_is_remembered_at_the_edge_until_the_policy_allows_more() {
    let one = |policy: &mut Value| policy["roles"]["free"]["generations_per_day"] = json!(1);
    let world = World::with(one, &[]).await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let speak = |user| world.post_as(user, "/api/generate", json!({"text": "hello"}));
    let keyed = async || {
        let request = world.request(Method::POST, "/api/generate").bearer_auth(&ada.token);
        request.header("idempotency-key", "one").json(&json!({"text": "hello"})).send().await.unwrap()
    };
    let first = keyed().await;
    assert_eq!(first.status(), StatusCode::OK);
    assert!(!first.headers().contains_key("x-cosygate-quota"), "what origin and edge say to each other is theirs");
    // Whoever lost the answer to the last one of the day gets it again.
    let again = keyed().await;
    assert_eq!(again.headers()["x-quota-remaining"], "characters=4995, generations=0");
    assert_eq!(first.bytes().await.unwrap(), again.bytes().await.unwrap());
    for _ in 0..10 {
        let refused = speak(&ada).await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        let wait: u32 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=86_401).contains(&wait), "{wait}");
        assert_eq!(refused.json::<Value>().await.unwrap()["code"], "quota_exhausted");
    }
    let log = world.origin.log();
    assert!(log.contains("\"status\":200"), "the origin logs every request");
    assert!(!log.contains("\"status\":429"), "it was asked, although it had said that nothing is left");
    assert_eq!(speak(&bob).await.status(), StatusCode::OK, "one user's day is not another's");
    assert_eq!(world.get_as(&ada, "/api/me").await.status(), StatusCode::OK, "only what is metered is refused");
    world.edit_policy(|policy| policy["roles"]["free"]["generations_per_day"] = json!(3));
    eventually("the raised limit", async || speak(&ada).await.status() == StatusCode::OK).await;
}

#[tokio::test]
async fn behind_proxies_of_ours_the_client_is_who_the_first_of_them_saw() {
    let (folder, origin) = (tempfile::tempdir().unwrap(), Scripted::start().await);
    let mut policy = cases::suites(1).into_iter().find(|(file, _)| *file == "sites.json").unwrap().1.policy;
    policy["limits"] = json!({"trusted_hops": 1});
    policy["routes"] = json!([
        {"path": "/", "methods": ["GET"], "public": true},
        {"path": "/once", "methods": ["GET"], "public": true, "limit": {"by": "address", "per_minute": 1, "burst": 1}},
    ]);
    hand_over(folder.path(), 1, &configuration(&policy));
    // As docs/OPERATIONS.md says.
    let line = "                        - remove_on_match: {key_matcher: {prefix: \"x-forwarded-\"}}\n";
    let edge = Edge::start_with(folder.path(), origin.address, &[], |text| {
        assert!(text.contains(line));
        text.replace(line, "")
    })
    .await;
    edge.answers("/", 200).await;
    let call = async |forwarded: &str| {
        let request = reqwest::Client::new().get(format!("{}/once", edge.url)).header("x-forwarded-for", forwarded);
        request.send().await.unwrap()
    };
    let first = call("198.51.100.7").await;
    assert_eq!(first.status(), StatusCode::OK);
    let received: Value = first.json().await.unwrap();
    let headers = received["headers"].as_array().unwrap();
    let addresses: Vec<&Value> =
        headers.iter().filter(|pair| pair[0] == "x-forwarded-for").map(|pair| &pair[1]).collect();
    assert_eq!(addresses, ["198.51.100.7"], "the origin learns the client and nothing else");
    assert_eq!(call("198.51.100.7").await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        call("203.0.113.9, 198.51.100.7").await.status(),
        StatusCode::TOO_MANY_REQUESTS,
        "further left is hearsay"
    );
    assert_eq!(call("198.51.100.8").await.status(), StatusCode::OK);
    assert_eq!(call("2001:db8::1").await.status(), StatusCode::OK);
    assert_eq!(call("2001:db8::2").await.status(), StatusCode::TOO_MANY_REQUESTS, "one household");
}

#[tokio::test]
async fn an_address_with_too_many_bad_tokens_is_not_heard_any_more_but_for_known_ones() {
    let few = |policy: &mut Value| policy["limits"]["bad_tokens"] = json!({"per_minute": 1, "burst": 5});
    let world = World::with(few, &[]).await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let client = reqwest::Client::new();
    let call =
        async |token: &str| client.get(format!("{}/api/me", world.edge.url)).bearer_auth(token).send().await.unwrap();
    // On this one connection, so that the worker that is asked later knows her token.
    assert_eq!(call(&ada.token).await.status(), StatusCode::OK);
    let mut statuses = Vec::new();
    for number in 0..8 {
        statuses.push(call(&format!("{}{number}", &ada.token[..ada.token.len() - 1])).await.status().as_u16());
    }
    assert!(statuses.starts_with(&[401; 4]) && statuses.ends_with(&[429; 2]), "{statuses:?}");
    assert_eq!(call(&ada.token).await.status(), StatusCode::OK, "what is known still passes");
    let refused = call(&bob.token).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS, "nothing new is looked at");
    assert!(refused.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn an_issuer_and_the_whole_edge_have_limits_and_what_they_refuse_costs_nobody() {
    let shared = |policy: &mut Value| {
        policy["roles"]["free"]["requests"] = json!({"per_minute": 1, "burst": 50});
        policy["issuers"][0]["requests"] = json!({"per_minute": 60, "burst": 3});
    };
    let world = World::with(shared, &[]).await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let mut statuses = Vec::new();
    for user in [&ada, &bob, &ada, &bob, &ada, &bob] {
        statuses.push(world.get_as(user, "/api/me").await.status().as_u16());
    }
    assert!(statuses.starts_with(&[200, 200, 200]) && statuses.ends_with(&[429, 429]), "{statuses:?}");
    world.edit_policy(|policy| {
        policy["issuers"][0].as_object_mut().unwrap().remove("requests");
        policy["limits"]["edge"] = json!({"per_minute": 1, "burst": 4});
    });
    let is_refused = async || {
        let refused = reqwest::get(format!("{}/", world.edge.url)).await.unwrap();
        let status = refused.status();
        if status != StatusCode::OK {
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
            assert_eq!(refused.json::<Value>().await.unwrap()["code"], "overloaded");
        }
        status != StatusCode::OK
    };
    eventually("the limit of the edge", async || everywhere(is_refused).await).await;
    for _ in 0..20 {
        assert_eq!(world.get_as(&ada, "/api/me").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    world.edit_policy(|policy| {
        policy["limits"].as_object_mut().unwrap().remove("edge");
    });
    let mut left = String::new();
    eventually("no limit of the edge", async || {
        let response = world.get_as(&ada, "/api/me").await;
        left = response.headers().get("ratelimit").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        response.status() == StatusCode::OK
    })
    .await;
    // Of her fifty, she used those that passed and this one; what was refused did not count.
    let left: u32 = left.split("r=").nth(1).unwrap().split(';').next().unwrap().parse().unwrap();
    assert!(left >= 45, "{left} of 50 are left");
}
