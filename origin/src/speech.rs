//! From a text to audio on disk: reserve, speak, store, book.
//!
//! Either everything is there at the end (audio, history, charge, audit) or nothing but an audit
//! row. The work runs in a task of its own, so a client that leaves loses nothing and a shutdown
//! waits for it.
//!
//! ```text
//! reserve ──► engine ──► WAV on disk ──► complete: output + usage + audit, reservation gone
//!    │           └────────────┴─ failed ──► release: reservation gone, audio marked, audit
//!    └─ refused: 429
//! ```

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use gate::{Code, Problem};

use crate::app::App;
use crate::caller::Caller;
use crate::clock::{self, new_id};
use crate::engine::{EngineError, Utterance, wav};
use crate::hash::sha256_hex;
use crate::problem::Refusal;
use crate::store::{Discarded, Limits, Output, Reservation, Reserved};
use crate::voices;

/// The longest audio that is kept, in bytes of PCM: ten minutes at 24 kHz.
const MAX_PCM_BYTES: usize = 10 * 60 * 24_000 * 2;
/// About what a character becomes: a fifth of a second at 24 kHz.
const BYTES_PER_CHARACTER: i64 = 9_600;
/// Time for the disk and the database, beside the engine's own deadlines.
const MARGIN: Duration = Duration::from_secs(60);

/// What a user wants spoken; checked by the route.
pub struct Order {
    /// What the engine is told.
    pub utterance: Utterance,
    /// Unicode scalar values of the text.
    pub characters: i64,
    /// The user's own label.
    pub project_id: Option<String>,
}

/// Makes speech. Returns once it is on disk and in the history.
///
/// # Errors
/// A quota, the engine, the disk. Nothing is left and nothing charged then.
pub async fn generate(app: &Arc<App>, caller: &Caller, order: Order) -> Result<Output, Refusal> {
    let id = new_id(app.clock.now_ms());
    reserve(app, caller, &id, order.characters).await?;
    let work = finish(Arc::clone(app), caller.clone(), id, order);
    // The task goes on when the client leaves: dropping the handle does not stop it.
    app.tasks.spawn(work).await.map_err(Refusal::internal)?
}

async fn reserve(app: &App, caller: &Caller, id: &str, characters: i64) -> Result<(), Refusal> {
    let policy = app.policy.now();
    let role = policy.role(caller.role())?;
    let now_ms = app.clock.now_ms();
    let wanted = Reservation {
        id: id.to_owned(),
        characters,
        now_ms,
        expires_at: now_ms.saturating_add(millis(patience(app) + MARGIN)),
    };
    let limits = Limits {
        running: i64::from(role.jobs_running),
        characters: i64::from(role.characters_per_day),
        generations: i64::from(role.generations_per_day),
        storage_bytes: i64::from(role.storage_mb) * 1024 * 1024,
        bytes_per_character: BYTES_PER_CHARACTER,
    };
    let until_midnight = u32::try_from((clock::next_midnight_ms(now_ms) - now_ms) / 1000 + 1).unwrap_or(1);
    let quota = |detail: String| Problem::new(Code::QuotaExhausted, detail).retry_after(until_midnight);
    let problem = match app.store.of(caller).reserve(&wanted, &limits).await? {
        Reserved::Granted => return Ok(()),
        Reserved::TooManyRunning => {
            let detail = format!("Your role generates {} at a time. Wait for one to end.", role.jobs_running);
            Problem::new(Code::ConcurrencyExceeded, detail).retry_after(1)
        }
        Reserved::TooFewCharacters(left) => quota(format!(
            "Your role has {} characters a day; {left} are left until midnight UTC.",
            role.characters_per_day
        )),
        Reserved::NoGenerations => quota(format!(
            "Your role has {} generations a day; they are used up until midnight UTC.",
            role.generations_per_day
        )),
        Reserved::NoStorage => {
            quota(format!("Your {} MiB of storage are full. Delete something you no longer need.", role.storage_mb))
        }
    };
    count("refused");
    // A refusal that the audit cannot take is still a refusal; the log has it.
    let audit = caller.audit(&app.clock, "generate", problem.code.as_str());
    if let Err(error) = app.store.audit(&audit).await {
        tracing::error!(%error, request_id = caller.visit().request_id, "audit row lost");
    }
    Err(problem.into())
}

async fn finish(app: Arc<App>, caller: Caller, id: String, order: Order) -> Result<Output, Refusal> {
    let made = AssertUnwindSafe(make(&app, &caller, &id, order)).catch_unwind().await;
    let made = made.unwrap_or_else(|_| Err(Refusal::internal("a generation panicked")));
    let refusal = match made {
        Ok(output) => {
            count("ok");
            return Ok(output);
        }
        Err(refusal) => refusal,
    };
    count(refusal.problem.code.as_str());
    let audit = caller.audit(&app.clock, "generate", refusal.problem.code.as_str()).on(&id);
    match app.store.of(&caller).release(&id, &audit).await {
        Ok(true) => remove_audio(&app, &caller, &id).await,
        // Either it was booked and only the answer to that got lost, or it lapsed and was swept.
        Ok(false) => match app.store.of(&caller).output(&id).await {
            Ok(Some(output)) => return Ok(output),
            Ok(None) => remove_audio(&app, &caller, &id).await,
            Err(error) => tracing::error!(%error, id, "a lapsed generation may have left audio"),
        },
        // The housekeeper ends the reservation when it lapses.
        Err(error) => tracing::error!(%error, id, "a reservation could not be released"),
    }
    Err(refusal)
}

async fn make(app: &App, caller: &Caller, id: &str, order: Order) -> Result<Output, Refusal> {
    let Order { mut utterance, characters, project_id } = order;
    utterance.reference = voices::reference(app, caller, &utterance.voice).await?;
    let (text, voice) = (utterance.text.clone(), utterance.voice.clone());
    let started_ms = app.clock.now_ms();
    let speaking = async {
        let speech = app.engine.speak(utterance).await?;
        let sample_rate = speech.sample_rate;
        let max_bytes = app.settings.engine.max_speech_bytes().min(MAX_PCM_BYTES);
        Ok::<_, EngineError>((speech.collect(max_bytes).await?, sample_rate))
    };
    // The engine has its own deadlines; this one holds even if it forgets them.
    let spoken = tokio::time::timeout(patience(app), speaking).await;
    let (pcm, sample_rate) = spoken
        .unwrap_or_else(|_| Err(EngineError::Failed("it did not end in time".to_owned())))
        .map_err(|error| engine_refusal(&error))?;
    let header = wav::header(pcm.len(), sample_rate).ok_or_else(|| Refusal::internal("too long for a WAV file"))?;
    let parts = [Bytes::copy_from_slice(&header), Bytes::from(pcm)];
    let hashed = parts.clone();
    let hash = tokio::task::spawn_blocking(move || {
        let [header, pcm] = hashed;
        sha256_hex(&[&header, &pcm])
    });
    let sha256 = hash.await.map_err(Refusal::internal)?;
    let [_, pcm] = &parts;
    let output = Output {
        id: id.to_owned(),
        text,
        voice,
        engine: app.engine.name().to_owned(),
        characters,
        frames: i64::try_from(pcm.len() / 2).unwrap_or(i64::MAX),
        sample_rate: i64::from(sample_rate),
        bytes: i64::try_from(wav::HEADER_BYTES + pcm.len()).unwrap_or(i64::MAX),
        sha256,
        project_id,
        created_at: started_ms,
    };
    app.blobs.of(caller).put(id, parts).await?;
    let audit = caller.audit(&app.clock, "generate", "ok").on(id).about_text(&output.text);
    app.store.of(caller).complete(&output, &audit).await?;
    metrics::counter!("cosygate_characters_total").increment(u64::try_from(characters).unwrap_or_default());
    Ok(output)
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
pub(crate) async fn remove_audio(app: &App, caller: &Caller, id: &str) {
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
fn engine_refusal(error: &EngineError) -> Refusal {
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
fn patience(app: &App) -> Duration {
    let engine = &app.settings.engine;
    Duration::from_secs(engine.queue_seconds + engine.deadline_seconds + 5)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn count(result: &'static str) {
    metrics::counter!("cosygate_generations_total", "result" => result).increment(1);
}
