//! Two edges and one origin: what an operator changes is in force everywhere within two seconds,
//! and nobody notices the change itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Header};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tests::edge::Edge;
use tests::world::{User, World};

/// What the project promises.
const SOON: Duration = Duration::from_secs(2);

/// An issuer beside the origin's own, whose key the test holds.
const PARTNER: &str = "https://partner.example";

/// Room for a test's own load, and the partner.
pub(crate) fn roomy(policy: &mut Value) {
    policy["issuers"].as_array_mut().unwrap().push(json!({
        "issuer": PARTNER, "audiences": ["cosygate"], "algorithms": ["EdDSA"], "types": ["at+jwt"],
        "keys": {"jwks": {"keys": [cases::public_key("ed")]}}, "user_prefix": "partner",
    }));
    for role in ["free", "premium", "admin"] {
        policy["roles"][role]["requests"] = json!({"per_minute": 6_000_000, "burst": 100_000});
        policy["roles"][role]["in_flight"] = json!(1000);
    }
    let login = policy["routes"].as_array_mut().unwrap().iter_mut().find(|route| route["path"] == "/login").unwrap();
    login["limit"] = json!({"by": "address", "per_minute": 6000, "burst": 1000});
}

/// A world with a second edge.
struct Fleet {
    world: World,
    second: Edge,
    admin: User,
}

impl Fleet {
    async fn start() -> Self {
        let world = World::with(roomy, &[]).await;
        let second = another_edge(&world, "edge-2", &[]).await;
        let admin = world.admin().await;
        Self { world, second, admin }
    }

    fn edges(&self) -> [&Edge; 2] {
        [&self.world.edge, &self.second]
    }

    /// What the control plane knows of its edges: its own serial and each edge's.
    async fn serials(&self) -> (u64, BTreeMap<String, u64>) {
        let body: Value = self.world.get_as(&self.admin, "/api/admin/edges").await.json().await.unwrap();
        let edges = body["edges"].as_array().unwrap_or_else(|| panic!("{body}")).iter();
        let edges = edges.map(|edge| (edge["node"].as_str().unwrap().to_owned(), edge["serial"].as_u64().unwrap()));
        (body["serial"].as_u64().unwrap(), edges.collect())
    }

    /// Waits until every worker of both edges has come as far as the control plane; how long it took.
    async fn caught_up(&self, since: Instant) -> Duration {
        loop {
            let (serial, edges) = self.serials().await;
            if edges.len() == 2 && edges.values().all(|known| *known >= serial) {
                return since.elapsed();
            }
            assert!(since.elapsed() < 5 * SOON, "{edges:?} after {serial}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// One more edge of the same origin and region, under a name of its own.
pub(crate) async fn another_edge(world: &World, name: &str, variables: &[(&str, &str)]) -> Edge {
    let folder = world.data().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(world.data().join("edge/filter.json"), folder.join("filter.json")).unwrap();
    let origin = world.origin_url.strip_prefix("http://").unwrap().parse().unwrap();
    let renamed = |text: String| text.replace("\"edge-1\"", &format!("\"{name}\""));
    let edge = Edge::start_with(&folder, origin, variables, renamed).await;
    edge.answers("/api/me", 401).await;
    edge
}

/// Requests all the time, from several connections; whatever is not a 200 is a failure.
struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    failures: Arc<Mutex<Vec<String>>>,
    since: Instant,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(fleet: &Fleet, connections: usize) -> Self {
        let (stop, sent): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
        let failures: Arc<Mutex<Vec<String>>> = Arc::default();
        let task = |number: usize| {
            let (stop, sent, failures) = (Arc::clone(&stop), Arc::clone(&sent), Arc::clone(&failures));
            let edge = fleet.edges()[number % 2];
            // The page is public, so half of it is about tokens and half is not.
            let target = format!("{}{}", edge.url, if number % 4 < 2 { "/api/voices" } else { "/" });
            let request = Client::new().get(target).bearer_auth(&fleet.admin.token).build().unwrap();
            let client = Client::new();
            async move {
                while !stop.load(Ordering::Relaxed) {
                    let failure = match client.execute(request.try_clone().unwrap()).await {
                        Ok(response) if response.status() == 200 => {
                            response.bytes().await.err().map(|error| error.to_string())
                        }
                        Ok(response) => Some(format!("{:?}", response.text().await)),
                        Err(error) => Some(format!("{error:?}")),
                    };
                    failures.lock().unwrap().extend(failure.map(|failure| format!("{}: {failure}", request.url())));
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let tasks = (0..connections).map(|number| tokio::spawn(task(number))).collect();
        Self { stop, sent, failures, since: Instant::now(), tasks }
    }

    /// Ends it; requests, and requests a second.
    async fn end(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        let failures = self.failures.lock().unwrap();
        assert!(failures.is_empty(), "{} failures, the first: {}", failures.len(), failures[0]);
        let sent = self.sent.load(Ordering::Relaxed);
        (sent, sent * 1000 / u64::try_from(self.since.elapsed().as_millis()).unwrap())
    }
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() - 1) * percent / 100]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_changes_reach_every_worker_of_two_edges_without_a_failed_request() {
    let fleet = Fleet::start().await;
    let world = &fleet.world;
    let processes = [world.origin.id(), world.edge.envoy.id(), fleet.second.envoy.id()];
    let mut document = tests::world::shipped_policy();
    roomy(&mut document);
    let mut rev: u64 = 1;
    let load = Load::start(&fleet, 8);
    let mut times = Vec::new();
    for number in 0..100_u64 {
        let is_sound = number % 10 != 5;
        document["roles"]["premium"]["requests"]["burst"] = json!(if is_sound { 1000 + number } else { 0 });
        let request = world.request(Method::PUT, "/api/admin/policy").bearer_auth(&fleet.admin.token);
        let began = Instant::now();
        let reply = request.header("if-match", format!("\"{rev}\"")).json(&document).send().await.unwrap();
        let status = reply.status();
        let body: Value = reply.json().await.unwrap();
        if is_sound {
            assert_eq!(status, StatusCode::OK, "{body}");
            rev = body["rev"].as_u64().unwrap();
            times.push(fleet.caught_up(began).await);
        } else {
            assert_eq!(status, StatusCode::BAD_REQUEST);
            assert!(body["detail"].as_str().unwrap().contains("/roles/premium/requests/burst"), "{body}");
            let kept: Value = world.get_as(&fleet.admin, "/api/admin/policy").await.json().await.unwrap();
            assert_eq!(kept["rev"], rev, "the old one stays in force");
        }
    }
    let (sent, per_second) = load.end().await;
    assert_eq!(processes, [world.origin.id(), world.edge.envoy.id(), fleet.second.envoy.id()]);
    let (median, p99, most) = (percentile(&mut times, 50), percentile(&mut times, 99), percentile(&mut times, 100));
    println!(
        "envoy: {} changes at both edges: median {median:?}, p99 {p99:?}, most {most:?}; {sent} requests, {per_second}/s",
        times.len()
    );
    assert_eq!(times.len(), 90);
    assert!(most <= SOON, "{most:?}");
}

/// A token of the partner for one of its users.
fn mint(user: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({
        "iss": PARTNER, "aud": "cosygate", "sub": user, "role": "free", "scope": "speech",
        "sid": format!("login-of-{user}"), "jti": format!("token-of-{user}"), "iat": now, "exp": now + 3600,
    });
    let header = Header { typ: Some("at+jwt".into()), kid: Some("ed".into()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, &claims, &cases::private_key("ed")).unwrap()
}

/// What becomes of a request; one that is cut off under way, because its token is withdrawn, was
/// refused.
async fn status(client: &Client, edge: &Edge, token: &str) -> StatusCode {
    let answer = client.get(format!("{}/api/voices", edge.url)).bearer_auth(token).send().await;
    answer.map_or(StatusCode::UNAUTHORIZED, |response| response.status())
}

/// Withdraws tokens of so many users, one after another, by each kind of name in turn, and then
/// looks at each of them at every edge; how long each took to be refused, and how many were
/// accepted too late.
async fn withdraw_and_look(fleet: &Fleet, users: std::ops::Range<usize>) -> (Vec<Duration>, usize) {
    let client = Client::new();
    let tokens: Vec<(String, String)> =
        users.map(|number| format!("user-{number}")).map(|user| (mint(&user), user)).collect();
    // Known to the edges, so that it is a memory that has to go.
    for (token, _) in &tokens {
        for edge in fleet.edges() {
            assert_eq!(status(&client, edge, token).await, StatusCode::OK);
        }
    }
    let (mut times, mut late) = (Vec::new(), 0);
    let mut waiting: Vec<(&str, Instant)> = Vec::new();
    for (number, (token, user)) in tokens.iter().enumerate() {
        let (kind, subject) = match number % 3 {
            0 => ("user", format!("partner:{user}")),
            1 => ("session", format!("login-of-{user}")),
            _ => ("token", format!("token-of-{user}")),
        };
        let body = json!({"kind": kind, "subject": subject, "reason": "a test"});
        let reply = fleet.world.post_as(&fleet.admin, "/api/admin/revocations", body).await;
        assert_eq!(reply.status(), StatusCode::CREATED);
        waiting.push((token, Instant::now()));
        look(fleet, &client, &mut waiting, &mut times, &mut late, 8).await;
    }
    while !waiting.is_empty() {
        look(fleet, &client, &mut waiting, &mut times, &mut late, usize::MAX).await;
    }
    (times, late)
}

/// Looks at the oldest of those that still wait.
async fn look(
    fleet: &Fleet,
    client: &Client,
    waiting: &mut Vec<(&str, Instant)>,
    times: &mut Vec<Duration>,
    late: &mut usize,
    most: usize,
) {
    let mut kept = Vec::new();
    for (number, (token, since)) in waiting.drain(..).enumerate() {
        if number >= most {
            kept.push((token, since));
            continue;
        }
        let asked = since.elapsed();
        let mut accepted = false;
        for edge in fleet.edges() {
            accepted |= status(client, edge, token).await == StatusCode::OK;
        }
        if accepted {
            *late += usize::from(asked > SOON);
            kept.push((token, since));
        } else {
            times.push(since.elapsed());
        }
    }
    *waiting = kept;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_withdrawn_tokens_are_refused_within_two_seconds_and_stay_so() {
    let mut fleet = Fleet::start().await;
    let withdrawn = mint("user-0");
    let load = Load::start(&fleet, 4);
    let (mut times, late) = withdraw_and_look(&fleet, 0..900).await;
    let (sent, per_second) = load.end().await;
    let (median, most) = (percentile(&mut times, 50), percentile(&mut times, 100));
    println!(
        "envoy: {} tokens withdrawn: median {median:?}, most {most:?}, {late} late; {sent} requests, {per_second}/s",
        times.len()
    );
    assert_eq!((times.len(), late), (900, 0));

    // An edge that starts anew knows before it lets anybody in.
    let folder = fleet.world.data().join("edge-2");
    fleet.second = restarted(&fleet, &folder).await;
    let client = Client::new();
    let sound = mint("somebody-else");
    let first = loop {
        match status(&client, &fleet.second, &sound).await {
            StatusCode::SERVICE_UNAVAILABLE => tokio::time::sleep(Duration::from_millis(5)).await,
            other => break other,
        }
    };
    assert_eq!(first, StatusCode::OK);
    assert_eq!(status(&client, &fleet.second, &withdrawn).await, StatusCode::UNAUTHORIZED);
    let (times, late) = withdraw_and_look(&fleet, 900..1000).await;
    assert_eq!((times.len(), late), (100, 0));

    // Without the control plane what was withdrawn stays so, and an edge that starts anew lets
    // nobody in who has a token, because it cannot know.
    fleet.world.origin.kill();
    let gone = [status(&client, &fleet.world.edge, &withdrawn).await, status(&client, &fleet.second, &withdrawn).await];
    assert_eq!(gone, [StatusCode::UNAUTHORIZED; 2]);
    fleet.second = restarted(&fleet, &folder).await;
    for _ in 0..20 {
        for token in [&withdrawn, &sound] {
            assert_eq!(status(&client, &fleet.second, token).await, StatusCode::SERVICE_UNAVAILABLE);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a token says.
fn claims(token: &str) -> Value {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_our_own_are_withdrawn_one_by_one_through_their_list() {
    let mut fleet = Fleet::start().await;
    let client = Client::new();
    fleet.world.user("ada").await;
    let mut tokens = Vec::new();
    for _ in 0..20 {
        tokens.push(fleet.world.login("ada", "ada's own long password").await.token);
    }
    for token in &tokens {
        for edge in fleet.edges() {
            assert_eq!(status(&client, edge, token).await, StatusCode::OK);
        }
    }
    let (sound, withdrawn) = tokens.split_last().unwrap();
    let mut times = Vec::new();
    for (number, token) in withdrawn.iter().enumerate() {
        let kind = if number % 2 == 0 { ("session", "sid") } else { ("token", "jti") };
        let body = json!({"kind": kind.0, "subject": claims(token)[kind.1], "reason": "a test"});
        let reply = fleet.world.post_as(&fleet.admin, "/api/admin/revocations", body).await;
        assert_eq!(reply.status(), StatusCode::CREATED);
        let began = Instant::now();
        for edge in fleet.edges() {
            while status(&client, edge, token).await != StatusCode::UNAUTHORIZED {
                assert!(began.elapsed() < SOON, "{kind:?} still holds");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        times.push(began.elapsed());
    }
    println!("envoy: 19 tokens withdrawn in their list: median {:?}, most {:?}", percentile(&mut times, 50), times[18]);
    assert_eq!(status(&client, &fleet.world.edge, sound).await, StatusCode::OK, "nobody else's");

    // An edge that starts anew has the list before it lets anybody in, and keeps it without an origin.
    let folder = fleet.world.data().join("edge-2");
    fleet.second = restarted(&fleet, &folder).await;
    let first = loop {
        match status(&client, &fleet.second, &withdrawn[0]).await {
            StatusCode::SERVICE_UNAVAILABLE => tokio::time::sleep(Duration::from_millis(5)).await,
            other => break other,
        }
    };
    assert_eq!(first, StatusCode::UNAUTHORIZED);
    fleet.world.origin.kill();
    for token in withdrawn {
        assert_eq!(status(&client, &fleet.second, token).await, StatusCode::UNAUTHORIZED);
    }
}

/// The second edge in a new process.
async fn restarted(fleet: &Fleet, folder: &Path) -> Edge {
    let origin = fleet.world.origin_url.strip_prefix("http://").unwrap().parse().unwrap();
    Edge::start_with(folder, origin, &[], |text| text.replace("\"edge-1\"", "\"edge-2\"")).await
}

/// What the control plane knows of its issuer's keys: kid and state.
fn issuer_keys(world: &World) -> Vec<(String, String)> {
    let output = world.cosygate(&["keys", "list"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let fields = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
    let keys = text.lines().map(fields).filter(|fields| fields[0] == "issuer");
    keys.map(|fields| (fields[1].clone(), fields[2].clone())).collect()
}

fn active_key(world: &World) -> String {
    issuer_keys(world).into_iter().find(|(_, state)| state == "active").unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_new_keys_under_load_refuse_no_valid_token() {
    let fleet = Fleet::start().await;
    let world = &fleet.world;
    world.user("ada").await;
    let load = Load::start(&fleet, 4);
    let mut tokens = vec![fleet.admin.token.clone()];
    let client = Client::new();
    for number in 0..10 {
        let before = active_key(world);
        // Three times one edge stands still for a while: nothing is signed by a key that it does not know.
        let is_stalled = number % 4 == 1;
        if is_stalled {
            signal(&fleet.second, "STOP");
        }
        assert!(world.cosygate(&["keys", "rotate", "issuer"]).status.success());
        if is_stalled {
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert_eq!(active_key(world), before, "an edge does not know the new key yet");
            let unaware = world.login("ada", "ada's own long password").await.token;
            signal(&fleet.second, "CONT");
            tokens.push(unaware);
        }
        tests::scripted::eventually("the new key signs", async || active_key(world) != before).await;
        tokens.push(world.login("ada", "ada's own long password").await.token);
        for token in &tokens {
            for edge in fleet.edges() {
                assert_eq!(status(&client, edge, token).await, StatusCode::OK, "rotation {number}");
            }
        }
    }
    let (sent, per_second) = load.end().await;
    println!("envoy: 10 new keys, {} tokens of all of them hold; {sent} requests, {per_second}/s", tokens.len());

    // A retired key that is ended is refused everywhere within five seconds, and nothing else is.
    let (oldest, state) = issuer_keys(world).remove(0);
    assert_eq!(state, "retired");
    assert!(world.cosygate(&["keys", "retire", &oldest]).status.success());
    let began = Instant::now();
    for edge in fleet.edges() {
        while status(&client, edge, &tokens[0]).await == StatusCode::OK {
            assert!(began.elapsed() < Duration::from_secs(5), "the ended key still counts");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(status(&client, &world.edge, tokens.last().unwrap()).await, StatusCode::OK);
    assert!(!world.cosygate(&["keys", "retire", &active_key(world)]).status.success(), "one has to sign");
}

fn signal(edge: &Edge, name: &str) {
    let sent = std::process::Command::new("kill").args([format!("-{name}"), edge.envoy.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

/// The burst of the role admin by which an edge judges, as its answers tell.
async fn burst(edge: &Edge, token: &str) -> String {
    let response = Client::new().get(format!("{}/api/voices", edge.url)).bearer_auth(token).send().await.unwrap();
    response.headers()["ratelimit-policy"].to_str().unwrap().split(';').nth(1).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_tried_at_one_edge_before_it_is_everywhere() {
    let fleet = Fleet::start().await;
    let (world, token) = (&fleet.world, &fleet.admin.token);
    let mut document = tests::world::shipped_policy();
    roomy(&mut document);
    document["roles"]["admin"]["requests"]["burst"] = json!(90_000);
    let file = world.data().join("next.json");
    std::fs::write(&file, document.to_string()).unwrap();
    let run = |arguments: &[&str]| {
        let output = world.cosygate(&[&["policy"], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let file = file.to_str().unwrap();
    assert!(run(&["try", file, "--node", "edge-2", "--wait"]).contains("in force at 2 of 2 edges"));
    let seen = async || (burst(&world.edge, token).await, burst(&fleet.second, token).await);
    assert_eq!(seen().await, ("q=100000".to_owned(), "q=90000".to_owned()));
    assert!(run(&["status"]).contains("on trial\trev 2"));
    run(&["drop", "--wait"]);
    assert_eq!(seen().await, ("q=100000".to_owned(), "q=100000".to_owned()));

    // As a shadow it is counted and not enforced.
    run(&["try", file, "--shadow", "--wait"]);
    assert_eq!(seen().await, ("q=100000".to_owned(), "q=100000".to_owned()));
    run(&["promote", "--wait"]);
    assert_eq!(seen().await, ("q=90000".to_owned(), "q=90000".to_owned()));
    let history = run(&["history"]);
    assert!(history.lines().next().unwrap().ends_with("revision 3 was tried"), "{history}");
    assert!(!world.cosygate(&["policy", "promote"]).status.success(), "nothing is on trial any more");
}
