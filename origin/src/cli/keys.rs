//! `cosygate keys …`.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Subcommand, ValueEnum};
use origin::app;
use origin::clock::{Clock, rfc3339};
use origin::config::Settings;
use origin::keys::{self, KeyError};
use origin::policy::current_document;
use origin::store::{AuditEntry, KeyRecord, Purpose, StoreError};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the keys: purpose, name, state, since when, and until when what they signed holds.
    #[command(after_help = "Example: cosygate keys list")]
    List,
    /// Make a new key. One for tokens signs by itself once every live edge holds it; a root key is
    /// told to edges with their configuration, and signs once you activate it, like one of the audit.
    #[command(after_help = "Example: cosygate keys rotate issuer")]
    Rotate {
        /// What it is for.
        purpose: For,
    },
    /// Let the next key sign at once, whether or not every edge holds it.
    #[command(after_help = "Example: cosygate keys activate kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")]
    Activate {
        /// Its name.
        kid: String,
    },
    /// End a retired key now: what it signed is refused within five seconds. Also takes back a key
    /// that was to follow.
    #[command(after_help = "Example: cosygate keys retire kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")]
    Retire {
        /// Its name.
        kid: String,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum For {
    /// Signs the access tokens of logins.
    Issuer,
    /// Signs personal access tokens.
    Pat,
    /// Signs what edges are told.
    Root,
    /// Signs checkpoints of the audit.
    Audit,
}

pub(crate) async fn run(settings: &Settings, command: Command) -> anyhow::Result<ExitCode> {
    let store = app::open_store(settings).await?;
    let now_ms = Clock::system().now_ms();
    match command {
        Command::List => {
            for key in store.keys().all().await? {
                super::print(line(&key))?;
            }
            // They come from the environment: the first one seals, what the others sealed still opens.
            for (place, id) in app::open_identity_keys(settings)?.ids().enumerate() {
                super::print(format!("identity\t{id}\t{}", if place == 0 { "active" } else { "retired" }))?;
            }
        }
        Command::Rotate { purpose } => {
            let purpose = match purpose {
                For::Issuer => Purpose::Issuer,
                For::Pat => Purpose::Pat,
                For::Root => Purpose::Root,
                For::Audit => Purpose::Audit,
            };
            let audit = AuditEntry::of_system(now_ms, "key_rotate").via(super::author());
            match keys::rotate(&store, &app::open_master(settings)?, purpose, &audit).await {
                Err(KeyError::Store(StoreError::Conflict)) => bail!("there is a key already that is to follow"),
                other => super::print(other?)?,
            }
        }
        Command::Activate { kid } => {
            let known = store.keys().all().await?;
            let purpose = known.iter().find(|key| key.kid == kid).map(|key| key.purpose.as_str()).unwrap_or_default();
            let lives_ms = keys::signed_for_ms(&current_document(&store).await?, purpose);
            let ends_at = now_ms.saturating_add(lives_ms);
            let audit = AuditEntry::of_system(now_ms, "key_activate").on(&kid).via(super::author());
            if !store.keys().activate(&kid, ends_at, &audit).await? {
                bail!("{kid} is no key that is to follow");
            }
            super::print(format!("{kid} signs"))?;
        }
        Command::Retire { kid } => {
            let audit = AuditEntry::of_system(now_ms, "key_retire").on(&kid).via(super::author());
            if !store.keys().retire(&kid, now_ms, &audit).await? {
                bail!("{kid} is not there, or it signs; rotate first");
            }
            super::print(format!("{kid} ends"))?;
        }
    }
    store.close().await;
    Ok(ExitCode::SUCCESS)
}

fn line(key: &KeyRecord) -> String {
    let since = key.retired_at.or(key.active_from).unwrap_or(key.created_at);
    let until = key.ends_at.map(|ends_at| format!("\tuntil {}", rfc3339(ends_at))).unwrap_or_default();
    format!("{}\t{}\t{}\tsince {}{until}", key.purpose, key.kid, key.state().as_str(), rfc3339(since))
}
