//! The chain itself: what a row says, and its hash.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{AuditEntry, Object, Personal};
use crate::hash::{hex, sha256_hex};

/// The hash before the first row.
pub const FIRST_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

pub(in crate::store) const SUBJECTS: &str = "SELECT user_id, subject FROM audit_subjects WHERE (user_id) IN ";
/// Another transaction may have named the same user meanwhile; its name counts.
pub(in crate::store) const NAME_SUBJECT: &str = "INSERT INTO audit_subjects (user_id, salt, subject) \
     VALUES ($1, $2, $3) ON CONFLICT (user_id) DO UPDATE SET user_id = excluded.user_id RETURNING subject";
pub(in crate::store) const HEAD: &str = "UPDATE audit_head SET seq = seq + $1 RETURNING seq, hash";
pub(in crate::store) const TURN_HEAD: &str = "UPDATE audit_head SET hash = $1";
pub(in crate::store) const INSERT: &str = "INSERT INTO audit (seq, at, request_id, subject, via, action, object, result, \
     duration_ms, policy_rev, personal, salt, personal_hash, hash) ";

/// A row of the audit as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct AuditRow {
    /// Its place in the chain; the first one is 1.
    pub seq: i64,
    /// Milliseconds since the epoch.
    pub at: i64,
    /// The request that asked for it.
    pub request_id: String,
    /// The pseudonym of who did it, if that was proved.
    pub subject: Option<String>,
    /// How it came: `edge:<region>`, `cli:<name>` or `origin`.
    pub via: String,
    /// What.
    pub action: String,
    /// The id of what it was done to; `user:<pseudonym>` for a user.
    pub object: Option<String>,
    /// `ok`, or the code of the refusal.
    pub result: String,
    /// In milliseconds.
    pub duration_ms: i64,
    /// The revision of the policy that let it pass.
    pub policy_rev: i64,
    /// [`Personal`] as JSON, until it is forgotten.
    pub personal: Option<String>,
    /// What is hashed before it.
    pub salt: Option<String>,
    /// SHA-256 of both, hexadecimal.
    pub personal_hash: Option<String>,
    /// See [`AuditRow::expected_hash`].
    pub hash: String,
}

/// What is hashed. The members are in the order of RFC 8785, section 3.2.3.
#[derive(Serialize)]
struct Content<'a> {
    action: &'a str,
    at: i64,
    duration_ms: i64,
    object: Option<&'a str>,
    personal_hash: Option<&'a str>,
    policy_rev: i64,
    prev: &'a str,
    request_id: &'a str,
    result: &'a str,
    seq: i64,
    subject: Option<&'a str>,
    via: &'a str,
}

impl AuditRow {
    /// What its hash must be, after a row with the hash `prev`: the SHA-256 of its members but for
    /// `personal`, `salt` and `hash`, with `prev`, as canonical JSON (RFC 8785).
    pub fn expected_hash(&self, prev: &str) -> String {
        let content = Content {
            action: &self.action,
            at: self.at,
            duration_ms: self.duration_ms,
            object: self.object.as_deref(),
            personal_hash: self.personal_hash.as_deref(),
            policy_rev: self.policy_rev,
            prev,
            request_id: &self.request_id,
            result: &self.result,
            seq: self.seq,
            subject: self.subject.as_deref(),
            via: &self.via,
        };
        // Strings and integers only: there is nothing in it that JSON could not write.
        sha256_hex(&[&serde_json::to_vec(&content).unwrap_or_default()])
    }
}

/// The pseudonym of a user under a salt.
pub fn subject_of(salt: &str, user_id: &str) -> String {
    sha256_hex(&[salt.as_bytes(), user_id.as_bytes()])
}

/// How a user stands in a row as what something was done to.
pub fn user_object(subject: &str) -> String {
    format!("user:{subject}")
}

/// The hash that stands for what is personal.
pub fn personal_hash(salt: &str, personal: &str) -> String {
    sha256_hex(&[salt.as_bytes(), personal.as_bytes()])
}

/// 128 random bits.
pub(in crate::store) fn new_salt() -> String {
    hex(&rand::random::<[u8; 16]>())
}

/// What is to become a row.
pub(in crate::store) struct Link {
    at: i64,
    request_id: String,
    user_id: Option<String>,
    via: String,
    action: String,
    object: Option<Object>,
    result: String,
    duration_ms: i64,
    policy_rev: i64,
    personal: Personal,
}

/// A row of the time before the chain.
#[derive(sqlx::FromRow)]
pub(super) struct Older {
    pub(super) id: String,
    at: i64,
    request_id: String,
    user_id: Option<String>,
    action: String,
    object: Option<String>,
    result: String,
    duration_ms: i64,
    policy_rev: i64,
}

/// Every user that is named, in one order for all transactions.
pub(in crate::store) fn users_of(links: &[Link]) -> BTreeSet<&str> {
    let objects = links.iter().filter_map(|link| match &link.object {
        Some(Object::User(user_id)) => Some(user_id.as_str()),
        _ => None,
    });
    links.iter().filter_map(|link| link.user_id.as_deref()).chain(objects).collect()
}

impl Link {
    /// The row at this place, after a row with the hash `prev`.
    pub(in crate::store) fn row(&self, seq: i64, prev: &str, subjects: &BTreeMap<String, String>) -> AuditRow {
        let named = |user_id: &String| subjects.get(user_id).cloned();
        let is_personal = self.personal != Personal::default();
        let personal = is_personal.then(|| serde_json::to_string(&self.personal).unwrap_or_default());
        let salt = is_personal.then(new_salt);
        let mut row = AuditRow {
            seq,
            at: self.at,
            request_id: self.request_id.clone(),
            subject: self.user_id.as_ref().and_then(named),
            via: self.via.clone(),
            action: self.action.clone(),
            object: match &self.object {
                Some(Object::Id(id)) => Some(id.clone()),
                Some(Object::User(user_id)) => named(user_id).as_deref().map(user_object),
                None => None,
            },
            result: self.result.clone(),
            duration_ms: self.duration_ms,
            policy_rev: self.policy_rev,
            personal_hash: salt.as_deref().zip(personal.as_deref()).map(|(salt, text)| personal_hash(salt, text)),
            personal,
            salt,
            hash: String::new(),
        };
        row.hash = row.expected_hash(prev);
        row
    }
}

impl From<&AuditEntry> for Link {
    fn from(entry: &AuditEntry) -> Self {
        Self {
            at: entry.at,
            request_id: entry.request_id.clone(),
            user_id: entry.user_id.clone(),
            via: entry.via.to_string(),
            action: entry.action.to_owned(),
            object: entry.object.clone(),
            result: entry.result.to_owned(),
            duration_ms: entry.duration_ms,
            policy_rev: entry.policy_rev,
            personal: entry.personal.clone(),
        }
    }
}

impl From<Older> for Link {
    fn from(older: Older) -> Self {
        // A guess that was refused names whose password or code it was meant to be.
        let is_guess = older.result != "ok" && (older.action == "login" || older.object == older.user_id);
        let is_of_user = is_guess
            || ["reset_offer", "second_factor_reset"].contains(&older.action.as_str())
            || older.action.starts_with("user_");
        let object = older.object.map(|object| match object.strip_prefix("user ") {
            Some(user_id) if older.action == "revoke" => Object::User(user_id.to_owned()),
            None if is_of_user => Object::User(object),
            _ => Object::Id(object),
        });
        Self {
            at: older.at,
            request_id: older.request_id,
            user_id: older.user_id,
            via: "origin".to_owned(),
            action: older.action,
            object,
            result: older.result,
            duration_ms: older.duration_ms,
            policy_rev: older.policy_rev,
            personal: Personal::default(),
        }
    }
}
