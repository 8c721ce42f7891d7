//! Schemathesis: thousands of calls made of the description, sound and unsound, through the edge, for
//! every role. Whatever answers must be described, must not be our fault and must ask who is calling.

use std::process::{Command, Output};
use std::time::Instant;

use serde_json::{Value, json};
use tests::process::{artefact, workspace};
use tests::world::{User, World, roomy};

/// They end the login that asks, and with it the run. Somebody who does nothing else tries them.
const ENDS: [&str; 3] = ["post_logout", "delete_api_logins", "delete_api_logins_id"];

/// Room for everything: what is tried here is not the limits.
fn with_owner(policy: &mut Value) {
    roomy(policy);
    // Whoever has this role and no second factor is `enrol`.
    policy["roles"]["owner"] = policy["roles"]["premium"].clone();
    policy["roles"]["owner"]["second_factor"] = json!(true);
}

/// Checks that would complain of what is as it should be.
const EXCLUDED: [&str; 3] = [
    // What a schema calls sound may be refused with good reason: a name in two scripts, a password that is common, a
    // text with nothing to speak in it.
    "positive_data_acceptance",
    // The edge knows what can be done below a prefix, and not on each path; `Allow` says that.
    "allow_header_conformance",
    // Envoy takes a method that it has never heard of for a malformed request. `roles` has all others.
    "unsupported_method",
];

/// One run of schemathesis as somebody. The token is in its environment, so that no list of processes shows it.
fn run(world: &World, token: Option<&str>, options: &[&str]) -> Output {
    let shipped = std::fs::read_to_string(workspace().join("tests/services/schemathesis.toml")).unwrap();
    let auth = token.map_or("", |_| "\n[auth.openapi.bearer]\nbearer = \"${COSYGATE_TOKEN}\"\n");
    let file = world.data().join("schemathesis.toml");
    std::fs::write(&file, format!("{shipped}{auth}")).unwrap();
    let program = artefact("SERVICES_PYTHON", ".tools/services/bin/python").with_file_name("schemathesis");
    let mut command = Command::new(program);
    command.arg("--config-file").arg(file).env("COSYGATE_TOKEN", token.unwrap_or_default());
    command.args(["run", &format!("{}/openapi.json", world.edge.url), "--url", &world.edge.url, "--no-color"]);
    command.args(["--checks", "all", "--exclude-checks", &EXCLUDED.join(","), "--seed", "7", "--workers", "1"]);
    command.args(options).current_dir(world.data()).output().unwrap()
}

/// How many requests the edge has seen.
async fn calls(world: &World) -> u64 {
    let figures =
        reqwest::get(format!("{}/stats/prometheus", world.edge.metrics_url)).await.unwrap().text().await.unwrap();
    let of_clients = "envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix=\"edge\"}";
    let line = figures.lines().find(|line| line.starts_with(of_clients)).unwrap_or_else(|| panic!("{figures}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

async fn role(world: &World, name: &str, role: &str) -> User {
    let password = format!("{name}'s own long password");
    let user = world.user(name).await;
    if role == "free" {
        return user;
    }
    let output = world.cosygate(&["user", "role", name, role]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    world.login(name, &password).await
}

/// Every role, each with so many examples for every operation and so many seconds at most.
async fn every_role(examples: u32, seconds: u64, phases: &str) -> u64 {
    let world = World::with(with_owner, &[]).await;
    let mut total = 0;
    // All of them log in first: after so many wrong passwords from this address, nobody can for a while.
    let dora = world.user("dora").await;
    let callers = [
        ("nobody", None),
        ("free", Some(role(&world, "ada", "free").await)),
        ("premium", Some(role(&world, "bob", "premium").await)),
        ("enrol", Some(role(&world, "cleo", "owner").await)),
        ("admin", Some(world.admin().await)),
    ];
    for (_, user) in callers.iter().filter(|(name, _)| *name != "enrol") {
        if let Some(user) = user {
            world.generate(user, "Something to find.").await;
        }
    }
    for (name, user) in callers {
        let token = user.as_ref().map(|user| user.token.as_str());
        let (examples, seconds) = (examples.to_string(), seconds.to_string());
        let mut options = vec!["--phases", phases, "--max-examples", &examples, "--max-time", &seconds];
        options.extend(ENDS.iter().flat_map(|id| ["--exclude-operation-id", id]));
        let (began, before) = (Instant::now(), calls(&world).await);
        let output = tokio::task::block_in_place(|| run(&world, token, &options));
        let made = calls(&world).await - before;
        total += made;
        println!("{name}: {made} calls in {} s", began.elapsed().as_secs());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{name}:\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(made > 300, "{name}: only {made} calls:\n{said}");
        if let Some(user) = user {
            assert_eq!(world.get_as(&user, "/api/me").await.status(), 200, "{name}: the token was lost on the way");
        }
    }
    let mut options = vec!["--phases", "coverage"];
    options.extend(ENDS.iter().flat_map(|id| ["--include-operation-id", id]));
    let output = tokio::task::block_in_place(|| run(&world, Some(&dora.token), &options));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(world.get_as(&dora, "/api/me").await.status(), 401, "the login was not ended");
    total
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_find_nothing_that_is_not_described() {
    let calls = every_role(1, 20, "coverage").await;
    assert!(calls > 1000, "only {calls} calls");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes ten minutes: scripts/attack api"]
async fn twenty_thousand_calls_find_nothing_that_is_not_described() {
    let calls = every_role(80, 150, "coverage,fuzzing,stateful").await;
    println!("{calls} calls");
    assert!(calls >= 20_000, "only {calls} calls");
}
