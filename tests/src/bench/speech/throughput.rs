//! How many generations of one second of audio a core makes in a second, on the disk, when the engine
//! takes no time. Beside it, LiteLLM's proxy on one core before the same engine; it stores nothing.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::engine::{Cost, Engine};
use super::place::{self, Figure};
use crate::bench::load::{self, Load, Run};
use crate::process::{Program, artefact, free_port};
use crate::world::World;

/// Users; each request is the next one's.
const USERS: usize = 64;
/// Clients at once.
const CONNECTIONS: u32 = 64;
const LITELLM_KEY: &str = "sk-only-for-this-benchmark";

/// What is asked of both, `seconds` for each, in turn, `rounds` times.
///
/// # Errors
/// Something cannot be started, or a generation fails.
pub async fn measure(engine: &Engine, rounds: u32, seconds: u32) -> anyhow::Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    let world = place::world(engine, Cost::Instant, CONNECTIONS as usize).await;
    let users = place::users(&world, USERS).await;
    let ours = folder.path().join("ours");
    let lines: Vec<String> = users.iter().map(|user| format!("/v1/audio/speech {}", user.token)).collect();
    std::fs::write(&ours, lines.join("\n"))?;
    let theirs = folder.path().join("theirs");
    std::fs::write(&theirs, format!("/v1/audio/speech {LITELLM_KEY}"))?;
    let (litellm, litellm_url) = litellm(folder.path(), engine).await?;
    place::part(&[&world.origin, &litellm], &[&world.edge.envoy])?;

    let body = json!({"model": "tts-1", "input": "One second.", "voice": "alloy", "response_format": "pcm"});
    let body = body.to_string();
    let run = |process, url, requests| Run {
        body: Some(&body),
        connections: CONNECTIONS,
        ..Run::get(process, url, requests)
    };
    let ours = run(&world.origin, &world.edge.url, &ours);
    let theirs = run(&litellm, &litellm_url, &theirs);
    let (mut our_loads, mut their_loads): (Vec<Load>, Vec<Load>) = Default::default();
    for round in 0..=rounds {
        // The first warms up.
        let seconds = if round == 0 { 2 } else { seconds };
        our_loads.push(load::run(folder.path(), &ours, seconds).await?);
        their_loads.push(load::run(folder.path(), &theirs, seconds).await?);
    }
    check_books(&world)?;
    let rates = |loads: &[Load]| loads.iter().skip(1).map(|load| load.requests_per_second).collect::<Vec<_>>();
    let (our_rates, their_rates) = (rates(&our_loads), rates(&their_loads));
    let ratios: Vec<f64> = our_rates.iter().zip(&their_rates).map(|(ours, theirs)| ours / theirs).collect();
    let rounds = json!({"cosygate": our_loads, "litellm": their_loads});
    Ok(vec![
        Figure::at_least("generations a second, one core", place::median(&our_rates), 1000.0).with(rounds),
        Figure::at_least("… of LiteLLM's", place::median(&ratios), 10.0).with(json!(their_rates)),
    ])
}

/// Whatever was answered was booked, and nothing else.
fn check_books(world: &World) -> anyhow::Result<()> {
    let output = world.cosygate(&["books", "verify"]);
    ensure!(output.status.success(), "the books: {}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

async fn litellm(folder: &Path, engine: &Engine) -> anyhow::Result<(Program, String)> {
    let port = free_port();
    let settings = json!({
        "model_list": [{
            "model_name": "tts-1",
            "litellm_params": {
                "model": "openai/tts-1", "api_base": format!("{}/v1", engine.url(Cost::Instant)), "api_key": "none",
            },
        }],
        "general_settings": {"master_key": LITELLM_KEY},
    });
    let file = folder.join("litellm.yaml");
    std::fs::write(&file, settings.to_string())?;
    let mut command = Command::new(artefact("LITELLM", ".tools/litellm/bin/litellm"));
    command.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--num_workers", "1", "--config"]).arg(&file);
    // It would ask for prices and for other versions.
    command.envs([("LITELLM_LOCAL_MODEL_COST_MAP", "True"), ("LITELLM_TELEMETRY", "False"), ("LITELLM_LOG", "ERROR")]);
    let mut program = Program::start(&mut command, &folder.join("litellm.log"));
    let url = format!("http://127.0.0.1:{port}");
    let end = Instant::now() + Duration::from_secs(120);
    while !reqwest::get(format!("{url}/health/liveliness")).await.is_ok_and(|answer| answer.status() == 200) {
        ensure!(program.is_running() && Instant::now() < end, "LiteLLM did not start:\n{}", program.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let models = reqwest::Client::new().get(format!("{url}/v1/models")).bearer_auth(LITELLM_KEY).send().await?;
    let models: Value = models.json().await?;
    models["data"].as_array().filter(|models| !models.is_empty()).context("LiteLLM has no model")?;
    Ok((program, url))
}
