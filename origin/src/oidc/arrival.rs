//! What becomes of somebody whom a provider vouches for.

use axum::http::HeaderMap;

use super::claims::{self, find};
use super::flow::{self, Flow, Purpose, Standing, Ticket};
use super::{Arrived, Identified, Nowhere, Provider, SignUp, Word, object, user_agent};
use crate::accounts::variants;
use crate::app::App;
use crate::caller::Visit;
use crate::clock::new_id;
use crate::logins;
use crate::revocation::{self, Withdrawal};
use crate::second_factor;
use crate::store::{Change, Changed, Identity, Linked, StoreError, User, Whose};

/// How far the clocks of the provider may be from ours, in milliseconds.
const SKEW_MS: i64 = 30_000;
/// The longest name that is kept of an identity, in characters.
const MAX_LABEL: usize = 100;
/// How often a new account is tried to be made while others take the names.
const TRIES: u32 = 3;

pub(super) async fn of(
    app: &App,
    visit: &Visit,
    headers: &HeaderMap,
    provider: &Provider,
    flow: &Flow,
    identified: &Identified,
) -> Result<Arrived, Nowhere> {
    match &flow.purpose {
        Purpose::LogIn => log_in(app, visit, headers, provider, identified).await,
        Purpose::Link(standing) => link(app, visit, identified, provider, standing).await,
        Purpose::StepUp(standing) => step_up(app, visit, identified, provider, flow, standing).await,
    }
}

async fn log_in(
    app: &App,
    visit: &Visit,
    headers: &HeaderMap,
    provider: &Provider,
    identified: &Identified,
) -> Result<Arrived, Nowhere> {
    let mut user = match known(app, identified).await? {
        Some(user) => user,
        None => sign_up(app, visit, provider, identified).await?,
    };
    if user.disabled_at.is_some() {
        return refuse(app, visit, provider, Some(&user), Word::Disabled).await;
    }
    if !provider.settings.roles.mapping.is_empty() {
        match role(app, provider, identified) {
            Some(role) if role == user.role => {}
            Some(role) if set_role(app, visit, provider, &user, &role).await? => user.role = role,
            _ => return refuse(app, visit, provider, Some(&user), Word::Role).await,
        }
    }
    if second_factor::of_user(app, &user.id).await?.is_some() {
        let now_ms = app.clock.now_ms();
        let ticket =
            Ticket { id: new_id(now_ms), provider: provider.settings.id.clone(), user_id: user.id, began_at: now_ms };
        return Ok(Arrived::NeedsCode(flow::cookie(app, &ticket, visit.is_secure)?));
    }
    match logins::admitted(app, &user.id).await? {
        Some((user, now_ms)) => Ok(Arrived::In(logins::begin(app, visit, user_agent(headers), user, now_ms).await?)),
        // Disabled in this very moment.
        None => Err(Nowhere::Word(Word::Disabled)),
    }
}

/// The account that the identity is linked to.
async fn known(app: &App, identified: &Identified) -> Result<Option<User>, StoreError> {
    match app.store.identities().user_of(&identified.issuer, &identified.subject).await? {
        Some(user_id) => app.store.accounts().by_id(&user_id).await,
        None => Ok(None),
    }
}

/// Makes an account without a password, under the name that the provider tells or one like it.
async fn sign_up(app: &App, visit: &Visit, provider: &Provider, identified: &Identified) -> Result<User, Nowhere> {
    if provider.settings.sign_up == SignUp::Closed {
        return refuse(app, visit, provider, None, Word::Closed).await;
    }
    let role = match provider.settings.roles.mapping.is_empty() && provider.settings.roles.default.is_none() {
        true => Some(app.policy.now().document.registration.role.clone()),
        false => role(app, provider, identified),
    };
    let Some(role) = role else { return refuse(app, visit, provider, None, Word::Role).await };
    let wished = find(&identified.claims, &provider.settings.username_claim).and_then(|name| name.as_str());
    for _ in 0..TRIES {
        let mut free = None;
        for name in variants(wished.unwrap_or_default(), &provider.settings.id, rand::random) {
            if !app.store.accounts().is_taken(&name).await? {
                free = Some(name);
                break;
            }
        }
        let Some(username) = free else { continue };
        let now_ms = app.clock.now_ms();
        let user = User {
            id: new_id(now_ms),
            username,
            password_hash: String::new(),
            role: role.clone(),
            created_at: now_ms,
            disabled_at: None,
        };
        let identity = identity(&user.id, identified, provider, now_ms);
        let audit = visit.audit(&app.clock, "register", "ok").by(&user.id).on(object(provider));
        match app.store.identities().sign_up(&user, &identity, &audit).await {
            Ok(()) => return Ok(user),
            // Somebody took the name, or the same one came twice at the same moment.
            Err(StoreError::Conflict) => {
                if let Some(user) = known(app, identified).await? {
                    return Ok(user);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(crate::problem::Refusal::overloaded().because("no free name for a new account").into())
}

async fn link(
    app: &App,
    visit: &Visit,
    identified: &Identified,
    provider: &Provider,
    standing: &Standing,
) -> Result<Arrived, Nowhere> {
    let now_ms = app.clock.now_ms();
    let login = app.store.logins().by_id(&standing.login).await?;
    if login.is_none_or(|login| login.user_id != standing.user_id || login.ended_at.is_some()) {
        return Err(Nowhere::Word(Word::Expired));
    }
    let identity = identity(&standing.user_id, identified, provider, now_ms);
    let audit = visit.audit(&app.clock, "identity_link", "ok").by(&standing.user_id).on(&identity.id);
    match app.store.identities().link(&identity, &audit).await? {
        Linked::Done => Ok(Arrived::Linked),
        Linked::Taken => Err(Nowhere::Word(Word::Taken)),
        Linked::Full => Err(Nowhere::Word(Word::Full)),
        Linked::NoUser => Err(Nowhere::Word(Word::Disabled)),
    }
}

/// Counts only what was proved after it was asked for: a provider that has not asked again, or does
/// not say when it did, proves nothing new.
async fn step_up(
    app: &App,
    visit: &Visit,
    identified: &Identified,
    provider: &Provider,
    flow: &Flow,
    standing: &Standing,
) -> Result<Arrived, Nowhere> {
    let user = known(app, identified).await?;
    let Some(user) = user.filter(|user| user.id == standing.user_id) else {
        return refuse(app, visit, provider, None, Word::Other).await;
    };
    let proved_ms = identified.authenticated_at.map(|at| at.saturating_mul(1000));
    if proved_ms.is_none_or(|at| at.saturating_add(SKEW_MS) < flow.began_at) {
        tracing::warn!(provider = provider.settings.id, "a provider did not ask again who somebody is");
        return refuse(app, visit, provider, Some(&user), Word::Failed).await;
    }
    // Set up meanwhile; then it counts.
    if second_factor::of_user(app, &user.id).await?.is_some() {
        return Err(Nowhere::Word(Word::Expired));
    }
    let audit = visit.audit(&app.clock, "step_up", "ok").by(&user.id).on(&standing.login);
    Ok(Arrived::SteppedUp(logins::prove_again(app, &user.id, &standing.login, &audit).await?))
}

/// The role that the provider gives, if the policy has it.
fn role(app: &App, provider: &Provider, identified: &Identified) -> Option<String> {
    let role = claims::role(&identified.claims, &provider.settings.roles)?;
    let is_known = app.policy.now().document.roles.contains_key(&role);
    if !is_known {
        tracing::warn!(provider = provider.settings.id, role, "the policy has no such role");
    }
    Some(role).filter(|_| is_known)
}

/// Changes the role as an administrator would. False if nobody would administer any more.
async fn set_role(app: &App, visit: &Visit, provider: &Provider, user: &User, role: &str) -> Result<bool, Nowhere> {
    let change = Change::Role(role);
    let author = format!("oidc:{}", provider.settings.id);
    let withdrawal = Withdrawal { whose: Whose::User, subject: &user.id, author: &author, reason: change.reason() };
    let record = revocation::record(withdrawal, &app.policy.now().document, app.clock.now_ms());
    let record = record.map_err(crate::problem::Refusal::internal)?;
    let audit = visit.audit(&app.clock, change.action(), "ok").by(&user.id).on_user(&user.id);
    let changed = app.store.accounts().change(&user.id, change, &record, &audit).await?;
    app.policy.hurry();
    Ok(changed == Changed::Done)
}

fn identity(user_id: &str, identified: &Identified, provider: &Provider, now_ms: i64) -> Identity {
    let label = find(&identified.claims, &provider.settings.username_claim).and_then(|name| name.as_str());
    let label = label.unwrap_or_default().chars().filter(|character| !character.is_control());
    Identity {
        id: new_id(now_ms),
        user_id: user_id.to_owned(),
        issuer: identified.issuer.clone(),
        subject: identified.subject.clone(),
        label: label.take(MAX_LABEL).collect(),
        created_at: now_ms,
    }
}

/// Writes down that somebody did not come in.
async fn refuse<T>(
    app: &App,
    visit: &Visit,
    provider: &Provider,
    user: Option<&User>,
    word: Word,
) -> Result<T, Nowhere> {
    let audit = visit.audit(&app.clock, "login", "role_forbidden");
    let audit = match user {
        Some(user) => audit.on_user(&user.id),
        None => audit.on(object(provider)),
    };
    app.store.audit(&audit).await?;
    Err(Nowhere::Word(word))
}
