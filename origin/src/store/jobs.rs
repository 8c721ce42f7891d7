//! A user's generations: what one may use is set aside when it is asked for, and booked or given
//! back when it ends, each exactly once, because each is one change of the job's state.
//!
//! ```text
//! enqueue ──► queued ──► running ──► done       charged, delivered, in the history
//!                │  ▲       │ ├────► failed     nothing charged
//!                │  └───────┘ └────► cancelled  nothing charged, or what was heard
//!                └─────────────────► cancelled
//! ```

use std::sync::Arc;

use futures::future::BoxFuture;

use super::audit::{insert_audit, insert_audits};
use super::outputs::{Owned, discard};
use super::queue::{ADVANCE, Claimed};
use super::{AuditEntry, Output, Store, StoreError, in_passing, in_transaction, on_db};
use crate::caller::Caller;

/// What a unit of virtual time is: a thousandth of a character for a role of weight 1.
const VIRTUAL_UNITS: i64 = 1000;

/// One generation, from the moment it is asked for until a day after its end.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Job {
    /// A ULID; the output to come has the same.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// The role by which it was let in.
    pub role: String,
    /// `queued`, `running`, `done`, `failed` or `cancelled`.
    pub state: String,
    /// What is wanted, as JSON; empty once it has ended.
    pub request: String,
    /// Unicode scalar values of the text.
    pub characters: i64,
    /// The origin whose client hears it while it is made.
    pub pinned_to: Option<String>,
    /// How often it was begun.
    pub attempts: i64,
    /// Sentences (pieces of text that the engine speaks in one go) that are spoken.
    pub sentences_done: i64,
    /// All of them; 0 while unknown.
    pub sentences_total: i64,
    /// Code of the refusal it ended with.
    pub error: Option<String>,
    /// Its sentence for the client.
    pub detail: Option<String>,
    /// Its `Retry-After`, in seconds.
    pub retry_after: Option<i64>,
    /// What the client was told at the end, as JSON.
    pub answer: Option<String>,
    /// The request that asked for it.
    pub request_id: String,
    /// The revision of the policy that let it in.
    pub policy_rev: i64,
    /// The client's address as the edge saw it.
    pub address: Option<String>,
    /// The region of the edge; empty if it did not come through one.
    pub region: String,
    /// Milliseconds since the epoch, like the next two.
    pub created_at: i64,
    /// When it was last begun.
    pub started_at: Option<i64>,
    /// When it ended.
    pub ended_at: Option<i64>,
}

/// What counts for one more: jobs that wait, whoever has them; the user's that run, those that have not ended, and their
/// characters; bytes stored; where the user's last job ends in the queue's time; characters, generations and
/// milliseconds of audio of the day.
type Standing = (i64, i64, i64, i64, i64, i64, i64, i64, i64);

/// The columns of [`Job`].
macro_rules! columns {
    () => {
        "id, user_id, role, state, request, characters, pinned_to, attempts, sentences_done, sentences_total, error, \
         detail, retry_after, answer, request_id, policy_rev, address, region, created_at, started_at, ended_at"
    };
}

pub(super) use columns;

impl Job {
    /// Whether nothing more will become of it.
    pub fn is_ended(&self) -> bool {
        self.ended_at.is_some()
    }
}

/// What is to be made.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The id of the output to come.
    pub id: String,
    /// What is wanted, as JSON.
    pub request: String,
    /// Hash of all that a repetition must have in common.
    pub fingerprint: String,
    /// The client's `Idempotency-Key`.
    pub key: Option<String>,
    /// How many characters.
    pub characters: i64,
    /// The day that is charged.
    pub day: String,
    /// The origin that must make it, because its client listens there.
    pub pinned_to: Option<String>,
    /// The worker that has room for it now, if one has.
    pub worker: Option<String>,
    /// Until when the worker, or the origin that it is pinned to, is taken to be alive; milliseconds since the epoch.
    pub lease_until: i64,
}

/// What a role allows, and the queue.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Generations that run.
    pub running: i64,
    /// Generations that wait or run.
    pub live: i64,
    /// Characters of a day.
    pub characters: i64,
    /// Generations of a day.
    pub generations: i64,
    /// Milliseconds of audio of a day.
    pub audio_ms: Option<i64>,
    /// Bytes of audio that are kept.
    pub storage_bytes: i64,
    /// How many bytes of audio one character may become, about.
    pub bytes_per_character: i64,
    /// How many milliseconds of audio one character may become, about.
    pub ms_per_character: i64,
    /// The role's share of the engine.
    pub weight: i64,
    /// Generations of all users that may wait.
    pub queue_length: i64,
}

/// What became of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// It waits for its turn.
    Queued,
    /// Nobody waits and there is room: it is the worker's already.
    Begun(Box<Claimed>),
    /// The same was asked for before, under the same key: the job of this id.
    Known(String),
    /// Something else was asked for under this key.
    KeyTaken,
    /// As many as allowed wait and run.
    TooMany,
    /// No more of anybody may wait.
    QueueFull,
    /// The characters of the day do not suffice; so many are left.
    TooFewCharacters(i64),
    /// The generations of the day are used up.
    NoGenerations,
    /// The audio of the day does not suffice.
    NoAudio,
    /// The room for audio does not suffice.
    NoStorage,
}

/// Why a generation ended without an output.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// Code of the refusal.
    pub code: &'a str,
    /// For the client.
    pub detail: &'a str,
    /// Seconds.
    pub retry_after: Option<i64>,
}

/// What a client had heard of a stream that it left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Of the text.
    pub characters: i64,
    /// Of the audio.
    pub audio_ms: i64,
    /// The user's own label.
    pub project_id: Option<String>,
}

/// Ends a job without an output, in the executor's transaction; how many rows that were.
macro_rules! end_unmade {
    ($executor:expr, $id:expr, $state:expr, $failure:expr, $now_ms:expr) => {{
        let failure: &$crate::store::Failure<'_> = $failure;
        // Its key is free again, and its share of the queue is given back.
        sqlx::query(
            "UPDATE jobs SET state = $2, request = '', error = $3, detail = $4, retry_after = $5, ended_at = $6, \
             idempotency_key = NULL, worker = NULL, virtual_finish = virtual_start \
             WHERE id = $1 AND state IN ('queued', 'running')",
        )
        .bind($id)
        .bind($state)
        .bind(failure.code)
        .bind(failure.detail)
        .bind(failure.retry_after)
        .bind($now_ms)
        .execute($executor)
        .await?
        .rows_affected()
    }};
}

/// Writes what was delivered into the day and into the books.
macro_rules! charge {
    ($transaction:expr, $id:expr, $owner:expr, $day:expr, $kind:expr, $characters:expr, $audio_ms:expr, $project_id:expr, $now_ms:expr) => {{
        sqlx::query(
            "INSERT INTO daily_usage (user_id, day, characters, generations, audio_ms) VALUES ($1, $2, $3, 1, $4) \
             ON CONFLICT (user_id, day) DO UPDATE SET characters = daily_usage.characters + excluded.characters, \
             generations = daily_usage.generations + 1, audio_ms = daily_usage.audio_ms + excluded.audio_ms",
        )
        .bind($owner)
        .bind($day)
        .bind($characters)
        .bind($audio_ms)
        .execute($transaction)
        .await?;
        sqlx::query(
            "INSERT INTO deliveries (id, user_id, day, kind, generations, characters, audio_ms, project_id, at) \
             VALUES ($1, $2, $3, $4, 1, $5, $6, $7, $8)",
        )
        .bind($id)
        .bind($owner)
        .bind($day)
        .bind($kind)
        .bind($characters)
        .bind($audio_ms)
        .bind($project_id)
        .bind($now_ms)
        .execute($transaction)
        .await?;
    }};
}

/// A job that somebody wants.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    owner: Caller,
    job: NewJob,
    limits: Limits,
    audit: AuditEntry,
}

/// A job that is done.
#[derive(Clone, Debug)]
pub(super) struct Made {
    owner: Caller,
    claimed: Claimed,
    output: Output,
    answer: String,
    audit: AuditEntry,
}

/// One wish, at the time `now` of the queue, which it moves if the job begins.
macro_rules! enqueue_one {
    ($executor:expr, $wish:expr, $now:ident) => {
        'wish: {
            const KNOWN: &str = "SELECT id, fingerprint FROM jobs WHERE user_id = $1 AND idempotency_key = $2";
            const STANDING: &str = "SELECT waiting.jobs, live.running, live.jobs, live.characters, stored.bytes, \
            latest.finish, COALESCE(today.characters, 0), COALESCE(today.generations, 0), COALESCE(today.audio_ms, 0) \
            FROM (SELECT COUNT(*) AS jobs FROM jobs WHERE state = 'queued') AS waiting \
            CROSS JOIN (SELECT COUNT(*) AS jobs, CAST(COALESCE(SUM(characters), 0) AS BIGINT) AS characters, \
            COUNT(CASE WHEN state = 'running' THEN 1 END) AS running FROM jobs \
            WHERE user_id = $1 AND state IN ('queued', 'running')) AS live \
            CROSS JOIN (SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) AS bytes FROM outputs WHERE user_id = $1) AS stored \
            CROSS JOIN (SELECT COALESCE(MAX(virtual_finish), 0) AS finish FROM jobs WHERE user_id = $1) AS latest \
            LEFT JOIN daily_usage AS today ON today.user_id = $1 AND today.day = $2";
            const ADD: &str = concat!(
            "INSERT INTO jobs (id, user_id, role, request, fingerprint, idempotency_key, day, characters, \
             virtual_start, virtual_finish, pinned_to, lease_until, request_id, policy_rev, address, region, \
             created_at, state, worker, started_at, attempts) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21) \
             RETURNING ",
            columns!()
        );
            let wish: &Wish = $wish;
            let (owner, job, limits, audit) = (wish.owner.user_id(), &wish.job, &wish.limits, &wish.audit);
            let known: Option<(String, String)> = match &job.key {
                Some(key) => sqlx::query_as(KNOWN).bind(owner).bind(key).fetch_optional($executor).await?,
                None => None,
            };
            if let Some((id, fingerprint)) = known {
                break 'wish if fingerprint == job.fingerprint { Enqueued::Known(id) } else { Enqueued::KeyTaken };
            }
            // What is under way counts against today even if yesterday will be charged.
            let (waiting, running, live, promised, stored, last, characters, generations, audio_ms): Standing =
                sqlx::query_as(STANDING).bind(owner).bind(&job.day).fetch_one($executor).await?;
            let spoken_for = promised.saturating_add(job.characters);
            let left = limits.characters - characters - promised;
            let audio_after = audio_ms.saturating_add(spoken_for * limits.ms_per_character);
            if live >= limits.live {
                break 'wish Enqueued::TooMany;
            }
            if job.characters > left {
                break 'wish Enqueued::TooFewCharacters(left.max(0));
            }
            if generations + live >= limits.generations {
                break 'wish Enqueued::NoGenerations;
            }
            if limits.audio_ms.is_some_and(|limit| audio_after > limit) {
                break 'wish Enqueued::NoAudio;
            }
            if stored.saturating_add(spoken_for * limits.bytes_per_character) > limits.storage_bytes {
                break 'wish Enqueued::NoStorage;
            }
            let worker = job.worker.as_deref().filter(|_| waiting == 0 && running < limits.running);
            if worker.is_none() && waiting >= limits.queue_length {
                break 'wish Enqueued::QueueFull;
            }
            let start = last.max($now);
            let finish = start + job.characters.max(1) * VIRTUAL_UNITS / limits.weight.max(1);
            if worker.is_some() {
                $now = start;
            }
            let added: Job = sqlx::query_as(ADD)
                .bind(&job.id)
                .bind(owner)
                .bind(wish.owner.role())
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
                .bind(&wish.owner.visit().region)
                .bind(audit.at)
                .bind(if worker.is_some() { "running" } else { "queued" })
                .bind(worker)
                .bind(worker.map(|_| audit.at))
                .bind(i64::from(worker.is_some()))
                .fetch_one($executor)
                .await?;
            break 'wish worker.map_or(Enqueued::Queued, |worker| Enqueued::Begun(Box::new(Claimed::new(added, worker))));
        }
    };
}

/// [`Owned::enqueue`] for some at once, one after the other.
pub(super) fn enqueue(store: Store, wishes: Arc<[Wish]>) -> BoxFuture<'static, Result<Vec<Enqueued>, StoreError>> {
    // Holding the one row of the queue makes all who add and take wait for each other on Postgres;
    // SQLite has one writer anyway.
    const LOCK: &str = "UPDATE queue SET virtual_time = virtual_time";
    const TIME: &str = "SELECT virtual_time FROM queue";
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
                outcomes.push(enqueue_one!(&mut *transaction, wish, now));
            }
            if now > before {
                sqlx::query(ADVANCE).bind(now).execute(&mut *transaction).await?;
            }
            outcomes
        }))
    })
}

/// [`Owned::complete`] for some at once.
pub(super) fn complete(store: Store, made: Arc<[Made]>) -> BoxFuture<'static, Result<Vec<bool>, StoreError>> {
    // An output belongs to the day on which it was asked for, even if midnight passed since.
    const END: &str = "UPDATE jobs SET state = 'done', request = '', answer = $5, ended_at = $6, worker = NULL, \
                       sentences_done = sentences_total WHERE id = $1 AND user_id = $2 AND state = 'running' \
                       AND worker = $3 AND attempts = $4 RETURNING day";
    const KEEP: &str = "INSERT INTO outputs (id, user_id, role, text, voice, engine, characters, frames, \
                        sample_rate, bytes, sha256, project_id, created_at, is_booked) \
                        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 1)";
    Box::pin(async move {
        // In one order for all, so that no two transactions wait for each other's users.
        let mut places: Vec<usize> = (0..made.len()).collect();
        places.sort_by_key(|place| made.get(*place).map(|made| made.owner.user_id()));
        Ok(in_transaction!(&store.writer, transaction => {
            let mut is_mine = vec![false; made.len()];
            let mut audits = Vec::new();
            for place in &places {
                let Some((Made { owner, claimed, output, answer, audit }, is_mine)) =
                    made.get(*place).zip(is_mine.get_mut(*place)) else { continue };
                let day: Option<String> = sqlx::query_scalar(END)
                    .bind(&output.id)
                    .bind(owner.user_id())
                    .bind(&claimed.worker)
                    .bind(claimed.job.attempts)
                    .bind(answer)
                    .bind(audit.at)
                    .fetch_optional(&mut *transaction)
                    .await?;
                let Some(day) = day else { continue };
                charge!(
                    &mut *transaction, &output.id, owner.user_id(), &day, "kept", output.characters,
                    output.milliseconds(), &output.project_id, audit.at
                );
                sqlx::query(KEEP)
                    .bind(&output.id)
                    .bind(owner.user_id())
                    .bind(owner.role())
                    .bind(&output.text)
                    .bind(&output.voice)
                    .bind(&output.engine)
                    .bind(output.characters)
                    .bind(output.frames)
                    .bind(output.sample_rate)
                    .bind(output.bytes)
                    .bind(&output.sha256)
                    .bind(&output.project_id)
                    .bind(output.created_at)
                    .execute(&mut *transaction)
                    .await?;
                audits.push(audit.clone());
                *is_mine = true;
            }
            insert_audits!(&mut *transaction, &audits);
            is_mine
        }))
    })
}

pub(super) use end_unmade;

impl Owned<'_> {
    /// Sets aside what a generation may use and puts it into the queue, in one transaction with
    /// the checks.
    ///
    /// The queue is start-time fair (Goyal, Vin and Cheng, "Start-time fair queueing", SIGCOMM
    /// 1996): a job starts where the user's last one ended, or where the queue is now if that is
    /// later, and ends its length, divided by the role's weight, after that. The smallest start is
    /// served first, so nobody waits behind another's backlog. Where nobody waits at all and the
    /// worker has room, it begins at once.
    ///
    /// Whoever tells of it before it has ended calls [`super::Store::sync`] first.
    ///
    /// # Errors
    /// The database failed; nothing has changed.
    pub async fn enqueue(&self, job: &NewJob, limits: &Limits, audit: &AuditEntry) -> Result<Enqueued, StoreError> {
        let wish = Wish { owner: self.owner.clone(), job: job.clone(), limits: *limits, audit: audit.clone() };
        self.store.wishes.ask(self.store, wish).await
    }

    /// One job.
    ///
    /// # Errors
    /// The database failed.
    pub async fn job(&self, id: &str) -> Result<Option<Job>, StoreError> {
        const SQL: &str = concat!("SELECT ", columns!(), " FROM jobs WHERE user_id = $1 AND id = $2");
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_as(SQL).bind(self.owner.user_id()).bind(id).fetch_optional(pool).await?
        }))
    }

    /// Up to `limit` jobs, newest first, older than the one named `before`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn jobs(&self, before: Option<&str>, limit: i64) -> Result<Vec<Job>, StoreError> {
        const SQL: &str =
            concat!("SELECT ", columns!(), " FROM jobs WHERE user_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
        Ok(on_db!(&self.store.reader, pool => {
            let before = before.unwrap_or("~");
            sqlx::query_as(SQL).bind(self.owner.user_id()).bind(before).bind(limit).fetch_all(pool).await?
        }))
    }

    /// How many jobs of all users are served before this one, and this one; 0 if it does not wait.
    ///
    /// # Errors
    /// The database failed.
    pub async fn position(&self, id: &str) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM jobs AS mine JOIN jobs AS others ON others.state = 'queued' \
                           AND (others.virtual_start < mine.virtual_start \
                           OR (others.virtual_start = mine.virtual_start AND others.id <= mine.id)) \
                           WHERE mine.user_id = $1 AND mine.id = $2 AND mine.state = 'queued'";
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_scalar(SQL).bind(self.owner.user_id()).bind(id).fetch_one(pool).await?
        }))
    }

    /// Ends a job that waits, or one that runs, too, if `is_running_included`; false if there is
    /// no such one. What it had set aside is free again.
    ///
    /// # Errors
    /// The database failed; nothing has changed.
    pub async fn cancel_job(
        &self,
        id: &str,
        is_running_included: bool,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const FIND: &str = "SELECT state FROM jobs WHERE user_id = $1 AND id = $2";
        const CANCELLED: Failure<'_> =
            Failure { code: "conflict", detail: "This generation was cancelled.", retry_after: None };
        let owner = self.owner.user_id();
        Ok(in_transaction!(&self.store.writer, transaction => {
            sqlx::query("UPDATE queue SET virtual_time = virtual_time").execute(&mut *transaction).await?;
            let state: Option<String> =
                sqlx::query_scalar(FIND).bind(owner).bind(id).fetch_optional(&mut *transaction).await?;
            let may_end = match state.as_deref() {
                Some("queued") => true,
                Some("running") => is_running_included,
                _ => false,
            };
            let is_ended = may_end && end_unmade!(&mut *transaction, id, "cancelled", &CANCELLED, audit.at) == 1;
            if is_ended {
                discard!(&mut *transaction, id, owner, audit.at);
                insert_audit!(&mut *transaction, audit);
            }
            is_ended
        }))
    }

    /// Books a generation: the output is there, the day is charged, the books and the audit know.
    /// All or nothing. False if the job is no longer this worker's; nothing has changed then.
    ///
    /// # Errors
    /// The database failed.
    pub async fn complete(
        &self,
        claimed: &Claimed,
        output: &Output,
        answer: &str,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        let made = Made {
            owner: self.owner.clone(),
            claimed: claimed.clone(),
            output: output.clone(),
            answer: answer.to_owned(),
            audit: audit.clone(),
        };
        self.store.made.ask(self.store, made).await
    }

    /// Ends a generation of this worker without an output and marks its audio for removal. What a
    /// client had `heard` before it left is charged, and nothing else. False if the job is no longer this worker's.
    ///
    /// # Errors
    /// The database failed; the lease will lapse.
    pub async fn fail(
        &self,
        claimed: &Claimed,
        failure: &Failure<'_>,
        heard: Option<Heard>,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const MINE: &str = "UPDATE jobs SET lease_until = lease_until WHERE id = $1 AND user_id = $2 \
                            AND state = 'running' AND worker = $3 AND attempts = $4 RETURNING day";
        let (id, owner) = (&claimed.job.id, self.owner.user_id());
        Ok(in_transaction!(&self.store.writer, transaction => {
            let day: Option<String> = sqlx::query_scalar(MINE)
                .bind(id)
                .bind(owner)
                .bind(&claimed.worker)
                .bind(claimed.job.attempts)
                .fetch_optional(&mut *transaction)
                .await?;
            let Some(day) = day else { return Ok(false) };
            let state = if failure.code == "conflict" { "cancelled" } else { "failed" };
            end_unmade!(&mut *transaction, id, state, failure, audit.at);
            if let Some(Heard { characters, audio_ms, project_id }) = &heard {
                charge!(&mut *transaction, id, owner, &day, "cut", characters, audio_ms, project_id, audit.at);
            }
            discard!(&mut *transaction, id, owner, audit.at);
            insert_audit!(&mut *transaction, audit);
            true
        }))
    }
}
