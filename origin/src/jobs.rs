//! Who works on the queue in this origin: takes what is next while the engine has a free slot.
//!
//! ```text
//!         ┌── nobody waits, and there is a free slot ──┐
//! enqueue ┤                                            ├► work: engine ──► staged ──► stored ──► booked
//!         └──wake──► dispatch ── slot free? ── claim ──┘    │ lease renewed, progress told
//!                       ▲                                   │
//!                       └────────────── ended ──────────────┘
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

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::clock::new_id;
use crate::store::{Claim, Claimed, StoreError};

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
    /// Some may wait that this origin could begin.
    may_wait: AtomicBool,
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
    /// The last that was added, for those who listen as fast as it is made.
    pub latest: Bytes,
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
            may_wait: AtomicBool::new(true),
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

    /// Room for one more, if there is some right now.
    pub fn free_slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).try_acquire_owned().ok()
    }

    /// Tells whoever takes the next one that there is one.
    pub fn added(&self, id: &str) {
        self.may_wait.store(true, Ordering::SeqCst);
        self.changed(id);
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

/// Begins work on a job that this origin has claimed.
pub fn begin(app: &Arc<App>, claimed: Claimed, slot: OwnedSemaphorePermit) {
    start(app);
    let watched = app.jobs.watch(&claimed.job.id);
    app.tasks.spawn(work::run(Arc::clone(app), claimed, watched, slot));
}

async fn dispatch(app: Weak<App>, jobs: Arc<Jobs>, stopping: CancellationToken) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = jobs.wake.notified() => {}
            // Other origins may have added some.
            _ = look.tick() => jobs.may_wait.store(true, Ordering::SeqCst),
        }
        let Some(app) = app.upgrade() else { return };
        take(&app).await;
    }
}

/// Begins what waits while there is room; one that ends wakes whoever calls this.
async fn take(app: &Arc<App>) {
    let jobs = &app.jobs;
    // Whoever adds one says so afterwards, so none is missed.
    while !app.stopping.is_cancelled() && jobs.may_wait.load(Ordering::SeqCst) {
        let Some(slot) = jobs.free_slot() else { return };
        jobs.may_wait.store(false, Ordering::SeqCst);
        match claim(app).await {
            Ok(Claim::NoneWaits) => {}
            Ok(Claim::NoneMay) => {
                jobs.may_wait.store(true, Ordering::SeqCst);
                return;
            }
            Ok(Claim::Taken(claimed)) => {
                jobs.may_wait.store(true, Ordering::SeqCst);
                begin(app, *claimed, slot);
            }
            Err(error) => {
                tracing::error!(%error, "no job could be taken; trying again");
                return;
            }
        }
    }
}

async fn claim(app: &App) -> Result<Claim, StoreError> {
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
        app.jobs.may_wait.store(true, Ordering::SeqCst);
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
