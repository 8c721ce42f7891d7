//! Secrets that let somebody in who has no account, or no password any more. They are shown once;
//! only their hash is kept.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gate::policy::Document;

use crate::clock::new_id;
use crate::hash::sha256_hex;
use crate::store::{Invitation, Reset};

/// How long a reset holds, in milliseconds.
const RESET_MS: i64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;
/// The most accounts that one invitation makes, and the longest it holds, in days.
const MAX_USES: u32 = 1000;
const MAX_DAYS: u32 = 365;

/// What somebody is invited to.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The role; the one of the policy's `registration` if none.
    pub role: Option<&'a str>,
    /// How many accounts may be made.
    pub uses: u32,
    /// How long it holds, in days.
    pub days: u32,
    /// A user id or `cli:<name>`.
    pub author: &'a str,
}

/// An invitation and its secret.
///
/// # Errors
/// What is wrong with the terms, for the author.
pub fn invite(terms: Terms<'_>, document: &Document, now_ms: i64) -> Result<(Invitation, String), String> {
    let registration = &document.registration;
    if !registration.open && !registration.invitations {
        return Err("the policy lets nobody register by invitation (registration.invitations)".to_owned());
    }
    let role = terms.role.unwrap_or(&registration.role);
    if !document.roles.contains_key(role) {
        return Err(format!("the policy has no role {role}"));
    }
    if !(1..=MAX_USES).contains(&terms.uses) {
        return Err(format!("uses must be 1 to {MAX_USES}"));
    }
    if !(1..=MAX_DAYS).contains(&terms.days) {
        return Err(format!("days must be 1 to {MAX_DAYS}"));
    }
    let secret = new_secret();
    let invitation = Invitation {
        id: new_id(now_ms),
        secret_hash: hash(&secret),
        role: role.to_owned(),
        uses_left: i64::from(terms.uses),
        created_at: now_ms,
        expires_at: now_ms.saturating_add(i64::from(terms.days) * DAY_MS),
        author: terms.author.to_owned(),
    };
    Ok((invitation, secret))
}

/// An offer to set a new password, and its secret.
pub fn offer_reset(user_id: &str, now_ms: i64) -> (Reset, String) {
    let secret = new_secret();
    let expires_at = now_ms.saturating_add(RESET_MS);
    (Reset { user_id: user_id.to_owned(), secret_hash: hash(&secret), expires_at }, secret)
}

/// What is kept of a secret. It is random, so a plain hash tells nothing of it.
pub fn hash(secret: &str) -> String {
    sha256_hex(&[secret.as_bytes()])
}

/// 192 random bits.
fn new_secret() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 24]>())
}
