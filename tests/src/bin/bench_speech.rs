//! `scripts/bench speech`: what cosygate adds to an engine, beside LiteLLM's proxy and nginx.
//!
//! `BENCH_ROUNDS` (5) says how many rounds, `BENCH_SECONDS` (5) how long one measurement of them takes.
//! With names of figures as arguments only those are taken.

use anyhow::Context as _;
use serde_json::json;
use tests::bench::speech::engine::Engine;
use tests::bench::speech::{download, first_byte, footprint, queue, throughput};
use tests::process::workspace;
use tokio::signal::unix::{SignalKind, signal};

const NAMES: [&str; 5] = ["first-byte", "download", "queue", "memory", "throughput"];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // Whatever ends the run, what it started and wrote goes with it.
    tokio::select! {
        result = bench() => result,
        _ = interrupt.recv() => anyhow::bail!("interrupted"),
        _ = terminate.recv() => anyhow::bail!("terminated"),
    }
}

async fn bench() -> anyhow::Result<()> {
    let (rounds, seconds) = (setting("BENCH_ROUNDS", 5)?, setting("BENCH_SECONDS", 5)?);
    let mut wanted: Vec<String> = std::env::args().skip(1).collect();
    if wanted.is_empty() {
        wanted = NAMES.map(str::to_owned).to_vec();
    }
    let engine = Engine::start().await?;
    let mut figures = Vec::new();
    for name in &wanted {
        eprintln!("{name} …");
        figures.extend(match name.as_str() {
            "first-byte" => first_byte::measure(&engine, rounds).await?,
            "download" => download::measure(&engine, rounds, seconds).await?,
            "queue" => queue::measure(&engine).await?,
            "memory" => footprint::measure(&engine).await?,
            // It keeps to one core from here on, so it comes last.
            "throughput" => throughput::measure(&engine, rounds, seconds).await?,
            other => anyhow::bail!("`{other}` is none of {NAMES:?}"),
        });
    }
    println!("{:<48}{:>12}   target", "figure", "value");
    for figure in &figures {
        let verdict = if figure.is_met { "" } else { "   MISSED" };
        println!("{:<48}{:>12.2}   {}{verdict}", figure.what, figure.value, figure.target);
    }
    let file = workspace().join("target/bench/speech.json");
    std::fs::create_dir_all(file.parent().context("no folder")?)?;
    let report = json!({"rounds": rounds, "seconds": seconds, "figures": figures});
    std::fs::write(&file, format!("{report:#}\n"))?;
    println!("\nAll rounds: {}", file.strip_prefix(workspace())?.display());
    Ok(())
}

/// A positive number from the environment.
fn setting(name: &str, default: u32) -> anyhow::Result<u32> {
    let Ok(text) = std::env::var(name) else { return Ok(default) };
    text.parse().ok().filter(|number| *number > 0).with_context(|| format!("{name} is not a positive number: `{text}`"))
}
