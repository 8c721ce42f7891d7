//! `scripts/bench edge`: what the filter costs, beside Envoy's own filters doing the same job.
//!
//! Every round measures every variant once, peers back to back. `BENCH_ROUNDS` (5) says how many
//! rounds, `BENCH_SECONDS` (3) how long each variant runs in one.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::json;
use tests::bench::chains::{Chain, Chains};
use tests::bench::checks;
use tests::bench::load::{self, CONNECTIONS, Load, Run};
use tests::bench::report::{Row, table};
use tests::bench::tokens::{self, ALGORITHMS, Requests};
use tests::process::workspace;
use tokio::signal::unix::{SignalKind, signal};

/// One thing to measure.
struct Variant {
    what: String,
    by: &'static str,
    chain: Chain,
    requests: PathBuf,
    /// The status of every response.
    status: u16,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let (rounds, seconds) = (setting("BENCH_ROUNDS", 5)?, setting("BENCH_SECONDS", 3)?);
    ensure!(std::thread::available_parallelism()?.get() >= 2, "this needs two cores: one for Envoy, one for the load");
    let load_average = load_average()?;
    if load_average > 0.5 {
        eprintln!("The machine is busy (load {load_average}): expect noise.");
    }
    eprintln!("Minting tokens …");
    let minted = tokens::mint();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // Whatever ends the run, what it started and wrote goes with it.
    tokio::select! {
        result = bench(rounds, seconds, load_average, &minted) => result,
        _ = interrupt.recv() => anyhow::bail!("interrupted"),
        _ = terminate.recv() => anyhow::bail!("terminated"),
    }
}

async fn bench(rounds: u32, seconds: u32, load_average: f64, minted: &[Vec<String>]) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let variants = variants(Requests::write(folder.path(), minted)?);
    let chains = Chains::start(folder.path()).await?;
    for chain in Chain::ALL {
        checks::check(&chains, chain).await?;
    }
    eprintln!("Warming up …");
    for variant in &variants {
        measure(&chains, folder.path(), variant, 1).await?;
    }
    let mut loads: Vec<Vec<Load>> = variants.iter().map(|_| Vec::new()).collect();
    for round in 1..=rounds {
        eprintln!("Round {round} of {rounds} …");
        for (variant, loads) in variants.iter().zip(&mut loads) {
            loads.push(measure(&chains, folder.path(), variant, seconds).await?);
        }
    }
    drop(chains);

    let mut rows: Vec<Row> = Vec::new();
    let mut built_in = 0;
    for (index, variant) in variants.iter().enumerate() {
        // Envoy's own filters stand before ours.
        if !variant.chain.is_ours() {
            built_in = index;
        }
        let peer = variant.chain.is_ours().then(|| loads[built_in].as_slice());
        rows.push(Row::new(variant.what.clone(), variant.by, loads[index].clone(), &loads[0], peer));
    }
    let (processor, envoy) = (processor()?, Chains::version()?);
    println!("Processor: {processor}. Envoy {envoy}, one worker on one core, {CONNECTIONS} connections.");
    println!(
        "Medians of {rounds} rounds of {seconds} s; ratio: what is above \"no filter\", cosygate / Envoy's own.\n"
    );
    println!("{}", table(&rows));

    let report = json!({
        "processor": processor,
        "envoy": envoy,
        "load_average_before": load_average,
        "rounds": rounds,
        "seconds": seconds,
        "connections": CONNECTIONS,
        "variants": rows,
    });
    let file = workspace().join("target/bench/edge.json");
    std::fs::create_dir_all(file.parent().context("no folder")?)?;
    std::fs::write(&file, format!("{report:#}\n"))?;
    println!("\nAll rounds: {}", file.strip_prefix(workspace())?.display());
    Ok(())
}

/// Pairs back to back: Envoy's own filters, then ours. "No filter" comes first.
fn variants(requests: Requests) -> Vec<Variant> {
    let pair = |what: &str, peer, requests: &Path, status| {
        [("Envoy's own", peer), ("cosygate", Chain::SameJob)].map(|(by, chain)| Variant {
            what: what.to_owned(),
            by,
            chain,
            requests: requests.to_owned(),
            status,
        })
    };
    let mut variants = vec![Variant {
        what: "any".to_owned(),
        by: "no filter",
        chain: Chain::NoFilter,
        requests: requests.warm.clone(),
        status: 200,
    }];
    variants.extend(pair("known, four algorithms", Chain::BuiltInWithCache, &requests.warm, 200));
    for (by, chain) in [("… and seals", Chain::Sealing), ("… and announces", Chain::Announcing)] {
        let what = "known, four algorithms".to_owned();
        variants.push(Variant { what, by, chain, requests: requests.warm.clone(), status: 200 });
    }
    for (algorithm, cold) in ALGORITHMS.iter().zip(&requests.cold) {
        variants.extend(pair(&format!("ever new, {}", algorithm.name), Chain::BuiltIn, cold, 200));
    }
    variants.extend(pair("bad signature, EdDSA", Chain::BuiltIn, &requests.bad_signature, 401));
    variants.extend(pair("malformed", Chain::BuiltIn, &requests.malformed, 401));
    variants
}

async fn measure(chains: &Chains, folder: &Path, variant: &Variant, seconds: u32) -> anyhow::Result<Load> {
    let url = chains.url(variant.chain, "/");
    let run = Run { expected: variant.status, ..Run::get(&chains.envoy, &url, &variant.requests) };
    load::run(folder, &run, seconds).await.with_context(|| format!("{}, {}", variant.what, variant.by))
}

/// A positive number from the environment.
fn setting(name: &str, default: u32) -> anyhow::Result<u32> {
    let Ok(text) = std::env::var(name) else { return Ok(default) };
    text.parse().ok().filter(|number| *number > 0).with_context(|| format!("{name} is not a positive number: `{text}`"))
}

/// Processes that wanted a core during the last minute.
fn load_average() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().context("/proc/loadavg is empty")?.parse()?)
}

fn processor() -> anyhow::Result<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo")?;
    let line = text.lines().find(|line| line.starts_with("model name"));
    Ok(line.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name).to_owned())
}
