//! `cosygate policy …`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use gate::policy::Document;
use origin::clock::rfc3339;
use origin::config::Settings;
use origin::issuer::Issuer;
use origin::{app, policy};
use serde_json::json;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Say whether a policy is valid, and if not, where and why.
    #[command(after_help = "Example: cosygate policy check policy.json")]
    Check {
        /// The policy.
        file: PathBuf,
    },
    /// Say what changes from one policy to another.
    #[command(after_help = "Example: cosygate policy diff data/policy.json next.json")]
    Diff {
        /// The policy as it was.
        old: PathBuf,
        /// The policy as it would be.
        new: PathBuf,
    },
    /// Check a policy and put it in place of the watched one.
    #[command(after_help = "Example: cosygate policy publish policy.json")]
    Publish {
        /// The policy.
        file: PathBuf,
    },
    /// Print the JSON Schema of policies.
    #[command(after_help = "Example: cosygate policy schema > envoy/policy.schema.json")]
    Schema,
    /// Print the newest revision.
    #[command(after_help = "Example: cosygate policy show")]
    Show,
}

pub(crate) async fn run(settings: &Settings, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check { file } => {
            policy::check(&super::read(&file)?, &Issuer::sample_jwks())
                .with_context(|| format!("{} is not valid", file.display()))?;
            super::print(format!("{} is valid", file.display()))?;
        }
        Command::Diff { old, new } => {
            let changes = policy::diff::sentences(&document(&old)?, &document(&new)?);
            super::print(if changes.is_empty() { "nothing changes".to_owned() } else { changes.join("\n") })?;
        }
        Command::Publish { file } => {
            let target = settings.policy_file();
            policy::publish(&super::read(&file)?, &Issuer::sample_jwks(), &target)?;
            super::print(format!("{} is in place; a running server takes it over within a second", target.display()))?;
        }
        Command::Schema => super::print_json(&schemars::schema_for!(Document))?,
        Command::Show => {
            let store = app::open_store(settings).await?;
            let record = store.policies().latest().await?.context("no policy was ever in force")?;
            let document: serde_json::Value = serde_json::from_str(&record.document)?;
            super::print_json(&json!({
                "rev": record.rev,
                "sha256": record.sha256,
                "published_at": rfc3339(record.published_at),
                "document": document,
            }))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads a policy that need not be sound, only readable.
fn document(file: &PathBuf) -> anyhow::Result<Document> {
    Document::parse(&super::read(file)?).with_context(|| file.display().to_string())
}
