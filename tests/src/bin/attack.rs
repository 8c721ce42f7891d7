//! `scripts/attack`: runs the attack corpus and prints what got through.

use std::io::Write as _;
use std::net::ToSocketAddrs as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use reqwest::Url;
use serde_json::Value;
use tests::attack::lure::Lure;
use tests::attack::mint::{Mint, decoded};
use tests::attack::run::{Report, run};
use tests::attack::table::{Column, markdown};
use tests::attack::{Case, Site, all, edges, without_key};
use tests::echo::Echo;
use tests::edge::IDENTITY_KEYS;
use tokio::signal::unix::{SignalKind, signal};

/// Runs the attack corpus and prints, for each kind of attack, what got through.
#[derive(Parser)]
#[command(name = "attack")]
struct Arguments {
    /// Start our edge and an Envoy with jwt_authn before the same echo, and run everything against both.
    #[arg(long, conflicts_with = "url", required_unless_present = "url")]
    compare: bool,
    /// Run what needs no signing key against this place (http only). A sound token of a user with few rights is
    /// taken from the variable ATTACK_TOKEN; without one, attacks that start from a sound token are left out.
    url: Option<Url>,
    /// A path that needs a token and answers to GET.
    #[arg(long, default_value = "/api/me")]
    path: String,
    /// A file with the token, in place of ATTACK_TOKEN.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// List every attack that got through, not only the first of each kind.
    #[arg(long)]
    all: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match report().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("attack: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether nothing got through.
async fn report() -> anyhow::Result<bool> {
    let arguments = Arguments::parse();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // Whatever ends the run, what it started goes with it.
    let columns = tokio::select! {
        columns = attack(&arguments) => columns?,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    };
    println!("{}", markdown(&columns));
    // The standard output is for the table alone.
    let mut notes = std::io::stderr().lock();
    for column in &columns {
        let mut known = Vec::new();
        for (case, outcome) in &column.through {
            if arguments.all || !known.contains(&case.family.name) {
                known.push(case.family.name);
                let statuses: Vec<u16> = outcome.answers.iter().map(|answer| answer.status).collect();
                writeln!(notes, "through {}: {}: {} {statuses:?}", column.name, case.family.name, case.name)?;
            }
        }
    }
    Ok(columns.first().is_some_and(|ours| ours.failures() == 0))
}

async fn attack(arguments: &Arguments) -> anyhow::Result<Vec<Column>> {
    match &arguments.url {
        Some(url) => Ok(vec![elsewhere(url, arguments).await?]),
        None => compare().await,
    }
}

async fn compare() -> anyhow::Result<Vec<Column>> {
    let (folder, mint, lure, echo) = (tempfile::tempdir()?, Mint::default(), Lure::start().await, Echo::start().await);
    let ours = edges::cosygate(&folder.path().join("cosygate"), echo.address).await;
    let other = edges::jwt_authn(&folder.path().join("jwt_authn"), echo.address).await;
    let cases = all(&edges::site(&ours, &mint), &mint, lure.address, IDENTITY_KEYS);
    let mut columns = Vec::new();
    for (name, edge) in [("cosygate", &ours), ("jwt_authn", &other)] {
        edges::check(edge, &mint).await.with_context(|| format!("{name}:\n{}", edge.envoy.log()))?;
        eprintln!("{name}: {} requests …", cases.len());
        echo.take();
        let site = edges::site(edge, &mint);
        let report = run(&site, &cases, Some(&echo)).await;
        columns.push(Column::new(name, &site, &cases, report, Some(lure.visits())));
    }
    Ok(columns)
}

async fn elsewhere(url: &Url, arguments: &Arguments) -> anyhow::Result<Column> {
    ensure!(
        url.scheme() == "http",
        "only http:// can be attacked; put a TLS terminator of your own before an https:// place"
    );
    let (host, port) = (url.host_str().context("the URL has no host")?, url.port_or_known_default().unwrap_or(80));
    let address = (host.trim_matches(['[', ']']), port).to_socket_addrs()?.next().context("the host has no address")?;
    ensure!(arguments.path.starts_with('/'), "--path starts with a slash");
    let token = token(arguments)?;
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    let get = async |path: &str, token: Option<&str>| -> anyhow::Result<(bool, Vec<u8>)> {
        let request = client.get(url.join(path)?);
        let request = token.iter().fold(request, |request, token| request.bearer_auth(token));
        let response = request.send().await?;
        Ok((response.status().is_success(), response.bytes().await?.to_vec()))
    };
    let path = &arguments.path;
    ensure!(!get(path, None).await?.0, "{path} answers without a token; name one that is guarded with --path");
    if token.is_some() {
        ensure!(get(path, token.as_deref()).await?.0, "{path} refuses the token");
    } else {
        eprintln!("There is no ATTACK_TOKEN: attacks that start from a sound token are left out.");
    }
    let nowhere = Some(get("/attack-nowhere", None).await?).filter(|(passes, _)| *passes).map(|(_, body)| body);
    let host = format!("{host}:{port}");
    let site = Site { address, host, path: path.clone(), open: None, token, user: None, echo: false, nowhere };
    let cases = without_key(&site);
    eprintln!("{} requests …", cases.len());
    let report = run(&site, &cases, None).await;
    warn(&cases, &report);
    Ok(Column::new(url.as_str(), &site, &cases, report, None))
}

/// Never from the command line, which everybody on the machine can read.
fn token(arguments: &Arguments) -> anyhow::Result<Option<String>> {
    let text = match &arguments.token_file {
        Some(file) => Some(std::fs::read_to_string(file).with_context(|| file.display().to_string())?),
        None => std::env::var("ATTACK_TOKEN").ok(),
    };
    let Some(token) = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()) else { return Ok(None) };
    let parts: Vec<&str> = token.split('.').collect();
    ensure!(parts.len() == 3, "the token is no JWT");
    let header: Value = serde_json::from_slice(&decoded(parts[0])?).context("the token's header is no JSON")?;
    ensure!(header.is_object() && decoded(parts[2]).is_ok(), "the token is no JWT");
    Ok(Some(token))
}

/// A limit that refuses everything proves nothing.
fn warn(cases: &[Case], report: &Report) {
    let limited = |status: u16| matches!(status, 429 | 503);
    let count =
        report.outcomes.iter().filter(|outcome| outcome.answers.iter().any(|answer| limited(answer.status))).count();
    if count > 0 {
        eprintln!(
            "{count} of {} attacks met a limit (429 or 503); what they would have done is not known.",
            cases.len()
        );
    }
}
