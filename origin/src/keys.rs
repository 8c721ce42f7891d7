//! The keys that origins share: made here, kept encrypted in the database, told to whoever
//! verifies before they sign.
//!
//! ```text
//! next ──every live edge holds it──► active ──the next one takes over──► retired ──its end──► gone
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use gate::policy::{Document, Issuer, KeysFrom, OriginKeys};
use hmac::Mac as _;
use serde_json::{Value, json};

use crate::hash::keyed;
use crate::signing::SigningJwk;
use crate::store::{AuditEntry, EdgeRecord, KeyRecord, Purpose, State, Store, StoreError};

const NONCE_BYTES: usize = 24;
/// How far the clocks of origin and edge may differ, in seconds.
const CLOCK_SKEW_S: i64 = 60;
const DAY_MS: i64 = 86_400_000;

/// The key under which all others are kept (XChaCha20-Poly1305).
pub struct Master {
    cipher: XChaCha20Poly1305,
    bytes: [u8; 32],
}

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The master key is not 32 bytes in base64url.
    #[error("the master key must be 32 bytes in base64url without padding")]
    Master,
    /// A key of the database does not open.
    #[error("the key {0} does not open: it was encrypted under another master key")]
    Sealed(String),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The keys of one purpose.
pub struct Ring {
    /// The one that signs.
    pub active: SigningJwk,
    /// The public halves of all: next, active and retired.
    published: Vec<Value>,
}

impl Ring {
    /// The same for every test and sample.
    pub fn sample() -> Self {
        let active = SigningJwk::sample();
        Self { published: vec![active.public()], active }
    }

    /// What verifies, as a JWK Set (RFC 7517, section 5).
    pub fn jwks(&self) -> Value {
        json!({ "keys": self.published })
    }
}

impl Master {
    /// Reads a master key.
    ///
    /// # Errors
    /// [`KeyError::Master`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim()).map_err(|_| KeyError::Master)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| KeyError::Master)?;
        Ok(Self { cipher: XChaCha20Poly1305::new(&bytes.into()), bytes })
    }

    /// Another key that follows from this one, for a purpose of its own.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        keyed(&self.bytes, "cosygate key", &[purpose.as_bytes()]).finalize().into_bytes().into()
    }

    /// A new one, as text.
    pub fn generate() -> String {
        URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
    }

    /// Encrypts a private key, bound to its name and purpose.
    fn seal(&self, key: &SigningJwk, purpose: Purpose) -> Result<String, KeyError> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let (text, about) = (key.private(), about(key.id(), purpose.as_str()));
        let payload = Payload { msg: text.as_bytes(), aad: about.as_bytes() };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| KeyError::Master)?;
        Ok(URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    fn open(&self, record: &KeyRecord) -> Result<SigningJwk, KeyError> {
        let wrong = || KeyError::Sealed(record.kid.clone());
        let bytes = URL_SAFE_NO_PAD.decode(&record.sealed).map_err(|_| wrong())?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or_else(wrong)?;
        let about = about(&record.kid, &record.purpose);
        let payload = Payload { msg: sealed, aad: about.as_bytes() };
        let text = self.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| wrong())?;
        std::str::from_utf8(&text).ok().and_then(SigningJwk::from_jwk).ok_or_else(wrong)
    }
}

fn about(kid: &str, purpose: &str) -> String {
    format!("cosygate {purpose} key {kid}")
}

/// Makes the first key of each purpose, where there is none.
///
/// # Errors
/// The database failed.
pub async fn make_first(store: &Store, master: &Master, now_ms: i64) -> Result<(), KeyError> {
    let known = store.keys().all().await?;
    for purpose in [Purpose::Issuer, Purpose::Pat, Purpose::Root] {
        if known.iter().all(|key| key.purpose != purpose.as_str()) {
            match add(store, master, purpose, Some(now_ms), &AuditEntry::of_system(now_ms, "key_make")).await {
                // Another origin was faster.
                Ok(_) | Err(KeyError::Store(StoreError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Makes a key that is to follow the one that signs, and returns its name.
///
/// # Errors
/// [`StoreError::Conflict`] when there is one already.
pub async fn rotate(store: &Store, master: &Master, purpose: Purpose, audit: &AuditEntry) -> Result<String, KeyError> {
    add(store, master, purpose, None, audit).await
}

async fn add(
    store: &Store,
    master: &Master,
    purpose: Purpose,
    active_from: Option<i64>,
    audit: &AuditEntry,
) -> Result<String, KeyError> {
    let key = SigningJwk::generate();
    let record = KeyRecord {
        kid: key.id().to_owned(),
        purpose: purpose.as_str().to_owned(),
        jwk: key.public().to_string(),
        sealed: master.seal(&key, purpose)?,
        serial: 0,
        created_at: audit.at,
        active_from,
        retired_at: None,
        ends_at: None,
    };
    store.keys().add(&record, &audit.clone().on(format!("{} {}", record.purpose, record.kid))).await?;
    Ok(record.kid)
}

/// The keys of a purpose. There is always one that signs, once [`make_first`] has run.
///
/// # Errors
/// The database failed, or the master key is another one.
pub async fn load(store: &Store, master: &Master, purpose: Purpose) -> Result<Ring, KeyError> {
    let known: Vec<KeyRecord> =
        store.keys().all().await?.into_iter().filter(|key| key.purpose == purpose.as_str()).collect();
    let signs = known.iter().find(|key| key.state() == State::Active);
    let active = signs.map(|key| master.open(key)).ok_or(KeyError::Master)??;
    let published = known.iter().filter_map(|key| serde_json::from_str(&key.jwk).ok()).collect();
    Ok(Ring { active, published })
}

/// The public keys by which tokens are verified; none where no origin was ever started.
///
/// # Errors
/// The database failed.
pub async fn published(store: &Store) -> Result<Option<OriginKeys>, StoreError> {
    let known = store.keys().all().await?;
    let of = |purpose: Purpose| {
        let keys: Vec<Value> = known
            .iter()
            .filter(|key| key.purpose == purpose.as_str())
            .filter_map(|key| serde_json::from_str(&key.jwk).ok())
            .collect();
        (!keys.is_empty()).then(|| json!({ "keys": keys }))
    };
    let Some(logins) = of(Purpose::Issuer) else { return Ok(None) };
    // Tables of an older program have none of these yet.
    let pats = of(Purpose::Pat).unwrap_or_else(|| logins.clone());
    Ok(Some(OriginKeys { logins, pats }))
}

/// How long a token that is issued now may be around under this policy, in milliseconds. Personal
/// access tokens are none of these: each is withdrawn by its own id, until its own end.
pub fn grace_ms(document: &Document) -> i64 {
    longest_ms(document, |from| from != Some(KeysFrom::OriginPat))
}

/// The same for what a key of this purpose signs.
pub fn signed_for_ms(document: &Document, purpose: &str) -> i64 {
    match purpose == Purpose::Pat.as_str() {
        true => longest_ms(document, |from| from == Some(KeysFrom::OriginPat)),
        false => grace_ms(document),
    }
}

fn longest_ms(document: &Document, is_meant: impl Fn(Option<KeysFrom>) -> bool) -> i64 {
    let meant = document.issuers.iter().filter(|issuer| is_meant(issuer.keys.from));
    meant.map(lives_ms).max().unwrap_or_default() + CLOCK_SKEW_S * 1000
}

/// How long a token of an issuer may be around, in milliseconds.
fn lives_ms(issuer: &Issuer) -> i64 {
    (i64::from(issuer.max_lifetime_s) + i64::from(issuer.clock_skew_s)) * 1000
}

/// Does what is due: removes keys whose end has come, lets the next one that signs tokens sign when
/// every live edge holds it, makes another one for logins when the policy's schedule says so. Root
/// keys are the operator's to activate, because they travel with the edges' configuration. Whether
/// anything was changed.
///
/// # Errors
/// The database failed.
pub async fn tend(
    store: &Store,
    master: &Master,
    document: &Document,
    edges: &[EdgeRecord],
    now_ms: i64,
) -> Result<bool, KeyError> {
    let mut is_changed = store.keys().end(now_ms).await? > 0;
    let known = store.keys().all().await?;
    let find =
        |purpose: Purpose, state| known.iter().find(|key| key.purpose == purpose.as_str() && key.state() == state);
    for purpose in [Purpose::Issuer, Purpose::Pat] {
        if let Some(next) = find(purpose, State::Next)
            && edges.iter().all(|edge| edge.serial >= next.serial)
        {
            let audit = AuditEntry::of_system(now_ms, "key_activate").on(format!("{} {}", next.purpose, next.kid));
            let ends_at = now_ms.saturating_add(signed_for_ms(document, &next.purpose));
            is_changed |= store.keys().activate(&next.kid, ends_at, &audit).await?;
        }
    }
    let next = find(Purpose::Issuer, State::Next);
    if let (None, Some(days), Some(active)) = (next, document.keys.rotate_days, find(Purpose::Issuer, State::Active)) {
        let since = active.active_from.unwrap_or(active.created_at);
        if now_ms.saturating_sub(since) >= i64::from(days) * DAY_MS {
            let audit = AuditEntry::of_system(now_ms, "key_rotate");
            match rotate(store, master, Purpose::Issuer, &audit).await {
                // Another origin was faster.
                Ok(_) | Err(KeyError::Store(StoreError::Conflict)) => is_changed = true,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(is_changed)
}

#[cfg(test)]
mod tests;
