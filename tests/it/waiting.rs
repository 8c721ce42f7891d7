//! Whoever is told to come back later is told when, and is served then.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tests::attack::edges;
use tests::attack::mint::{ALGORITHMS, Mint};
use tests::echo::Echo;
use tests::edge::{Edge, configuration, hand_over};
use tests::process::free_port;
use tests::stub_engine::{Mode, Options, StubEngine};
use tests::world::User;

/// Asks until it is refused, checks the refusal, lets `mend` do what somebody else has to do, waits
/// as told and asks again. After a 429 one wait must be enough; after a 503 it depends on how long
/// the mending takes, but every refusal says when to come back.
async fn waits_and_succeeds(request: RequestBuilder, status: u16, code: &str, mend: impl Future<Output = ()>) {
    let send = async || request.try_clone().unwrap().send().await.unwrap();
    let mut answer = send().await;
    for _ in 0..50 {
        if answer.status() != StatusCode::OK {
            break;
        }
        answer = send().await;
    }
    assert_eq!(answer.status(), status, "{code}");
    let mut wait = told(answer, code).await;
    mend.await;
    for _ in 0..if status == 429 { 1 } else { 10 } {
        tokio::time::sleep(wait).await;
        let answer = send().await;
        if answer.status() == StatusCode::OK {
            return;
        }
        assert_eq!(answer.status(), status, "{code}, after {wait:?}");
        wait = told(answer, code).await;
    }
    panic!("{code}: still refused after {wait:?}");
}

/// What a refusal says: its code, and after how many whole seconds to come back.
async fn told(refused: Response, code: &str) -> Duration {
    let header = refused.headers().get("retry-after").unwrap_or_else(|| panic!("{code}: no Retry-After"));
    let seconds: u64 = header.to_str().unwrap().parse().unwrap();
    assert!(seconds > 0, "{code}");
    if code == "rate_limited" {
        assert!(refused.headers().contains_key("ratelimit") && refused.headers().contains_key("ratelimit-policy"));
    }
    assert_eq!(refused.headers()["content-type"], "application/problem+json", "{code}");
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], code);
    Duration::from_secs(seconds)
}

async fn nothing() {}

#[tokio::test]
async fn at_the_edge() {
    let folder = tempfile::tempdir().unwrap();
    let mint = Mint::default();
    let mut policy = edges::policy();
    let slow = json!({"per_minute": 60, "burst": 2});
    policy["roles"]["premium"]["requests"] = slow.clone();
    let limit = |by: &str| json!({"by": by, "per_minute": 60, "burst": 2});
    let routes = policy["routes"].as_array_mut().unwrap();
    routes.push(json!({"path": "/by-address", "methods": ["GET"], "public": true, "limit": limit("address")}));
    routes.push(json!({"path": "/by-user", "methods": ["GET"], "roles": ["free"], "limit": limit("user")}));
    // As a control plane that has not yet put in the keys hands it over.
    let whole = policy.clone();
    policy["issuers"][0]["keys"] = json!({"from": "origin"});

    let edge = Edge::start(folder.path(), Echo::start().await.address, &[]).await;
    let client = reqwest::Client::new();
    let get = |path: &str| client.get(format!("{}{path}", edge.url));
    let token =
        |role: &str| mint.token(&ALGORITHMS[0], |_, claims| drop(claims.insert("role".to_owned(), json!(role))));
    let publish = async |rev: u64, mut policy: Value| {
        policy["rev"] = json!(rev);
        hand_over(folder.path(), rev, &configuration(&policy));
    };
    waits_and_succeeds(get("/"), 503, "policy_unavailable", publish(1, policy)).await;
    let free = || get("/api/me").bearer_auth(token("free"));
    waits_and_succeeds(free(), 503, "keys_unavailable", publish(2, whole)).await;
    futures::join!(
        waits_and_succeeds(get("/api/me").bearer_auth(token("premium")), 429, "rate_limited", nothing()),
        waits_and_succeeds(get("/by-user").bearer_auth(token("free")), 429, "rate_limited", nothing()),
        waits_and_succeeds(get("/by-address"), 429, "rate_limited", nothing()),
    );
}

#[tokio::test]
async fn at_an_origin_that_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    hand_over(folder.path(), 1, &configuration(&edges::policy()));
    let edge = Edge::start(folder.path(), address, &[]).await;
    let request = reqwest::Client::new().get(&edge.url);
    // Until the policy is there, the answer is another one.
    let (mut code, end) = (String::new(), Instant::now() + Duration::from_secs(30));
    while code != "origin_unavailable" {
        assert!(Instant::now() < end, "{code}");
        let response = request.try_clone().unwrap().send().await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        code = response.json::<Value>().await.unwrap()["code"].as_str().unwrap().to_owned();
    }
    let start = async {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let app = axum::Router::new().fallback(async || "well again");
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    };
    waits_and_succeeds(request, 503, "origin_unavailable", start).await;
}

#[tokio::test]
async fn at_the_engine_and_at_the_days_end() {
    let port = free_port();
    let stub = StubEngine::start_with(Options { port, ..Options::default() }).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (world, _) = crate::engines::world_with(&stub, folder.path()).await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let speak = |user: &User, text: &str| {
        let request = world.request(reqwest::Method::POST, "/api/generate");
        request.bearer_auth(&user.token).json(&json!({"text": text}))
    };

    // As many as the role allows at a time, and one more.
    stub.fail_with(Mode::Slow { pause_milliseconds: 50 });
    let running: Vec<_> = (0..4).map(|_| tokio::spawn(speak(&ada, "One. Two. Three. Four.").send())).collect();
    let end = Instant::now() + Duration::from_secs(30);
    while stub.counters().running < 4 {
        assert!(Instant::now() < end, "{:?}", stub.counters());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let ended = async {
        for generation in running {
            assert_eq!(generation.await.unwrap().unwrap().status(), StatusCode::OK);
        }
        stub.fail_with(Mode::Work);
    };
    waits_and_succeeds(speak(&ada, "Five."), 429, "concurrency_exceeded", ended).await;

    drop(stub);
    let mut again = None;
    let start = async {
        // The old one lets go of its port when it has hung up on everybody.
        let end = Instant::now() + Duration::from_secs(30);
        while again.is_none() {
            assert!(Instant::now() < end, "the port is still taken");
            again = StubEngine::start_with(Options { port, ..Options::default() }).await.ok();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    waits_and_succeeds(speak(&bob, "Is anybody there?"), 503, "engine_unavailable", start).await;

    // Nobody can wait for that one here; it lasts until midnight (UTC).
    let now = tests::attack::mint::now();
    let mut last = speak(&bob, &"a".repeat(500)).send().await.unwrap();
    while last.status() == StatusCode::OK {
        last = speak(&bob, &"a".repeat(500)).send().await.unwrap();
    }
    let wait = told(last, "quota_exhausted").await;
    let midnight = (now / 86_400 + 1) * 86_400;
    assert!(wait <= Duration::from_secs(midnight - now + 1), "{wait:?}");
}
