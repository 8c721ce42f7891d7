//! A user's generations: what one may use is set aside when it is asked for, and booked or given
//! back when it ends, each exactly once, because each is one change of the job's state.
//!
//! ```text
//! enqueue ──► queued ──► running ──► done       charged, delivered, in the history
//!                │  ▲       │ ├────► failed     nothing charged
//!                │  └───────┘ └────► cancelled  nothing charged, or what was heard
//!                └─────────────────► cancelled
//! ```

use super::audit::insert_audit;
use super::outputs::{Owned, discard};
use super::queue::Claimed;
use super::{AuditEntry, Output, StoreError, in_transaction, on_db};

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
    /// Until when that origin is taken to be alive; milliseconds since the epoch.
    pub lease_until: i64,
}

/// What a role allows, and the queue.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
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

pub(super) use end_unmade;

impl Owned<'_> {
    /// Sets aside what a generation may use and puts it into the queue, in one transaction with
    /// the checks.
    ///
    /// The queue is start-time fair (Goyal, Vin and Cheng, "Start-time fair queueing", SIGCOMM
    /// 1996): a job starts where the user's last one ended, or where the queue is now if that is
    /// later, and ends its length, divided by the role's weight, after that. The smallest start is
    /// served first, so nobody waits behind another's backlog.
    ///
    /// # Errors
    /// The database failed; nothing has changed.
    pub async fn enqueue(&self, job: &NewJob, limits: &Limits, audit: &AuditEntry) -> Result<Enqueued, StoreError> {
        // Holding the one row of the queue makes all who add and take wait for each other on
        // Postgres; SQLite has one writer anyway.
        const LOCK: &str = "UPDATE queue SET virtual_time = virtual_time RETURNING virtual_time";
        const KNOWN: &str = "SELECT id, fingerprint FROM jobs WHERE user_id = $1 AND idempotency_key = $2";
        const DAY: &str = "SELECT characters, generations, audio_ms FROM daily_usage WHERE user_id = $1 AND day = $2";
        const LIVE: &str = "SELECT COUNT(*), CAST(COALESCE(SUM(characters), 0) AS BIGINT) FROM jobs \
                            WHERE user_id = $1 AND state IN ('queued', 'running')";
        const STORED: &str = "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM outputs WHERE user_id = $1";
        const WAITING: &str = "SELECT COUNT(*) FROM jobs WHERE state = 'queued'";
        const LAST: &str = "SELECT COALESCE(MAX(virtual_finish), 0) FROM jobs WHERE user_id = $1";
        const ADD: &str = "INSERT INTO jobs (id, user_id, role, state, request, fingerprint, idempotency_key, day, \
                           characters, virtual_start, virtual_finish, pinned_to, lease_until, request_id, policy_rev, \
                           address, region, created_at) \
                           VALUES ($1, $2, $3, 'queued', $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
        let owner = self.owner.user_id();
        Ok(in_transaction!(&self.store.writer, transaction => {
            let now: i64 = sqlx::query_scalar(LOCK).fetch_one(&mut *transaction).await?;
            let known: Option<(String, String)> = match &job.key {
                Some(key) => sqlx::query_as(KNOWN).bind(owner).bind(key).fetch_optional(&mut *transaction).await?,
                None => None,
            };
            if let Some((id, fingerprint)) = known {
                return Ok(if fingerprint == job.fingerprint { Enqueued::Known(id) } else { Enqueued::KeyTaken });
            }
            let used: Option<(i64, i64, i64)> =
                sqlx::query_as(DAY).bind(owner).bind(&job.day).fetch_optional(&mut *transaction).await?;
            let (characters, generations, audio_ms) = used.unwrap_or_default();
            // What is under way counts against today even if yesterday will be charged.
            let (live, promised): (i64, i64) = sqlx::query_as(LIVE).bind(owner).fetch_one(&mut *transaction).await?;
            let stored: i64 = sqlx::query_scalar(STORED).bind(owner).fetch_one(&mut *transaction).await?;
            let waiting: i64 = sqlx::query_scalar(WAITING).fetch_one(&mut *transaction).await?;
            let spoken_for = promised.saturating_add(job.characters);
            let left = limits.characters - characters - promised;
            let audio_after = audio_ms.saturating_add(spoken_for * limits.ms_per_character);
            if live >= limits.live {
                return Ok(Enqueued::TooMany);
            }
            if job.characters > left {
                return Ok(Enqueued::TooFewCharacters(left.max(0)));
            }
            if generations + live >= limits.generations {
                return Ok(Enqueued::NoGenerations);
            }
            if limits.audio_ms.is_some_and(|limit| audio_after > limit) {
                return Ok(Enqueued::NoAudio);
            }
            if stored.saturating_add(spoken_for * limits.bytes_per_character) > limits.storage_bytes {
                return Ok(Enqueued::NoStorage);
            }
            if waiting >= limits.queue_length {
                return Ok(Enqueued::QueueFull);
            }
            let last: i64 = sqlx::query_scalar(LAST).bind(owner).fetch_one(&mut *transaction).await?;
            let start = last.max(now);
            let finish = start + job.characters.max(1) * VIRTUAL_UNITS / limits.weight.max(1);
            sqlx::query(ADD)
                .bind(&job.id)
                .bind(owner)
                .bind(self.owner.role())
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
                .bind(&self.owner.visit().region)
                .bind(audit.at)
                .execute(&mut *transaction)
                .await?;
            Enqueued::Queued
        }))
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
        // An output belongs to the day on which it was asked for, even if midnight passed since.
        const END: &str = "UPDATE jobs SET state = 'done', request = '', answer = $5, ended_at = $6, worker = NULL, \
                           sentences_done = sentences_total WHERE id = $1 AND user_id = $2 AND state = 'running' \
                           AND worker = $3 AND attempts = $4 RETURNING day";
        const KEEP: &str = "INSERT INTO outputs (id, user_id, role, text, voice, engine, characters, frames, \
                            sample_rate, bytes, sha256, project_id, created_at, is_booked) \
                            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 1)";
        let owner = self.owner.user_id();
        Ok(in_transaction!(&self.store.writer, transaction => {
            let day: Option<String> = sqlx::query_scalar(END)
                .bind(&output.id)
                .bind(owner)
                .bind(&claimed.worker)
                .bind(claimed.job.attempts)
                .bind(answer)
                .bind(audit.at)
                .fetch_optional(&mut *transaction)
                .await?;
            let Some(day) = day else { return Ok(false) };
            charge!(
                &mut *transaction, &output.id, owner, &day, "kept", output.characters, output.milliseconds(),
                &output.project_id, audit.at
            );
            sqlx::query(KEEP)
                .bind(&output.id)
                .bind(owner)
                .bind(self.owner.role())
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
            insert_audit!(&mut *transaction, audit);
            true
        }))
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
