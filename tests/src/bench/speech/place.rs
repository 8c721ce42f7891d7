//! Where everything runs: the origin on one core, Envoy, the engine and the load on the other.

use std::process::Command;

use anyhow::ensure;
use serde::Serialize;
use serde_json::{Value, json};

use super::engine::{Cost, Engine};
use crate::process::Program;
use crate::world::{User, World};

/// The core of what is measured.
pub const MEASURED: &str = "0";
/// The core of everything else.
pub const OTHERS: &str = "1";

/// A world before the engine, in which nobody is limited; `most` generations run at once.
pub async fn world(engine: &Engine, cost: Cost, most: usize) -> World {
    let toml = format!(
        r#"
[engine]
kind = "openai"
urls = ["{}"]
concurrency = {most}
sample_rate_hz = {}
model = "cosyvoice"
mode = "sft"

[[engine.voices]]
id = "stock"
name = "Stock voice"
source = {{ kind = "preset", speaker_id = "stock" }}

[queue]
length = 20000
wait_seconds = 3600
"#,
        engine.url(cost),
        super::engine::SAMPLE_RATE,
    );
    World::with_file(unlimited, &[("RUST_LOG", "warn"), ("TOKIO_WORKER_THREADS", "1")], &toml).await
}

fn unlimited(policy: &mut Value) {
    let role = &mut policy["roles"]["free"];
    role["requests"] = json!({"per_minute": 6_000_000, "burst": 100_000});
    for name in ["in_flight", "jobs_running", "generations_per_day", "characters_per_day", "storage_mb"] {
        role[name] = json!(1_000_000);
    }
    role["in_flight"] = json!(1000);
    role["jobs_running"] = json!(1000);
    role["jobs_queued"] = json!(20_000);
    for route in policy["routes"].as_array_mut().unwrap() {
        if route.get("limit").is_some_and(|limit| limit["by"] == "address") {
            route["limit"] = json!({"by": "address", "per_minute": 6_000_000, "burst": 100_000});
        }
    }
}

/// So many users.
pub async fn users(world: &World, count: usize) -> Vec<User> {
    let mut users = Vec::new();
    for number in 0..count {
        users.push(world.user(&format!("user-{number}")).await);
    }
    users
}

/// Keeps a process and all its threads on one core.
///
/// # Errors
/// There is no taskset, or no such core.
pub fn pin(process: u32, core: &str) -> anyhow::Result<()> {
    let output = Command::new("taskset").args(["-a", "-p", "-c", core, &process.to_string()]).output()?;
    ensure!(output.status.success(), "taskset failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Puts what is measured on its core, and this process and all others on the other one.
///
/// # Errors
/// As [`pin`].
pub fn part(measured: &[&Program], others: &[&Program]) -> anyhow::Result<()> {
    measured.iter().try_for_each(|program| pin(program.id(), MEASURED))?;
    pin(std::process::id(), OTHERS)?;
    others.iter().try_for_each(|program| pin(program.id(), OTHERS))
}

/// One thing that was measured.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// What, in which unit.
    pub what: &'static str,
    /// How much.
    pub value: f64,
    /// What it should be, with `≤` or `≥`; empty if it is only told.
    pub target: String,
    /// Whether it is.
    pub is_met: bool,
    /// What it was taken from.
    pub rounds: Value,
}

impl Figure {
    /// Should not be more.
    pub fn at_most(what: &'static str, value: f64, most: f64) -> Self {
        Self { what, value, target: format!("≤ {most}"), is_met: value <= most, rounds: Value::Null }
    }

    /// Should not be less.
    pub fn at_least(what: &'static str, value: f64, least: f64) -> Self {
        Self { what, value, target: format!("≥ {least}"), is_met: value >= least, rounds: Value::Null }
    }

    /// Only told.
    pub fn told(what: &'static str, value: f64) -> Self {
        Self { what, value, target: String::new(), is_met: true, rounds: Value::Null }
    }

    /// The same with what it was taken from.
    pub fn with(self, rounds: Value) -> Self {
        Self { rounds, ..self }
    }
}

/// The value below which this share of them lies; the nearest one.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let place = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len());
    values[place - 1]
}

/// The middle one.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}
