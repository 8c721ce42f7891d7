//! `cosygate audit …`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use origin::app;
use origin::audit;
use origin::clock::{Clock, parse_rfc3339};
use origin::config::Settings;
use origin::routes::audit_line;
use origin::store::{AuditFilter, Store};

/// How many rows are read at once.
const STEP: i64 = 1000;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Say whether the audit is what was written: nothing changed, removed, put in or moved. Exit
    /// code 0 if so, 1 with what was found if not.
    #[command(after_help = "Example: cosygate audit verify --checkpoints /mnt/elsewhere/audit-checkpoints.jsonl")]
    Verify {
        /// Checkpoints that were kept outside of the database; default: audit-checkpoints.jsonl in
        /// the data folder.
        #[arg(long, value_name = "FILE")]
        checkpoints: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print rows as JSON lines, the oldest first.
    #[command(after_help = "Example: cosygate audit export --since 2026-11-23T00:00:00Z --user ada --action generate")]
    Export(Wanted),
}

#[derive(Args)]
pub(crate) struct Wanted {
    /// Not before this time (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<i64>,
    /// Done by this user: a username, or a user id.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// This action, for example generate.
    #[arg(long)]
    action: Option<String>,
}

fn parse_since(text: &str) -> Result<i64, String> {
    parse_rfc3339(text).ok_or_else(|| "write a time like 2026-11-23T05:04:03Z".to_owned())
}

pub(crate) async fn run(settings: &Settings, command: Command) -> anyhow::Result<ExitCode> {
    let store = app::open_store(settings).await?;
    let code = match command {
        Command::Verify { checkpoints, json } => verify(settings, &store, checkpoints, json).await?,
        Command::Export(wanted) => export(&store, wanted).await?,
    };
    store.close().await;
    Ok(code)
}

async fn verify(
    settings: &Settings,
    store: &Store,
    checkpoints: Option<PathBuf>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let file = checkpoints.clone().unwrap_or_else(|| settings.audit_file());
    if checkpoints.is_some() {
        std::fs::metadata(&file).with_context(|| file.display().to_string())?;
    }
    let kept = audit::read_file(&file).with_context(|| file.display().to_string())?;
    let report = audit::verify(store, &kept, Clock::system().now_ms()).await?;
    if json {
        super::print_json(&report)?;
    } else {
        for finding in &report.findings {
            let place = finding.seq.map(|seq| format!("row {seq}: ")).unwrap_or_default();
            super::print(format!("{place}{}", finding.what))?;
        }
        let verdict = if report.is_sound() { "sound".to_owned() } else { format!("{} findings", report.count) };
        super::print(format!(
            "{verdict}: {} rows, {} checkpoints, signed up to row {}",
            report.rows, report.checkpoints, report.signed_up_to
        ))?;
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn export(store: &Store, wanted: Wanted) -> anyhow::Result<ExitCode> {
    let user_id = match wanted.user {
        Some(name) => {
            let account = store.accounts().by_username(&name.to_lowercase()).await?;
            Some(account.map_or(name, |account| account.id))
        }
        None => None,
    };
    let filter = AuditFilter {
        since_ms: wanted.since.unwrap_or_default(),
        user_id,
        action: wanted.action,
        ..AuditFilter::default()
    };
    let mut after = 0;
    loop {
        let rows = store.trail().after(&filter, after, STEP).await?;
        let Some(last) = rows.last() else { return Ok(ExitCode::SUCCESS) };
        after = last.row.seq;
        for row in &rows {
            super::print(audit_line(row))?;
        }
    }
}
