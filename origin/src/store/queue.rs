//! The queue over all users and all origins: who is next, and whose worker is still alive.

use std::collections::{HashMap, HashSet};

use super::audit::insert_audits;
use super::jobs::{columns, end_unmade};
use super::outputs::discard;
use super::{AuditEntry, Failure, Job, Store, StoreError, in_passing, in_transaction, on_db, on_writer};
use crate::caller::{Caller, Visit};

/// How many rows one step handles, so that no transaction is long.
const STEP: i64 = 200;
/// How many of those who wait are looked at in one go for one whose user has room.
const LOOK_AHEAD: i64 = 32;
/// How often a job is begun before it is given up: it may be what brings its workers down.
pub const MAX_ATTEMPTS: i64 = 3;

/// Moves the queue's time to the start of the job that begins.
pub(super) const ADVANCE: &str = "UPDATE queue SET virtual_time = $1";

/// Said of a job whose origin died, when it is not begun again.
const LOST: Failure<'static> = Failure {
    code: "internal",
    detail: "The server stopped while this was made. Nothing was stored or charged.",
    retry_after: None,
};

/// A job that a worker has taken: the right to end it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The job as it was taken.
    pub job: Job,
    /// Who took it.
    pub worker: String,
    caller: Caller,
}

/// What became of the search for a job to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// This one is the worker's.
    Taken(Box<Claimed>),
    /// Some wait, and none may run now.
    NoneMay,
    /// None waits.
    NoneWaits,
}

impl Claimed {
    pub(super) fn new(job: Job, worker: &str) -> Self {
        let visit = Visit {
            request_id: job.request_id.clone(),
            started_ms: job.created_at,
            policy_rev: u64::try_from(job.policy_rev).unwrap_or_default(),
            is_secure: false,
            address: job.address.as_deref().and_then(|address| address.parse().ok()),
            region: job.region.clone(),
        };
        let caller = Caller::of_job(&job.user_id, &job.role, visit);
        Self { job, worker: worker.to_owned(), caller }
    }

    /// Whoever asked for it.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

/// Queries of those who work on the queue.
pub struct Queue<'a> {
    store: &'a Store,
}

impl<'a> Queue<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// Takes the job that is next among those whose user has fewer than `most_running(role)` under
    /// way, and moves the queue's time to its start.
    ///
    /// # Errors
    /// The database failed; nothing is taken.
    pub async fn claim(
        &self,
        worker: &str,
        most_running: impl Fn(&str) -> i64,
        now_ms: i64,
        lease_until: i64,
    ) -> Result<Claim, StoreError> {
        // Two origins that take at the same time would both see a user with room for one more.
        // Holding the row makes them take one after the other; it has to be written anyway.
        const LOCK: &str = "UPDATE queue SET virtual_time = virtual_time RETURNING virtual_time";
        const RUNNING: &str = "SELECT user_id, COUNT(*) FROM jobs WHERE state = 'running' GROUP BY user_id";
        const NEXT: &str = "SELECT virtual_start, id, user_id, role FROM jobs WHERE state = 'queued' \
                            AND (virtual_start, id) > ($2, $3) AND (pinned_to IS NULL OR pinned_to = $1) \
                            ORDER BY virtual_start, id LIMIT $4";
        const TAKE: &str = concat!(
            "UPDATE jobs SET state = 'running', worker = $2, attempts = attempts + 1, started_at = $3, \
             lease_until = $4, sentences_done = 0, sentences_total = 0 WHERE id = $1 RETURNING ",
            columns!()
        );
        // Nobody was told that it runs; after a crash it waits again.
        let job: Option<Job> = in_passing!(&self.store.writer, transaction => {
            let now: i64 = sqlx::query_scalar(LOCK).fetch_one(&mut *transaction).await?;
            let running: Vec<(String, i64)> = sqlx::query_as(RUNNING).fetch_all(&mut *transaction).await?;
            let running: HashMap<String, i64> = running.into_iter().collect();
            let mut full = HashSet::new();
            let mut place = (i64::MIN, String::new());
            let next = loop {
                let waiting: Vec<(i64, String, String, String)> = sqlx::query_as(NEXT)
                    .bind(worker)
                    .bind(place.0)
                    .bind(&place.1)
                    .bind(LOOK_AHEAD)
                    .fetch_all(&mut *transaction)
                    .await?;
                let Some((start, id, ..)) = waiting.last() else { break None };
                place = (*start, id.clone());
                let next = waiting.into_iter().find(|(_, _, user_id, role)| {
                    // Of a user's jobs only the first may be next.
                    !full.contains(user_id) && {
                        let has_room = running.get(user_id).copied().unwrap_or_default() < most_running(role);
                        has_room || !full.insert(user_id.clone())
                    }
                });
                if next.is_some() {
                    break next;
                }
            };
            let Some((start, id, ..)) = next else {
                return Ok(if full.is_empty() { Claim::NoneWaits } else { Claim::NoneMay });
            };
            if start > now {
                sqlx::query(ADVANCE).bind(start).execute(&mut *transaction).await?;
            }
            sqlx::query_as(TAKE)
                .bind(id)
                .bind(worker)
                .bind(now_ms)
                .bind(lease_until)
                .fetch_optional(&mut *transaction)
                .await?
        });
        Ok(job.map_or(Claim::NoneWaits, |job| Claim::Taken(Box::new(Claimed::new(job, worker)))))
    }

    /// Says that the worker is alive and how far it has come; false if the job is no longer its.
    ///
    /// # Errors
    /// The database failed.
    pub async fn renew(&self, claimed: &Claimed, sentences: (i64, i64), lease_until: i64) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE jobs SET lease_until = $4, sentences_done = $5, sentences_total = $6 \
                           WHERE id = $1 AND state = 'running' AND worker = $2 AND attempts = $3";
        let renewed = on_writer!(&self.store.writer, pool => {
            sqlx::query(SQL)
                .bind(&claimed.job.id)
                .bind(&claimed.worker)
                .bind(claimed.job.attempts)
                .bind(lease_until)
                .bind(sentences.0)
                .bind(sentences.1)
                .execute(pool)
                .await?
                .rows_affected()
        });
        Ok(renewed == 1)
    }

    /// Whether a job is still this worker's.
    ///
    /// # Errors
    /// The database failed.
    pub async fn is_held(&self, claimed: &Claimed) -> Result<bool, StoreError> {
        const SQL: &str =
            "SELECT COUNT(*) FROM jobs WHERE id = $1 AND state = 'running' AND worker = $2 AND attempts = $3";
        let held: i64 = on_db!(&self.store.reader, pool => {
            sqlx::query_scalar(SQL)
                .bind(&claimed.job.id)
                .bind(&claimed.worker)
                .bind(claimed.job.attempts)
                .fetch_one(pool)
                .await?
        });
        Ok(held == 1)
    }

    /// Says that the client of a pinned job still waits for its turn.
    ///
    /// # Errors
    /// The database failed.
    pub async fn renew_pinned(&self, id: &str, origin: &str, lease_until: i64) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE jobs SET lease_until = $3 WHERE id = $1 AND state = 'queued' AND pinned_to = $2";
        on_writer!(&self.store.writer, pool => {
            sqlx::query(SQL).bind(id).bind(origin).bind(lease_until).execute(pool).await?;
        });
        Ok(())
    }

    /// Puts what this worker has not finished back where it was in the queue, for another one.
    ///
    /// # Errors
    /// The database failed; the leases will lapse.
    pub async fn hand_back(&self, worker: &str) -> Result<u64, StoreError> {
        const SQL: &str = "UPDATE jobs SET state = 'queued', worker = NULL, attempts = attempts - 1, lease_until = 0 \
                           WHERE state = 'running' AND worker = $1 AND pinned_to IS NULL";
        Ok(on_writer!(&self.store.writer, pool => sqlx::query(SQL).bind(worker).execute(pool).await?.rows_affected()))
    }

    /// Takes care of jobs whose worker has not been heard of until `until_ms`: back into the queue,
    /// or given up with a refund, if a client listened or too many workers died of it. Returns how
    /// many; call again while it is not 0.
    ///
    /// # Errors
    /// The database failed.
    pub async fn take_up(&self, until_ms: i64, now_ms: i64) -> Result<usize, StoreError> {
        const LAPSED: &str = "SELECT id, user_id, attempts, pinned_to FROM jobs WHERE lease_until <= $1 \
                              AND (state = 'running' OR (state = 'queued' AND pinned_to IS NOT NULL)) LIMIT $2";
        const AGAIN: &str = "UPDATE jobs SET state = 'queued', worker = NULL, lease_until = 0 WHERE id = $1 \
                             AND state = 'running' AND lease_until <= $2";
        Ok(in_transaction!(&self.store.writer, transaction => {
            sqlx::query("UPDATE queue SET virtual_time = virtual_time").execute(&mut *transaction).await?;
            let lapsed: Vec<(String, String, i64, Option<String>)> =
                sqlx::query_as(LAPSED).bind(until_ms).bind(STEP).fetch_all(&mut *transaction).await?;
            let mut audits = Vec::new();
            for (id, user_id, attempts, pinned_to) in &lapsed {
                if pinned_to.is_none() && *attempts < MAX_ATTEMPTS {
                    sqlx::query(AGAIN).bind(id).bind(until_ms).execute(&mut *transaction).await?;
                } else if end_unmade!(&mut *transaction, id, "failed", &LOST, now_ms) == 1 {
                    discard!(&mut *transaction, id, user_id, now_ms);
                    let audit = AuditEntry::of_system(now_ms, "generate").on(id).by(user_id);
                    audits.push(AuditEntry { result: "lapsed", ..audit });
                }
            }
            insert_audits!(&mut *transaction, &audits);
            lapsed.len()
        }))
    }

    /// How many wait, and how many run.
    ///
    /// # Errors
    /// The database failed.
    pub async fn depth(&self) -> Result<(i64, i64), StoreError> {
        const SQL: &str = "SELECT (SELECT COUNT(*) FROM jobs WHERE state = 'queued'), \
                           (SELECT COUNT(*) FROM jobs WHERE state = 'running')";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).fetch_one(pool).await?))
    }
}
