//! Logins: begun with a password, renewed by refresh tokens (RFC 9700, section 4.14), and ended.
//!
//! ```text
//! begin ──► access token, refresh token 1
//!             refresh 1 ──► access token, refresh token 2
//!             refresh 1 again within 10 s ──► access token, the same refresh token 2
//!             refresh 2 ──► access token, refresh token 3
//!             step up ──► access token, as of a login of this moment
//!             refresh 1 again ──► the login ends, its access tokens are withdrawn
//! ```

/// What a program calls itself.
mod device;
/// How a login is handed to its client, and how it comes back.
mod handover;
/// Refresh tokens.
mod refresh_token;
/// When something was used last.
mod uses;

use std::time::Duration;

use gate::policy::Document;
use gate::{Code, Problem};

use self::refresh_token::{Family, Nonce, RefreshToken, unhex};
use crate::app::App;
use crate::caller::{LoggedIn, Visit};
use crate::clock::new_id;
use crate::hash::hex;
use crate::issuer::{Grant, SCOPE};
use crate::problem::Refusal;
use crate::revocation::{self, Withdrawal};
use crate::second_factor;
use crate::store::{AuditEntry, Ended, IssuedToken, Login, RevocationRecord, Successor, User, Whose};

pub use self::handover::{Granted, Presented, check_same_origin, clear_cookies};
pub use self::uses::Uses;

/// How long the refresh token before the current one still gives the current one, in milliseconds:
/// for a client that lost the answer, and for several tabs that ask at once.
const GRACE_MS: i64 = 10_000;
/// How many logins of one user may stand beside each other.
const MOST: i64 = 100;
/// How much longer than it holds an access token is remembered, in seconds: clocks may differ.
const MARGIN_S: u64 = 60;
/// How often a refresh is tried that others of the same login overtake.
const TRIES: u32 = 4;

/// A login with fresh tokens.
pub struct Session {
    user: User,
    access: String,
    access_s: u64,
    /// With how long it holds, in seconds; none when the client keeps the one it has.
    refresh: Option<(RefreshToken, u64)>,
    /// By which the device is known at the next login, if it is told.
    device: Option<String>,
}

/// Begins a login of a user who has just proved who they are at `now_ms`; `user_agent` is what the
/// client calls itself.
///
/// # Errors
/// `policy_unavailable` when the policy has no issuer of ours, or the database failed.
pub async fn begin(app: &App, visit: &Visit, user_agent: &str, user: User, now_ms: i64) -> Result<Session, Refusal> {
    let (id, family): (String, Family) = (new_id(now_ms), rand::random());
    let refresh = RefreshToken::first(&id, &family);
    let lifetime_ms = i64::try_from(app.settings.login_lifetime_seconds).unwrap_or(i64::MAX).saturating_mul(1000);
    let login = Login {
        user_id: user.id.clone(),
        issuer: app.policy.now().own_issuer().map(|issuer| issuer.issuer.clone()).unwrap_or_default(),
        label: device::label(user_agent),
        address: visit.address.map(|address| address.to_string()).unwrap_or_default(),
        region: visit.region.clone(),
        created_at: now_ms,
        authenticated_at: None,
        seen_at: now_ms,
        expires_at: now_ms.saturating_add(lifetime_ms),
        family: hex(&family),
        secret: refresh.hash(),
        previous: None,
        nonce: None,
        rotated_at: now_ms,
        ended_at: None,
        ended_why: None,
        id,
    };
    let place = place(app, &login, now_ms).await?;
    let session = session(app, user, &login, Some(refresh), place)?;
    app.store
        .logins()
        .begin(&login, MOST, &visit.audit(&app.clock, "login", "ok").by(&login.user_id).on(&login.id))
        .await?;
    Ok(session)
}

/// Gives fresh tokens for a refresh token. The role is the one that the account has now.
///
/// # Errors
/// `token_invalid`, whatever is wrong with it. If it was used before and longer ago than ten
/// seconds, its login ends.
pub async fn refresh(app: &App, visit: &Visit, presented: &str) -> Result<Session, Refusal> {
    let token = RefreshToken::parse(presented).ok_or_else(|| refused("not a refresh token"))?;
    let known = app.store.logins().by_id(token.login()).await?.ok_or_else(|| refused("no such login"))?;
    let family: Family = unhex(&known.family).ok_or_else(|| Refusal::internal("a login without its family"))?;
    if !token.is_of(&family) {
        return Err(refused("never given out"));
    }
    let (user, now_ms) = admitted(app, &known.user_id).await?.ok_or_else(|| refused("disabled"))?;
    if known.ended_at.is_some() || known.expires_at <= now_ms {
        return Err(refused("the login has ended"));
    }
    // What ends the login withdraws the tokens that are known by then. So the new one is made known
    // first, and handed out only if the login goes on after that.
    let place = place(app, &known, now_ms).await?;
    for _ in 0..TRIES {
        let login = app.store.logins().by_id(token.login()).await?.ok_or_else(|| refused("no such login"))?;
        if login.ended_at.is_some() || login.expires_at <= now_ms {
            return Err(refused("the login has ended"));
        }
        if is_withdrawn(&login, &app.policy.now().document) {
            return Err(refused("the policy withdraws it"));
        }
        let audit = visit.audit(&app.clock, "refresh", "ok").by(&user.id).on(&login.id);
        if token.has_hash(&login.secret) {
            let nonce: Nonce = rand::random();
            let next = token.successor(&nonce, &family);
            let successor = Successor { secret: next.hash(), nonce: hex(&nonce), at: now_ms };
            if app.store.logins().rotate(&login.id, &login.secret, &successor, &audit).await? {
                count("ok");
                return session(app, user, &login, Some(next), place);
            }
        } else if login.previous.as_ref().is_some_and(|previous| token.has_hash(previous))
            && now_ms.saturating_sub(login.rotated_at) <= GRACE_MS
        {
            let nonce: Option<Nonce> = login.nonce.as_deref().and_then(unhex);
            let nonce = nonce.ok_or_else(|| Refusal::internal("a login without its nonce"))?;
            if app.store.logins().go_on(&login.id, &login.secret, now_ms, &audit).await? {
                count("again");
                let same = token.successor(&nonce, &family);
                return session(app, user, &login, Some(same), place);
            }
        } else {
            let withdrawal = withdrawal(app, &login.id, &login.user_id, Ended::RefreshReused)?;
            let audit = visit.audit(&app.clock, "refresh_reused", "token_invalid").by(&user.id).on(&login.id);
            app.store.logins().end(&login.id, Ended::RefreshReused, &withdrawal, &audit).await?;
            app.policy.hurry();
            count("reused");
            return Err(refused("used before; the login has ended"));
        }
    }
    Err(Refusal::overloaded().because("others of the same login were faster"))
}

/// Gives a fresh access token of a login whose user has just proved again who they are; so do its
/// later ones, its `auth_time` is now (RFC 9470, section 4).
///
/// # Errors
/// `token_revoked` if the login has ended meanwhile.
pub async fn step_up(app: &App, permit: &LoggedIn) -> Result<Session, Refusal> {
    let caller = permit.caller();
    let audit = caller.audit(&app.clock, "step_up", "ok").on(permit.login());
    prove_again(app, caller.user_id(), permit.login(), &audit).await
}

/// The same for whoever has proved it elsewhere.
///
/// # Errors
/// As [`step_up`].
pub async fn prove_again(app: &App, user_id: &str, id: &str, audit: &AuditEntry) -> Result<Session, Refusal> {
    let over = || Refusal::new(Code::TokenRevoked, "The login has ended. Log in again.");
    let (user, now_ms) = admitted(app, user_id).await?.ok_or_else(over)?;
    let login = app.store.logins().by_id(id).await?.filter(|login| login.user_id == user.id).ok_or_else(over)?;
    if is_withdrawn(&login, &app.policy.now().document) {
        return Err(over().because("the policy withdraws it"));
    }
    // Made known before it is noted that the login goes on, as for a refresh.
    let place = place(app, &login, now_ms).await?;
    if !app.store.logins().prove_again(id, now_ms, audit).await? {
        return Err(over());
    }
    session(app, user, &Login { authenticated_at: Some(now_ms), ..login }, None, place)
}

/// Ends the login that a refresh token belongs to; nothing happens if it belongs to none.
///
/// # Errors
/// The database failed.
pub async fn end_by_token(app: &App, visit: &Visit, presented: &str) -> Result<(), Refusal> {
    let Some(token) = RefreshToken::parse(presented) else { return Ok(()) };
    let Some(login) = app.store.logins().by_id(token.login()).await? else { return Ok(()) };
    // Even an old one will do: whoever has it was given it, and only wants it gone.
    if unhex(&login.family).is_some_and(|family| token.is_of(&family)) {
        let withdrawal = withdrawal(app, &login.id, &login.user_id, Ended::Logout)?;
        let audit = visit.audit(&app.clock, "logout", "ok").by(&login.user_id).on(&login.id);
        app.store.logins().end(&login.id, Ended::Logout, &withdrawal, &audit).await?;
        app.policy.hurry();
    }
    Ok(())
}

/// What is recorded when the tokens of a login are withdrawn by its user.
///
/// # Errors
/// The policy in force is not sound, which cannot be.
pub fn withdrawal(app: &App, login: &str, user_id: &str, why: Ended) -> Result<RevocationRecord, Refusal> {
    let withdrawal = Withdrawal { whose: Whose::Session, subject: login, author: user_id, reason: why.as_str() };
    revocation::record(withdrawal, &app.policy.now().document, app.clock.now_ms()).map_err(Refusal::internal)
}

/// The user as the database knows them now, unless disabled, with the role that a token may state,
/// and the time of issue, in milliseconds.
///
/// Tokens know whole seconds only, and what was issued in the second of a withdrawal is withdrawn,
/// too; who comes then waits for the next one. The time is taken before the user is looked at, so
/// whatever is changed about the account after that withdraws the token.
///
/// # Errors
/// The database failed.
pub async fn admitted(app: &App, user_id: &str) -> Result<Option<(User, i64)>, Refusal> {
    let control = app.store.control();
    let issuer = app.policy.now().own_issuer().map(|issuer| issuer.issuer.clone()).unwrap_or_default();
    let withdrawn = [
        control.withdrawn_before(Whose::User, user_id).await?,
        control.withdrawn_before(Whose::Issuer, &issuer).await?,
    ];
    let holds_from_ms = withdrawn.into_iter().flatten().max().unwrap_or_default().saturating_mul(1000);
    let wait_ms = holds_from_ms.saturating_sub(app.clock.now_ms()).clamp(0, 1000);
    tokio::time::sleep(Duration::from_millis(u64::try_from(wait_ms).unwrap_or_default())).await;
    let now_ms = app.clock.now_ms().max(holds_from_ms);
    let user = app.store.accounts().by_id(user_id).await?;
    let Some(user) = user.filter(|user| user.disabled_at.is_none()) else { return Ok(None) };
    let role = second_factor::role_of(app, &user).await?;
    Ok(Some((User { role, ..user }, now_ms)))
}

/// Whether the document itself withdraws what this login was given; such withdrawals never run out.
fn is_withdrawn(login: &Login, document: &Document) -> bool {
    let revocation = &document.revocation;
    let moments = [
        revocation.users.get(&login.user_id),
        revocation.sessions.get(&login.id),
        revocation.issuers.get(&login.issuer),
    ];
    let created_s = u64::try_from(login.created_at / 1000).unwrap_or_default();
    moments.into_iter().flatten().any(|moment| created_s < *moment)
}

/// An access token before it is signed.
struct Place {
    jti: String,
    /// Over all status lists.
    number: i64,
    lifetime_s: u64,
    issued_ms: i64,
}

/// Gives an access token of a login its place in a status list.
async fn place(app: &App, login: &Login, now_ms: i64) -> Result<Place, Refusal> {
    let policy = app.policy.now();
    let unavailable = || Problem::new(Code::PolicyUnavailable, "Nobody can log in here at the moment.").retry_after(60);
    let issuer = policy.own_issuer().ok_or_else(|| Refusal::from(unavailable()).because("no issuer with our keys"))?;
    let left_s = left_s(login, now_ms);
    let lifetime_s = app.settings.token_lifetime_seconds.min(u64::from(issuer.max_lifetime_s)).min(left_s);
    let holds_s = lifetime_s + u64::from(issuer.clock_skew_s) + MARGIN_S;
    let jti = new_id(now_ms);
    let token = IssuedToken {
        jti: &jti,
        sid: &login.id,
        issued_at: now_ms / 1000,
        expires_at: now_ms.saturating_add(i64::try_from(holds_s * 1000).unwrap_or(i64::MAX)),
    };
    let number = app.store.issued().add(token).await?;
    Ok(Place { jti, number, lifetime_s, issued_ms: now_ms })
}

fn left_s(login: &Login, now_ms: i64) -> u64 {
    u64::try_from(login.expires_at.saturating_sub(now_ms) / 1000).unwrap_or_default()
}

/// Signs the access token of a login.
fn session(
    app: &App,
    user: User,
    login: &Login,
    refresh: Option<RefreshToken>,
    place: Place,
) -> Result<Session, Refusal> {
    let policy = app.policy.now();
    let issuer = policy.own_issuer().ok_or_else(|| Refusal::overloaded().because("the issuer has just gone"))?;
    let grant = Grant {
        issuer: &issuer.issuer,
        audience: issuer.audiences.first().map(String::as_str).unwrap_or_default(),
        user: &user,
        scope: SCOPE,
        sid: &login.id,
        jti: &place.jti,
        place: Some(place.number),
        authenticated_ms: login.authenticated_at.unwrap_or(login.created_at),
        lifetime_s: place.lifetime_s,
        now_ms: place.issued_ms,
    };
    let access = app.policy.issuer().issue(&grant);
    let refresh = refresh.map(|token| (token, left_s(login, place.issued_ms)));
    Ok(Session { access, access_s: place.lifetime_s, refresh, user, device: None })
}

/// The one answer to every refresh token that does not hold; the cause is for the log.
fn refused(cause: &'static str) -> Refusal {
    count("refused");
    Refusal::new(Code::TokenInvalid, "The refresh token is not valid. Log in again.").because(cause)
}

fn count(result: &'static str) {
    metrics::counter!("cosygate_refreshes_total", "result" => result).increment(1);
}

#[cfg(test)]
pub(crate) mod tests;
