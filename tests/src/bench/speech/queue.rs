//! How long one user waits behind ten thousand jobs of another.

use std::time::Instant;

use anyhow::ensure;
use futures::stream::{self, StreamExt as _};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::engine::{Cost, Engine};
use super::place::{self, Figure};
use crate::world::{User, World};

/// How many one user puts in.
const JOBS: usize = 10_000;
/// How often the other asks.
const ASKED: usize = 10;

/// One slot; the engine takes `Cost::Steady` for each.
///
/// # Errors
/// Something cannot be started, or a generation fails.
pub async fn measure(engine: &Engine) -> anyhow::Result<Vec<Figure>> {
    let world = place::world(engine, Cost::Steady, 1).await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    // Without anybody before.
    let mut alone = Vec::new();
    for _ in 0..ASKED {
        alone.push(ask(&world, &bob).await?);
    }
    let one = place::median(&alone);
    let began = Instant::now();
    let put = stream::iter(0..JOBS).map(|_| put(&world, &ada)).buffer_unordered(16);
    let put: Vec<anyhow::Result<()>> = put.collect().await;
    put.into_iter().collect::<anyhow::Result<Vec<()>>>()?;
    let rate = JOBS as f64 / began.elapsed().as_secs_f64();
    let mut waits = Vec::new();
    for _ in 0..ASKED {
        waits.push((ask(&world, &bob).await? - one) / one);
    }
    let waiting: Value = world.get_as(&ada, "/api/jobs?limit=1").await.json().await?;
    ensure!(waiting["jobs"][0]["state"] == "queued", "ada's jobs are gone: {waiting}");
    let longest = place::quantile(&waits, 1.0);
    Ok(vec![
        Figure::at_most("longest wait behind 10 000 jobs, in jobs", longest, 1.1)
            .with(json!({"waits": waits, "job_ms": one})),
        Figure::told("… jobs put in a second", rate),
    ])
}

async fn put(world: &World, user: &User) -> anyhow::Result<()> {
    let request = world.request(Method::POST, "/api/generate").bearer_auth(&user.token);
    let answer = request.header("prefer", "respond-async").json(&json!({"text": "One of many."})).send().await?;
    ensure!(answer.status() == StatusCode::ACCEPTED, "{}: {}", answer.status(), answer.text().await?);
    Ok(())
}

/// Milliseconds to the answer.
async fn ask(world: &World, user: &User) -> anyhow::Result<f64> {
    let began = Instant::now();
    let request = world.request(Method::POST, "/api/generate").bearer_auth(&user.token);
    let answer = request.json(&json!({"text": "Only one."})).send().await?;
    ensure!(answer.status() == StatusCode::OK, "{}: {}", answer.status(), answer.text().await?);
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}
