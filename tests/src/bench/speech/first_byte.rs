//! How much later the first audio comes through edge and origin than from the engine itself.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use super::engine::{Cost, Engine};
use super::place::{self, Figure};

/// Streams at once.
const STREAMS: usize = 16;
/// One after another, of each stream, in each round.
const EACH: usize = 4;

/// Asks the engine itself, then through everything, `rounds` times.
///
/// # Errors
/// Something cannot be started, or a stream fails.
pub async fn measure(engine: &Engine, rounds: u32) -> anyhow::Result<Vec<Figure>> {
    let world = place::world(engine, Cost::Pieces, STREAMS).await;
    let users = place::users(&world, STREAMS).await;
    let body = json!({"model": "tts-1", "input": "One second.", "voice": "alloy", "response_format": "pcm"});
    let client = Client::new();
    let direct_url = format!("{}/v1/audio/speech", engine.url(Cost::Pieces));
    let direct = |_: usize| client.post(&direct_url).json(&body);
    let through_url = format!("{}/v1/audio/speech", world.edge.url);
    let through = |user: usize| client.post(&through_url).bearer_auth(&users[user].token).json(&body);
    let (mut direct_ms, mut through_ms) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (one, other) = (streams(&direct).await?, streams(&through).await?);
        // The first warms up.
        if round > 0 {
            direct_ms.extend(one);
            through_ms.extend(other);
        }
    }
    let above = |share: f64| place::quantile(&through_ms, share) - place::quantile(&direct_ms, share);
    let all = json!({"direct_ms": direct_ms, "through_ms": through_ms});
    Ok(vec![
        Figure::at_most("first audio above the engine's, median, ms", above(0.5), 3.0).with(all),
        Figure::at_most("… 99th percentile, ms", above(0.99), 10.0).with(Value::Null),
    ])
}

/// All streams at once; milliseconds to the first audio of each.
async fn streams(ask: &impl Fn(usize) -> RequestBuilder) -> anyhow::Result<Vec<f64>> {
    let stream = async |number: usize| -> anyhow::Result<Vec<f64>> {
        // They do not keep step.
        tokio::time::sleep(Duration::from_millis(13 * number as u64)).await;
        let mut times = Vec::new();
        for _ in 0..EACH {
            let began = Instant::now();
            let mut answer = ask(number).send().await?;
            ensure!(answer.status() == 200, "{}: {}", answer.status(), answer.text().await?);
            let mut bytes = answer.chunk().await?.context("no audio")?.len();
            times.push(began.elapsed().as_secs_f64() * 1000.0);
            while let Some(piece) = answer.chunk().await? {
                bytes += piece.len();
            }
            ensure!(bytes == super::engine::SECOND_BYTES, "{bytes} bytes of audio");
        }
        Ok(times)
    };
    Ok(try_join_all((0..STREAMS).map(stream)).await?.concat())
}
