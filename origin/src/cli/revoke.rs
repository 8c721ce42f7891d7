//! `cosygate revoke …`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use origin::app;
use origin::clock::{Clock, rfc3339};
use origin::config::Settings;
use origin::policy::current_document;
use origin::revocation::{self, Withdrawal};
use origin::store::{AuditEntry, Whose};

/// How many revocations are shown.
const MAX_LISTED: i64 = 100_000;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Withdraw all tokens that a user has; new logins are not concerned.
    #[command(after_help = "Example: cosygate revoke user 01JDCTN4N2Z9R4V7J4T3M6Q8XY --reason 'laptop stolen'")]
    User(Subject),
    /// Withdraw all tokens that a program was given, by its `client_id` or `azp`.
    #[command(after_help = "Example: cosygate revoke client old-app")]
    Client(Subject),
    /// Withdraw all tokens of one login, by its `sid`.
    #[command(after_help = "Example: cosygate revoke login 01JDCTN4N2Z9R4V7J4T3M6Q8XY")]
    Login(Subject),
    /// Withdraw one token, by its `jti`.
    #[command(after_help = "Example: cosygate revoke token 01JDCTN4N2Z9R4V7J4T3M6Q8XY")]
    Token(Subject),
    /// Withdraw one personal access token, by its id.
    #[command(after_help = "Example: cosygate revoke pat 01JDCTN4N2Z9R4V7J4T3M6Q8XY")]
    Pat(Subject),
    /// Withdraw all tokens of an issuer, by its `iss`.
    #[command(after_help = "Example: cosygate revoke issuer cosygate --reason 'a key has leaked'")]
    Issuer(Subject),
    /// List what is withdrawn and may still be around.
    #[command(after_help = "Example: cosygate revoke list")]
    List,
}

#[derive(Args)]
pub(crate) struct Subject {
    /// Its id or name.
    id: String,
    /// Why.
    #[arg(long, default_value = "")]
    reason: String,
}

pub(crate) async fn run(settings: &Settings, command: Command) -> anyhow::Result<ExitCode> {
    let store = app::open_store(settings).await?;
    let now_ms = Clock::system().now_ms();
    let (whose, subject) = match command {
        Command::User(subject) => (Whose::User, subject),
        Command::Client(subject) => (Whose::Client, subject),
        Command::Login(subject) => (Whose::Session, subject),
        Command::Token(subject) => (Whose::Token, subject),
        Command::Pat(subject) => (Whose::Pat, subject),
        Command::Issuer(subject) => (Whose::Issuer, subject),
        Command::List => {
            for record in store.control().revocations(now_ms, MAX_LISTED).await? {
                let before = rfc3339(record.not_before.saturating_mul(1000));
                let (kind, subject, author, reason) = (record.kind, record.subject, record.author, record.reason);
                super::print(format!("{kind}\t{subject}\tbefore {before}\t{author}\t{reason}"))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
    };
    let author = super::author();
    let withdrawal = Withdrawal { whose, subject: &subject.id, author: &author, reason: &subject.reason };
    let record =
        revocation::record(withdrawal, &current_document(&store).await?, now_ms).map_err(anyhow::Error::msg)?;
    let audit = revocation::named(AuditEntry::of_system(now_ms, "revoke").via(author.as_str().to_owned()), &record);
    store.control().revoke(&record, &audit).await?;
    super::print(format!("{} {}: what was issued until now is withdrawn", record.kind, record.subject))?;
    Ok(ExitCode::SUCCESS)
}
