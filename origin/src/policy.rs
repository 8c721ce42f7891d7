//! The control plane: one policy file, watched; every valid change becomes a revision that the
//! origin obeys at once and the edge is handed as a file.
//!
//! ```text
//! policy.json ──changed?──► check ──► store (rev) ──► edge/filter.json ──► PolicyCenter::now()
//!                             └─ invalid: one line in the log, the last good one stays
//! ```

/// What changes from one policy to another.
pub mod diff;
/// What a policy needs when one of its issuers has the origin's keys.
mod own;

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use gate::policy::{Document, Issuer, KeysFrom, PolicyError, Role};
use gate::{Code, Gate, Problem};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::edge_config::EdgeConfig;
use crate::files;
use crate::hash::sha256_hex;
use crate::store::{PolicyRecord, Store, StoreError};

/// The policy of the first start.
pub const BUILT_IN: &[u8] = include_bytes!("../../envoy/policy.json");

const POLL: Duration = Duration::from_millis(200);
/// A file that was written this recently may change again without its time showing it.
const UNSETTLED: Duration = Duration::from_secs(1);

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

    /// The issuer that this server is, if the policy has it.
    pub fn own_issuer(&self) -> Option<&Issuer> {
        self.document.issuers.iter().find(|issuer| issuer.keys.from == Some(KeysFrom::Origin))
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
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Knows the policy in force and where the next one comes from.
pub struct PolicyCenter {
    file: PathBuf,
    edge: EdgeConfig,
    jwks: Value,
    store: Store,
    clock: Clock,
    current: RwLock<Arc<Policy>>,
    last_error: Mutex<Option<String>>,
    /// The hash of the content that was judged at the start.
    judged_first: String,
}

/// Reads a document and compiles it as an edge would. `jwks` are the origin's own keys.
///
/// # Errors
/// What is wrong, and where.
pub fn check(bytes: &[u8], jwks: &Value) -> Result<Document, PolicyError> {
    let document = Document::parse(bytes)?;
    let gate = Gate::new(&document.clone().with_origin_keys(jwks), &environment_secret)?;
    own::check(&document, &gate)?;
    Ok(document)
}

/// A shared secret of an issuer: the value of a variable.
pub fn environment_secret(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Replaces the policy file after a check; a running server takes it over.
///
/// # Errors
/// The document is not valid, or the disk's.
pub fn publish(bytes: &[u8], jwks: &Value, file: &Path) -> Result<(), CenterError> {
    check(bytes, jwks).map_err(|error| CenterError::Invalid(file.to_owned(), error))?;
    files::replace(file, bytes, files::READABLE).map_err(|error| CenterError::File(file.to_owned(), error))
}

impl PolicyCenter {
    /// Takes the policy file into force, or, when it is not valid, the last good one. Seeds the
    /// file at the first start.
    ///
    /// # Errors
    /// There is no valid policy at all; a file or the database failed.
    pub async fn start(
        file: PathBuf,
        edge: EdgeConfig,
        jwks: Value,
        store: Store,
        clock: Clock,
    ) -> Result<Self, CenterError> {
        let failed = |error| CenterError::File(file.clone(), error);
        if !file.try_exists().map_err(failed)? {
            files::replace(&file, BUILT_IN, files::READABLE).map_err(failed)?;
        }
        let bytes = std::fs::read(&file).map_err(failed)?;
        let judged_first = sha256_hex(&[&bytes]);
        let mut last_error = None;
        let policy = match check(&bytes, &jwks) {
            Ok(document) => adopt(&bytes, document, &jwks, &store, &edge, &clock).await?,
            Err(error) => {
                let error = CenterError::Invalid(file.clone(), error);
                let Some(record) = store.policies().latest().await? else { return Err(error) };
                let document = check(record.document.as_bytes(), &jwks)
                    .map_err(|error| CenterError::Invalid("of the last revision".into(), error))?;
                tracing::error!(%error, rev = record.rev, "the last good policy stays in force");
                last_error = Some(error.to_string());
                adopt(record.document.clone().as_bytes(), document, &jwks, &store, &edge, &clock).await?
            }
        };
        let current = RwLock::new(Arc::new(policy));
        Ok(Self { file, edge, jwks, store, clock, current, last_error: Mutex::new(last_error), judged_first })
    }

    /// The policy in force.
    pub fn now(&self) -> Arc<Policy> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is wrong with the file as it is, if anything.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Follows the file until `stop`.
    pub async fn watch(&self, stop: CancellationToken) {
        let mut seen = None;
        let mut judged = self.judged_first.clone();
        while stop.run_until_cancelled(tokio::time::sleep(POLL)).await.is_some() {
            let stamp = tokio::fs::metadata(&self.file).await.ok().map(|metadata| Stamp::of(&metadata));
            if seen == stamp && stamp.is_some_and(|stamp| stamp.is_settled) {
                continue;
            }
            match tokio::fs::read(&self.file).await {
                Ok(bytes) => {
                    seen = stamp;
                    let hash = sha256_hex(&[&bytes]);
                    // The same content is judged once; a failure that is not the content's own is
                    // tried again.
                    if hash != judged && self.take_over(&bytes).await {
                        judged = hash;
                    }
                }
                Err(error) => self.report(format!("{}: {error}", self.file.display())),
            }
        }
    }

    /// Judges new content; false to try the same content again.
    async fn take_over(&self, bytes: &[u8]) -> bool {
        let document = match check(bytes, &self.jwks) {
            Ok(document) => document,
            Err(error) => {
                self.report(CenterError::Invalid(self.file.clone(), error).to_string());
                return true;
            }
        };
        match adopt(bytes, document, &self.jwks, &self.store, &self.edge, &self.clock).await {
            Ok(policy) => {
                *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                if current.record.rev != policy.record.rev {
                    tracing::info!(rev = policy.record.rev, sha256 = policy.record.sha256, "policy in force");
                }
                *current = Arc::new(policy);
                true
            }
            Err(error) => {
                self.report(error.to_string());
                false
            }
        }
    }

    /// Logs an error when it is another one than before.
    fn report(&self, error: String) {
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() != Some(&error) {
            metrics::counter!("cosygate_policy_refusals_total").increment(1);
            tracing::error!(error, "the last good policy stays in force");
            *last = Some(error);
        }
    }
}

/// Gives a checked document its revision and hands it to the edge.
async fn adopt(
    bytes: &[u8],
    document: Document,
    jwks: &Value,
    store: &Store,
    edge: &EdgeConfig,
    clock: &Clock,
) -> Result<Policy, CenterError> {
    // A checked document is JSON, so it is UTF-8.
    let text = String::from_utf8_lossy(bytes);
    let wanted = i64::try_from(document.rev).unwrap_or(i64::MAX);
    let hash = sha256_hex(&[bytes]);
    let record = async || store.policies().record(&text, &hash, wanted, clock.now_ms()).await;
    let record = match record().await {
        // Another origin recorded one in the same moment; now it is there to build on.
        Err(StoreError::Conflict) => record().await?,
        other => other?,
    };
    let rev = u64::try_from(record.rev).unwrap_or_default();
    let document = Document { rev, schema: None, ..document };
    let for_edge = document.clone().with_origin_keys(jwks);
    edge.publish(&for_edge).map_err(|error| CenterError::File(edge.file.clone(), error))?;
    metrics::gauge!("cosygate_policy_rev").set(rev as f64);
    Ok(Policy { record, document })
}

/// By what a changed file is noticed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: Option<SystemTime>,
    is_settled: bool,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let modified = metadata.modified().ok();
        let age = modified.and_then(|modified| modified.elapsed().ok());
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            modified,
            is_settled: age.is_some_and(|age| age > UNSETTLED),
        }
    }
}

#[cfg(test)]
mod tests;
