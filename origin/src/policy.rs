//! The control plane: every valid policy becomes a revision in the database; every origin follows
//! the database, and every edge follows an origin.
//!
//! ```text
//! policy.json ──changed?─┐
//! cosygate policy publish├─► check ─► store (rev, serial) ─► every origin: PolicyCenter::now()
//! PUT /api/admin/policy ─┘      └─ invalid: said why,                  └─► bundle ─► every edge
//!                                 the last good one stays
//! ```

/// What changes from one policy to another.
pub mod diff;
/// What a policy needs when one of its issuers has the origin's keys.
mod own;

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use gate::policy::{Document, KeysFrom, PolicyError, Role};
use gate::{Code, Gate, Problem};
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::bundles::{self, Content, Signed, Signer};
use crate::clock::Clock;
use crate::edge_config::{self, EdgeConfig};
use crate::files;
use crate::hash::sha256_hex;
use crate::issuer::Issuer;
use crate::keys::{self, KeyError, Master};
use crate::store::{AuditEntry, NewPolicy, PolicyRecord, Progress, PublishError, Purpose, Store, StoreError};
use crate::trial::Trial;

/// The policy of the first start.
pub const BUILT_IN: &[u8] = include_bytes!("../../envoy/policy.json");
/// The author of what comes out of the policy file.
pub const FILE: &str = "file";

/// An edge that has not asked for so long is gone, in milliseconds.
pub const LIVE_MS: i64 = 45_000;

/// The name of nobody, for whom the seed is signed.
const SEED: &str = "";

/// How often file and database are looked at.
const POLL: Duration = Duration::from_millis(200);
/// How often keys are looked after.
const TEND: Duration = Duration::from_secs(1);
/// How many edges are asked about.
const MAX_EDGES: i64 = 100_000;
/// A file that was written this recently may change again without its time showing it.
const UNSETTLED: Duration = Duration::from_secs(1);
/// How many revocations are looked at; of those that do not fit into a bundle, only the newest counts.
const MAX_READ: i64 = 100_000;
/// The edge's own file holds a bundle to start with, which need not be the very newest.
const SEED_AGE: Duration = Duration::from_secs(600);

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
    pub fn own_issuer(&self) -> Option<&gate::policy::Issuer> {
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

/// The policy file.
#[derive(Clone, Debug)]
pub struct PolicyFile {
    /// Where it is.
    pub path: PathBuf,
    /// Nothing but this file makes policy: it is kept in a repository, say, and put here from
    /// there. Otherwise it is one way among others and always shows the newest revision.
    pub is_master: bool,
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
}

/// Knows the policy in force and where the next one comes from.
pub struct PolicyCenter {
    file: PolicyFile,
    edge: EdgeConfig,
    master: Master,
    store: Store,
    clock: Clock,
    in_force: watch::Sender<Arc<InForce>>,
    /// Something was changed here; no need to wait for the next look.
    changed: Notify,
    /// What is wrong with the file.
    last_error: Mutex<Option<String>>,
    /// What kept this origin from following, until it does again.
    fault: Mutex<Option<String>>,
    /// The hash of the file's content that was judged last. Whoever looks at the file or writes it
    /// holds this, so that nobody takes what was overtaken for news.
    judged: tokio::sync::Mutex<String>,
    /// What the edge's file says by now, and since when.
    written: Mutex<(Vec<String>, Option<SystemTime>)>,
}

/// Reads a document and compiles it as an edge would. `jwks` are the origin's own keys.
///
/// # Errors
/// What is wrong, and where.
pub fn check(bytes: &[u8], jwks: &Value) -> Result<Document, PolicyError> {
    let document = Document::parse(bytes)?;
    let gate = Gate::new(&document.clone().with_origin_keys(jwks), &environment_secret)?;
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
    jwks: &Value,
    publication: Publication<'_>,
    audit: &AuditEntry,
) -> Result<PolicyRecord, CenterError> {
    let document = check(bytes, jwks).map_err(|error| CenterError::Invalid("that was sent".into(), error))?;
    record(store, bytes, &document, publication, audit).await
}

async fn record(
    store: &Store,
    bytes: &[u8],
    document: &Document,
    publication: Publication<'_>,
    audit: &AuditEntry,
) -> Result<PolicyRecord, CenterError> {
    let new = NewPolicy {
        // A checked document is JSON, so it is UTF-8.
        document: &String::from_utf8_lossy(bytes),
        sha256: &sha256_hex(&[bytes]),
        wanted_rev: i64::try_from(document.rev).unwrap_or(i64::MAX),
        after: publication.after,
        author: publication.author,
        reason: publication.reason,
    };
    match store.policies().publish(new, audit).await {
        // Another origin recorded one in the same moment; now it is there to build on.
        Err(PublishError::Store(StoreError::Conflict)) => Ok(store.policies().publish(new, audit).await?),
        other => Ok(other?),
    }
}

/// Checks a document and puts it on trial at some edges.
///
/// # Errors
/// The document is not valid, or the database failed.
pub async fn begin_trial(
    store: &Store,
    bytes: &[u8],
    jwks: &Value,
    publication: Publication<'_>,
    trial: &Trial,
    audit: &AuditEntry,
) -> Result<PolicyRecord, CenterError> {
    let invalid = |error| CenterError::Invalid("that was sent".into(), error);
    let document = check(bytes, jwks).map_err(invalid)?;
    // As a shadow it has to fit beside the policy in force.
    let stable = current_document(store).await?;
    let together = serde_json::to_vec(&trial.policy(&stable, document.clone()))?;
    check(&together, jwks).map_err(invalid)?;
    let new = NewPolicy {
        document: &String::from_utf8_lossy(bytes),
        sha256: &sha256_hex(&[bytes]),
        wanted_rev: i64::try_from(document.rev).unwrap_or(i64::MAX),
        after: None,
        author: publication.author,
        reason: publication.reason,
    };
    Ok(store.policies().begin_trial(new, &serde_json::to_string(trial)?, audit).await?)
}

impl PolicyCenter {
    /// Takes the newest revision into force, which may come out of the policy file right now, or,
    /// when that is not valid, the last good one. Seeds the file at the first start.
    ///
    /// # Errors
    /// There is no valid policy at all; a file or the database failed.
    pub async fn start(
        file: PolicyFile,
        edge: EdgeConfig,
        master: Master,
        store: Store,
        clock: Clock,
    ) -> Result<Self, CenterError> {
        let failed = |error| CenterError::File(file.path.clone(), error);
        keys::make_first(&store, &master, clock.now_ms()).await?;
        let jwks = keys::load(&store, &master, Purpose::Issuer).await?.jwks();
        let newest = store.policies().latest().await?;
        if !file.path.try_exists().map_err(failed)? {
            let content =
                newest.as_ref().filter(|_| !file.is_master).map_or(BUILT_IN, |newest| newest.document.as_bytes());
            files::replace(&file.path, content, files::READABLE).map_err(failed)?;
        }
        let bytes = std::fs::read(&file.path).map_err(failed)?;
        let hash = sha256_hex(&[&bytes]);
        let mut last_error = None;
        // A file that says what an older revision said was overtaken, unless nothing else counts.
        if file.is_master || newest.is_none() || !store.policies().knows(&hash).await? {
            match check(&bytes, &jwks) {
                Ok(document) => drop(record(&store, &bytes, &document, FROM_FILE, &of_file(&clock)).await?),
                Err(error) => {
                    let error = CenterError::Invalid(file.path.clone(), error);
                    let Some(newest) = newest else { return Err(error) };
                    tracing::error!(%error, rev = newest.rev, "the last good policy stays in force");
                    last_error = Some(error.to_string());
                }
            }
        }
        let in_force = load(&store, &master, &clock).await?;
        let center = Self {
            file,
            edge,
            master,
            store,
            clock,
            in_force: watch::Sender::new(Arc::new(in_force)),
            changed: Notify::new(),
            last_error: Mutex::new(last_error),
            fault: Mutex::default(),
            judged: tokio::sync::Mutex::new(hash),
            written: Mutex::default(),
        };
        center.show().await?;
        Ok(center)
    }

    /// The policy in force.
    pub fn now(&self) -> Arc<Policy> {
        Arc::clone(&self.in_force.borrow().policy)
    }

    /// All that is in force, as it changes.
    pub fn in_force(&self) -> watch::Receiver<Arc<InForce>> {
        self.in_force.subscribe()
    }

    /// The bundle for the edge of this name in a region.
    pub fn bundle(&self, region: &str, node: &str) -> Signed {
        let in_force = Arc::clone(&self.in_force.borrow());
        in_force.bundle(region, node, self.clock.now_s())
    }

    /// The public keys by which edges know a bundle, as a JWK Set.
    pub fn roots(&self) -> Value {
        self.in_force.borrow().roots()
    }

    /// Signs tokens.
    pub fn issuer(&self) -> Arc<Issuer> {
        Arc::clone(&self.in_force.borrow().issuer)
    }

    /// What is wrong with the file as it is, or with following, if anything.
    pub fn last_error(&self) -> Option<String> {
        self.file_error().or_else(|| self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn file_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The file, if nothing else makes policy.
    pub fn master_file(&self) -> Option<&PolicyFile> {
        Some(&self.file).filter(|file| file.is_master)
    }

    /// Publishes a document as [`publish`] does.
    ///
    /// # Errors
    /// As there.
    pub async fn publish(
        &self,
        bytes: &[u8],
        publication: Publication<'_>,
        audit: &AuditEntry,
    ) -> Result<PolicyRecord, CenterError> {
        let record = publish(&self.store, bytes, &self.issuer().jwks(), publication, audit).await?;
        self.look().await;
        Ok(record)
    }

    /// Takes over at once what was changed in the database.
    pub fn hurry(&self) {
        self.changed.notify_one();
    }

    /// Follows file and database until `stop`.
    pub async fn follow(&self, stop: CancellationToken) {
        let mut seen = None;
        let mut tended = Instant::now();
        let pause = async || {
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = self.changed.notified() => {}
            }
        };
        while stop.run_until_cancelled(pause()).await.is_some() {
            seen = self.look_at_file(seen).await;
            self.look().await;
            if tended.elapsed() >= TEND {
                tended = Instant::now();
                self.tend().await;
            }
        }
    }

    /// Does what is due about keys.
    async fn tend(&self) {
        let now_ms = self.clock.now_ms();
        let tended = async {
            let edges = self.store.control().edges(now_ms.saturating_sub(LIVE_MS), MAX_EDGES).await?;
            Ok(keys::tend(&self.store, &self.master, &self.now().document, &edges, now_ms).await?)
        };
        match tended.await {
            Ok(false) => {}
            Ok(true) => self.look().await,
            Err(error) => self.falter(&error),
        }
    }

    /// Judges the file if it has changed.
    async fn look_at_file(&self, seen: Option<Stamp>) -> Option<Stamp> {
        let stamp = tokio::fs::metadata(&self.file.path).await.ok().map(|metadata| Stamp::of(&metadata));
        if seen == stamp && stamp.is_some_and(|stamp| stamp.is_settled) {
            return seen;
        }
        let mut judged = self.judged.lock().await;
        match tokio::fs::read(&self.file.path).await {
            Ok(bytes) => {
                let hash = sha256_hex(&[&bytes]);
                // The same content is judged once; a failure that is not the content's own is
                // tried again.
                if hash != *judged && self.take_over(&bytes).await {
                    *judged = hash;
                }
                stamp
            }
            Err(error) => {
                self.report(format!("{}: {error}", self.file.path.display()));
                seen
            }
        }
    }

    /// Judges new content of the file; false to try the same content again.
    async fn take_over(&self, bytes: &[u8]) -> bool {
        let document = match check(bytes, &self.issuer().jwks()) {
            Ok(document) => document,
            Err(error) => {
                self.report(CenterError::Invalid(self.file.path.clone(), error).to_string());
                return true;
            }
        };
        match record(&self.store, bytes, &document, FROM_FILE, &of_file(&self.clock)).await {
            Ok(_) => {
                *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
                true
            }
            Err(error) => {
                self.report(error.to_string());
                false
            }
        }
    }

    /// Takes over what has been changed in the database, by whichever origin.
    async fn look(&self) {
        let known = self.in_force.borrow().content.progress;
        let loaded = match self.store.control().progress().await {
            Ok(progress) if progress == known => return self.show_or_report().await,
            Ok(_) => load(&self.store, &self.master, &self.clock).await,
            Err(error) => Err(error.into()),
        };
        match loaded {
            Ok(in_force) => {
                let record = &in_force.policy.record;
                if self.now().record.rev != record.rev {
                    tracing::info!(rev = record.rev, sha256 = record.sha256, author = record.author, "policy in force");
                }
                // Of two that look at the same time the one that saw more prevails.
                self.in_force.send_if_modified(|known| {
                    let is_newer = known.content.progress.serial < in_force.content.progress.serial;
                    if is_newer {
                        *known = Arc::new(in_force);
                    }
                    is_newer
                });
                self.show_or_report().await;
            }
            Err(error) => self.falter(&error),
        }
    }

    async fn show_or_report(&self) {
        match self.show().await {
            Ok(()) => *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = None,
            Err(error) => self.falter(&error),
        }
    }

    /// Brings the two files up to date that show what is in force: the policy file, and the
    /// edge's. Envoy takes over the latter, so it is written only when the edge needs something
    /// that no bundle can bring, or when the bundle in it has grown old.
    async fn show(&self) -> Result<(), CenterError> {
        self.show_in_file().await.map_err(|error| CenterError::File(self.file.path.clone(), error))?;
        let policy = self.now();
        let variables = edge_config::variables(&policy.document);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let roots = self.roots();
        let needed: Vec<String> = variables.iter().map(ToString::to_string).chain([roots.to_string()]).collect();
        let is_old = written.1.is_none_or(|at| at.elapsed().is_ok_and(|age| age >= SEED_AGE));
        if written.0 != needed || is_old {
            let Signed { tag, text } = self.bundle(&self.edge.region, SEED);
            self.edge
                .publish(&roots, &tag, &text, &variables)
                .map_err(|error| CenterError::File(self.edge.file.clone(), error))?;
            *written = (needed, Some(SystemTime::now()));
        }
        Ok(())
    }

    /// A file that nobody has changed since it was judged shows what is in force.
    async fn show_in_file(&self) -> io::Result<()> {
        let mut judged = self.judged.lock().await;
        let policy = self.now();
        if self.file.is_master || self.file_error().is_some() || *judged == policy.record.sha256 {
            return Ok(());
        }
        if sha256_hex(&[&std::fs::read(&self.file.path)?]) == *judged {
            files::replace(&self.file.path, policy.record.document.as_bytes(), files::READABLE)?;
            judged.clone_from(&policy.record.sha256);
        }
        Ok(())
    }

    /// Notes what keeps this origin from following.
    fn falter(&self, error: &CenterError) {
        self.note(&self.fault, error.to_string());
    }

    /// Notes what is wrong with the file.
    fn report(&self, error: String) {
        self.note(&self.last_error, error);
    }

    /// Logs an error when it is another one than before.
    fn note(&self, last: &Mutex<Option<String>>, error: String) {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() != Some(&error) {
            metrics::counter!("cosygate_policy_refusals_total").increment(1);
            tracing::error!(error, "the last good policy stays in force");
            *last = Some(error);
        }
    }
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

const FROM_FILE: Publication<'static> = Publication { author: FILE, reason: "", after: None };

fn of_file(clock: &Clock) -> AuditEntry {
    AuditEntry::of_system(clock.now_ms(), "policy_change")
}

/// Reads all that decisions rest on.
///
/// # Errors
/// The database failed, there is no valid policy in it, or its keys do not open.
pub async fn load(store: &Store, master: &Master, clock: &Clock) -> Result<InForce, CenterError> {
    // Read first: what comes in meanwhile is read again.
    let progress: Progress = store.control().progress().await?;
    let issuer = Issuer::new(keys::load(store, master, Purpose::Issuer).await?);
    let signer = Signer::new(keys::load(store, master, Purpose::Root).await?);
    let jwks = issuer.jwks();
    let nothing = || PolicyError { at: String::new(), message: "there is none".to_owned() };
    let of_revision = |rev: i64| PathBuf::from(format!("of revision {rev}"));
    let record = store.policies().latest().await?.ok_or_else(|| CenterError::Invalid(of_revision(0), nothing()))?;
    let invalid = |error| CenterError::Invalid(of_revision(record.rev), error);
    let document = check(record.document.as_bytes(), &jwks).map_err(invalid)?;
    let rev = u64::try_from(record.rev).unwrap_or_default();
    let document = Document { rev, schema: None, ..document };
    let revocations = store.control().revocations(clock.now_ms(), MAX_READ).await?;
    let issuers = document.issuers.iter().map(|issuer| issuer.issuer.as_str());
    let revocation = bundles::revocation(&revocations, issuers);
    let for_edges = document.clone().with_origin_keys(&jwks);
    let mut content = Content::new(progress, &for_edges, revocation)?;
    if let Some(record) = store.policies().on_trial().await? {
        let rev = u64::try_from(record.rev).unwrap_or_default();
        let trial: Trial = serde_json::from_str(record.trial.as_deref().unwrap_or_default())?;
        let invalid = |error| CenterError::Invalid(of_revision(record.rev), error);
        let tried = check(record.document.as_bytes(), &jwks).map_err(invalid)?;
        let tried = Document { rev, schema: None, ..tried }.with_origin_keys(&jwks);
        let tried = trial.policy(&for_edges, tried);
        content = content.trying(trial, &tried)?;
    }
    metrics::gauge!("cosygate_policy_rev").set(rev as f64);
    metrics::gauge!("cosygate_control_serial").set(progress.serial as f64);
    Ok(InForce { policy: Arc::new(Policy { record, document }), content, issuer: Arc::new(issuer), signer })
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
