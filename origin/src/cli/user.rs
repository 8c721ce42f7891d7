//! `cosygate user …`.

use std::io::BufRead as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use origin::accounts::{Passwords, fold_username};
use origin::app::{self, AddUserError};
use origin::clock::{Clock, rfc3339};
use origin::config::Settings;
use origin::store::{AuditEntry, Store, StoreError};

/// How many accounts are listed.
const MAX_LISTED: i64 = 10_000;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add a user. The password comes from standard input, from COSYGATE_PASSWORD, or is made and
    /// printed.
    #[command(after_help = "Example: cosygate user add ada --role premium --password-stdin < password")]
    Add {
        /// The username.
        name: String,
        /// The role.
        #[arg(long, default_value = "free")]
        role: String,
        /// Read the password from the first line of standard input.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Change a user's role. Tokens that are out keep the old one until they expire.
    #[command(after_help = "Example: cosygate user role ada premium")]
    Role {
        /// The username.
        name: String,
        /// The role.
        role: String,
    },
    /// List the users.
    #[command(after_help = "Example: cosygate user list")]
    List,
}

pub(crate) async fn run(settings: &Settings, command: Command) -> anyhow::Result<ExitCode> {
    let store = app::open_store(settings).await?;
    match command {
        Command::Add { name, role, password_stdin } => add(&store, &name, &role, password_stdin).await?,
        Command::Role { name, role } => set_role(&store, &name, &role).await?,
        Command::List => {
            for user in store.accounts().list(MAX_LISTED).await? {
                super::print(format!("{}\t{}\t{}\t{}", user.id, user.username, user.role, rfc3339(user.created_at)))?;
            }
        }
    }
    store.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn add(store: &Store, name: &str, role: &str, password_stdin: bool) -> anyhow::Result<()> {
    check_role(store, role).await?;
    let given = match password_stdin {
        true => {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line)?;
            Some(line.trim_end_matches(['\r', '\n']).to_owned())
        }
        false => std::env::var("COSYGATE_PASSWORD").ok(),
    };
    let password = given.clone().unwrap_or_else(app::new_password);
    let passwords = Passwords::new().map_err(anyhow::Error::msg)?;
    let added = app::add_user(store, &passwords, &Clock::system(), name, role, password.clone()).await;
    let user = match added {
        Err(AddUserError::Store(StoreError::Conflict)) => bail!("the username {name} is taken"),
        other => other?,
    };
    super::print(format!("{}\t{}\t{}", user.id, user.username, user.role))?;
    if given.is_none() {
        super::print(format!("password: {password}"))?;
    }
    Ok(())
}

async fn set_role(store: &Store, name: &str, role: &str) -> anyhow::Result<()> {
    check_role(store, role).await?;
    let username = fold_username(name).map_err(anyhow::Error::msg)?;
    let user = store.accounts().by_username(&username).await?;
    let user = user.with_context(|| format!("there is no user {username}"))?;
    let audit = AuditEntry::of_system(Clock::system().now_ms(), "user_role").on(&user.id);
    store.accounts().set_role(&username, role, &audit).await?;
    super::print(format!("{}\t{username}\t{role}", user.id))?;
    Ok(())
}

/// Refuses a role that the newest policy does not have; before the first start the built-in one
/// counts.
async fn check_role(store: &Store, role: &str) -> anyhow::Result<()> {
    let latest = store.policies().latest().await?;
    let text = latest.as_ref().map_or(origin::policy::BUILT_IN, |record| record.document.as_bytes());
    let document = gate::policy::Document::parse(text)?;
    if !document.roles.contains_key(role) {
        let names: Vec<&str> = document.roles.keys().map(String::as_str).collect();
        bail!("the policy has no role {role}; it has {}", names.join(", "));
    }
    Ok(())
}
