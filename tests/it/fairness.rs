//! Users share the engine, through the edge: nobody waits behind another's backlog, and equal users get the same.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::scripted::{eventually, within};
use tests::stub_engine::{Mode, Options, StubEngine};
use tests::world::{User, World, roomy};

/// A world whose engine takes so long for a generation, one at a time, so that whoever is next has to be chosen.
async fn start(folder: &std::path::Path, cost: Duration) -> (World, StubEngine) {
    let stub = StubEngine::start_with(Options { cost, ..Options::default() }).await.unwrap();
    let toml = format!("[queue]\nlength = 5000\n{}", crate::engines::settings(&stub, folder, 1));
    let patient = |policy: &mut Value| {
        roomy(policy);
        policy["roles"]["free"]["jobs_queued"] = json!(2000);
    };
    (World::with_file(patient, &[], &toml).await, stub)
}

/// Puts so many generations into somebody's queue, and waits for none of them.
async fn queue(world: &World, user: &User, name: &str, count: usize) {
    let each = (0..count).map(async |number| {
        let request = world.request(Method::POST, "/api/generate").bearer_auth(&user.token);
        let request = request.header("prefer", "respond-async").json(&json!({"text": format!("{name} {number:04}.")}));
        assert_eq!(request.send().await.unwrap().status(), StatusCode::ACCEPTED);
    });
    futures::stream::iter(each).buffer_unordered(8).collect::<Vec<()>>().await;
}

/// Whose generations the engine was given, in their order.
fn served(stub: &StubEngine) -> Vec<String> {
    let requests = stub.requests();
    requests.iter().map(|seen| seen.fields["tts_text"].split(' ').next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_behind_a_thousand_of_somebody_else() {
    const COST: Duration = Duration::from_millis(100);
    let folder = tempfile::tempdir().unwrap();
    let (world, stub) = start(folder.path(), COST).await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    queue(&world, &ada, "ada", 1000).await;
    for round in 1..=3 {
        // Somebody who had one just now takes turns with her; he comes anew.
        let had = served(&stub).len();
        eventually("some of hers", async || served(&stub).len() >= had + 4).await;
        let (before, began) = (served(&stub).len(), Instant::now());
        queue(&world, &bob, "bob", 1).await;
        let known = served(&stub).len();
        let place = loop {
            let place = served(&stub)[before..].iter().position(|name| name == "bob");
            assert!(began.elapsed() < Duration::from_secs(10), "his turn never comes");
            if let Some(place) = place {
                break before + place;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        let (waited, others) = (began.elapsed(), place.saturating_sub(known));
        println!(
            "round {round}: {others} of hers began after his one was known, which waited {waited:.0?} (one takes {COST:?})"
        );
        // One may have been taken already, and not yet have come to the engine.
        assert!(others <= 1, "{others} began before his one");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_equal_users_get_the_same() {
    const USERS: usize = 8;
    let folder = tempfile::tempdir().unwrap();
    let (world, stub) = start(folder.path(), Duration::from_millis(30)).await;
    let warden = world.user("warden").await;
    let mut users = Vec::new();
    for number in 0..USERS {
        users.push(world.user(&format!("user{number}")).await);
    }
    // Somebody holds the engine until all are there; whoever comes first has the most.
    stub.fail_with(Mode::HangBeforeFirstByte);
    queue(&world, &warden, "warden", 1).await;
    eventually("the engine is held", async || stub.counters().running == 1).await;
    stub.fail_with(Mode::Work);
    for (number, user) in users.iter().enumerate() {
        queue(&world, user, &format!("user{number}"), 34 - 3 * number).await;
    }
    let before = served(&stub).len();
    let jobs: Value = world.get_as(&warden, "/api/jobs").await.json().await.unwrap();
    let held = format!("/api/jobs/{}", jobs["jobs"][0]["id"].as_str().unwrap());
    assert_eq!(world.delete_as(&warden, &held).await.status(), StatusCode::NO_CONTENT);
    let rounds = 10;
    within(Duration::from_secs(60), "ten rounds", async || served(&stub).len() >= before + rounds * USERS).await;
    let order = &served(&stub)[before..before + rounds * USERS];
    let mut got: BTreeMap<&str, f64> = BTreeMap::new();
    order.iter().for_each(|name| *got.entry(name).or_default() += 1.0);
    let (sum, squares) = got.values().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    let jain = sum * sum / (USERS as f64 * squares);
    // How many of others came between two of one user, at most.
    let longest = got.keys().map(|user| {
        let places: Vec<usize> = (0..order.len()).filter(|place| order[*place] == *user).collect();
        places.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(order.len())
    });
    let longest = longest.max().unwrap();
    println!("Jain's index {jain:.4}, at most {longest} turns from one of a user to the next: {got:?}");
    assert_eq!(got.len(), USERS, "{got:?}");
    assert!(jain >= 0.98, "{jain}: {got:?}");
    assert!(longest <= 2 * USERS, "somebody was passed over for {longest} turns");
}
