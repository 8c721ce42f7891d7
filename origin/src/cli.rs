//! The command line, on one screen.

mod audit;
mod backup;
mod books;
mod config;
mod keys;
mod policy;
mod revoke;
mod serve;
mod token;
mod user;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use origin::app;
use origin::config::Settings;

/// Login, per-user isolation and a policy gate for speech synthesis.
#[derive(Parser)]
#[command(name = "cosygate", version)]
pub(crate) struct Arguments {
    /// Settings file; default: cosygate.toml in the working directory, if there is one.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of everything that is written; overrides COSYGATE_DATA.
    #[arg(long, global = true, value_name = "FOLDER")]
    data: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the origin.
    #[command(after_help = "Example: COSYGATE_DATA=/var/lib/cosygate cosygate serve")]
    Serve(serve::Options),
    /// Look at the settings.
    #[command(subcommand)]
    Config(config::Command),
    /// Check, compare, publish, roll back and follow the policy.
    #[command(subcommand)]
    Policy(policy::Command),
    /// List and change the keys that origins sign with.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Withdraw tokens before their time.
    #[command(subcommand)]
    Revoke(revoke::Command),
    /// Compare what was charged with what was delivered.
    #[command(subcommand)]
    Books(books::Command),
    /// Add and list users, change roles.
    #[command(subcommand)]
    User(user::Command),
    /// Check and print the audit.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Judge tokens.
    #[command(subcommand)]
    Token(token::Command),
    /// Write a backup into a folder, while the server runs: database, audio, policy, checkpoints of
    /// the audit.
    #[command(after_help = "Example: cosygate backup /mnt/backups/2026-11-23")]
    Backup(backup::Backup),
    /// Put a backup back, into an empty data folder and an empty database.
    #[command(after_help = "Example: cosygate restore /mnt/backups/2026-11-23 --data /var/lib/cosygate")]
    Restore(backup::Restore),
    /// Print the description of the API (OpenAPI 3.1).
    #[command(after_help = "Example: cosygate openapi > docs/openapi.json")]
    Openapi,
    /// Make or update the tables of the database. `serve` does so, too.
    #[command(after_help = "Example: COSYGATE_DATABASE_URL_FILE=/run/secrets/db cosygate migrate")]
    Migrate,
}

/// Runs one command.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut settings = Settings::load(arguments.config.as_deref(), &|name| std::env::var(name).ok())?;
    if let Some(data) = arguments.data {
        settings.data = data;
    }
    match arguments.command {
        Command::Serve(options) => serve::run(settings, options).await,
        Command::Config(command) => config::run(&settings, &command),
        Command::Policy(command) => policy::run(&settings, command).await,
        Command::Keys(command) => keys::run(&settings, command).await,
        Command::Revoke(command) => revoke::run(&settings, command).await,
        Command::Books(command) => books::run(&settings, command).await,
        Command::User(command) => user::run(&settings, command).await,
        Command::Audit(command) => audit::run(&settings, command).await,
        Command::Token(command) => token::run(&settings, command).await,
        Command::Backup(options) => backup::write(&settings, options).await,
        Command::Restore(options) => backup::restore(&settings, options).await,
        Command::Openapi => {
            print_json(&*origin::routes::DESCRIPTION)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Migrate => {
            app::open_store(&settings).await?.close().await;
            print("the tables are up to date")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Reads a file and names it if that fails.
fn read(file: &PathBuf) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| file.display().to_string())
}

/// Under which name a change by the command line is recorded.
fn author() -> String {
    format!("cli:{}", std::env::var("USER").ok().filter(|name| !name.is_empty()).as_deref().unwrap_or("somebody"))
}

/// Prints lines. A reader that has read enough is no error.
fn print(text: impl std::fmt::Display) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    match writeln!(output, "{text}").and_then(|()| output.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Prints JSON for people and programs.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(serde_json::to_string_pretty(value)?)
}
