//! How much memory the origin holds: idle, and while two hundred listen.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::engine::{Cost, Engine};
use super::place::{self, Figure};
use crate::process::Program;
use crate::world::{User, World};

const USERS: usize = 20;
const STREAMS: usize = 200;
/// How long they listen before one looks.
const LISTENING: Duration = Duration::from_secs(10);

/// Both, of one origin, after `USERS` have logged in.
///
/// # Errors
/// Something cannot be started, or a stream fails.
pub async fn measure(engine: &Engine) -> anyhow::Result<Vec<Figure>> {
    let world = place::world(engine, Cost::Endless, STREAMS).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle = resident_mib(&world.origin)?;
    let users = place::users(&world, USERS).await;
    let mut streams = try_join_all((0..STREAMS).map(|number| listen(&world, &users[number % USERS]))).await?;
    let until = tokio::time::Instant::now() + LISTENING;
    let heard = try_join_all(streams.iter_mut().map(async |stream| -> anyhow::Result<usize> {
        let mut bytes = 0;
        while let Ok(piece) = tokio::time::timeout_at(until, stream.chunk()).await {
            bytes += piece?.context("a stream has ended")?.len();
        }
        Ok(bytes)
    }))
    .await?;
    let busy = resident_mib(&world.origin)?;
    let least = heard.iter().min().copied().unwrap_or_default();
    ensure!(least > 0, "a stream was silent");
    Ok(vec![
        Figure::at_most("memory of the origin, idle, MiB", idle, 80.0).with(Value::Null),
        Figure::at_most("… with 200 streams, MiB", busy, 200.0).with(json!({"least_bytes_heard": least})),
    ])
}

async fn listen(world: &World, user: &User) -> anyhow::Result<Response> {
    let body = json!({"model": "tts-1", "input": "For long.", "voice": "alloy", "response_format": "pcm"});
    let request = world.request(Method::POST, "/v1/audio/speech").bearer_auth(&user.token).json(&body);
    let answer = request.send().await?;
    ensure!(answer.status() == 200, "{}: {}", answer.status(), answer.text().await?);
    Ok(answer)
}

/// What a process holds in memory (VmRSS of proc_pid_status(5)).
fn resident_mib(program: &Program) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}
