//! How often passwords may be guessed, and how an owner gets in while somebody guesses.
//!
//! ```text
//! POST /login ── known device? ─┬─ yes: as often as this device may ──────────────┐
//!                               └─ no: address ─► everybody ─► this name ─────────┼─► evaluated
//!                                      └── full: 429, the password is not looked at  ─► right: not counted
//! ```
//!
//! A known device is one that has logged in to the account before (OWASP, "device cookies"). It has
//! an allowance of its own, so whoever guesses from elsewhere cannot keep the owner out. Names that
//! nobody has are counted like all others.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gate::{Code, Problem};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::accounts::fold_username;
use crate::app::App;
use crate::caller::{Caller, Visit};
use crate::hash::{hex, keyed};
use crate::keys::Master;
use crate::problem::Refusal;
use crate::store::{AuditEntry, Bucket, User};

/// The cookie by which a browser is known again.
const DEVICE_COOKIE: &str = "cosygate_device";
/// How long a device stays known after a login, in seconds.
const DEVICE_LIFETIME_S: u64 = 180 * 86_400;
/// The longest text that is read as a device token, in bytes.
const MAX_DEVICE_TOKEN: usize = 128;

/// Guesses at one account: in any ten minutes at most ten.
const AT_ACCOUNT: Rate = Rate { burst: 8, every_ms: 300_000 };
/// Guesses at the second factor of one account, by whoever knows the password. Three of a million
/// codes hold at a time, so a year of guessing finds one with a probability of 3 %. Recovery codes
/// are counted apart, and the owner gets in meanwhile.
const AT_CODES: Rate = Rate { burst: 5, every_ms: 3_600_000 };
/// Guesses from one address at all accounts.
const FROM_ADDRESS: Rate = Rate { burst: 20, every_ms: 30_000 };
/// Guesses from everywhere at all accounts.
const FROM_EVERYWHERE: Rate = Rate { burst: 1000, every_ms: 200 };

struct Rate {
    burst: u32,
    every_ms: i64,
}

/// The key under which names of buckets and device tokens are made.
pub struct Guard {
    key: [u8; 32],
}

/// A name and a password that somebody typed.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// The name, in whatever form.
    pub username: &'a str,
    /// The password.
    pub password: &'a str,
    /// The device token, if there is one.
    pub device: Option<&'a str>,
}

impl Guard {
    /// With a key that follows from the master key, so that all origins have the same.
    pub fn new(master: &Master) -> Self {
        Self { key: master.derive("guessing") }
    }

    /// A token by which the device of somebody who has just proved to be the user is known again.
    /// It says nothing else, and is worth nothing after the password has changed.
    pub fn device_token(&self, user: &User, now_s: u64) -> String {
        let (id, end) = (rand::random::<[u8; 16]>(), now_s.saturating_add(DEVICE_LIFETIME_S).to_be_bytes());
        let proof = self.device_proof(user, &id, end).finalize().into_bytes();
        URL_SAFE_NO_PAD.encode([&id[..], &end, &proof].concat())
    }

    /// The device that a token of this user names.
    fn device(&self, user: &User, token: &str, now_s: u64) -> Option<[u8; 16]> {
        let bytes = Some(token).filter(|token| token.len() <= MAX_DEVICE_TOKEN)?;
        let bytes = URL_SAFE_NO_PAD.decode(bytes).ok()?;
        let (id, rest) = bytes.split_first_chunk::<16>()?;
        let (end, proof) = rest.split_first_chunk::<8>()?;
        self.device_proof(user, id, *end).verify_slice(proof).ok()?;
        (u64::from_be_bytes(*end) > now_s).then_some(*id)
    }

    fn device_proof(&self, user: &User, id: &[u8; 16], end: [u8; 8]) -> Hmac<Sha256> {
        self.mac("device", &[id, &end, user.id.as_bytes(), user.password_hash.as_bytes()])
    }

    /// A bucket under a name from which nobody can tell whose it is: a typed name may be a password.
    fn bucket(&self, kind: &str, of: &[u8], rate: &Rate) -> Bucket {
        let name = hex(&self.mac(kind, &[of]).finalize().into_bytes());
        Bucket { name, burst: rate.burst, every_ms: rate.every_ms }
    }

    fn login_buckets(&self, name: &str, device: Option<[u8; 16]>, address: Option<IpAddr>) -> Vec<Bucket> {
        match device {
            Some(device) => vec![self.bucket("guesses of a device", &device, &AT_ACCOUNT)],
            None => vec![
                self.bucket("guesses from an address", network(address).as_bytes(), &FROM_ADDRESS),
                self.bucket("guesses from everywhere", &[], &FROM_EVERYWHERE),
                self.bucket("guesses at a name", name.as_bytes(), &AT_ACCOUNT),
            ],
        }
    }

    /// Guesses at codes of this kind of one account.
    pub fn code_bucket(&self, kind: &str, user_id: &str) -> Bucket {
        self.bucket(kind, user_id.as_bytes(), &AT_CODES)
    }

    fn mac(&self, kind: &str, parts: &[&[u8]]) -> Hmac<Sha256> {
        keyed(&self.key, kind, parts)
    }
}

/// The user of this name and password.
///
/// # Errors
/// `401 token_invalid` if there is none, alike for whatever reason; `429 rate_limited` if there
/// were too many guesses.
pub async fn log_in(app: &App, visit: &Visit, attempt: Attempt<'_>) -> Result<User, Refusal> {
    let folded = fold_username(attempt.username);
    let user = match &folded {
        Ok(username) => app.store.accounts().by_username(username).await?,
        Err(_) => None,
    };
    let name = folded.as_deref().unwrap_or(attempt.username);
    let now_s = app.clock.now_s();
    let device = user.as_ref().zip(attempt.device).and_then(|(user, token)| app.guard.device(user, token, now_s));
    let buckets = app.guard.login_buckets(name, device, visit.address);
    let audit = |result| visit.audit(&app.clock, "login", result);
    let evaluated = evaluate(app, &buckets, user, attempt.password, &audit).await;
    let result = match &evaluated {
        Ok(Some(_)) => "ok",
        Ok(None) => "refused",
        Err(refusal) => refusal.problem.code.as_str(),
    };
    metrics::counter!("cosygate_logins_total", "result" => result).increment(1);
    evaluated?.ok_or_else(wrong)
}

/// The one answer to a wrong name, a wrong password and a disabled account.
pub fn wrong() -> Refusal {
    Refusal::new(Code::TokenInvalid, "Wrong username or password.")
}

/// The account of a caller who proves with the password to be its owner. `action` names in the
/// audit what for.
///
/// # Errors
/// `400 request_invalid` if the password is wrong or the caller has none here; `429 rate_limited`
/// if there were too many guesses.
pub async fn confirm(app: &App, caller: &Caller, action: &'static str, password: &str) -> Result<User, Refusal> {
    let user = app.store.accounts().by_id(caller.user_id()).await?;
    let buckets = [app.guard.bucket("guesses of a caller", caller.user_id().as_bytes(), &AT_ACCOUNT)];
    let audit = |result| caller.audit(&app.clock, action, result);
    let user = evaluate(app, &buckets, user, password, &audit).await?;
    user.ok_or_else(|| Refusal::new(Code::RequestInvalid, "current password is wrong."))
}

/// The user, if the password is right and the account not disabled. What is refused is audited.
async fn evaluate(
    app: &App,
    buckets: &[Bucket],
    user: Option<User>,
    password: &str,
    audit: &(dyn Fn(&'static str) -> AuditEntry + Sync),
) -> Result<Option<User>, Refusal> {
    // A name that nobody has is not written down: it may be a password.
    let refused = |result| match &user {
        Some(user) => audit(result).on_user(&user.id),
        None => audit(result),
    };
    let hash = user.as_ref().and_then(User::password);
    let is_right = guess(app, buckets, password, hash, &refused("rate_limited")).await?;
    if !is_right || user.as_ref().is_none_or(|user| user.disabled_at.is_some()) {
        app.store.audit(&refused("token_invalid")).await?;
        return Ok(None);
    }
    app.store.guesses().give_back(buckets).await?;
    let Some(mut user) = user else { return Ok(None) };
    // Nobody is kept out because there is no time for a better hash.
    if let Ok(Some(hash)) = app.passwords.renew(password, &user.password_hash).await
        && app.store.accounts().renew_hash(&user.id, &user.password_hash, &hash).await?
    {
        user.password_hash = hash;
    }
    Ok(Some(user))
}

/// Counts one guess at `what` in every bucket.
///
/// # Errors
/// `429 rate_limited` if there were too many; that is audited.
pub async fn count(app: &App, buckets: &[Bucket], refused: &AuditEntry, what: &str) -> Result<(), Refusal> {
    let Some(wait_ms) = app.store.guesses().take(buckets, app.clock.now_ms(), refused).await? else { return Ok(()) };
    let wait_s = u32::try_from((wait_ms + 999) / 1000).unwrap_or(u32::MAX);
    let detail = format!("Too many wrong {what}. Try again in {wait_s} seconds.");
    Err(Problem::new(Code::RateLimited, detail).retry_after(wait_s).into())
}

/// Whether this is the password of a shared link. Guesses are bounded at the link and from an address.
///
/// # Errors
/// `429 rate_limited` if there were too many guesses.
pub async fn unlock(app: &App, visit: &Visit, link: &str, hash: &str, password: &str) -> Result<bool, Refusal> {
    let buckets = [
        app.guard.bucket("guesses at links from an address", network(visit.address).as_bytes(), &FROM_ADDRESS),
        app.guard.bucket("guesses at a link", link.as_bytes(), &AT_ACCOUNT),
    ];
    let refused = |result| visit.audit(&app.clock, "share_unlock", result).on(link);
    let is_right = guess(app, &buckets, password, Some(hash), &refused("rate_limited")).await?;
    if is_right {
        app.store.guesses().give_back(&buckets).await?;
    } else {
        app.store.audit(&refused("token_invalid")).await?;
    }
    Ok(is_right)
}

/// Whether the password is the one of the hash. Counted as wrong until it is given back; what was
/// not evaluated was no guess.
async fn guess(
    app: &App,
    buckets: &[Bucket],
    password: &str,
    hash: Option<&str>,
    refused: &AuditEntry,
) -> Result<bool, Refusal> {
    count(app, buckets, refused, "passwords").await?;
    match app.passwords.verify(password, hash).await {
        Ok(is_right) => Ok(is_right),
        Err(refusal) => {
            app.store.guesses().give_back(buckets).await?;
            Err(refusal)
        }
    }
}

/// Where somebody sits: an IPv4 address, or the /64 that one subscriber has of IPv6.
fn network(address: Option<IpAddr>) -> String {
    match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V6(address)) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).to_string(),
        Some(address) => address.to_string(),
        None => String::new(),
    }
}

/// The device token in the cookie of a request.
pub fn device_in(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == DEVICE_COOKIE).map(|(_, value)| value.to_owned())
}

/// The cookie (RFC 6265) that keeps a device token where only a login sends it.
///
/// # Errors
/// Never, in truth: the token is base64url.
pub fn device_cookie(token: &str, is_secure: bool) -> Result<HeaderValue, Refusal> {
    let secure = if is_secure { "; Secure" } else { "" };
    let cookie =
        format!("{DEVICE_COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/login; Max-Age={DEVICE_LIFETIME_S}{secure}");
    cookie.parse().map_err(Refusal::internal)
}

#[cfg(test)]
mod measure;
#[cfg(test)]
mod tests;
