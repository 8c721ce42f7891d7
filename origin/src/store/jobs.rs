//! A user's generations: what one may use is set aside when it is asked for, and booked or given
//! back when it ends, each exactly once, because each is one change of the job's state.
//!
//! ```text
//! enqueue ──► queued ──► running ──► done       charged, delivered, in the history
//!                │  ▲       │ ├────► failed     nothing charged
//!                │  └───────┘ └────► cancelled  nothing charged, or what was heard
//!                └─────────────────► cancelled
//! ```

/// What is charged.
mod charge;
/// Booking.
mod made;
/// Adding.
mod wish;

use self::charge::{Charge, charge};
pub(super) use self::made::{Made, complete};
pub(super) use self::wish::{Outcome, Wish, enqueue};
use super::audit::insert_audit;
use super::outputs::{Owned, discard};
use super::queue::Claimed;
use super::{AuditEntry, Output, StoreError, in_transaction, on_db};
use crate::days::Today;

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
    /// It may not be; nothing has changed.
    Refused(Refused),
}

/// Why a wish is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
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
    /// Whoever tells of it before it has ended calls [`super::Store::sync`] first. Besides, what was
    /// used of the user's day, except where the key was known.
    ///
    /// # Errors
    /// The database failed; nothing has changed.
    pub async fn enqueue(
        &self,
        job: &NewJob,
        limits: &Limits,
        audit: &AuditEntry,
    ) -> Result<(Enqueued, Option<Today>), StoreError> {
        let wish = Wish { owner: self.owner.clone(), job: job.clone(), limits: *limits, audit: audit.clone() };
        self.store.wishes.ask(self.store, wish).await
    }

    /// One job.
    ///
    /// # Errors
    /// The database failed.
    pub async fn job(&self, id: &str) -> Result<Option<Job>, StoreError> {
        const SQL: &str = concat!("SELECT ", columns!(), " FROM jobs WHERE user_id = $1 AND id = $2");
        let job: Option<Job> = on_db!(&self.store.reader, pool => {
            sqlx::query_as(SQL).bind(self.owner.user_id()).bind(id).fetch_optional(pool).await?
        });
        // A commit is seen before it is on the disk, and whoever asks will say that it is done.
        if job.as_ref().is_some_and(Job::is_ended) {
            self.store.sync().await?;
        }
        Ok(job)
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
                let (characters, audio_ms, project_id) = (*characters, *audio_ms, project_id.as_deref());
                let cut = Charge { id, owner, day: &day, kind: "cut", characters, audio_ms, project_id, at: audit.at };
                charge!(&mut *transaction, &[cut]);
            }
            discard!(&mut *transaction, id, owner, audit.at);
            insert_audit!(&mut *transaction, audit);
            true
        }))
    }
}
