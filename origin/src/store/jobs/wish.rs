//! Adding jobs: what one may use is looked at and set aside in the transaction that adds them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::future::BoxFuture;
use sqlx::QueryBuilder;

use super::{Enqueued, Job, Limits, NewJob, Refused};
use crate::caller::Caller;
use crate::days::{Day, Today};
use crate::store::queue::{ADVANCE, Claimed};
use crate::store::{AuditEntry, Store, StoreError, Usage, in_passing};

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

/// What counts for one more. A user has a row for each day on which something was used lately, and
/// at least one.
#[derive(Clone, Debug, sqlx::FromRow)]
struct Standing {
    user_id: String,
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
    /// Where the user's days begin, an IANA name.
    time_zone: Option<String>,
    /// The day on which what follows was used.
    day: Option<String>,
    characters: i64,
    generations: i64,
    audio_ms: i64,
}

/// A wish that is granted.
struct Granted<'a> {
    wish: &'a Wish,
    day: String,
    /// In the queue's time, like the next one.
    start: i64,
    finish: i64,
    /// Who begins it at once.
    worker: Option<&'a str>,
}

/// What became of a wish, and the day of its user where it was looked at.
pub(in crate::store) type Outcome = (Enqueued, Option<Today>);

impl Standing {
    fn usage(&self) -> Usage {
        Usage { characters: self.characters, generations: self.generations, audio_ms: self.audio_ms }
    }
}

impl Wish {
    /// What counts for it: the user's standing on the day that this is there.
    fn standing(&self, all: &[Standing]) -> Option<(Standing, Day)> {
        let mine = || all.iter().filter(|one| one.user_id == self.owner.user_id());
        let day = Day::in_zone(mine().next()?.time_zone.as_deref(), self.audit.at);
        let today = mine().find(|one| one.day.as_deref() == Some(&day.name()));
        let unused = || mine().next().map(|one| Standing { characters: 0, generations: 0, audio_ms: 0, ..one.clone() });
        Some((today.cloned().or_else(unused)?, day))
    }

    /// The worker that begins it at once, if one may; otherwise it waits.
    ///
    /// # Errors
    /// Why it can do neither.
    fn judge(&self, standing: &Standing) -> Result<Option<&str>, Refused> {
        let Self { job, limits, .. } = self;
        let spoken_for = standing.promised.saturating_add(job.characters);
        // What is under way counts against today even if yesterday will be charged.
        let left = limits.characters - standing.characters - standing.promised;
        let audio_after = standing.audio_ms.saturating_add(spoken_for * limits.ms_per_character);
        if standing.live >= limits.live {
            return Err(Refused::TooMany);
        }
        if job.characters > left {
            return Err(Refused::TooFewCharacters(left.max(0)));
        }
        if standing.generations + standing.live >= limits.generations {
            return Err(Refused::NoGenerations);
        }
        if limits.audio_ms.is_some_and(|limit| audio_after > limit) {
            return Err(Refused::NoAudio);
        }
        if standing.stored.saturating_add(spoken_for * limits.bytes_per_character) > limits.storage_bytes {
            return Err(Refused::NoStorage);
        }
        let may_begin = standing.waiting == 0 && standing.running < limits.running;
        let worker = job.worker.as_deref().filter(|_| may_begin);
        if worker.is_none() && standing.waiting >= limits.queue_length {
            return Err(Refused::QueueFull);
        }
        Ok(worker)
    }

    /// The job as it is once it has begun.
    fn begun(&self) -> Job {
        let Self { owner, job, audit, .. } = self;
        Job {
            id: job.id.clone(),
            user_id: owner.user_id().to_owned(),
            role: owner.role().to_owned(),
            state: "running".to_owned(),
            request: job.request.clone(),
            characters: job.characters,
            pinned_to: job.pinned_to.clone(),
            attempts: 1,
            sentences_done: 0,
            sentences_total: 0,
            error: None,
            detail: None,
            retry_after: None,
            answer: None,
            request_id: audit.request_id.clone(),
            policy_rev: audit.policy_rev,
            address: audit.personal.address.clone(),
            region: owner.visit().region.clone(),
            created_at: audit.at,
            started_at: Some(audit.at),
            ended_at: None,
        }
    }
}

/// [`super::Owned::enqueue`] for some at once, one after the other.
pub(in crate::store) fn enqueue(
    store: Store,
    wishes: Arc<[Wish]>,
) -> BoxFuture<'static, Result<Vec<Outcome>, StoreError>> {
    // Holding the one row of the queue makes all who add and take wait for each other on Postgres;
    // SQLite has one writer anyway.
    const LOCK: &str = "UPDATE queue SET virtual_time = virtual_time";
    const TIME: &str = "SELECT virtual_time FROM queue";
    const KNOWN: &str = "SELECT id, fingerprint FROM jobs WHERE user_id = $1 AND idempotency_key = $2";
    // Of the days only those that may be today somewhere.
    const STANDING: &str = "SELECT asked.column1 AS user_id, (SELECT COUNT(*) FROM jobs WHERE state = 'queued') AS waiting, \
         (SELECT COUNT(*) FROM jobs WHERE user_id = asked.column1 AND state = 'running') AS running, \
         (SELECT COUNT(*) FROM jobs WHERE user_id = asked.column1 AND state IN ('queued', 'running')) AS live, \
         (SELECT CAST(COALESCE(SUM(characters), 0) AS BIGINT) FROM jobs \
         WHERE user_id = asked.column1 AND state IN ('queued', 'running')) AS promised, \
         (SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM outputs WHERE user_id = asked.column1) AS stored, \
         (SELECT COALESCE(MAX(virtual_finish), 0) FROM jobs WHERE user_id = asked.column1) AS latest, \
         (SELECT name FROM time_zones WHERE user_id = asked.column1) AS time_zone, used.day, \
         COALESCE(used.characters, 0) AS characters, COALESCE(used.generations, 0) AS generations, \
         COALESCE(used.audio_ms, 0) AS audio_ms FROM (";
    const STANDING_ON: &str =
        ") AS asked LEFT JOIN daily_usage AS used ON used.user_id = asked.column1 AND used.day >= asked.column2";
    const ADD: &str = "INSERT INTO jobs (id, user_id, role, request, fingerprint, idempotency_key, day, characters, \
                       virtual_start, virtual_finish, pinned_to, lease_until, request_id, policy_rev, address, region, \
                       created_at, state, worker, started_at, attempts) ";
    Box::pin(async move {
        // Nobody was told of any of them yet.
        Ok(in_passing!(&store.writer, transaction => {
            if !store.is_exclusive() {
                sqlx::query(LOCK).execute(&mut *transaction).await?;
            }
            let before: i64 = sqlx::query_scalar(TIME).fetch_one(&mut *transaction).await?;
            let mut now = before;
            let mut outcomes = Vec::new();
            let mut rest = &*wishes;
            while let Some((wishes, later)) = of_different_users(rest) {
                rest = later;
                let mut known: HashMap<&str, Enqueued> = HashMap::new();
                for Wish { owner, job, .. } in wishes {
                    let Some(key) = &job.key else { continue };
                    let found: Option<(String, String)> = sqlx::query_as(KNOWN)
                        .bind(owner.user_id())
                        .bind(key)
                        .fetch_optional(&mut *transaction)
                        .await?;
                    if let Some((id, fingerprint)) = found {
                        let is_same = fingerprint == job.fingerprint;
                        known.insert(owner.user_id(), if is_same { Enqueued::Known(id) } else { Enqueued::Refused(Refused::KeyTaken) });
                    }
                }
                let mut standing = QueryBuilder::new(STANDING);
                standing.push_values(wishes, |mut row, Wish { owner, audit, .. }| {
                    row.push_bind(owner.user_id()).push_bind(Day::earliest(audit.at));
                });
                let standing = standing.push(STANDING_ON).build_query_as().persistent(wishes.len() == 1);
                let standings: Vec<Standing> = standing.fetch_all(&mut *transaction).await?;
                let mut granted: Vec<Granted<'_>> = Vec::new();
                let mut waiting = 0;
                for wish in wishes {
                    let Wish { owner, job, limits, .. } = wish;
                    if let Some(outcome) = known.remove(owner.user_id()) {
                        outcomes.push((outcome, None));
                        continue;
                    }
                    let (mut standing, day) = wish.standing(&standings).ok_or(sqlx::Error::RowNotFound)?;
                    standing.waiting += waiting;
                    let today = Some(Today { day, usage: standing.usage() });
                    let worker = match wish.judge(&standing) {
                        Ok(worker) => worker,
                        Err(refused) => {
                            outcomes.push((Enqueued::Refused(refused), today));
                            continue;
                        }
                    };
                    let start = standing.latest.max(now);
                    let finish = start + job.characters.max(1) * VIRTUAL_UNITS / limits.weight.max(1);
                    if let Some(worker) = worker {
                        now = start;
                        let begun = wish.begun();
                        outcomes.push((Enqueued::Begun(Box::new(Claimed::new(begun, worker))), today));
                    } else {
                        waiting += 1;
                        outcomes.push((Enqueued::Queued, today));
                    }
                    granted.push(Granted { wish, day: day.name(), start, finish, worker });
                }
                if granted.is_empty() {
                    continue;
                }
                let mut add = QueryBuilder::new(ADD);
                add.push_values(&granted, |mut row, Granted { wish, day, start, finish, worker }| {
                    let Wish { owner, job, audit, .. } = wish;
                    row.push_bind(&job.id)
                        .push_bind(owner.user_id())
                        .push_bind(owner.role())
                        .push_bind(&job.request)
                        .push_bind(&job.fingerprint)
                        .push_bind(&job.key)
                        .push_bind(day)
                        .push_bind(job.characters)
                        .push_bind(start)
                        .push_bind(finish)
                        .push_bind(&job.pinned_to)
                        .push_bind(job.lease_until)
                        .push_bind(&audit.request_id)
                        .push_bind(audit.policy_rev)
                        .push_bind(&audit.personal.address)
                        .push_bind(&owner.visit().region)
                        .push_bind(audit.at)
                        .push_bind(if worker.is_some() { "running" } else { "queued" })
                        .push_bind(*worker)
                        .push_bind(worker.map(|_| audit.at))
                        .push_bind(i64::from(worker.is_some()));
                });
                add.build().persistent(granted.len() == 1).execute(&mut *transaction).await?;
            }
            if now > before {
                sqlx::query(ADVANCE).bind(now).execute(&mut *transaction).await?;
            }
            outcomes
        }))
    })
}

/// So many from the front as are of different users, and the rest: what a user adds counts for the
/// same user's next.
fn of_different_users(wishes: &[Wish]) -> Option<(&[Wish], &[Wish])> {
    let mut users = HashSet::new();
    let count = wishes.iter().take_while(|wish| users.insert(wish.owner.user_id())).count();
    (count > 0).then(|| wishes.split_at(count))
}
