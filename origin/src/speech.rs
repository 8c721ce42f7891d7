//! From a wish to a job in the queue, and from its end to an answer. `jobs` has the work between.
//!
//! Either everything is there at the end (audio, history, charge, books, audit) or nothing but an
//! audit row. A client that leaves loses nothing, unless it listened while its speech was made.

/// Audio for a client while it is made.
mod stream;

use std::sync::Arc;
use std::time::Duration;

use gate::policy::Role;
use gate::{Code, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

pub use self::stream::{Live, stream};
use crate::app::App;
use crate::audio::Format;
use crate::caller::Caller;
use crate::clock::{Time, new_id};
use crate::days::{Day, Today};
use crate::engine::{EngineError, Reference, Utterance};
use crate::hash::sha256_hex;
use crate::jobs::{self, lease_until};
use crate::problem::Refusal;
use crate::store::{Discarded, Enqueued, Job, Limits, NewJob, Output, Refused};

/// About what a character becomes: a fifth of a second at 24 kHz.
const BYTES_PER_CHARACTER: i64 = 9_600;
/// The same in time.
const MS_PER_CHARACTER: i64 = 200;
/// After how many seconds a full queue is worth another try.
const QUEUE_RETRY_S: u32 = 5;

/// What a user wants spoken; checked by the route. It waits in the database until it is spoken.
#[derive(Clone, Serialize, Deserialize)]
pub struct Order {
    /// What to say.
    pub text: String,
    /// The id of a voice.
    pub voice: String,
    /// How to say it.
    pub instruct: Option<String>,
    /// 0.5 to 2.0.
    pub speed: f32,
    /// The user's own label.
    pub project_id: Option<String>,
    /// What the audio is fetched as.
    pub format: Format,
}

impl Order {
    /// Reads what [`enqueue`] wrote.
    ///
    /// # Errors
    /// It was written by a version that knew other orders.
    pub fn read(json: &str) -> Result<Self, Refusal> {
        serde_json::from_str(json).map_err(|error| Refusal::internal(format!("a job that cannot be read: {error}")))
    }

    /// What the engine is told; `reference` is the voice, where it is none of the engine's own.
    pub fn utterance(&self, reference: Option<Reference>) -> Utterance {
        Utterance {
            text: self.text.clone(),
            voice: self.voice.clone(),
            reference,
            instruct: self.instruct.clone(),
            speed: self.speed,
        }
    }

    /// Unicode scalar values of the text.
    pub fn characters(&self) -> i64 {
        i64::try_from(self.text.chars().count()).unwrap_or(i64::MAX)
    }
}

/// Puts an order into the queue, and sets aside what it may use; returns the job's id. With a key
/// that was used before, it is the job of then.
///
/// # Errors
/// A quota, the queue, another order under the same key. Nothing has changed then.
pub async fn enqueue(app: &Arc<App>, caller: &Caller, order: &Order, key: Option<String>) -> Result<String, Refusal> {
    Ok(put(app, caller, order, key, None).await?.id)
}

/// A job, right after it was asked for.
struct Put {
    id: String,
    /// It was not there before.
    is_new: bool,
    today: Option<Today>,
}

/// As [`enqueue`], and tells more.
async fn put(
    app: &Arc<App>,
    caller: &Caller,
    order: &Order,
    key: Option<String>,
    listener: Option<String>,
) -> Result<Put, Refusal> {
    if app.stopping.is_cancelled() {
        return Err(Refusal::overloaded());
    }
    let now_ms = app.clock.now_ms();
    let request = serde_json::to_string(order).map_err(Refusal::internal)?;
    let manner: &[u8] = if listener.is_some() { b"stream" } else { b"" };
    let new = NewJob {
        id: listener.clone().unwrap_or_else(|| new_id(now_ms)),
        fingerprint: sha256_hex(&[manner, request.as_bytes()]),
        request,
        key,
        characters: order.characters(),
        pinned_to: listener.map(|_| app.jobs.origin().to_owned()),
        worker: None,
        lease_until: lease_until(now_ms),
    };
    let policy = app.policy.now();
    let role = policy.role(caller.role())?;
    let limits = Limits {
        running: i64::from(role.jobs_running),
        live: i64::from(role.jobs_running) + i64::from(role.jobs_queued),
        characters: i64::from(role.characters_per_day),
        generations: i64::from(role.generations_per_day),
        audio_ms: role.audio_seconds_per_day.map(|seconds| i64::from(seconds) * 1000),
        storage_bytes: i64::from(role.storage_mb) * 1024 * 1024,
        bytes_per_character: BYTES_PER_CHARACTER,
        ms_per_character: MS_PER_CHARACTER,
        weight: i64::from(role.weight),
        queue_length: i64::try_from(app.settings.queue.length).unwrap_or(i64::MAX),
    };
    let id = new.id.clone();
    let added = app.tasks.spawn(add(Arc::clone(app), caller.clone(), new, limits)).await;
    let (enqueued, today) = added.map_err(Refusal::internal)??;
    let refused = match enqueued {
        Enqueued::Queued | Enqueued::Begun(_) => return Ok(Put { id, is_new: true, today }),
        Enqueued::Known(id) => return Ok(Put { id, is_new: false, today: None }),
        Enqueued::Refused(refused) => refused,
    };
    let day = today.map_or_else(|| Day::in_zone(None, now_ms), |today| today.day);
    let problem = refusal(role, &day, refused);
    metrics::counter!("cosygate_generations_total", "result" => "refused").increment(1);
    // A refusal that the audit cannot take is still a refusal; the log has it.
    let audit = caller.audit(&app.clock, "generate", problem.code.as_str());
    if let Err(error) = app.store.audit(&audit).await {
        tracing::error!(%error, request_id = caller.visit().request_id, "audit row lost");
    }
    Err(problem.into())
}

/// Adds a job, and begins it if there is room. A task of its own: the job is added even if the client
/// leaves meanwhile, and must not lie there with nobody at work on it.
async fn add(app: Arc<App>, caller: Caller, new: NewJob, limits: Limits) -> Result<(Enqueued, Option<Today>), Refusal> {
    // Held until the job is known, so that whoever works on it sees who has left.
    let watched = app.jobs.watch(&new.id);
    let slot = app.jobs.free_slot();
    let new = NewJob { worker: slot.as_ref().map(|_| app.jobs.origin().to_owned()), ..new };
    let audit = caller.audit(&app.clock, "generate", "queued").on(&new.id);
    let (enqueued, today) = app.store.of(&caller).enqueue(&new, &limits, &audit).await?;
    match (&enqueued, slot) {
        (Enqueued::Begun(claimed), Some(slot)) => jobs::begin(&app, (**claimed).clone(), slot),
        (Enqueued::Queued | Enqueued::Begun(_), slot) => {
            drop(slot);
            jobs::start(&app);
            app.jobs.added(&new.id);
            if watched.stop.is_cancelled() {
                cancel(&app, &caller, &new.id, false).await?;
            }
        }
        (Enqueued::Known(_) | Enqueued::Refused(_), _) => {}
    }
    Ok((enqueued, today))
}

/// What a client is told whose wish is not granted.
fn refusal(role: &Role, day: &Day, refused: Refused) -> Problem {
    let midnight = format!("until midnight ({})", day.zone());
    let quota = |detail: String| Problem::new(Code::QuotaExhausted, detail).retry_after(day.seconds_left());
    match refused {
        Refused::KeyTaken => Problem::new(
            Code::IdempotencyConflict,
            "This Idempotency-Key was used with another body. Use a new one for a new generation.",
        ),
        Refused::TooMany => {
            let (running, queued) = (role.jobs_running, role.jobs_queued);
            let detail = format!("Your role has {running} running and {queued} waiting at most. Wait for one to end.");
            Problem::new(Code::ConcurrencyExceeded, detail).retry_after(1)
        }
        Refused::TooFewCharacters(left) => {
            let limit = role.characters_per_day;
            quota(format!("Your role has {limit} characters a day; {left} are left {midnight}."))
        }
        Refused::NoGenerations => {
            let limit = role.generations_per_day;
            quota(format!("Your role has {limit} generations a day; they are used up {midnight}."))
        }
        Refused::NoAudio => {
            let limit = role.audio_seconds_per_day.unwrap_or_default();
            quota(format!("Your role has {limit} seconds of audio a day; too few are left {midnight}."))
        }
        Refused::NoStorage => {
            quota(format!("Your {} MiB of storage are full. Delete something you no longer need.", role.storage_mb))
        }
        Refused::QueueFull => {
            let detail = "As much waits as this server takes on. Try again in a moment.";
            Problem::new(Code::Overloaded, detail).retry_after(QUEUE_RETRY_S)
        }
    }
}

/// Waits until a job has ended. One that does not come to its turn in time is cancelled.
///
/// # Errors
/// `overloaded` if it did not come to its turn, and what the job failed of.
pub async fn wait(app: &App, caller: &Caller, id: &str) -> Result<Job, Refusal> {
    let watched = app.jobs.watch(id);
    let until = Instant::now() + Duration::from_secs(app.settings.queue.wait_seconds);
    loop {
        // From here on, no word is missed.
        let changed = watched.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let job = app.store.of(caller).job(id).await?.ok_or_else(|| Refusal::internal("a job is gone"))?;
        if job.is_ended() {
            return outcome(job);
        }
        // A server that stops begins nothing more; with others on the queue, one of them will.
        let is_over = Instant::now() >= until || (app.stopping.is_cancelled() && app.store.is_exclusive());
        if is_over && job.state == "queued" && cancel(app, caller, id, false).await? {
            let problem = Problem::new(Code::Overloaded, "It did not come to its turn in time. Nothing was charged.");
            return Err(problem.retry_after(QUEUE_RETRY_S).into());
        }
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(jobs::LOOK) => {}
        }
    }
}

/// What the client is told of a job that has ended.
fn outcome(job: Job) -> Result<Job, Refusal> {
    if job.state == "done" {
        return Ok(job);
    }
    let code = Code::all().find(|code| Some(code.as_str()) == job.error.as_deref()).unwrap_or(Code::Internal);
    let mut problem = Problem::new(code, job.detail.unwrap_or_default());
    if let Some(seconds) = job.retry_after {
        problem = problem.retry_after(u32::try_from(seconds).unwrap_or(1));
    }
    Err(problem.into())
}

/// Cancels a job that waits, or one that runs, too. False if there is none in such a state.
///
/// # Errors
/// The database failed; nothing has changed.
pub async fn cancel(app: &App, caller: &Caller, id: &str, is_running_included: bool) -> Result<bool, Refusal> {
    let audit = caller.audit(&app.clock, "cancel", "ok").on(id);
    let is_cancelled = app.store.of(caller).cancel_job(id, is_running_included, &audit).await?;
    if is_cancelled {
        app.jobs.watch(id).stop.cancel();
        app.jobs.changed(id);
    }
    Ok(is_cancelled)
}

/// The refusal of whoever waits for a job that was cancelled.
pub fn cancelled() -> Refusal {
    Refusal::new(Code::Conflict, "This generation was cancelled.")
}

/// The refusal of whoever asks again for audio that is there no more.
pub fn deleted() -> Refusal {
    Refusal::new(Code::Conflict, "What was made under this Idempotency-Key has been deleted since.")
}

/// An output that was made.
#[derive(Serialize, JsonSchema)]
pub struct Spoken {
    id: String,
    audio_url: String,
    seconds: f64,
    characters: i64,
    voice: String,
    engine: String,
    sample_rate: i64,
    created_at: Time,
}

/// What the client is told of an output that was made.
pub fn answer(output: &Output, format: Format) -> Spoken {
    Spoken {
        id: output.id.clone(),
        audio_url: audio_url(&output.id, format),
        seconds: output.seconds(),
        characters: output.characters,
        voice: output.voice.clone(),
        engine: output.engine.clone(),
        sample_rate: output.sample_rate,
        created_at: Time(output.created_at),
    }
}

/// Where an output is heard in this format.
pub fn audio_url(id: &str, format: Format) -> String {
    match format {
        Format::Wav => format!("/download/{id}"),
        other => format!("/download/{id}?format={other}"),
    }
}

/// Removes an output; false if the caller has none of this id.
///
/// # Errors
/// The database failed; nothing has changed.
pub async fn delete(app: &App, caller: &Caller, id: &str) -> Result<bool, Refusal> {
    let audit = caller.audit(&app.clock, "delete", "ok").on(id);
    let is_deleted = app.store.of(caller).delete_output(id, &audit).await?;
    if is_deleted {
        remove_audio(app, caller, id).await;
    }
    Ok(is_deleted)
}

/// Removes audio that is marked. What fails here the housekeeper tries again.
pub async fn remove_audio(app: &App, caller: &Caller, id: &str) {
    let discarded = Discarded { id: id.to_owned(), user_id: caller.user_id().to_owned() };
    if let Err(error) = app.blobs.discard(&discarded).await {
        tracing::error!(%error, id, "audio could not be removed yet");
        return;
    }
    if let Err(error) = app.store.of(caller).forget_discarded(id).await {
        tracing::error!(%error, id, "a removed audio stays marked");
    }
}

/// What the client learns of an engine's failure. Only a rejection speaks to the client.
pub fn engine_refusal(error: &EngineError) -> Refusal {
    match error {
        EngineError::Rejected(detail) => Refusal::new(Code::RequestInvalid, detail.clone()),
        EngineError::Unavailable { retry_after_seconds, .. } => {
            let detail = "The speech engine is not available at the moment.";
            let problem = Problem::new(Code::EngineUnavailable, detail).retry_after(*retry_after_seconds);
            Refusal::from(problem).because(error)
        }
        EngineError::Failed(_) => {
            let detail = "The speech engine failed on this text. Nothing was stored or charged.";
            Refusal::new(Code::EngineFailed, detail).because(error)
        }
    }
}

/// The longest that a generation may wait for and use the engine.
pub fn patience(app: &App) -> Duration {
    let engine = &app.settings.engine;
    Duration::from_secs(engine.queue_seconds + engine.deadline_seconds + 5)
}

#[cfg(test)]
mod tests;
