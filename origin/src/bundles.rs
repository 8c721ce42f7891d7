//! What edges are handed: signed bundles, one for each region.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use gate::bundle::{self, Bundle, MAX_BUNDLE_BYTES};
use gate::policy::{Document, Issuer, KeysFrom, PolicyError, Revocation};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::keys::Ring;
use crate::signing::SigningJwk;
use crate::store::{Progress, RevocationRecord, Whose};
use crate::trial::Trial;

/// What the signature, the names around the policy and all revocations may take of a bundle, in bytes.
const RESERVED_BYTES: usize = 256 * 1024;
/// How much of a bundle revocations may take, in bytes of JSON.
const REVOCATION_BYTES: usize = 112 * 1024;
/// How much those of single personal access tokens may take beside the others.
const PAT_BYTES: usize = 48 * 1024;
/// What one of them takes beside its subject: quotes, a time, commas.
const AROUND_SUBJECT: usize = 16;

/// What a bundle is made of.
#[derive(Clone, Debug)]
pub struct Content {
    /// How far the control plane has come.
    pub progress: Progress,
    /// Revision of the policy.
    pub rev: u64,
    /// How long a bundle holds, in seconds.
    pub lifetime_s: u32,
    /// The policy with the origin's keys in it.
    policy: Box<RawValue>,
    /// What some edges judge by instead, and its revision.
    trial: Option<(Trial, u64, Box<RawValue>)>,
    /// Withdrawn tokens.
    revocation: Revocation,
    /// Status lists by name, and the serial that each has to know of.
    lists: BTreeMap<String, u64>,
}

/// A signed bundle.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Its name.
    pub tag: String,
    /// The compact JWS.
    pub text: Arc<str>,
}

/// Signs bundles, each once.
pub struct Signer {
    roots: Ring,
    signed: Mutex<HashMap<String, Signed>>,
}

/// Refuses a policy that is too large for a bundle.
///
/// # Errors
/// It is.
pub fn check_size(document: &Document) -> Result<(), PolicyError> {
    let most = (MAX_BUNDLE_BYTES - RESERVED_BYTES) / 4 * 3;
    let size = serde_json::to_vec(document).map_or(usize::MAX, |text| text.len());
    if size > most {
        let message = format!("the policy has {size} bytes without spaces; edges take at most {most}");
        return Err(PolicyError { at: String::new(), message });
    }
    Ok(())
}

impl Content {
    /// Puts together what edges have to know. `document` has its revision and the origin's keys
    /// in it.
    ///
    /// # Errors
    /// The policy cannot be written as JSON.
    pub fn new(progress: Progress, document: &Document, revocation: Revocation) -> Result<Self, serde_json::Error> {
        Ok(Self {
            progress,
            rev: document.rev,
            lifetime_s: document.distribution.lifetime_s,
            policy: to_raw_value(document)?,
            trial: None,
            revocation,
            lists: BTreeMap::new(),
        })
    }

    /// With a policy on trial at some edges; `document` is what these judge by.
    ///
    /// # Errors
    /// The policy cannot be written as JSON.
    pub fn trying(self, trial: Trial, document: &Document) -> Result<Self, serde_json::Error> {
        Ok(Self { trial: Some((trial, document.rev, to_raw_value(document)?)), ..self })
    }

    /// With these status lists.
    #[must_use]
    pub fn listing(self, lists: BTreeMap<String, u64>) -> Self {
        Self { lists, ..self }
    }

    /// Until when tokens of this user are refused that were issued before; seconds since the epoch.
    pub fn withdrawn_until(&self, user_id: &str) -> Option<u64> {
        self.revocation.users.get(user_id).copied()
    }

    /// When a bundle is signed that is asked for at `now_s`. It is the same for every origin: the
    /// last change, or the last of the moments that are half a lifetime apart.
    fn signed_at(&self, now_s: u64) -> u64 {
        let half = u64::from(self.lifetime_s / 2).max(1);
        let changed_at = u64::try_from(self.progress.changed_at / 1000).unwrap_or_default();
        (now_s / half * half).max(changed_at)
    }
}

impl Signer {
    /// Signs with the active one of the root keys.
    pub fn new(roots: Ring) -> Self {
        Self { roots, signed: Mutex::default() }
    }

    /// The public keys by which edges know a bundle, as a JWK Set.
    pub fn roots(&self) -> Value {
        self.roots.jwks()
    }

    /// The key that signs.
    pub fn key(&self) -> &SigningJwk {
        &self.roots.active
    }

    /// The bundle for the edge of this name in a region at `now_s` (seconds).
    pub fn bundle(&self, content: &Content, region: &str, node: &str, now_s: u64) -> Signed {
        let trial = content.trial.as_ref().filter(|(trial, ..)| trial.concerns(region, node));
        let (rev, policy) = trial.map_or((content.rev, &content.policy), |(_, rev, policy)| (*rev, policy));
        let iat = content.signed_at(now_s);
        let serial = u64::try_from(content.progress.serial).unwrap_or_default();
        let tag = format!("{serial}-{iat}{}", if trial.is_some() { "-trial" } else { "" });
        let name = format!("{region}{}", if trial.is_some() { " trial" } else { "" });
        let mut signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = signed.get(&name).filter(|known| known.tag == tag) {
            return known.clone();
        }
        let bundle = Bundle {
            iss: bundle::ISSUER.to_owned(),
            aud: bundle::audience(region),
            iat,
            exp: iat + u64::from(content.lifetime_s),
            serial,
            jti: tag.clone(),
            rev,
            policy: policy.clone(),
            revocation: content.revocation.clone(),
            lists: content.lists.clone(),
        };
        let fresh = Signed { tag, text: self.roots.active.sign(bundle::TYPE, &bundle).into() };
        signed.insert(name, fresh.clone());
        fresh
    }
}

/// What edges are told of revocations, the newest first. What a bundle has no room for is covered
/// by withdrawing everything of every issuer up to then: rather does everybody log in again than
/// that one withdrawn token holds. Personal access tokens have room of their own and cover only
/// each other, because nobody replaces them by logging in again.
pub fn revocation(records: &[RevocationRecord], issuers: &[Issuer]) -> Revocation {
    let mut revocation = Revocation::default();
    let (pats, others): (Vec<_>, Vec<_>) = records.iter().partition(|record| record.kind == Whose::Pat.as_str());
    tell(&mut revocation, &others, REVOCATION_BYTES, issuers.iter().filter(|issuer| !is_of_pats(issuer)));
    tell(&mut revocation, &pats, PAT_BYTES, issuers.iter().filter(|issuer| is_of_pats(issuer)));
    revocation
}

fn is_of_pats(issuer: &Issuer) -> bool {
    issuer.keys.from == Some(KeysFrom::OriginPat)
}

fn tell<'a>(
    revocation: &mut Revocation,
    records: &[&RevocationRecord],
    mut room: usize,
    issuers: impl Iterator<Item = &'a Issuer>,
) {
    let mut fits = |record: &&&RevocationRecord| {
        let size = serde_json::to_string(&record.subject).map_or(usize::MAX, |text| text.len());
        room = room.saturating_sub(size.saturating_add(AROUND_SUBJECT));
        room > 0
    };
    let (told, left) = records.split_at(records.iter().take_while(&mut fits).count());
    let later = |moment: &mut u64, other: i64| *moment = (*moment).max(u64::try_from(other).unwrap_or_default());
    if let Some(latest) = left.iter().map(|record| record.not_before).max() {
        for issuer in issuers {
            later(revocation.issuers.entry(issuer.issuer.clone()).or_default(), latest);
        }
    }
    for record in told {
        let list = match Whose::from_name(&record.kind) {
            Some(Whose::User) => &mut revocation.users,
            Some(Whose::Client) => &mut revocation.clients,
            Some(Whose::Session) => &mut revocation.sessions,
            Some(Whose::Token | Whose::Pat) => &mut revocation.tokens,
            Some(Whose::Issuer) => &mut revocation.issuers,
            None => continue,
        };
        later(list.entry(record.subject.clone()).or_default(), record.not_before);
    }
}

#[cfg(test)]
mod tests {
    use gate::bundle::open;
    use gate::keys::KeySet;

    use super::*;
    use crate::policy::BUILT_IN;

    #[test]
    fn what_is_signed_here_opens_at_the_edge() {
        let signer = Signer::new(Ring::sample());
        let roots = KeySet::from_jwks(&signer.roots()).unwrap();
        let document = Document { rev: 7, ..Document::parse(BUILT_IN).unwrap() };
        let record = |kind: &str, subject: &str| RevocationRecord {
            kind: kind.to_owned(),
            subject: subject.to_owned(),
            not_before: 5,
            expires_at: 0,
            at: 0,
            author: String::new(),
            reason: String::new(),
        };
        let records = [record("user", "u1"), record("session", "s1"), record("rubbish", "r")];
        let withdrawn = revocation(&records, &document.issuers);
        let progress = Progress { serial: 12, changed_at: 1_000_000_500 };
        let content = Content::new(progress, &document, withdrawn).unwrap();
        assert_eq!((content.withdrawn_until("u1"), content.withdrawn_until("u2")), (Some(5), None));

        let first = signer.bundle(&content, "north", "e1", 1_000_001);
        let bundle = open(first.text.as_bytes(), &roots, "north").unwrap();
        assert_eq!((bundle.serial, bundle.iat, bundle.exp, bundle.rev), (12, 1_000_000, 1_086_400, 7));
        assert_eq!(bundle.revocation.sessions["s1"], 5);
        assert!(open(first.text.as_bytes(), &roots, "south").is_err());
        // Signed again before it runs out, at the same moment by every origin.
        assert_eq!(signer.bundle(&content, "north", "e1", 1_036_799).tag, first.tag);
        assert_eq!(signer.bundle(&content, "north", "e1", 1_036_800).tag, "12-1036800");
        assert_eq!(signer.bundle(&content, "north", "e1", 1_079_999).tag, "12-1036800");
    }

    #[test]
    fn what_does_not_fit_is_covered() {
        let issuers = Document::parse(BUILT_IN).unwrap().issuers;
        let many = |kind: &str| -> Vec<_> {
            let record = |number: usize| RevocationRecord {
                kind: kind.to_owned(),
                subject: number.to_string(),
                not_before: i64::try_from(number).unwrap(),
                expires_at: 0,
                at: 0,
                author: String::new(),
                reason: String::new(),
            };
            (0..9000).rev().map(record).collect()
        };
        let (users, pats) = (many("user"), many("pat"));
        let told = revocation(&users, &issuers);
        let left = 9000 - told.users.len();
        assert!((3000..5000).contains(&left) && told.issuers.len() == 1, "{left}");
        let latest = u64::try_from(left).unwrap() - 1;
        assert_eq!((told.issuers["cosygate"], told.users.contains_key(&latest.to_string())), (latest, false));
        assert!(revocation(&users[..10], &issuers).issuers.is_empty());
        // What logins leave no room for is not at the cost of personal access tokens, nor the other way round.
        let both = revocation(&[users, pats].concat(), &issuers);
        assert_eq!((&both.users, both.issuers["cosygate"]), (&told.users, latest));
        assert!(both.issuers["cosygate-pat"] > latest && both.tokens.len() > 1000);
        let told = Revocation { users: both.users, tokens: both.tokens, ..Revocation::default() };
        assert!(serde_json::to_string(&told).unwrap().len() < REVOCATION_BYTES + PAT_BYTES + 1000);
    }

    #[test]
    fn a_policy_has_to_fit() {
        let mut document = Document::parse(BUILT_IN).unwrap();
        assert!(check_size(&document).is_ok());
        document.schema = Some("a".repeat(700_000));
        assert!(check_size(&document).is_err());
    }
}
