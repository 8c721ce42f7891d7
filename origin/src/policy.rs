//! The control plane: every valid policy becomes a revision in the database; every origin follows
//! the database, and every edge follows an origin.
//!
//! ```text
//! policy.json ──changed?─┐
//! cosygate policy publish├─► check ─► store (rev, serial) ─► every origin: PolicyCenter::now()
//! PUT /api/admin/policy ─┘      └─ invalid: said why,                  └─► bundle ─► every edge
//!                                 the last good one stays
//! ```

/// Follows the policy file and the database, and knows what is in force.
mod center;
/// What changes from one policy to another.
pub mod diff;
/// What a policy needs when one of its issuers has the origin's keys.
mod own;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use gate::policy::{Document, KeysFrom, OriginKeys, PolicyError, Role, Route};
use gate::{Code, Gate, Problem};
use serde_json::Value;

pub use self::center::{PolicyCenter, PolicyFile};
use crate::bundles::{self, Content, Signed, Signer};
use crate::clock::Clock;
use crate::hash::sha256_hex;
use crate::issuer::Issuer;
use crate::keys::{self, KeyError, Master};
use crate::signing::SigningJwk;
use crate::status_lists::StatusLists;
use crate::store::{AuditEntry, NewPolicy, PolicyRecord, Progress, PublishError, Purpose, Store, StoreError};
use crate::trial::Trial;

/// The policy of the first start.
pub const BUILT_IN: &[u8] = include_bytes!("../../envoy/policy.json");
/// The author of what comes out of the policy file.
pub const FILE: &str = "file";

/// An edge that has not asked for so long is gone, in milliseconds.
pub const LIVE_MS: i64 = 45_000;

/// How many revocations are looked at; of those that do not fit into a bundle, only the newest counts.
const MAX_READ: i64 = 100_000;

/// A revision in force.
#[derive(Debug)]
pub struct Policy {
    /// As recorded.
    pub record: PolicyRecord,
    /// As written, with the recorded revision.
    pub document: Document,
}

impl Policy {
    /// What a role may do.
    ///
    /// # Errors
    /// `role_forbidden` when the policy no longer has the role.
    pub fn role(&self, name: &str) -> Result<&Role, Problem> {
        let missing = || Problem::new(Code::RoleForbidden, "Your role does not exist any more.");
        self.document.roles.get(name).ok_or_else(missing)
    }

    /// The largest body, in bytes, that the role may send to a path: the route's own limit or the
    /// role's. The most specific pattern decides, as at the edge.
    ///
    /// # Errors
    /// There is no such role.
    pub fn body_bytes(&self, role: &str, method: &str, path: &str) -> Result<u64, Problem> {
        let length = |route: &Route| match (&route.path, &route.prefix) {
            (Some(exact), _) if exact == path => Some(usize::MAX),
            (_, Some(prefix)) if path.starts_with(prefix) => Some(prefix.len()),
            _ => None,
        };
        let routes = self.document.routes.iter().filter(|route| route.methods.iter().any(|other| other == method));
        let route = routes.filter(|route| length(route).is_some()).max_by_key(|route| length(route));
        let own = route.and_then(|route| route.body_kb);
        Ok(u64::from(own.map_or_else(|| self.role(role).map(|role| role.body_kb), Ok)?) * 1024)
    }

    /// The issuer that this server is, if the policy has it.
    pub fn own_issuer(&self) -> Option<&gate::policy::Issuer> {
        self.issuer_from(KeysFrom::Origin)
    }

    /// The issuer of personal access tokens, if the policy has it.
    pub fn pat_issuer(&self) -> Option<&gate::policy::Issuer> {
        self.issuer_from(KeysFrom::OriginPat)
    }

    fn issuer_from(&self, from: KeysFrom) -> Option<&gate::policy::Issuer> {
        self.document.issuers.iter().find(|issuer| issuer.keys.from == Some(from))
    }
}

/// Why there is no policy to serve by.
#[derive(Debug, thiserror::Error)]
pub enum CenterError {
    /// The file cannot be read or the edge's file not be written.
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    /// The policy cannot be meant.
    #[error("the policy {0} is not valid: {1}")]
    Invalid(PathBuf, PolicyError),
    /// It cannot be put into a bundle.
    #[error("the policy cannot be written: {0}")]
    Unwritable(#[from] serde_json::Error),
    /// It was not published.
    #[error(transparent)]
    Unpublished(#[from] PublishError),
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who publishes a policy, and why.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// A user id, `cli:<name>` or [`FILE`].
    pub author: &'a str,
    /// In the author's words.
    pub reason: &'a str,
    /// The revision that it is meant to follow; any if none.
    pub after: Option<i64>,
}

/// What decisions rest on at one moment.
pub struct InForce {
    /// The policy.
    pub policy: Arc<Policy>,
    /// What edges are told.
    pub content: Content,
    /// Signs tokens.
    pub issuer: Arc<Issuer>,
    /// Signs bundles.
    signer: Signer,
    /// Which of this server's own tokens were withdrawn one by one.
    pub(crate) lists: StatusLists,
}

impl InForce {
    /// The public keys by which edges know a bundle, as a JWK Set.
    pub fn roots(&self) -> Value {
        self.signer.roots()
    }

    /// The bundle for the edge of this name in a region at `now_s` (seconds).
    pub fn bundle(&self, region: &str, node: &str, now_s: u64) -> Signed {
        self.signer.bundle(&self.content, region, node, now_s)
    }

    /// One of the status lists at `now_s` (seconds), signed for edges.
    pub fn status_list(&self, number: u64, now_s: u64) -> String {
        self.sign_list(number, now_s, self.signer.key())
    }

    /// The same, signed for everybody who knows the issuer's keys.
    pub fn public_status_list(&self, number: u64, now_s: u64) -> String {
        self.sign_list(number, now_s, self.issuer.key())
    }

    fn sign_list(&self, number: u64, now_s: u64, key: &SigningJwk) -> String {
        let issuer = self.policy.own_issuer().map(|issuer| issuer.issuer.as_str()).unwrap_or_default();
        self.lists.sign(issuer, number, self.content.progress.serial, now_s, key)
    }
}

/// Reads a document and compiles it as an edge would. `keys` are the origin's own.
///
/// # Errors
/// What is wrong, and where.
pub fn check(bytes: &[u8], keys: &OriginKeys) -> Result<Document, PolicyError> {
    let document = Document::parse(bytes)?;
    let gate = Gate::new(&document.clone().with_origin_keys(keys), &environment_secret)?;
    own::check(&document, &gate)?;
    bundles::check_size(&document)?;
    Ok(document)
}

/// A shared secret of an issuer: the value of a variable.
pub fn environment_secret(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Checks a document and records it; every running server takes it over. `jwks` are the origin's
/// own keys.
///
/// # Errors
/// The document is not valid, somebody was faster, or the database failed.
pub async fn publish(
    store: &Store,
    bytes: &[u8],
    keys: &OriginKeys,
    publication: Publication<'_>,
    audit: &AuditEntry,
) -> Result<PolicyRecord, CenterError> {
    let document = check(bytes, keys).map_err(|error| CenterError::Invalid("that was sent".into(), error))?;
    record(store, bytes, &document, publication, audit).await
}

async fn record(
    store: &Store,
    bytes: &[u8],
    document: &Document,
    publication: Publication<'_>,
    audit: &AuditEntry,
) -> Result<PolicyRecord, CenterError> {
    // A checked document is JSON, so it is UTF-8.
    let (text, sha256) = (String::from_utf8_lossy(bytes), sha256_hex(&[bytes]));
    let new = new_policy(&text, &sha256, document, publication);
    match store.policies().publish(new, audit).await {
        // Another origin recorded one in the same moment; now it is there to build on.
        Err(PublishError::Store(StoreError::Conflict)) => Ok(store.policies().publish(new, audit).await?),
        other => Ok(other?),
    }
}

fn new_policy<'a>(text: &'a str, sha256: &'a str, document: &Document, publication: Publication<'a>) -> NewPolicy<'a> {
    NewPolicy {
        document: text,
        sha256,
        wanted_rev: i64::try_from(document.rev).unwrap_or(i64::MAX),
        after: publication.after,
        author: publication.author,
        reason: publication.reason,
    }
}

/// Checks a document and puts it on trial at some edges.
///
/// # Errors
/// The document is not valid, or the database failed.
pub async fn begin_trial(
    store: &Store,
    bytes: &[u8],
    keys: &OriginKeys,
    publication: Publication<'_>,
    trial: &Trial,
    audit: &AuditEntry,
) -> Result<PolicyRecord, CenterError> {
    let invalid = |error| CenterError::Invalid("that was sent".into(), error);
    let document = check(bytes, keys).map_err(invalid)?;
    // As a shadow it has to fit beside the policy in force.
    let stable = current_document(store).await?;
    let together = serde_json::to_vec(&trial.policy(&stable, document.clone()))?;
    check(&together, keys).map_err(invalid)?;
    let (text, sha256) = (String::from_utf8_lossy(bytes), sha256_hex(&[bytes]));
    let new = new_policy(&text, &sha256, &document, publication);
    Ok(store.policies().begin_trial(new, &serde_json::to_string(trial)?, audit).await?)
}

/// The newest document; before the first start the built-in one.
///
/// # Errors
/// The database failed, or what it holds cannot be read.
pub async fn current_document(store: &Store) -> Result<Document, CenterError> {
    let newest = store.policies().latest().await?;
    let text = newest.as_ref().map_or(BUILT_IN, |newest| newest.document.as_bytes());
    Document::parse(text).map_err(|error| CenterError::Invalid("of the newest revision".into(), error))
}

/// Reads all that decisions rest on; of what was withdrawn one by one only what is new since `known`.
///
/// # Errors
/// The database failed, there is no valid policy in it, or its keys do not open.
pub async fn load(store: &Store, master: &Master, clock: &Clock, known: &StatusLists) -> Result<InForce, CenterError> {
    // Read first: what comes in meanwhile is read again.
    let progress: Progress = store.control().progress().await?;
    let logins = keys::load(store, master, Purpose::Issuer).await?;
    let issuer = Issuer::new(logins, keys::load(store, master, Purpose::Pat).await?);
    let signer = Signer::new(keys::load(store, master, Purpose::Root).await?);
    let keys = issuer.keys();
    let nothing = || PolicyError { at: String::new(), message: "there is none".to_owned() };
    let of_revision = |rev: i64| PathBuf::from(format!("of revision {rev}"));
    let record = store.policies().latest().await?.ok_or_else(|| CenterError::Invalid(of_revision(0), nothing()))?;
    let invalid = |error| CenterError::Invalid(of_revision(record.rev), error);
    let document = check(record.document.as_bytes(), &keys).map_err(invalid)?;
    let rev = u64::try_from(record.rev).unwrap_or_default();
    let document = Document { rev, schema: None, ..document };
    let revocations = store.control().unlisted_revocations(clock.now_ms(), MAX_READ).await?;
    let mut revocation = bundles::revocation(&revocations, &document.issuers);
    let lists = known.follow(store, clock.now_ms()).await?;
    let own = document.issuers.iter().find(|issuer| issuer.keys.from == Some(KeysFrom::Origin));
    if let (Some(own), Some(before)) = (own, lists.unnamed_before()) {
        let moment = revocation.issuers.entry(own.issuer.clone()).or_default();
        *moment = (*moment).max(before);
    }
    let named = own.map(|own| lists.named(&own.issuer)).unwrap_or_default();
    let for_edges = document.clone().with_origin_keys(&keys);
    let mut content = Content::new(progress, &for_edges, revocation)?.listing(named);
    if let Some(record) = store.policies().on_trial().await? {
        let rev = u64::try_from(record.rev).unwrap_or_default();
        let trial: Trial = serde_json::from_str(record.trial.as_deref().unwrap_or_default())?;
        let invalid = |error| CenterError::Invalid(of_revision(record.rev), error);
        let tried = check(record.document.as_bytes(), &keys).map_err(invalid)?;
        let tried = Document { rev, schema: None, ..tried }.with_origin_keys(&keys);
        let tried = trial.policy(&for_edges, tried);
        content = content.trying(trial, &tried)?;
    }
    metrics::gauge!("cosygate_policy_rev").set(rev as f64);
    metrics::gauge!("cosygate_control_serial").set(progress.serial as f64);
    Ok(InForce { policy: Arc::new(Policy { record, document }), content, issuer: Arc::new(issuer), signer, lists })
}
