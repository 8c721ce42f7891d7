//! `cosygate user …`.

use std::io::BufRead as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use origin::accounts::{Passwords, fold_username};
use origin::app::{self, AddUserError};
use origin::clock::{Clock, rfc3339};
use origin::config::Settings;
use origin::invitations::{self, Terms, offer_reset};
use origin::policy::current_document;
use origin::privacy;
use origin::revocation::{self, Withdrawal};
use origin::store::{AuditEntry, Change, Changed, Store, StoreError, User, Whose};
use serde_json::json;

/// How many accounts are read at once.
const PAGE: i64 = 1000;

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
    /// Change a user's role. Access tokens that are out are withdrawn; the next refresh states the
    /// new role.
    #[command(after_help = "Example: cosygate user role ada premium")]
    Role {
        /// The username.
        name: String,
        /// The role.
        role: String,
    },
    /// Keep a user out: every login ends, and every token is withdrawn.
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
    /// List a user's logins, those of the last week that have ended, too: id, since when, last use,
    /// program, address, region and how it ended. `cosygate revoke login` ends one.
    #[command(after_help = "Example: cosygate user logins ada")]
    Logins {
        /// The username.
        name: String,
    },
    /// Print a link with which a user sets a new password. It holds for an hour, once.
    #[command(after_help = "Example: cosygate user reset ada")]
    Reset {
        /// The username.
        name: String,
    },
    /// Take away a user's second factor and recovery codes, for somebody who has lost them. Where the
    /// role needs one, the next login can do nothing but set up another.
    #[command(after_help = "Example: cosygate user reset-factor ada")]
    ResetFactor {
        /// The username.
        name: String,
    },
    /// Print a link with which somebody registers, also where not everybody may.
    #[command(after_help = "Example: cosygate user invite --role premium --uses 3 --days 2")]
    Invite {
        /// The role; the one that the policy gives if absent.
        #[arg(long)]
        role: Option<String>,
        /// How many accounts may be made.
        #[arg(long, default_value_t = 1)]
        uses: u32,
        /// How long the link holds.
        #[arg(long, default_value_t = 7)]
        days: u32,
    },
    /// Show one user, by name or id.
    #[command(after_help = "Example: cosygate user show ada --json")]
    Show {
        /// The username or the id.
        name: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the users: id, name, role, since when, and whether disabled.
    #[command(after_help = "Example: cosygate user list --search ada")]
    List {
        /// A part of the name.
        #[arg(long, default_value = "")]
        search: String,
        /// A line of JSON for each.
        #[arg(long)]
        json: bool,
    },
}

pub(crate) async fn run(settings: &Settings, command: Command) -> anyhow::Result<ExitCode> {
    let store = app::open_store(settings).await?;
    match command {
        Command::Add { name, role, password_stdin } => add(&store, settings, &name, &role, password_stdin).await?,
        Command::Role { name, role } => {
            check_role(&store, &role).await?;
            refuse_outsider(&store, &name).await?;
            change(&store, &name, Change::Role(&role), &role).await?;
        }
        Command::Disable { name } => {
            change(&store, &name, Change::Disabled(Some(Clock::system().now_ms())), "disabled").await?;
        }
        Command::Enable { name } => change(&store, &name, Change::Disabled(None), "enabled").await?,
        Command::Erase { name, yes: _ } => erase(settings, &store, &name).await?,
        Command::Logins { name } => logins(&store, &name).await?,
        Command::Reset { name } => {
            refuse_outsider(&store, &name).await?;
            reset(&store, &name).await?;
        }
        Command::ResetFactor { name } => reset_factor(&store, &name).await?,
        Command::Invite { role, uses, days } => {
            invite(&store, Terms { role: role.as_deref(), uses, days, author: &super::author() }).await?;
        }
        Command::Show { name, json } => show(&find(&store, &name).await?, json)?,
        Command::List { search, json } => list(&store, &search, json).await?,
    }
    store.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn list(store: &Store, search: &str, json: bool) -> anyhow::Result<()> {
    let mut after = String::new();
    loop {
        let page = store.accounts().list(search, &after, PAGE).await?;
        for user in &page {
            show(user, json)?;
        }
        match page.last() {
            Some(last) => after.clone_from(&last.username),
            None => return Ok(()),
        }
    }
}

async fn logins(store: &Store, name: &str) -> anyhow::Result<()> {
    let user = find(store, name).await?;
    let or_unknown = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    for login in store.logins().of_user(&user.id).await? {
        let ended = login.ended_at.map(|at| format!("\t{} {}", login.ended_why.unwrap_or_default(), rfc3339(at)));
        super::print(format!(
            "{}\tsince {}\tseen {}\t{}\t{}\t{}{}",
            login.id,
            rfc3339(login.created_at),
            rfc3339(login.seen_at),
            or_unknown(login.label),
            or_unknown(login.address),
            or_unknown(login.region),
            ended.unwrap_or_default(),
        ))?;
    }
    Ok(())
}

fn show(user: &User, json: bool) -> anyhow::Result<()> {
    let (since, disabled) = (rfc3339(user.created_at), user.disabled_at.map(rfc3339));
    if json {
        return super::print(json!({
            "user_id": user.id, "username": user.username, "role": user.role,
            "created_at": since, "disabled_at": disabled,
        }));
    }
    let disabled = if disabled.is_some() { "\tdisabled" } else { "" };
    super::print(format!("{}\t{}\t{}\t{since}{disabled}", user.id, user.username, user.role))
}

async fn add(store: &Store, settings: &Settings, name: &str, role: &str, password_stdin: bool) -> anyhow::Result<()> {
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
    let passwords = Passwords::new(&settings.passwords).map_err(anyhow::Error::msg)?;
    let added = app::add_user(store, &passwords, &Clock::system(), name, role, password.clone(), super::author()).await;
    let user = match added {
        Err(AddUserError::Store(StoreError::Conflict)) => {
            bail!("the username {name} is taken, or looks like one that is")
        }
        other => other?,
    };
    super::print(format!("{}\t{}\t{}", user.id, user.username, user.role))?;
    if given.is_none() {
        super::print(format!("password: {password}"))?;
    }
    Ok(())
}

/// Changes an account, withdraws its tokens and says so.
async fn change(store: &Store, name: &str, change: Change<'_>, what: &str) -> anyhow::Result<()> {
    let user = find(store, name).await?;
    let now_ms = Clock::system().now_ms();
    let author = super::author();
    let withdrawal = Withdrawal { whose: Whose::User, subject: &user.id, author: &author, reason: change.reason() };
    let withdrawn = revocation::record(withdrawal, &current_document(store).await?, now_ms);
    let audit = AuditEntry::of_system(now_ms, change.action()).on_user(&user.id).via(super::author());
    match store.accounts().change(&user.id, change, &withdrawn.map_err(anyhow::Error::msg)?, &audit).await? {
        Changed::Done => super::print(format!("{}\t{}\t{what}", user.id, user.username)),
        Changed::NoUser => bail!("there is no user {name} any more"),
        Changed::LastAdmin => bail!("{} is the last admin who can log in", user.username),
    }
}

async fn reset(store: &Store, name: &str) -> anyhow::Result<()> {
    let user = find(store, name).await?;
    let now_ms = Clock::system().now_ms();
    let (reset, secret) = offer_reset(&user.id, now_ms);
    let audit = AuditEntry::of_system(now_ms, "reset_offer").on_user(&user.id).via(super::author());
    store.invitations().offer_reset(&reset, &audit).await?;
    super::print(format!("{}\t{}\tuntil {}", user.id, user.username, rfc3339(reset.expires_at)))?;
    super::print(format!("link, after the address of your edge: /#reset={secret}"))
}

async fn reset_factor(store: &Store, name: &str) -> anyhow::Result<()> {
    let user = find(store, name).await?;
    let audit =
        AuditEntry::of_system(Clock::system().now_ms(), "second_factor_reset").on_user(&user.id).via(super::author());
    if !store.second_factors().reset(&user.id, &audit).await? {
        bail!("{} has no second factor", user.username);
    }
    super::print(format!("{}\t{}\tsecond factor removed", user.id, user.username))
}

async fn invite(store: &Store, terms: Terms<'_>) -> anyhow::Result<()> {
    let now_ms = Clock::system().now_ms();
    let (invitation, secret) =
        invitations::invite(terms, &current_document(store).await?, now_ms).map_err(anyhow::Error::msg)?;
    let audit = AuditEntry::of_system(now_ms, "invite").on(&invitation.id).via(super::author());
    store.invitations().add(&invitation, &audit).await?;
    let (uses, until) = (invitation.uses_left, rfc3339(invitation.expires_at));
    super::print(format!("{}\t{}\t{uses} accounts\tuntil {until}", invitation.id, invitation.role))?;
    super::print(format!("link, after the address of your edge: /#invitation={secret}"))
}

async fn erase(settings: &Settings, store: &Store, name: &str) -> anyhow::Result<()> {
    let user_id = account(store, name).await?.map_or(name.to_owned(), |user| user.id);
    if !store.erasures().is_known(&user_id).await? {
        bail!("nothing here is {name}'s");
    }
    let now_ms = Clock::system().now_ms();
    let withdrawal =
        Withdrawal { whose: Whose::User, subject: &user_id, author: "erased", reason: "the user was erased" };
    let record = revocation::record(withdrawal, &current_document(store).await?, now_ms).map_err(anyhow::Error::msg)?;
    let audit = AuditEntry::of_system(now_ms, "erase").via(super::author());
    let blobs = app::open_blobs(settings)?;
    if privacy::erase(store, &blobs, &user_id, &record, &audit).await? == Changed::LastAdmin {
        bail!("{name} is the last admin who can log in");
    }
    super::print(format!("{user_id}\terased"))
}

/// The user of this name, or of this id.
async fn find(store: &Store, name: &str) -> anyhow::Result<User> {
    account(store, name).await?.with_context(|| format!("there is no user {name}"))
}

async fn account(store: &Store, name: &str) -> anyhow::Result<Option<User>> {
    let user = match fold_username(name) {
        Ok(username) => store.accounts().by_username(&username).await?,
        Err(_) => None,
    };
    Ok(match user {
        None => store.accounts().by_id(name).await?,
        user => user,
    })
}

/// Refuses what only an account of this server can have.
async fn refuse_outsider(store: &Store, name: &str) -> anyhow::Result<()> {
    if account(store, name).await?.is_some_and(|user| user.is_of_another_issuer()) {
        bail!("{name} comes with tokens of another issuer, which gives role and password");
    }
    Ok(())
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
