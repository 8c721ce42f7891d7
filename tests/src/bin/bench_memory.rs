//! `scripts/bench memory`: what the filter needs of memory, and whether it grows.
//!
//! `BENCH_REQUESTS` (10 000 000) requests with ever new tokens of ever new users, then
//! `BENCH_POLICIES` (1000) other policies.

use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::json;
use tests::bench::load::{self, Run};
use tests::bench::memory::{Subject, WORKERS, algorithm};
use tests::bench::tokens::Mint;
use tests::process::workspace;

/// Distinct tokens, each of a user of its own: far more than any cache or limiter holds at once.
const TOKENS: u64 = 150_000;
/// Requests between two looks at the memory, at least.
const SECONDS: u32 = 20;
/// What one worker may need, in KiB.
const MOST_KB_PER_WORKER: u64 = 32 * 1024;
/// What may come and go after the first requests without being growth, in KiB.
const NOISE_KB: u64 = 4 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let requests = setting("BENCH_REQUESTS", 10_000_000)?;
    let policies = setting("BENCH_POLICIES", 1000)?;
    let folder = tempfile::tempdir()?;
    let subject = Subject::start(folder.path()).await?;
    eprintln!("Minting {TOKENS} tokens …");
    let file = folder.path().join("tokens");
    let mint = Mint::new(algorithm());
    let line = |number| format!("/speech/{number} {}\n", mint.token_of(&format!("user-{number}"), "free", number));
    std::fs::write(&file, (0..TOKENS).map(line).collect::<String>())?;

    run(&subject, folder.path(), &file, 5).await?;
    let without = subject.resident_kb()?;
    subject.hand_over(1).await?;
    let (mut sent, mut full, mut last) = (0, 0, 0);
    let mut steps = Vec::new();
    while sent < requests {
        sent += run(&subject, folder.path(), &file, SECONDS).await?;
        last = subject.resident_kb()?;
        // The first steps fill caches and slots.
        if full == 0 && sent >= requests.min(1_000_000) {
            full = last;
        }
        eprintln!("{sent:>12} requests: {last} KiB");
        steps.push(json!({"requests": sent, "resident_kb": last}));
    }
    let before_policies = last;
    for rev in 2..=policies + 1 {
        subject.hand_over(rev).await?;
    }
    run(&subject, folder.path(), &file, 5).await?;
    let after_policies = subject.resident_kb()?;
    drop(subject);

    let per_worker = last.saturating_sub(without) / WORKERS;
    println!("without the filter                 {without:>8} KiB");
    println!("with full caches                   {full:>8} KiB");
    println!("after {sent} requests         {last:>8} KiB");
    println!("after {policies} more policies             {after_policies:>8} KiB");
    println!("the filter, for each of {WORKERS} workers  {per_worker:>8} KiB of at most {MOST_KB_PER_WORKER}");
    let report = json!({
        "without_kb": without, "full_kb": full, "steps": steps, "after_policies_kb": after_policies,
        "per_worker_kb": per_worker, "requests": sent, "policies": policies,
    });
    let place = workspace().join("target/bench/memory.json");
    std::fs::create_dir_all(place.parent().context("no folder")?)?;
    std::fs::write(&place, format!("{report:#}\n"))?;
    ensure!(per_worker <= MOST_KB_PER_WORKER, "that is too much");
    ensure!(last <= full + NOISE_KB, "it grows with requests");
    ensure!(after_policies <= before_policies + NOISE_KB, "it grows with policies");
    Ok(())
}

async fn run(subject: &Subject, folder: &Path, tokens: &Path, seconds: u32) -> anyhow::Result<u64> {
    Ok(load::run(folder, &Run::get(&subject.envoy, &subject.url("/"), tokens), seconds).await?.requests)
}

/// A positive number from the environment.
fn setting(name: &str, default: u64) -> anyhow::Result<u64> {
    let Ok(text) = std::env::var(name) else { return Ok(default) };
    text.parse().ok().filter(|number| *number > 0).with_context(|| format!("{name} is not a positive number: `{text}`"))
}
