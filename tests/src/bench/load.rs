//! One run of wrk, and the processor time it cost a process.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::process::Program;

/// The core of the load generator.
const WRK_CORE: &str = "1";
/// Connections of the load generator.
pub const CONNECTIONS: u32 = 16;

/// What came out of one run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Load {
    /// Processor time of the whole process, user and system, per request, in microseconds.
    pub cpu_us: f64,
    /// Responses per second.
    pub requests_per_second: f64,
    /// Responses.
    pub requests: u64,
}

/// What load.lua prints at the end.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Summary {
    requests: u64,
    duration_us: u64,
    other_statuses: u64,
    broken: u64,
}

/// What to send, and whose work to measure.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// Whose processor time counts.
    pub process: &'a Program,
    /// The server; paths come from the requests.
    pub url: &'a str,
    /// The requests (see load.lua).
    pub requests: &'a Path,
    /// The JSON that goes with each; without one they are GET.
    pub body: Option<&'a str>,
    /// The status of every response.
    pub expected: u16,
    /// Connections at once.
    pub connections: u32,
}

impl<'a> Run<'a> {
    /// GET, answered with 200.
    pub fn get(process: &'a Program, url: &'a str, requests: &'a Path) -> Self {
        Self { process, url, requests, body: None, expected: 200, connections: CONNECTIONS }
    }
}

/// Sends requests for some seconds; `folder` is for load.lua.
///
/// # Errors
/// wrk cannot be run, a connection breaks, or a response has another status than expected.
pub async fn run(folder: &Path, run: &Run<'_>, seconds: u32) -> anyhow::Result<Load> {
    let expected = run.expected;
    let script = folder.join("load.lua");
    std::fs::write(&script, include_str!("load.lua"))?;
    let before = cpu_us(run.process)?;
    let output = Command::new("taskset")
        .args(["--cpu-list", WRK_CORE, "wrk", "--threads", "1", "--timeout", "10s"])
        .args(["--connections", &run.connections.to_string()])
        .args(["--duration", &format!("{seconds}s")])
        .arg("--script")
        .arg(&script)
        .args([run.url, "--"])
        .arg(run.requests)
        .arg(expected.to_string())
        .args(run.body)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("wrk cannot be run")?;
    let spent = cpu_us(run.process)? - before;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk failed:\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let summary = text.lines().rev().find(|line| line.starts_with('{')).context("wrk printed no summary")?;
    let summary: Summary = serde_json::from_str(summary)?;
    ensure!(summary.broken == 0, "{} connections broke or timed out", summary.broken);
    ensure!(summary.requests > 0, "there was no response");
    ensure!(
        summary.other_statuses == 0,
        "{} of {} responses did not have status {expected}",
        summary.other_statuses,
        summary.requests
    );
    Ok(Load {
        cpu_us: spent / summary.requests as f64,
        requests_per_second: summary.requests as f64 / (summary.duration_us as f64 / 1e6),
        requests: summary.requests,
    })
}

/// User and system time of all threads of a process so far, in microseconds (proc_pid_stat(5)).
pub fn cpu_us(program: &Program) -> anyhow::Result<f64> {
    let file = format!("/proc/{}/stat", program.id());
    let text =
        std::fs::read_to_string(&file).with_context(|| format!("{file}: the process is gone:\n{}", program.log()))?;
    // The second field is a name in parentheses, which may hold spaces; `utime` and `stime` are the 14th and 15th.
    let fields: Vec<&str> = text.rsplit_once(')').context("no name in stat")?.1.split_whitespace().collect();
    let ticks =
        fields.get(11).context("no utime")?.parse::<u64>()? + fields.get(12).context("no stime")?.parse::<u64>()?;
    Ok(ticks as f64 * MICROSECONDS_PER_TICK)
}

/// Linux shows times in hundredths of a second (`USER_HZ`) on every architecture that Envoy runs on.
const MICROSECONDS_PER_TICK: f64 = 10_000.0;
