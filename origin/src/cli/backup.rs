//! `cosygate backup` and `cosygate restore`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use origin::clock::Clock;
use origin::config::Settings;
use origin::{app, backup};

#[derive(Args)]
pub(crate) struct Backup {
    /// A folder that is not there yet, or empty.
    folder: PathBuf,
    /// Put the master key and the identity keys in as well: whoever has the backup can then make
    /// tokens. Without, keep them elsewhere.
    #[arg(long)]
    with_keys: bool,
}

#[derive(Args)]
pub(crate) struct Restore {
    /// The folder of the backup.
    folder: PathBuf,
}

pub(crate) async fn write(settings: &Settings, options: Backup) -> anyhow::Result<ExitCode> {
    let store = app::open_store(settings).await?;
    let blobs = app::open_blobs(settings)?;
    let now_ms = Clock::system().now_ms();
    let manifest = backup::write(settings, &store, &blobs, &options.folder, options.with_keys, now_ms).await?;
    store.close().await;
    super::print(format!("{} files, audit up to row {}", manifest.files.len(), manifest.audit_seq))?;
    if !manifest.has_keys {
        super::print("without the master key and the identity keys: keep those elsewhere")?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn restore(settings: &Settings, options: Restore) -> anyhow::Result<ExitCode> {
    // Before a database is made for it.
    backup::check(&options.folder)?;
    let store = app::open_store(settings).await?;
    let manifest =
        backup::restore(settings, &store, &options.folder, Clock::system().now_ms(), super::author()).await?;
    store.close().await;
    super::print(format!("{} files, audit up to row {}", manifest.files.len(), manifest.audit_seq))?;
    if !manifest.has_keys {
        super::print("put keys/master.key and keys/identity.keys back, or set them, before the server is started")?;
    }
    Ok(ExitCode::SUCCESS)
}
