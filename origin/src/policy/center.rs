//! Follows the policy file and the database, and knows what is in force.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{BUILT_IN, CenterError, FILE, InForce, LIVE_MS, Policy, Publication, check, load, publish, record};
use crate::bundles::Signed;
use crate::clock::Clock;
use crate::edge_config::{self, EdgeConfig};
use crate::files;
use crate::hash::sha256_hex;
use crate::issuer::Issuer;
use crate::keys::{self, Master};
use crate::status_lists::StatusLists;
use crate::store::{AuditEntry, PolicyRecord, Purpose, Store};

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
/// The edge's own file holds a bundle to start with, which need not be the very newest.
const SEED_AGE: Duration = Duration::from_secs(600);
const FROM_FILE: Publication<'static> = Publication { author: FILE, reason: "", after: None };

/// The policy file.
#[derive(Clone, Debug)]
pub struct PolicyFile {
    /// Where it is.
    pub path: PathBuf,
    /// Nothing but this file makes policy: it is kept in a repository, say, and put here from
    /// there. Otherwise it is one way among others and always shows the newest revision.
    pub is_master: bool,
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
        let logins = keys::load(&store, &master, Purpose::Issuer).await?;
        let keys = Issuer::new(logins, keys::load(&store, &master, Purpose::Pat).await?).keys();
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
            match check(&bytes, &keys) {
                Ok(document) => drop(record(&store, &bytes, &document, FROM_FILE, &of_file(&clock)).await?),
                Err(error) => {
                    let error = CenterError::Invalid(file.path.clone(), error);
                    let Some(newest) = newest else { return Err(error) };
                    tracing::error!(%error, rev = newest.rev, "the last good policy stays in force");
                    last_error = Some(error.to_string());
                }
            }
        }
        let in_force = load(&store, &master, &clock, &StatusLists::default()).await?;
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

    /// How far the control plane has come, as far as this origin has followed.
    pub fn serial(&self) -> i64 {
        self.in_force.borrow().content.progress.serial
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

    /// One of the status lists, signed for everybody who knows the issuer's keys.
    pub fn public_status_list(&self, number: u64) -> String {
        let in_force = Arc::clone(&self.in_force.borrow());
        in_force.public_status_list(number, self.clock.now_s())
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

    /// The key under which all others are kept.
    pub(crate) fn master_key(&self) -> &Master {
        &self.master
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
        let record = publish(&self.store, bytes, &self.issuer().keys(), publication, audit).await?;
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
        let document = match check(bytes, &self.issuer().keys()) {
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
    pub(crate) async fn look(&self) {
        let in_force = Arc::clone(&self.in_force.borrow());
        let known = in_force.content.progress;
        let loaded = match self.store.control().progress().await {
            Ok(progress) if progress == known => return self.show_or_report().await,
            Ok(_) => load(&self.store, &self.master, &self.clock, &in_force.lists).await,
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

fn of_file(clock: &Clock) -> AuditEntry {
    AuditEntry::of_system(clock.now_ms(), "policy_change")
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
