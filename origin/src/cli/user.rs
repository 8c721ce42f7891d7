//! `cosygate user …`.

use std::io::BufRead as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use origin::accounts::{Passwords, fold_username};
use origin::app::{self, AddUserError};
use origin::clock::{Clock, rfc3339};
use origin::config::Settings;
use origin::policy::current_document;
use origin::privacy;
use origin::revocation::{self, Withdrawal};
use origin::store::{AuditEntry, RevocationRecord, Store, StoreError, User, Whose};

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
    /// Change a user's role. Tokens that are out are withdrawn; the user logs in again.
    #[command(after_help = "Example: cosygate user role ada premium")]
    Role {
        /// The username.
        name: String,
        /// The role.
        role: String,
    },
    /// Keep a user out: no login, and every token is withdrawn.
    #[command(after_help = "Example: cosygate user disable ada")]
    Disable {
        /// The username.
        name: String,
    },
    /// Let a disabled user log in again.
    #[command(after_help = "Example: cosygate user enable ada")]
    Enable {
        /// The username.
        name: String,
    },
    /// Erase a user and everything that is theirs: account, audio, history, tokens. What they did
    /// stays in the audit as nobody's. This cannot be taken back.
    #[command(after_help = "Example: cosygate user erase ada --yes")]
    Erase {
        /// The username, or the id of a user of another issuer.
        name: String,
        /// Do it.
        #[arg(long, required = true)]
        yes: bool,
    },
    /// List the users: id, name, role, since when, and whether disabled.
    #[command(after_help = "Example: cosygate user list")]
    List,
}

pub(crate) async fn run(settings: &Settings, command: Command) -> anyhow::Result<ExitCode> {
    let store = app::open_store(settings).await?;
    match command {
        Command::Add { name, role, password_stdin } => add(&store, &name, &role, password_stdin).await?,
        Command::Role { name, role } => set_role(&store, &name, &role).await?,
        Command::Disable { name } => set_disabled(&store, &name, true).await?,
        Command::Enable { name } => set_disabled(&store, &name, false).await?,
        Command::Erase { name, yes: _ } => erase(settings, &store, &name).await?,
        Command::List => {
            for user in store.accounts().list(MAX_LISTED).await? {
                let disabled = if user.disabled_at.is_some() { "\tdisabled" } else { "" };
                let since = rfc3339(user.created_at);
                super::print(format!("{}\t{}\t{}\t{since}{disabled}", user.id, user.username, user.role))?;
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
    let user = find(store, name).await?;
    let (withdrawn, audit) = withdraw(store, &user, "user_role", &format!("role {} to {role}", user.role)).await?;
    store.accounts().set_role(&user.username, role, &withdrawn, &audit).await?;
    super::print(format!("{}\t{}\t{role}", user.id, user.username))?;
    Ok(())
}

async fn set_disabled(store: &Store, name: &str, is_disabled: bool) -> anyhow::Result<()> {
    let user = find(store, name).await?;
    let (action, what) = if is_disabled { ("user_disable", "disabled") } else { ("user_enable", "enabled") };
    let (withdrawn, audit) = withdraw(store, &user, action, what).await?;
    store.accounts().set_disabled(&user.username, is_disabled.then_some(audit.at), &withdrawn, &audit).await?;
    super::print(format!("{}\t{}\t{what}", user.id, user.username))?;
    Ok(())
}

async fn erase(settings: &Settings, store: &Store, name: &str) -> anyhow::Result<()> {
    let account = match fold_username(name) {
        Ok(username) => store.accounts().by_username(&username).await?,
        Err(_) => None,
    };
    let user_id = account.map_or(name.to_owned(), |user| user.id);
    if !store.erasures().is_known(&user_id).await? {
        bail!("nothing here is {name}'s");
    }
    let now_ms = Clock::system().now_ms();
    let withdrawal =
        Withdrawal { whose: Whose::User, subject: &user_id, author: "erased", reason: "the user was erased" };
    let record = revocation::record(withdrawal, &current_document(store).await?, now_ms).map_err(anyhow::Error::msg)?;
    let audit = AuditEntry::of_system(now_ms, "erase").via(super::author());
    let blobs = app::open_blobs(settings)?;
    privacy::erase(store, &blobs, &user_id, &record, &audit).await?;
    super::print(format!("{user_id}\terased"))?;
    Ok(())
}

async fn find(store: &Store, name: &str) -> anyhow::Result<User> {
    let username = fold_username(name).map_err(anyhow::Error::msg)?;
    let user = store.accounts().by_username(&username).await?;
    user.with_context(|| format!("there is no user {username}"))
}

/// What goes with a change of an account: its tokens are withdrawn, and it is audited.
async fn withdraw(
    store: &Store,
    user: &User,
    action: &'static str,
    reason: &str,
) -> anyhow::Result<(RevocationRecord, AuditEntry)> {
    let now_ms = Clock::system().now_ms();
    let withdrawal = Withdrawal { whose: Whose::User, subject: &user.id, author: &super::author(), reason };
    let record = revocation::record(withdrawal, &current_document(store).await?, now_ms);
    Ok((
        record.map_err(anyhow::Error::msg)?,
        AuditEntry::of_system(now_ms, action).on_user(&user.id).via(super::author()),
    ))
}

/// Refuses a role that the newest policy does not have; before the first start the built-in one
/// counts.
async fn check_role(store: &Store, role: &str) -> anyhow::Result<()> {
    let document = current_document(store).await?;
    if !document.roles.contains_key(role) {
        let names: Vec<&str> = document.roles.keys().map(String::as_str).collect();
        bail!("the policy has no role {role}; it has {}", names.join(", "));
    }
    Ok(())
}
