//! `cosygate config …`.

use std::process::ExitCode;

use clap::Subcommand;
use origin::config::Settings;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Validate the settings and print the effective ones, secrets masked.
    #[command(after_help = "Example: cosygate --config /etc/cosygate.toml config check")]
    Check,
}

pub(crate) fn run(settings: &Settings, command: &Command) -> anyhow::Result<ExitCode> {
    let Command::Check = command;
    // Loading has validated them.
    super::print(toml::to_string(&settings.effective())?.trim_end())?;
    if settings.database_url.is_none() {
        super::print(format!("# database: {}", settings.database_file().display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
