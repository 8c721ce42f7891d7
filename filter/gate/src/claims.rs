//! What a token says about its bearer, and whether that holds now.

use std::cell::OnceCell;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::identity::Begun;
use crate::limit::Key;
use crate::policy::{Gate, Issuer, Revocation};
use crate::problem::{Code, Problem};
use crate::status::Reference;

/// Longest subject, in bytes.
const MAX_SUBJECT_BYTES: usize = 256;
/// Longest role, scope, session id and token id, in bytes.
const MAX_WORD_BYTES: usize = 128;
/// The most scopes, and the most roles, of one token.
const MAX_WORDS: usize = 64;
/// Times beyond this are not dates (RFC 8259, section 6: integers are exact up to here).
const MAX_TIME_S: u64 = 1 << 53;

/// A bearer whose token was verified. Times are seconds since the epoch.
#[derive(Clone, Debug)]
pub struct Verified {
    /// One id per user over all issuers: the subject, percent-encoded to what a header and a file
    /// name can hold, behind the issuer's prefix.
    pub user_id: String,
    /// The issuer, exactly.
    pub issuer: String,
    /// The place of the issuer in the policy.
    pub issuer_index: usize,
    /// The role as the token states it.
    pub role: String,
    /// The place of that role in the policy, if it exists.
    pub role_index: Option<usize>,
    /// What the token may be used for: scopes with single spaces between.
    pub scope: String,
    /// Where this user's requests in this role are counted.
    pub requests: Key,
    /// Where this user's requests under way are counted.
    pub in_flight: Key,
    /// The login it belongs to.
    pub session: Option<String>,
    /// The token's own id.
    pub token_id: Option<String>,
    /// Where it is told whether the token was withdrawn.
    pub status: Option<Reference>,
    /// The program that it was given to.
    pub client: Option<String>,
    /// When the user last proved who they are.
    pub authenticated_at: Option<u64>,
    /// When the token was issued.
    pub issued_at: Option<u64>,
    /// The seal of this user's requests as far as it is always the same.
    pub seal: OnceCell<Begun>,
    /// Not before this, skew included.
    valid_from: u64,
    /// Before this, skew included.
    valid_until: u64,
}

impl Verified {
    /// Whether the token has a scope.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scope.split(' ').any(|held| held == scope)
    }

    /// Whether the token was withdrawn. The latest moment of all that concern it counts.
    pub fn is_revoked(&self, gate: &Gate) -> bool {
        if self.status.as_ref().is_some_and(|status| gate.withdrawn.lists.is_set(status)) {
            return true;
        }
        let by_name = |revocation: &Revocation| {
            [
                revocation.issuers.get(&self.issuer).copied(),
                revocation.users.get(&self.user_id).copied(),
                self.client.as_ref().and_then(|client| revocation.clients.get(client)).copied(),
                self.session.as_ref().and_then(|session| revocation.sessions.get(session)).copied(),
                self.token_id.as_ref().and_then(|token_id| revocation.tokens.get(token_id)).copied(),
            ]
        };
        let moments = [by_name(&gate.revocation), by_name(&gate.withdrawn.named)];
        let latest = moments.as_flattened().iter().flatten().max();
        latest.is_some_and(|moment| self.issued_at.is_none_or(|issued| issued < *moment))
    }

    /// Whether the token holds at `now` (seconds). Everything else about it is fixed.
    ///
    /// # Errors
    /// `token_expired`, or `token_invalid` before its time.
    pub fn check_time(&self, now: u64) -> Result<(), Problem> {
        if now >= self.valid_until {
            return Err(Problem::new(Code::TokenExpired, "The token has expired. Log in again."));
        }
        if now < self.valid_from {
            return Err(invalid("not yet valid"));
        }
        Ok(())
    }
}

/// The answer to every token that does not hold. The client learns nothing about which check
/// failed; the log does.
pub fn invalid(cause: &'static str) -> Problem {
    Problem::new(Code::TokenInvalid, "The token is not valid here.").because(cause)
}

/// Reads verified claims by the rules of the policy's issuer at `issuer_index` (RFC 7519, section
/// 4.1).
///
/// `now` in seconds. A claim that is malformed is never treated as absent.
///
/// # Errors
/// The cause, for the log.
pub fn read(claims: &Map<String, Value>, gate: &Gate, issuer_index: usize, now: u64) -> Result<Verified, &'static str> {
    let issuer = &gate.issuers.get(issuer_index).ok_or("unknown issuer")?.settings;
    let skew = u64::from(issuer.clock_skew_s);
    let expires = time(claims, "exp")?.ok_or("exp is missing")?;
    let issued = time(claims, "iat")?;
    let not_before = time(claims, "nbf")?;
    if issued.is_some_and(|issued| issued > now.saturating_add(skew)) {
        return Err("issued in the future");
    }
    if expires.saturating_sub(issued.unwrap_or(now)) > u64::from(issuer.max_lifetime_s) {
        return Err("lives longer than the policy allows");
    }
    let for_us =
        |audience: &Value| audience.as_str().is_some_and(|name| issuer.audiences.iter().any(|ours| ours == name));
    let audience_holds = match claims.get("aud") {
        Some(single @ Value::String(_)) => for_us(single),
        Some(Value::Array(several)) => several.iter().all(Value::is_string) && several.iter().any(for_us),
        _ => false,
    };
    if !audience_holds {
        return Err("not for this audience");
    }
    if issuer.required.iter().any(|name| find(claims, name).is_none()) {
        return Err("a required claim is missing");
    }
    let subject = word(claims, &issuer.claims.subject, MAX_SUBJECT_BYTES)?.ok_or("subject is missing")?;
    let user_id = user_id(issuer.user_prefix.as_deref(), &subject);
    let role = role(claims, issuer)?;
    Ok(Verified {
        requests: Key::new(&format!("{}role", gate.salt), &format!("{role} {user_id}")),
        in_flight: Key::new(&format!("{}in flight", gate.salt), &user_id),
        user_id,
        issuer: issuer.issuer.clone(),
        issuer_index,
        role_index: gate.role_index(&role),
        role,
        scope: words(find(claims, &issuer.claims.scopes))?.join(" "),
        session: word(claims, "sid", MAX_WORD_BYTES)?,
        token_id: word(claims, "jti", MAX_WORD_BYTES)?,
        status: Reference::read(claims, MAX_SUBJECT_BYTES)?,
        client: match word(claims, "client_id", MAX_SUBJECT_BYTES)? {
            None => word(claims, "azp", MAX_SUBJECT_BYTES)?,
            client => client,
        },
        authenticated_at: time(claims, "auth_time")?.or(issued),
        issued_at: issued,
        seal: OnceCell::new(),
        valid_from: not_before.unwrap_or_default().saturating_sub(skew),
        valid_until: expires.saturating_add(skew),
    })
}

/// One id per user over all issuers: the encoded subject behind the issuer's prefix.
fn user_id(prefix: Option<&str>, subject: &str) -> String {
    let subject = percent_encoded(subject);
    match prefix {
        Some(prefix) => format!("{prefix}:{subject}"),
        None => subject,
    }
}

/// Letters, digits, `-`, `_` and `.` stay; every other byte becomes `%XX`, so nothing in the text
/// can end a header, a path or a prefix.
pub fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, &'static str> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_u64().filter(|time| *time <= MAX_TIME_S).map(Some).ok_or("a time is malformed"),
    }
}

/// The claim of this name, or, if there is none, the one at this path with dots between.
fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    find(claims.get(first)?.as_object()?, rest)
}

fn word(claims: &Map<String, Value>, name: &str, longest: usize) -> Result<Option<String>, &'static str> {
    match find(claims, name) {
        None => Ok(None),
        Some(Value::String(text)) if (1..=longest).contains(&text.len()) => Ok(Some(text.clone())),
        Some(_) => Err("a claim is not a short string"),
    }
}

/// One of our roles, by the issuer's mapping or by its own name; empty if the token has none.
fn role(claims: &Map<String, Value>, issuer: &Issuer) -> Result<String, &'static str> {
    if issuer.roles.is_empty() {
        return Ok(word(claims, &issuer.claims.role, MAX_WORD_BYTES)?.unwrap_or_default());
    }
    let stated = words(find(claims, &issuer.claims.role))?;
    let mapping = issuer.roles.iter().find(|mapping| stated.contains(&mapping.from));
    Ok(mapping.map(|mapping| mapping.to.clone()).unwrap_or_default())
}

/// Words with spaces between, or a list of them.
fn words(claim: Option<&Value>) -> Result<Vec<String>, &'static str> {
    let words: Vec<String> = match claim {
        None => Vec::new(),
        Some(Value::String(text)) => text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect(),
        Some(Value::Array(values)) => values
            .iter()
            .map(|value| value.as_str().map(str::to_owned).ok_or("a word in a list is not a string"))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err("words are neither text nor a list"),
    };
    // A space inside a word of a list would make two of it later.
    let is_word = |word: &String| (1..=MAX_WORD_BYTES).contains(&word.len()) && !word.contains(' ');
    if words.len() > MAX_WORDS || !words.iter().all(is_word) {
        return Err("too many or too long words");
    }
    Ok(words)
}
