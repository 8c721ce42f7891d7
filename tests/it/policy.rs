//! One file changes edge and origin within two seconds, without a restart or a failed request.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::world::{User, World};

async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(2), "{what}: not within two seconds");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    start.elapsed()
}

async fn quota_at_edge(world: &World, user: &User) -> String {
    let response = world.get_as(user, "/api/me").await;
    let policy = response.headers().get("ratelimit-policy").map(|value| value.to_str().unwrap().to_owned());
    policy.unwrap_or_default()
}

#[tokio::test]
async fn limits_change_under_load_without_a_failed_request() {
    let roomy =
        |policy: &mut Value| policy["roles"]["free"]["requests"] = json!({"per_minute": 600_000, "burst": 10_000});
    let world = World::with(roomy, &[]).await;
    let ada = world.user("ada").await;
    let (origin_id, envoy_id) = (world.origin.id(), world.edge.envoy.id());
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let load = async || {
        while !stop.load(Ordering::Relaxed) {
            let response = world.get_as(&ada, "/api/voices").await;
            assert_eq!(response.status(), 200);
            sent.fetch_add(1, Ordering::Relaxed);
        }
    };
    let changes = async {
        let mut slowest = Duration::ZERO;
        for burst in (0..20).map(|step| 10_001 + step) {
            if burst % 4 == 0 {
                // Half a document must change nothing.
                tests::world::write_whole(&world.data().join("policy.json"), b"{\"issuers\": [");
                tokio::time::sleep(Duration::from_millis(300)).await;
                let mut whole = tests::world::shipped_policy();
                whole["roles"]["free"]["requests"] = json!({"per_minute": 600_000, "burst": burst});
                tests::world::write_whole(&world.data().join("policy.json"), whole.to_string().as_bytes());
            } else {
                world.edit_policy(|policy| policy["roles"]["free"]["requests"]["burst"] = json!(burst));
            }
            let wanted = format!("\"free\";q={burst};");
            let took = wait_until("edge", async || quota_at_edge(&world, &ada).await.starts_with(&wanted)).await;
            slowest = slowest.max(took);
        }
        stop.store(true, Ordering::Relaxed);
        slowest
    };
    let (slowest, ..) = tokio::join!(changes, load(), load(), load(), load());
    println!("policy: 20 changes under {} requests, slowest seen at the edge after {slowest:?}", sent.into_inner());
    assert_eq!((world.origin.id(), world.edge.envoy.id()), (origin_id, envoy_id));
}

#[tokio::test]
async fn routes_and_quotas_follow_in_edge_and_origin() {
    let world = World::start().await;
    let ada = world.user("ada").await;
    assert_eq!(world.get_as(&ada, "/api/voices").await.status(), 200);
    world.edit_policy(|policy| {
        let routes = policy["routes"].as_array_mut().unwrap();
        routes.retain(|route| route["path"] != "/api/voices");
        policy["roles"]["free"]["characters_per_day"] = json!(600);
        policy["registration"]["open"] = json!(false);
    });
    wait_until("route gone", async || world.get_as(&ada, "/api/voices").await.status() == StatusCode::NOT_FOUND).await;
    wait_until("quota in the origin", async || {
        let usage: Value = world.get_as(&ada, "/api/me/usage").await.json().await.unwrap();
        usage["characters"]["limit"] == 600
    })
    .await;
    let closed = world.post("/register", json!({"username": "late", "password": "a long enough one"})).await;
    assert_eq!(closed.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn publishing_checks_first() {
    let world = World::start().await;
    let ada = world.user("ada").await;
    let file = world.data().join("next.json");
    let mut next = tests::world::shipped_policy();
    next["roles"]["free"]["requests"]["burst"] = json!(77);
    std::fs::write(&file, next.to_string()).unwrap();
    let path = file.to_str().unwrap();
    assert!(world.cosygate(&["policy", "check", path]).status.success());
    assert!(world.cosygate(&["policy", "publish", path]).status.success());
    wait_until("published", async || quota_at_edge(&world, &ada).await.starts_with("\"free\";q=77;")).await;

    next["routes"][0]["roles"] = json!(["owner"]);
    next["routes"][0]["public"] = json!(false);
    std::fs::write(&file, next.to_string()).unwrap();
    let refused = world.cosygate(&["policy", "publish", path]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("/routes/0/roles/0") && said.contains("owner"), "{said}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(quota_at_edge(&world, &ada).await.starts_with("\"free\";q=77;"), "the last good one holds");
}

#[tokio::test]
async fn what_is_shipped_is_sound_and_fresh() {
    let cosygate = |arguments: &[&str]| {
        let program = tests::process::artefact("COSYGATE_BIN", "target/release/cosygate");
        std::process::Command::new(program).args(arguments).current_dir(tests::process::workspace()).output().unwrap()
    };
    let checked = cosygate(&["policy", "check", "envoy/policy.json"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let schema = String::from_utf8(cosygate(&["policy", "schema"]).stdout).unwrap();
    let committed = std::fs::read_to_string(tests::process::workspace().join("envoy/policy.schema.json")).unwrap();
    assert!(schema == committed, "run: target/release/cosygate policy schema > envoy/policy.schema.json");
}
