//! Who works on the queue in this origin: takes what is next while the engine has a free slot.
//!
//! ```text
//! enqueue ──wake──► dispatch ── slot free? ── claim ──► work: engine ──► staged ──► stored ──► booked
//!                      ▲                                  │ lease renewed, progress told
//!                      └───────────── ended ──────────────┘
//! ```
//!
//! Everything that must not be lost is in the database: a job of a process that was killed is taken
//! up by another one, or by the next, when its lease runs out.

/// One job, from the claim to its end.
mod work;

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::clock::new_id;
use crate::store::{Claimed, StoreError};

/// How long a worker is taken to be alive without a word.
pub const LEASE: Duration = Duration::from_secs(30);
/// How often a worker says a word.
pub const RENEWAL: Duration = Duration::from_secs(10);
/// How often somebody looks for what no call told of: jobs that came in at other origins.
pub const LOOK: Duration = Duration::from_millis(500);

/// What this origin works on and watches.
pub struct Jobs {
    /// Names this process to all others; new with every start.
    origin: String,
    slots: Arc<Semaphore>,
    wake: Notify,
    is_started: AtomicBool,
    watched: Mutex<HashMap<String, Weak<Watched>>>,
}

/// What those in this process who have to do with one job share.
#[derive(Default)]
pub struct Watched {
    /// It has come further or has ended.
    pub changed: Notify,
    /// Nobody wants it any more.
    pub stop: CancellationToken,
    /// What there is to hear.
    pub audio: watch::Sender<Audio>,
    /// Bytes of PCM that were handed to a client while it was made.
    pub handed: AtomicU64,
}

/// Audio that is being made, as far as it is on the disk.
#[derive(Clone, Debug, Default)]
pub struct Audio {
    /// The file, once the first audio is there.
    pub file: Option<Arc<File>>,
    /// Samples a second.
    pub sample_rate: u32,
    /// Bytes of PCM behind the file's header.
    pub bytes: u64,
    /// Set at the end: whether it is whole, stored and booked.
    pub is_whole: Option<bool>,
}

impl Jobs {
    /// Works on `slots` jobs at once.
    pub fn new(slots: usize) -> Arc<Self> {
        Arc::new(Self {
            origin: new_id(0),
            slots: Arc::new(Semaphore::new(slots)),
            wake: Notify::new(),
            is_started: AtomicBool::new(false),
            watched: Mutex::new(HashMap::new()),
        })
    }

    /// The name of this process.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// What is shared about a job. It lasts as long as somebody holds it.
    pub fn watch(&self, id: &str) -> Arc<Watched> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = watched.get(id).and_then(Weak::upgrade) {
            return one;
        }
        watched.retain(|_, one| one.strong_count() > 0);
        let one = Arc::new(Watched::default());
        watched.insert(id.to_owned(), Arc::downgrade(&one));
        one
    }

    /// Tells those who watch a job here, and whoever takes the next one.
    pub fn changed(&self, id: &str) {
        self.watch(id).changed.notify_waiters();
        self.wake.notify_one();
    }
}

/// Begins to take jobs, once; until the server stops.
pub fn start(app: &Arc<App>) {
    if !app.jobs.is_started.swap(true, Ordering::SeqCst) {
        // Whoever takes jobs must not keep the server's parts alive.
        tokio::spawn(dispatch(Arc::downgrade(app), Arc::clone(&app.jobs), app.stopping.clone()));
    }
}

async fn dispatch(app: Weak<App>, jobs: Arc<Jobs>, stopping: CancellationToken) {
    loop {
        let slot = Arc::clone(&jobs.slots).acquire_owned();
        let Some(Ok(slot)) = stopping.run_until_cancelled(slot).await else { return };
        if take(&app, &jobs, slot, &stopping).await.is_none() {
            return;
        }
    }
}

/// Waits for a job and begins it; `None` if the server has stopped.
async fn take(app: &Weak<App>, jobs: &Jobs, slot: OwnedSemaphorePermit, stopping: &CancellationToken) -> Option<()> {
    loop {
        let app = app.upgrade().filter(|_| !stopping.is_cancelled())?;
        match claim(&app).await {
            Ok(Some(claimed)) => {
                app.tasks.spawn(work::run(Arc::clone(&app), claimed, slot));
                return Some(());
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "no job could be taken; trying again"),
        }
        drop(app);
        let word = async {
            tokio::select! {
                () = jobs.wake.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        };
        stopping.run_until_cancelled(word).await?;
    }
}

async fn claim(app: &App) -> Result<Option<Claimed>, StoreError> {
    let policy = app.policy.now();
    // A role that is gone runs nothing new; its jobs wait, and can be cancelled.
    let most = |role: &str| policy.document.roles.get(role).map_or(0, |role| i64::from(role.jobs_running));
    let now_ms = app.clock.now_ms();
    app.store.queue().claim(&app.jobs.origin, most, now_ms, lease_until(now_ms)).await
}

/// Looks after jobs whose worker is gone, until `stop`.
pub async fn keep(app: &App, stop: CancellationToken) {
    loop {
        if let Err(error) = take_up(app, app.clock.now_ms()).await {
            tracing::error!(%error, "jobs of dead workers could not be taken up; trying again");
        }
        if let Ok((waiting, running)) = app.store.queue().depth().await {
            metrics::gauge!("cosygate_jobs", "state" => "queued").set(waiting as f64);
            metrics::gauge!("cosygate_jobs", "state" => "running").set(running as f64);
        }
        if stop.run_until_cancelled(tokio::time::sleep(RENEWAL)).await.is_none() {
            return;
        }
    }
}

/// Takes up jobs of workers that have not been heard of until `until_ms`.
///
/// # Errors
/// The database failed.
pub async fn take_up(app: &App, until_ms: i64) -> Result<(), StoreError> {
    while app.store.queue().take_up(until_ms, app.clock.now_ms()).await? > 0 {
        app.jobs.wake.notify_one();
    }
    Ok(())
}

/// When a lease that is given now runs out, in milliseconds since the epoch.
pub fn lease_until(now_ms: i64) -> i64 {
    now_ms.saturating_add(i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
