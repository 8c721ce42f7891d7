//! The second factor: one-time codes of an authenticator app (TOTP, RFC 6238), passkeys
//! ([`crate::passkeys`]), and the recovery codes that stand in for either.
//!
//! ```text
//! offered ──a code──► counts ──► login: password, then a code, a passkey or a recovery code
//!                       └── removed by its user (password and one of these), or by the operator
//! ```
//!
//! Where the policy demands one for a role, whoever has none logs in with the role [`ENROL_ROLE`],
//! which the policy lets do nothing but set it up. The next refresh states the role itself.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gate::{Code, Problem};
use qrcode::QrCode;
use qrcode::render::svg;
use serde_json::{Map, Value};
use totp_rs::{Builder, Secret, Totp};
use webauthn_rs::prelude::PublicKeyCredential;

use crate::app::App;
use crate::caller::Caller;
use crate::guessing;
use crate::hash::sha256_hex;
use crate::passkeys::{self, Asked};
use crate::problem::Refusal;
use crate::store::{AuditEntry, Factors, SecondFactor, StoreError, User};

/// The role of a login that still lacks the second factor which its account needs.
pub const ENROL_ROLE: &str = "enrol";
/// The name of this server in an authenticator app.
const LABEL: &str = "cosygate";
/// A secret has 160 bits (RFC 4226, section 4).
const SECRET_BYTES: usize = 20;
/// How many recovery codes there are.
const RECOVERY_CODES: usize = 10;
/// A recovery code has 80 random bits: nobody guesses one, so a plain hash tells nothing of it.
const RECOVERY_BYTES: usize = 10;
const RECOVERY_GROUP: usize = 4;
/// The longest text that is read as a code of either kind, in bytes.
const MAX_CODE: usize = 64;
/// Crockford's base 32, without letters that are taken for digits.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// What somebody sent to prove a second factor; the first of it counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given<'a> {
    /// A code of the authenticator app.
    pub totp: Option<&'a str>,
    /// A recovery code.
    pub recovery_code: Option<&'a str>,
    /// What a passkey signed.
    pub passkey: Option<&'a PublicKeyCredential>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The account has no second factor.
    None,
    /// It has one, and nothing was sent.
    Missing,
    /// It does not hold, or was used before.
    Wrong,
    /// It held, and holds no longer.
    Right,
}

/// A secret for an authenticator app, as it is shown once.
pub struct Offer {
    /// The secret in base 32 (RFC 4648, section 6), to be typed.
    pub secret: String,
    /// The same as a link (Key URI format).
    pub url: String,
    /// The link as a QR code, an SVG document.
    pub qr_svg: String,
    /// The secret as it is kept.
    pub sealed: String,
}

/// Makes a secret for a user.
///
/// # Errors
/// Never, in truth: a name of an account is good in a link.
pub fn offer(app: &App, user: &User) -> Result<Offer, Refusal> {
    let secret: [u8; SECRET_BYTES] = rand::random();
    let name = user.username.as_str();
    let builder = Builder::new().with_secret(Secret::new_stack(secret)).with_skew(1);
    let totp = builder.with_issuer(Some(LABEL)).with_account_name(name).build().map_err(Refusal::internal)?;
    let url = totp.to_url().map_err(Refusal::internal)?;
    let qr = QrCode::new(&url).map_err(Refusal::internal)?;
    let text = URL_SAFE_NO_PAD.encode(secret);
    Ok(Offer {
        secret: totp.secret().to_base32(),
        qr_svg: qr.render::<svg::Color<'_>>().min_dimensions(200, 200).build(),
        sealed: app.vault.seal_text(text.as_bytes(), &about(&user.id)).map_err(Refusal::internal)?,
        url,
    })
}

/// The time step whose code this is, if it is of now or of a step beside it (RFC 6238, section 5.2).
///
/// # Errors
/// The secret does not open.
fn step_of(app: &App, user_id: &str, factor: &SecondFactor, code: &str) -> Result<Option<i64>, Refusal> {
    let Some(code) = plain(code) else { return Ok(None) };
    let secret =
        app.vault.open_text(&factor.sealed, &about(user_id)).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let secret = secret.and_then(|secret| <[u8; SECRET_BYTES]>::try_from(secret).ok());
    let secret = secret.ok_or_else(|| Refusal::internal("a second factor does not open: another master key"))?;
    Ok(totp(secret)?.check(&code, app.clock.now_s()).and_then(|step| i64::try_from(step).ok()))
}

/// Six digits, thirty seconds, SHA-1: what every authenticator app can do.
fn totp(secret: [u8; SECRET_BYTES]) -> Result<Totp, Refusal> {
    Builder::new().with_secret(Secret::new_stack(secret)).with_skew(1).build().map_err(Refusal::internal)
}

/// Recovery codes, and the hashes by which they are known.
pub fn recovery_codes() -> (Vec<String>, Vec<String>) {
    let codes: Vec<String> = (0..RECOVERY_CODES).map(|_| recovery_code(rand::random())).collect();
    let hashes = codes.iter().map(|code| hash(code)).collect();
    (codes, hashes)
}

fn recovery_code(bytes: [u8; RECOVERY_BYTES]) -> String {
    let number = bytes.iter().fold(0u128, |number, byte| (number << 8) | u128::from(*byte));
    let digits = (0..RECOVERY_BYTES * 8).step_by(5).map(|shift| {
        let place = usize::try_from((number >> shift) & 31).unwrap_or_default();
        ALPHABET.get(place).copied().map_or('0', char::from)
    });
    let digits: Vec<char> = digits.collect();
    digits.chunks(RECOVERY_GROUP).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join("-")
}

/// However it is typed: without dashes and spaces, in small letters.
fn hash(code: &str) -> String {
    let code: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
    sha256_hex(&[code.to_ascii_lowercase().as_bytes()])
}

/// Without the spaces that people type; none if it is too long to be a code.
fn plain(code: &str) -> Option<String> {
    Some(code).filter(|code| code.len() <= MAX_CODE).map(|code| code.split_whitespace().collect())
}

/// What the account has of second factors that count; none if there is none.
///
/// # Errors
/// The database failed.
pub async fn of_user(app: &App, user_id: &str) -> Result<Option<Factors>, StoreError> {
    let factors = app.store.second_factors().factors(user_id).await?;
    Ok(factors.since().is_some().then_some(factors))
}

/// The role that tokens of this user state now.
///
/// # Errors
/// The database failed.
pub async fn role_of(app: &App, user: &User) -> Result<String, StoreError> {
    let is_demanded = app.policy.now().document.roles.get(&user.role).is_some_and(|role| role.second_factor);
    let lacks = is_demanded && of_user(app, &user.id).await?.is_none();
    Ok(if lacks { ENROL_ROLE.to_owned() } else { user.role.clone() })
}

/// Looks at what somebody sent who has proved by a password or a token to be the user. What holds is
/// used up. What is wrong is audited, and counted if it can be guessed.
///
/// # Errors
/// `429 rate_limited` if there were too many guesses.
pub async fn prove(
    app: &App,
    user_id: &str,
    asked: Asked,
    given: Given<'_>,
    audit: &(dyn Fn(&'static str) -> AuditEntry + Sync),
) -> Result<Proof, Refusal> {
    if of_user(app, user_id).await?.is_none() {
        return Ok(Proof::None);
    }
    let factors = app.store.second_factors();
    let is_right = match (given.totp, given.recovery_code, given.passkey) {
        (Some(code), ..) => {
            let used = async {
                let factor = factors.of_user(user_id).await?.filter(|factor| factor.confirmed_at.is_some());
                let Some(factor) = factor else { return Ok(None) };
                let Some(step) = step_of(app, user_id, &factor, code)? else { return Ok(None) };
                Ok(factors.use_step(user_id, &factor.sealed, step).await?.then_some(()))
            };
            guess(app, user_id, "one-time codes", audit, used).await?.is_some()
        }
        (None, Some(code), _) => {
            let used = async {
                let Some(code) = plain(code) else { return Ok(None) };
                let audit = AuditEntry { action: "recovery_code", ..audit("ok") }.by(user_id);
                Ok(factors.use_code(user_id, &hash(&code), &audit).await?.then_some(()))
            };
            guess(app, user_id, "recovery codes", audit, used).await?.is_some()
        }
        // A signature cannot be guessed, so there is nothing to count, and nobody to be kept waiting.
        (None, None, Some(answer)) => {
            let used = AuditEntry { action: "passkey", ..audit("ok") }.by(user_id);
            let is_right = passkeys::prove(app, user_id, asked, answer, used).await?;
            note(app, user_id, is_right, audit).await?;
            is_right
        }
        (None, None, None) => return Ok(Proof::Missing),
    };
    Ok(if is_right { Proof::Right } else { Proof::Wrong })
}

/// Demands of somebody who is logged in whatever second factor the account has; false if it has none.
/// `action` names in the audit what for.
///
/// # Errors
/// `400 request_invalid` if it is missing or wrong, with what a passkey needs to prove it;
/// `429 rate_limited` if there were too many guesses.
pub async fn confirm(app: &App, caller: &Caller, action: &'static str, given: Given<'_>) -> Result<bool, Refusal> {
    let audit = |result| caller.audit(&app.clock, action, result);
    let detail = match prove(app, caller.user_id(), Asked::Inside, given, &audit).await? {
        Proof::Right => return Ok(true),
        Proof::None => return Ok(false),
        Proof::Missing => "code is missing: the account has a second factor. Send totp, recovery_code or passkey.",
        Proof::Wrong if given.totp.or(given.recovery_code).is_none() => "passkey does not hold, or was used before.",
        Proof::Wrong => "code is wrong or was used before.",
    };
    let members = question(app, caller.user_id(), Asked::Inside).await?;
    Err(Refusal::new(Code::RequestInvalid, detail).with(members))
}

/// What a refusal has besides (RFC 9457, section 3.2), so that a passkey can prove it next time.
async fn question(app: &App, user_id: &str, asked: Asked) -> Result<Map<String, Value>, Refusal> {
    let options = passkeys::ask(app, user_id, asked).await?;
    Ok(options.map(|options| ("passkey".to_owned(), options)).into_iter().collect())
}

/// The time step of the first code of a secret that was offered, counted as a guess like any other.
///
/// # Errors
/// `400 request_invalid` if the code does not hold; `429 rate_limited` if there were too many.
pub async fn first_step(
    app: &App,
    user_id: &str,
    factor: &SecondFactor,
    code: &str,
    audit: &(dyn Fn(&'static str) -> AuditEntry + Sync),
) -> Result<i64, Refusal> {
    let found = async { step_of(app, user_id, factor, code) };
    guess(app, user_id, "one-time codes", audit, found).await?.ok_or_else(wrong)
}

/// Counts a guess before it is looked at; one that is right was none.
async fn guess<T>(
    app: &App,
    user_id: &str,
    kind: &str,
    audit: &(dyn Fn(&'static str) -> AuditEntry + Sync),
    evaluated: impl Future<Output = Result<Option<T>, Refusal>>,
) -> Result<Option<T>, Refusal> {
    let buckets = [app.guard.code_bucket(kind, user_id)];
    guessing::count(app, &buckets, &audit("rate_limited").on_user(user_id), "codes").await?;
    let right = evaluated.await?;
    if right.is_some() {
        app.store.guesses().give_back(&buckets).await?;
    }
    note(app, user_id, right.is_some(), audit).await?;
    Ok(right)
}

/// Counts an attempt for the operator; one that was wrong is audited.
async fn note(
    app: &App,
    user_id: &str,
    is_right: bool,
    audit: &(dyn Fn(&'static str) -> AuditEntry + Sync),
) -> Result<(), StoreError> {
    if !is_right {
        app.store.audit(&audit("token_invalid").on_user(user_id)).await?;
    }
    let result = if is_right { "ok" } else { "refused" };
    metrics::counter!("cosygate_second_factors_total", "result" => result).increment(1);
    Ok(())
}

/// The answer to a right password without the second factor that goes with it; the challenge names
/// what is missing (RFC 9470, section 3), and the body what a passkey needs to prove it.
///
/// # Errors
/// The database failed.
pub async fn demand(app: &App, user_id: &str, proof: Proof) -> Result<Refusal, Refusal> {
    let members = question(app, user_id, Asked::AtLogin).await?;
    let detail = match proof {
        Proof::Wrong => "What was sent as the second factor is wrong or was used before.",
        _ if members.is_empty() => "This account has a second factor. Send totp or recovery_code, too.",
        _ => "This account has a second factor. Send passkey, totp or recovery_code, too.",
    };
    let challenge = "Bearer realm=\"cosygate\", error=\"insufficient_user_authentication\", \
                     error_description=\"a second factor is needed\", acr_values=\"mfa\"";
    Ok(Refusal::from(Problem::new(Code::StepUpRequired, detail).challenge(challenge.to_owned())).with(members))
}

/// The answer to somebody who is logged in, and whose code does not hold.
pub fn wrong() -> Refusal {
    Refusal::new(Code::RequestInvalid, "code is wrong or was used before.")
}

fn about(user_id: &str) -> String {
    format!("cosygate second factor of {user_id}")
}

#[cfg(test)]
mod tests;
