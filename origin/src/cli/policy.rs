//! `cosygate policy …`.

/// `cosygate policy render`.
mod render;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use gate::policy::Document;
use origin::app;
use origin::clock::{Clock, rfc3339};
use origin::config::Settings;
use origin::issuer::Issuer;
use origin::policy::{self, LIVE_MS, Publication};
use origin::store::{AuditEntry, EdgeRecord, PolicyRecord, Store};
use origin::trial::Trial;
use serde_json::json;

/// How many edges and revisions are shown.
const MAX_LISTED: i64 = 10_000;
/// How long `--wait` waits.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Say whether a policy is valid, and if not, where and why.
    #[command(after_help = "Example: cosygate policy check policy.json")]
    Check {
        /// The policy.
        file: PathBuf,
    },
    /// Say what changes from one policy to another. Each is a file, a revision or `current`.
    #[command(after_help = "Example: cosygate policy diff current next.json")]
    Diff {
        /// The policy as it was.
        old: String,
        /// The policy as it would be.
        new: String,
    },
    /// Check a policy and bring it into force, at every origin and edge.
    #[command(after_help = "Example: cosygate policy publish policy.json --reason 'more room for free users' --wait")]
    Publish {
        /// The policy.
        file: PathBuf,
        #[command(flatten)]
        how: How,
        /// Only if this revision is the newest.
        #[arg(long, value_name = "REV")]
        after: Option<i64>,
    },
    /// Check a policy and try it at some edges: at those that any of region, node and percent
    /// name, or at all. Everywhere else, and at the origin, the newest published one stays.
    #[command(after_help = "Example: cosygate policy try next.json --percent 10 --wait\n         \
                            cosygate policy try next.json --shadow --region north")]
    Try {
        /// The policy.
        file: PathBuf,
        /// All edges of this region; may be given several times.
        #[arg(long, value_name = "NAME")]
        region: Vec<String>,
        /// The edges of this name; may be given several times.
        #[arg(long, value_name = "NAME")]
        node: Vec<String>,
        /// So many of a hundred edges, always the same ones.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=100))]
        percent: Option<u8>,
        /// Judge by it beside the one in force and count where it differs; enforce nothing of it.
        #[arg(long)]
        shadow: bool,
        #[command(flatten)]
        how: How,
    },
    /// Publish the policy that is on trial.
    #[command(after_help = "Example: cosygate policy promote --wait")]
    Promote {
        #[command(flatten)]
        how: How,
    },
    /// End the trial; its edges go back to the newest published policy.
    #[command(after_help = "Example: cosygate policy drop --wait")]
    Drop {
        #[command(flatten)]
        how: How,
    },
    /// List the revisions, the newest first: revision, time, author and reason.
    #[command(after_help = "Example: cosygate policy history --limit 5")]
    History {
        /// How many.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=MAX_LISTED))]
        limit: i64,
    },
    /// Bring the content of an older revision into force again, under a new one.
    #[command(after_help = "Example: cosygate policy rollback 41 --reason 'the new limits were too low' --wait")]
    Rollback {
        /// The revision.
        rev: i64,
        #[command(flatten)]
        how: How,
    },
    /// Print what an edge is started with, for edges that cannot read the origin's file. No secret
    /// is ever in it.
    #[command(after_help = render::EXAMPLES)]
    Render(render::Options),
    /// Say which edge judges by what: one line each, and exit code 1 if one lags or complains.
    #[command(after_help = "Example: cosygate policy status")]
    Status,
    /// Print the JSON Schema of policies.
    #[command(after_help = "Example: cosygate policy schema > envoy/policy.schema.json")]
    Schema,
    /// Print a revision; default: the newest.
    #[command(after_help = "Example: cosygate policy show 41")]
    Show {
        /// The revision.
        rev: Option<i64>,
    },
}

#[derive(clap::Args)]
pub(crate) struct How {
    /// Why; stands in the history.
    #[arg(long, default_value = "")]
    reason: String,
    /// Return when every live edge judges by it, or say after 30 seconds which does not.
    #[arg(long)]
    wait: bool,
}

pub(crate) async fn run(settings: &Settings, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check { file } => {
            policy::check(&super::read(&file)?, &Issuer::sample_keys())
                .with_context(|| format!("{} is not valid", file.display()))?;
            super::print(format!("{} is valid", file.display()))?;
        }
        Command::Diff { old, new } => {
            let changes = policy::diff::sentences(&document(settings, &old).await?, &document(settings, &new).await?);
            super::print(if changes.is_empty() { "nothing changes".to_owned() } else { changes.join("\n") })?;
        }
        Command::Publish { file, how, after } => {
            let bytes = super::read(&file)?;
            return publish(settings, &bytes, &how, after)
                .await
                .with_context(|| format!("{} is not published", file.display()));
        }
        Command::Rollback { rev, how } => {
            let store = app::open_store(settings).await?;
            let record = revision(&store, Some(rev)).await?;
            let reason = if how.reason.is_empty() { format!("back to revision {rev}") } else { how.reason };
            return publish(settings, record.document.as_bytes(), &How { reason, ..how }, None).await;
        }
        Command::Try { file, region, node, percent, shadow, how } => {
            let (bytes, store) = (super::read(&file)?, writable(settings).await?);
            let trial = Trial { regions: region, nodes: node, percent, shadow };
            let publication = Publication { author: &super::author(), reason: &how.reason, after: None };
            let audit = AuditEntry::of_system(Clock::system().now_ms(), "policy_trial").via(super::author());
            let record =
                policy::begin_trial(&store, &bytes, &Issuer::sample_keys(), publication, &trial, &audit).await?;
            super::print(format!("revision {} on trial", record.rev))?;
            return if how.wait { wait(&store).await } else { Ok(ExitCode::SUCCESS) };
        }
        Command::Promote { how } => {
            let store = app::open_store(settings).await?;
            let record = store.policies().on_trial().await?.context("no policy is on trial")?;
            let reason = if how.reason.is_empty() { format!("revision {} was tried", record.rev) } else { how.reason };
            return publish(settings, record.document.as_bytes(), &How { reason, ..how }, None).await;
        }
        Command::Drop { how } => {
            let store = writable(settings).await?;
            let audit = AuditEntry::of_system(Clock::system().now_ms(), "policy_drop").via(super::author());
            if !store.policies().end_trial(&audit).await? {
                bail!("no policy is on trial");
            }
            return if how.wait { wait(&store).await } else { Ok(ExitCode::SUCCESS) };
        }
        Command::History { limit } => {
            for record in app::open_store(settings).await?.policies().history(limit).await? {
                let PolicyRecord { rev, published_at, author, reason, trial, .. } = record;
                let tried = if trial.is_some() { "tried\t" } else { "" };
                super::print(format!("{rev}\t{}\t{author}\t{tried}{reason}", rfc3339(published_at)))?;
            }
        }
        Command::Render(options) => render::run(settings, options).await?,
        Command::Status => return status(&app::open_store(settings).await?).await,
        Command::Schema => super::print_json(&schemars::schema_for!(Document))?,
        Command::Show { rev } => {
            let record = revision(&app::open_store(settings).await?, rev).await?;
            let document: serde_json::Value = serde_json::from_str(&record.document)?;
            super::print_json(&json!({
                "rev": record.rev,
                "sha256": record.sha256,
                "published_at": rfc3339(record.published_at),
                "author": record.author,
                "reason": record.reason,
                "document": document,
            }))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The database, if anything but a file may make policy.
async fn writable(settings: &Settings) -> anyhow::Result<Store> {
    if let Some(file) = &settings.policy_file {
        bail!("the policy comes from {} alone; change it there", file.display());
    }
    Ok(app::open_store(settings).await?)
}

async fn publish(settings: &Settings, bytes: &[u8], how: &How, after: Option<i64>) -> anyhow::Result<ExitCode> {
    let store = writable(settings).await?;
    let author = super::author();
    let publication = Publication { author: &author, reason: &how.reason, after };
    let audit = AuditEntry::of_system(Clock::system().now_ms(), "policy_change").via(super::author());
    let record = policy::publish(&store, bytes, &Issuer::sample_keys(), publication, &audit).await?;
    super::print(format!("revision {}", record.rev))?;
    if how.wait { wait(&store).await } else { Ok(ExitCode::SUCCESS) }
}

/// Waits until every live edge has come as far as the control plane.
async fn wait(store: &Store) -> anyhow::Result<ExitCode> {
    let serial = store.control().progress().await?.serial;
    let end = Instant::now() + PATIENCE;
    loop {
        let edges = live(store).await?;
        let behind: Vec<&EdgeRecord> = edges.iter().filter(|edge| edge.serial < serial).collect();
        if behind.is_empty() {
            super::print(format!("in force at {} of {} edges", edges.len(), edges.len()))?;
            return Ok(ExitCode::SUCCESS);
        }
        if Instant::now() >= end {
            super::print(format!("in force at {} of {} edges", edges.len() - behind.len(), edges.len()))?;
            for edge in behind {
                super::print(line(edge, serial))?;
            }
            return Ok(ExitCode::FAILURE);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn status(store: &Store) -> anyhow::Result<ExitCode> {
    let serial = store.control().progress().await?.serial;
    let newest = store.policies().latest().await?.map_or(0, |record| record.rev);
    let edges = live(store).await?;
    if let Some(record) = store.policies().on_trial().await? {
        super::print(format!("on trial\trev {}\t{}", record.rev, record.trial.unwrap_or_default()))?;
    }
    super::print(format!("control plane\trev {newest}\tserial {serial}\t{} edges", edges.len()))?;
    for edge in &edges {
        super::print(line(edge, serial))?;
    }
    let is_good = edges.iter().all(|edge| edge.serial >= serial && edge.error.is_empty());
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The edges that asked not long ago.
async fn live(store: &Store) -> anyhow::Result<Vec<EdgeRecord>> {
    Ok(store.control().edges(Clock::system().now_ms() - LIVE_MS, MAX_LISTED).await?)
}

fn line(edge: &EdgeRecord, serial: i64) -> String {
    let lag = if edge.serial < serial { format!("{} behind", serial - edge.serial) } else { "up to date".to_owned() };
    let EdgeRecord { region, node, rev, error, seen_at, .. } = edge;
    format!("{region}/{node}\trev {rev}\t{lag}\tseen {}\t{error}", rfc3339(*seen_at))
}

async fn revision(store: &Store, rev: Option<i64>) -> anyhow::Result<PolicyRecord> {
    match rev {
        Some(rev) => store.policies().by_rev(rev).await?.with_context(|| format!("there is no revision {rev}")),
        None => store.policies().latest().await?.context("no policy was ever in force"),
    }
}

/// A policy that need not be sound, only readable: a file, a revision or `current`.
async fn document(settings: &Settings, name: &str) -> anyhow::Result<Document> {
    let rev = name.parse::<i64>().ok();
    let bytes = if rev.is_some() || name == "current" {
        revision(&app::open_store(settings).await?, rev).await?.document.into_bytes()
    } else {
        super::read(&PathBuf::from(name))?
    };
    Document::parse(&bytes).with_context(|| name.to_owned())
}
