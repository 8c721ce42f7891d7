//! Withdrawing tokens before their time.

use gate::policy::{Document, KeysFrom};

use crate::keys::{grace_ms, signed_for_ms};
use crate::store::{AuditEntry, Purpose, RevocationRecord, Whose};

/// The longest id or name that anything is withdrawn by, in bytes.
const MAX_SUBJECT_BYTES: usize = 512;
/// The longest reason, in bytes.
const MAX_REASON_BYTES: usize = 1000;

/// Whose tokens are withdrawn, by whom and why.
#[derive(Clone, Copy, Debug)]
pub struct Withdrawal<'a> {
    /// What the subject names.
    pub whose: Whose,
    /// A user id, `sid`, `jti` or `iss`.
    pub subject: &'a str,
    /// A user id or `cli:<name>`.
    pub author: &'a str,
    /// In the author's words.
    pub reason: &'a str,
}

/// What is recorded of a withdrawal at `now_ms`: everything issued until now, for as long as a
/// token can live under this policy.
///
/// # Errors
/// What is wrong with the subject, for the author.
pub fn record(withdrawal: Withdrawal<'_>, document: &Document, now_ms: i64) -> Result<RevocationRecord, String> {
    let Withdrawal { whose, subject, author, reason } = withdrawal;
    if subject.is_empty() || subject.len() > MAX_SUBJECT_BYTES || subject.chars().any(char::is_control) {
        return Err("name who or what is meant by an id".to_owned());
    }
    if reason.len() > MAX_REASON_BYTES {
        return Err(format!("the reason has more than {MAX_REASON_BYTES} bytes"));
    }
    if whose == Whose::Issuer && !document.issuers.iter().any(|issuer| issuer.issuer == subject) {
        return Err(format!("the policy has no issuer `{subject}`"));
    }
    // The store goes on telling of single personal access tokens until their own ends.
    let is_of_pats = |issuer: &&gate::policy::Issuer| issuer.keys.from == Some(KeysFrom::OriginPat);
    let of_pats = document.issuers.iter().find(is_of_pats).is_some_and(|issuer| issuer.issuer == subject);
    let lives_ms = match whose == Whose::Issuer && of_pats {
        true => signed_for_ms(document, Purpose::Pat.as_str()),
        false => grace_ms(document),
    };
    Ok(RevocationRecord {
        kind: whose.as_str().to_owned(),
        subject: subject.to_owned(),
        // Tokens know whole seconds only: what was issued in this one is withdrawn, too.
        not_before: now_ms / 1000 + 1,
        expires_at: now_ms.saturating_add(lives_ms),
        at: now_ms,
        author: author.to_owned(),
        reason: reason.to_owned(),
    })
}

/// Says in the audit whose tokens were withdrawn.
pub fn named(audit: AuditEntry, record: &RevocationRecord) -> AuditEntry {
    if record.kind == Whose::User.as_str() {
        return audit.on_user(&record.subject);
    }
    audit.on(format!("{} {}", record.kind, record.subject))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::BUILT_IN;

    #[test]
    fn what_was_issued_until_now_is_withdrawn_for_as_long_as_it_could_live() {
        let document = Document::parse(BUILT_IN).unwrap();
        let withdraw = |whose, subject| {
            record(Withdrawal { whose, subject, author: "cli:test", reason: "lost" }, &document, 1_795_435_200_999)
        };
        let user = withdraw(Whose::User, "u1").unwrap();
        assert_eq!((user.kind.as_str(), user.not_before), ("user", 1_795_435_201));
        assert_eq!(user.expires_at, 1_795_435_200_999 + (7200 + 30 + 60) * 1000);
        assert_eq!(withdraw(Whose::Issuer, "cosygate").unwrap().expires_at, user.expires_at);
        let pats = withdraw(Whose::Issuer, "cosygate-pat").unwrap();
        assert_eq!(pats.expires_at, 1_795_435_200_999 + (366 * 86_400 + 30 + 60) * 1000);
        assert_eq!(withdraw(Whose::Issuer, "other").unwrap_err(), "the policy has no issuer `other`");
        assert!(withdraw(Whose::User, "").is_err() && withdraw(Whose::Token, "a\nb").is_err());
    }
}
