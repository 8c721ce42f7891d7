//! How fast a 10 MB output comes through edge and origin; beside it nginx, which serves the same file
//! behind an Envoy with the same filter.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::engine::{Cost, Engine};
use super::place::{self, Figure};
use crate::attack::edges;
use crate::attack::mint::{ALGORITHMS, Mint};
use crate::bench::load::{self, Load, Run};
use crate::process::{Program, free_port};

const CONNECTIONS: u32 = 4;

/// Both in turn, `seconds` for each, `rounds` times.
///
/// # Errors
/// Something cannot be started, or a download fails.
pub async fn measure(engine: &Engine, rounds: u32, seconds: u32) -> anyhow::Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    let world = place::world(engine, Cost::Large, 1).await;
    let user = world.user("ada").await;
    let made = world.generate(&user, "Ten megabytes.").await;
    let blobs = world.blobs();
    let [file] = &blobs[..] else { anyhow::bail!("not one file: {blobs:?}") };
    let size = file.metadata()?.len();
    ensure!((9_900_000..10_100_000).contains(&size), "the output has {size} bytes");

    let port = free_port();
    let mut nginx = nginx(folder.path(), file, port)?;
    let edge = edges::cosygate(&folder.path().join("edge"), ([127, 0, 0, 1], port).into()).await;
    let mint = Mint::default();
    let site = edges::site(&edge, &mint);
    wait(&mut nginx, port).await?;
    place::part(&[&world.origin, &nginx], &[&world.edge.envoy, &edge.envoy])?;

    let ours = folder.path().join("ours");
    std::fs::write(&ours, format!("{} {}", made["audio_url"].as_str().context("no url")?, user.token))?;
    let theirs = folder.path().join("theirs");
    std::fs::write(&theirs, format!("{} {}", site.path, mint.sound(&ALGORITHMS[0])))?;
    let run = |process, url, requests| Run { connections: CONNECTIONS, ..Run::get(process, url, requests) };
    let (mut our_loads, mut their_loads): (Vec<Load>, Vec<Load>) = Default::default();
    for round in 0..=rounds {
        // The first warms up.
        let seconds = if round == 0 { 1 } else { seconds };
        our_loads.push(load::run(folder.path(), &run(&world.origin, &world.edge.url, &ours), seconds).await?);
        their_loads.push(load::run(folder.path(), &run(&nginx, &edge.url, &theirs), seconds).await?);
    }
    let ratios: Vec<f64> = our_loads
        .iter()
        .zip(&their_loads)
        .skip(1)
        .map(|(ours, theirs)| ours.requests_per_second / theirs.requests_per_second)
        .collect();
    let megabytes =
        our_loads.iter().skip(1).map(|load| load.requests_per_second * size as f64 / 1e6).collect::<Vec<_>>();
    let all = json!({"cosygate": our_loads, "nginx": their_loads, "bytes": size});
    Ok(vec![
        Figure::at_least("download of 10 MB, of nginx's", place::median(&ratios), 0.7).with(all),
        Figure::told("… megabytes a second", place::median(&megabytes)),
    ])
}

fn nginx(folder: &Path, file: &Path, port: u16) -> anyhow::Result<Program> {
    let place = folder.join("nginx");
    std::fs::create_dir_all(&place)?;
    std::fs::copy(file, place.join("audio.wav"))?;
    let place = place.display();
    // One worker, on one core like the origin; what it does best: sendfile from the page cache.
    let settings = format!(
        "daemon off; master_process off; worker_processes 1; pid {place}/pid; error_log {place}/errors;
         events {{ worker_connections 256; }}
         http {{
           access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
           client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;
           uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
           types {{ audio/wav wav; }}
           server {{ listen 127.0.0.1:{port}; root {place}; location / {{ try_files /audio.wav =404; }} }}
         }}"
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, settings)?;
    Ok(Program::start(Command::new("nginx").arg("-c").arg(&file), &folder.join("nginx.log")))
}

async fn wait(nginx: &mut Program, port: u16) -> anyhow::Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    while !reqwest::get(format!("http://127.0.0.1:{port}/")).await.is_ok_and(|answer| answer.status() == 200) {
        ensure!(nginx.is_running() && Instant::now() < end, "nginx did not start:\n{}", nginx.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
