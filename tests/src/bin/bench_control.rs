//! `scripts/bench control`: what following the control plane costs an edge: a million withdrawn
//! tokens, and `BENCH_POLICIES` (1000) bundles with other policies.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail, ensure};
use gate::status::{LIST_BYTES, LIST_TOKENS, MAX_LISTS, uri};
use jsonwebtoken::{Algorithm, Header};
use serde_json::{Value, json};
use tests::bench::load::{self, Run};
use tests::bundle::{Root, claims, following};
use tests::edge::{Edge, hand_over};
use tests::process::workspace;
use tests::scripted::Scripted;

const ISSUER: &str = "https://issuer.example";
const WITHDRAWN: usize = 1_000_000;
/// How many workers the edge has.
const WORKERS: u64 = 2;
/// How long one measurement of time takes, and how many pairs there are.
const SECONDS: u32 = 3;
const ROUNDS: usize = 5;
/// What may come and go without being growth, in KiB.
const NOISE_KB: u64 = 4 * 1024;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (origin, root) = (Scripted::start().await, Root::new(7));
    hand_over(folder.path(), 1, &following(&[&root], None));
    let edge = Edge::start(folder.path(), origin.address, &[]).await;
    let lists = random_lists();
    let set: usize = lists.iter().flatten().map(|byte| byte.count_ones() as usize).sum();
    ensure!(set == WITHDRAWN, "{set} bits are set");
    let (sound, withdrawn) = (place(&lists, false)?, place(&lists, true)?);
    let (sound, withdrawn) = (token(sound), token(withdrawn));
    let file = folder.path().join("requests");
    std::fs::write(&file, format!("/echo {sound}\n"))?;

    let mut serial = 10;
    let mut offer = |named: bool, rev: u64| {
        serial += 1;
        let mut claims = claims(serial, &policy(rev));
        if named {
            claims["lists"] =
                (0..lists.len()).map(|number| (name(number), json!(11))).collect::<serde_json::Map<_, _>>().into();
        }
        let text = root.sign(&claims);
        let bytes = text.len();
        origin.offer(claims["jti"].as_str().unwrap_or_default(), text);
        bytes
    };
    let bare_bytes = offer(false, 1);
    judged(&edge, &withdrawn, 200).await?;
    run(&edge, folder.path(), &file).await?;
    let without_kb = resident_kb(&edge)?;

    for (number, bits) in lists.iter().enumerate() {
        origin.offer_list(&name(number), root.sign_list(&name(number), 11, bits));
    }
    let began = Instant::now();
    let bundle_bytes = offer(true, 1);
    judged(&edge, &withdrawn, 401).await?;
    let taken = began.elapsed();
    judged(&edge, &sound, 200).await?;
    let list_bytes = origin.listed_bytes();
    run(&edge, folder.path(), &file).await?;
    let with_kb = resident_kb(&edge)?;

    let (mut times, mut spare) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        eprintln!("Round {round} of {ROUNDS} …");
        let with = run(&edge, folder.path(), &file).await?;
        offer(false, 1);
        judged(&edge, &withdrawn, 200).await?;
        let without = run(&edge, folder.path(), &file).await?;
        offer(true, 1);
        judged(&edge, &withdrawn, 401).await?;
        times.push(with);
        spare.push(without);
    }
    let (with_us, without_us) = (median(&mut times), median(&mut spare));
    let per_worker_kb = with_kb.saturating_sub(without_kb) / WORKERS;
    println!("{WITHDRAWN} of {} tokens withdrawn, in {} lists", lists.len() * LIST_TOKENS as usize, lists.len());
    println!("memory of a worker            {per_worker_kb:>9} KiB more");
    println!(
        "on the wire, at first         {:>9} bytes of lists, {bundle_bytes} of the bundle ({bare_bytes} without)",
        list_bytes
    );
    println!("on the wire, one more token   {:>9} bytes of its list, and the bundle", list_bytes / lists.len());
    println!("until both workers judge by it {:>8.0?}", taken);
    println!("a known token                 {with_us:>9.1} us of Envoy's time, {without_us:.1} without lists");

    let policies: u64 = std::env::var("BENCH_POLICIES").map_or(Ok(1000), |text| text.parse())?;
    // The first ones leave their garbage behind; whoever comes after finds it.
    let mut follow = async |revs: std::ops::RangeInclusive<u64>| {
        for rev in revs {
            offer(true, rev);
            in_force(&edge, &sound, rev).await?;
        }
        run(&edge, folder.path(), &file).await?;
        resident_kb(&edge)
    };
    let before_kb = follow(2..=policies / 10 + 1).await?;
    let after_kb = follow(policies / 10 + 2..=policies + 1).await?;
    println!("after {:>5} bundles            {before_kb:>9} KiB", policies / 10);
    println!("after {policies:>5} bundles            {after_kb:>9} KiB");
    let report = json!({
        "policies": policies, "before_kb": before_kb, "after_kb": after_kb,
        "withdrawn": WITHDRAWN, "lists": lists.len(), "per_worker_kb": per_worker_kb, "list_bytes": list_bytes,
        "bundle_bytes": bundle_bytes, "bare_bundle_bytes": bare_bytes, "taken_ms": taken.as_millis(),
        "with_us": with_us, "without_us": without_us,
    });
    let place = workspace().join("target/bench/control.json");
    std::fs::create_dir_all(place.parent().context("no folder")?)?;
    std::fs::write(&place, format!("{report:#}\n"))?;
    ensure!(after_kb <= before_kb + NOISE_KB, "it grows with bundles");
    Ok(())
}

fn name(number: usize) -> String {
    uri(ISSUER, number as u64)
}

/// As many lists as there may be, with bits set at random, but always the same.
fn random_lists() -> Vec<Vec<u8>> {
    let mut lists = vec![vec![0_u8; LIST_BYTES]; MAX_LISTS];
    let (mut state, mut set) = (1_u64, 0);
    while set < WITHDRAWN {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let place = (state >> 20) as usize % (MAX_LISTS * LIST_TOKENS as usize);
        let byte = lists.get_mut(place / 8 / LIST_BYTES).and_then(|list| list.get_mut(place / 8 % LIST_BYTES));
        if let Some(byte) = byte.filter(|byte| **byte >> (place % 8) & 1 == 0) {
            *byte |= 1 << (place % 8);
            set += 1;
        }
    }
    lists
}

/// The first place in the last list whose bit is, or is not, set.
fn place(lists: &[Vec<u8>], is_set: bool) -> anyhow::Result<(usize, usize)> {
    let last = lists.last().context("no list")?;
    let bit = |index: &usize| last.get(index / 8).is_some_and(|byte| (byte >> (index % 8) & 1 == 1) == is_set);
    Ok((lists.len() - 1, (0..LIST_TOKENS as usize).find(bit).context("no such bit")?))
}

fn token((list, index): (usize, usize)) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({
        "iss": ISSUER, "aud": "cosygate", "sub": format!("user-{index}"), "role": "free", "iat": now, "exp": now + 3600,
        "status": {"status_list": {"uri": name(list), "idx": index}},
    });
    let header = Header { typ: Some("at+jwt".into()), kid: Some("ed".into()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, &claims, &cases::private_key("ed")).unwrap()
}

/// A policy that says its revision in the burst of the role.
fn policy(rev: u64) -> Value {
    let mut policy = cases::suites(1).into_iter().find(|(file, _)| *file == "sites.json").unwrap().1.policy;
    policy["roles"]["free"]["requests"] = json!({"per_minute": 6_000_000, "burst": 90_000 + rev % 10_000});
    policy["rev"] = json!(rev);
    policy["roles"]["free"]["in_flight"] = json!(1000);
    policy["routes"] = json!([{"path": "/echo", "methods": ["GET"], "roles": ["free"]}]);
    policy
}

/// Waits until both workers answer a token with this status: so many fresh connections in a row.
async fn judged(edge: &Edge, token: &str, status: u16) -> anyhow::Result<()> {
    let end = Instant::now() + Duration::from_secs(30);
    let mut row = 0;
    while row < 12 {
        // One that is under way when its token is withdrawn gets no answer.
        let answer = reqwest::Client::new().get(format!("{}/echo", edge.url)).bearer_auth(token).send().await;
        row = if answer.is_ok_and(|answer| answer.status() == status) { row + 1 } else { 0 };
        if Instant::now() > end {
            bail!("no {status} within 30 seconds:\n{}", edge.envoy.log());
        }
        if row == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(())
}

/// Waits until a worker judges by a revision; the other one follows within a tick.
async fn in_force(edge: &Edge, token: &str, rev: u64) -> anyhow::Result<()> {
    let wanted = format!("q={}", 90_000 + rev % 10_000);
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = reqwest::Client::new().get(format!("{}/echo", edge.url)).bearer_auth(token).send().await?;
        let policy = answer.headers().get("ratelimit-policy").and_then(|value| value.to_str().ok());
        if policy.is_some_and(|policy| policy.contains(&wanted)) {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("revision {rev} did not come within 30 seconds:\n{}", edge.envoy.log());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Envoy's time for a request, in microseconds.
async fn run(edge: &Edge, folder: &Path, requests: &Path) -> anyhow::Result<f64> {
    Ok(load::run(folder, &Run::get(&edge.envoy, &format!("{}/", edge.url), requests), SECONDS).await?.cpu_us)
}

fn resident_kb(edge: &Edge) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", edge.envoy.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}
