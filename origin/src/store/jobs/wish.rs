//! Adding jobs: what one may use is looked at and set aside in the transaction that adds them.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::{Enqueued, Job, Limits, NewJob, columns};
use crate::caller::Caller;
use crate::store::queue::{ADVANCE, Claimed};
use crate::store::{AuditEntry, Store, StoreError, in_passing};

/// What a unit of virtual time is: a thousandth of a character for a role of weight 1.
const VIRTUAL_UNITS: i64 = 1000;

/// A job that somebody wants.
#[derive(Clone, Debug)]
pub(in crate::store) struct Wish {
    pub(super) owner: Caller,
    pub(super) job: NewJob,
    pub(super) limits: Limits,
    pub(super) audit: AuditEntry,
}

/// What counts for one more.
#[derive(Debug, sqlx::FromRow)]
struct Standing {
    /// Jobs that wait, whoever has them.
    waiting: i64,
    /// The user's jobs that run.
    running: i64,
    /// Those that run or wait.
    live: i64,
    /// Their characters.
    promised: i64,
    /// Bytes that the user has stored.
    stored: i64,
    /// Where the user's last job ends in the queue's time.
    latest: i64,
    /// What was used of the day, like the next two.
    characters: i64,
    generations: i64,
    audio_ms: i64,
}

impl Wish {
    /// The worker that begins it at once, if one may; otherwise it waits.
    ///
    /// # Errors
    /// Why it can do neither.
    fn judge(&self, standing: &Standing) -> Result<Option<&str>, Enqueued> {
        let Self { job, limits, .. } = self;
        let spoken_for = standing.promised.saturating_add(job.characters);
        // What is under way counts against today even if yesterday will be charged.
        let left = limits.characters - standing.characters - standing.promised;
        let audio_after = standing.audio_ms.saturating_add(spoken_for * limits.ms_per_character);
        if standing.live >= limits.live {
            return Err(Enqueued::TooMany);
        }
        if job.characters > left {
            return Err(Enqueued::TooFewCharacters(left.max(0)));
        }
        if standing.generations + standing.live >= limits.generations {
            return Err(Enqueued::NoGenerations);
        }
        if limits.audio_ms.is_some_and(|limit| audio_after > limit) {
            return Err(Enqueued::NoAudio);
        }
        if standing.stored.saturating_add(spoken_for * limits.bytes_per_character) > limits.storage_bytes {
            return Err(Enqueued::NoStorage);
        }
        let may_begin = standing.waiting == 0 && standing.running < limits.running;
        let worker = job.worker.as_deref().filter(|_| may_begin);
        if worker.is_none() && standing.waiting >= limits.queue_length {
            return Err(Enqueued::QueueFull);
        }
        Ok(worker)
    }
}

/// [`super::Owned::enqueue`] for some at once, one after the other.
pub(in crate::store) fn enqueue(
    store: Store,
    wishes: Arc<[Wish]>,
) -> BoxFuture<'static, Result<Vec<Enqueued>, StoreError>> {
    // Holding the one row of the queue makes all who add and take wait for each other on Postgres;
    // SQLite has one writer anyway.
    const LOCK: &str = "UPDATE queue SET virtual_time = virtual_time";
    const TIME: &str = "SELECT virtual_time FROM queue";
    const KNOWN: &str = "SELECT id, fingerprint FROM jobs WHERE user_id = $1 AND idempotency_key = $2";
    const STANDING: &str = "SELECT queue.waiting, live.running, live.live, live.promised, owned.stored, last.latest, \
                            COALESCE(today.characters, 0) AS characters, \
                            COALESCE(today.generations, 0) AS generations, COALESCE(today.audio_ms, 0) AS audio_ms \
                            FROM (SELECT COUNT(*) AS waiting FROM jobs WHERE state = 'queued') AS queue \
                            CROSS JOIN (SELECT COUNT(*) AS live, COUNT(CASE WHEN state = 'running' THEN 1 END) AS running, \
                            CAST(COALESCE(SUM(characters), 0) AS BIGINT) AS promised FROM jobs \
                            WHERE user_id = $1 AND state IN ('queued', 'running')) AS live \
                            CROSS JOIN (SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) AS stored FROM outputs \
                            WHERE user_id = $1) AS owned \
                            CROSS JOIN (SELECT COALESCE(MAX(virtual_finish), 0) AS latest FROM jobs \
                            WHERE user_id = $1) AS last \
                            LEFT JOIN daily_usage AS today ON today.user_id = $1 AND today.day = $2";
    const ADD: &str = concat!(
        "INSERT INTO jobs (id, user_id, role, request, fingerprint, idempotency_key, day, characters, \
         virtual_start, virtual_finish, pinned_to, lease_until, request_id, policy_rev, address, region, \
         created_at, state, worker, started_at, attempts) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21) \
         RETURNING ",
        columns!()
    );
    Box::pin(async move {
        // Nobody was told of any of them yet.
        Ok(in_passing!(&store.writer, transaction => {
            if !store.is_exclusive() {
                sqlx::query(LOCK).execute(&mut *transaction).await?;
            }
            let before: i64 = sqlx::query_scalar(TIME).fetch_one(&mut *transaction).await?;
            let mut now = before;
            let mut outcomes = Vec::new();
            for wish in wishes.iter() {
                let Wish { owner, job, limits, audit } = wish;
                let known: Option<(String, String)> = match &job.key {
                    Some(key) => {
                        let known = sqlx::query_as(KNOWN).bind(owner.user_id()).bind(key);
                        known.fetch_optional(&mut *transaction).await?
                    }
                    None => None,
                };
                if let Some((id, fingerprint)) = known {
                    let is_same = fingerprint == job.fingerprint;
                    outcomes.push(if is_same { Enqueued::Known(id) } else { Enqueued::KeyTaken });
                    continue;
                }
                let standing: Standing =
                    sqlx::query_as(STANDING).bind(owner.user_id()).bind(&job.day).fetch_one(&mut *transaction).await?;
                let worker = match wish.judge(&standing) {
                    Ok(worker) => worker,
                    Err(refused) => {
                        outcomes.push(refused);
                        continue;
                    }
                };
                let start = standing.latest.max(now);
                let finish = start + job.characters.max(1) * VIRTUAL_UNITS / limits.weight.max(1);
                if worker.is_some() {
                    now = start;
                }
                let added: Job = sqlx::query_as(ADD)
                    .bind(&job.id)
                    .bind(owner.user_id())
                    .bind(owner.role())
                    .bind(&job.request)
                    .bind(&job.fingerprint)
                    .bind(&job.key)
                    .bind(&job.day)
                    .bind(job.characters)
                    .bind(start)
                    .bind(finish)
                    .bind(&job.pinned_to)
                    .bind(job.lease_until)
                    .bind(&audit.request_id)
                    .bind(audit.policy_rev)
                    .bind(&audit.personal.address)
                    .bind(&owner.visit().region)
                    .bind(audit.at)
                    .bind(if worker.is_some() { "running" } else { "queued" })
                    .bind(worker)
                    .bind(worker.map(|_| audit.at))
                    .bind(i64::from(worker.is_some()))
                    .fetch_one(&mut *transaction)
                    .await?;
                outcomes.push(match worker {
                    Some(worker) => Enqueued::Begun(Box::new(Claimed::new(added, worker))),
                    None => Enqueued::Queued,
                });
            }
            if now > before {
                sqlx::query(ADVANCE).bind(now).execute(&mut *transaction).await?;
            }
            outcomes
        }))
    })
}
