//! `cosygate books`.

use std::process::ExitCode;

use clap::Subcommand;
use origin::app;
use origin::blobs::Blobs;
use origin::books;
use origin::clock::Clock;
use origin::config::Settings;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Compare what was charged with what was delivered, for every user and day, and with the audio on the disk.
    #[command(
        after_help = "Exit code 1 if anything differs. May run beside a server.\n\nExample: cosygate books verify"
    )]
    Verify {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(crate) async fn run(settings: &Settings, command: Command) -> anyhow::Result<ExitCode> {
    let Command::Verify { json } = command;
    let store = app::open_store(settings).await?;
    app::make_folder(&settings.blobs_folder())?;
    let blobs = Blobs::open(&settings.blobs_folder())?;
    let verdict = books::verify(&store, &blobs, &Clock::system()).await?;
    if json {
        super::print_json(&verdict)?;
    } else {
        for mistake in &verdict.mistakes {
            let (user_id, place) = (&mistake.user_id, &mistake.place);
            super::print(format!("{user_id}\t{place}\tcharged {}\tdelivered {}", mistake.charged, mistake.delivered))?;
        }
        let (days, deliveries, outputs) = (verdict.days, verdict.deliveries, verdict.outputs);
        let mistakes = verdict.mistakes.len();
        super::print(format!("{days} days, {deliveries} deliveries, {outputs} outputs: {mistakes} differences"))?;
    }
    Ok(if verdict.mistakes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
