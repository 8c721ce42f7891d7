//! One job: the engine speaks, the audio goes to the disk piece by piece, and is booked.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use gate::Code;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::{Audio, LEASE, RENEWAL, Watched, lease_until};
use crate::app::App;
use crate::blobs::{Staged, Stored};
use crate::engine::{EngineError, Sentences, Speech};
use crate::problem::Refusal;
use crate::speech::{self, Order, engine_refusal};
use crate::store::{Claimed, Failure, Heard, Output, StoreError, audio_ms};
use crate::voices;

/// The longest audio that is kept, in bytes of PCM: ten minutes at 24 kHz.
const MAX_PCM_BYTES: usize = 10 * 60 * 24_000 * 2;
/// How often a worker looks whether its job is still wanted, and tells how far it has come.
const TICK: Duration = Duration::from_secs(1);

/// Why there is no output.
enum End {
    /// It went wrong.
    Failed(Refusal),
    /// Nobody wants it any more.
    Stopped,
    /// It is another worker's now, or was cancelled elsewhere.
    Lost,
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Failed(refusal)
    }
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

/// What is known of a job at work, for those who look at it from beside.
#[derive(Default)]
struct Progress {
    sentences: std::sync::OnceLock<Sentences>,
}

impl Progress {
    fn now(&self) -> (usize, usize) {
        self.sentences.get().map(Sentences::progress).unwrap_or_default()
    }
}

/// Does one job and sees it to its end.
pub(super) async fn run(app: Arc<App>, claimed: Claimed, watched: Arc<Watched>, slot: OwnedSemaphorePermit) {
    watched.changed.notify_waiters();
    let progress = Progress::default();
    let made = AssertUnwindSafe(make(&app, &claimed, &watched, &progress)).catch_unwind().await;
    let made = made.unwrap_or_else(|_| Err(End::Failed(Refusal::internal("a generation panicked"))));
    let is_whole = match made {
        Ok(()) => true,
        Err(end) => give_up(&app, &claimed, &watched, &progress, end).await,
    };
    watched.audio.send_modify(|audio| audio.is_whole = Some(is_whole));
    drop(slot);
    app.jobs.changed(&claimed.job.id);
}

async fn make(app: &App, claimed: &Claimed, watched: &Watched, progress: &Progress) -> Result<(), End> {
    let order = Order::read(&claimed.job.request)?;
    let started_ms = app.clock.now_ms();
    let (sample_rate, stored) = tokio::select! {
        biased;
        // Before the first audio, too: a client may have left while the job waited.
        () = watched.stop.cancelled() => return Err(End::Stopped),
        () = keep_lease(app, claimed, watched, progress) => return Err(End::Lost),
        spoken = speak(app, claimed, &order, watched, progress) => spoken?,
    };
    let output = Output {
        id: claimed.job.id.clone(),
        text: order.text,
        voice: order.voice,
        engine: app.engine.name().to_owned(),
        characters: claimed.job.characters,
        frames: i64::try_from(stored.pcm_bytes / 2).unwrap_or(i64::MAX),
        sample_rate: i64::from(sample_rate),
        bytes: i64::try_from(stored.bytes).unwrap_or(i64::MAX),
        sha256: stored.sha256,
        project_id: order.project_id,
        created_at: started_ms,
    };
    let caller = claimed.caller();
    let audit = caller.audit(&app.clock, "generate", "ok").on(&output.id).about_text(&output.text);
    let answer = serde_json::to_string(&speech::answer(&output, order.format)).map_err(Refusal::internal)?;
    if !app.store.of(caller).complete(claimed, &output, &answer, &audit).await? {
        return Err(End::Lost);
    }
    count("ok");
    metrics::counter!("cosygate_characters_total").increment(u64::try_from(output.characters).unwrap_or_default());
    Ok(())
}

/// Speaks into a file; returns the sample rate, and what is on the disk now.
async fn speak(
    app: &App,
    claimed: &Claimed,
    order: &Order,
    watched: &Watched,
    progress: &Progress,
) -> Result<(u32, Stored), Refusal> {
    let caller = claimed.caller();
    let utterance = order.utterance(voices::reference(app, caller, &order.voice).await?);
    let until = Instant::now() + speech::patience(app);
    let max_bytes = app.settings.engine.max_speech_bytes().min(MAX_PCM_BYTES) as u64;
    let late = |_| EngineError::Failed("it did not end in time".to_owned());
    let failed = |error: EngineError| engine_refusal(&error);
    // The engine has its own deadlines; this one holds even if it forgets them.
    let speech = tokio::time::timeout_at(until, app.engine.speak(utterance));
    let mut speech: Speech = speech.await.map_err(late).and_then(|speech| speech).map_err(failed)?;
    let _ = progress.sentences.set(speech.sentences.clone());
    let mut staged: Staged = app.blobs.of(caller).stage(&claimed.job.id, claimed.job.attempts)?;
    let sample_rate = speech.sample_rate;
    loop {
        let piece = tokio::time::timeout_at(until, speech.pcm.next()).await.map_err(late).map_err(failed)?;
        let Some(piece) = piece else { break };
        let piece: Bytes = piece.map_err(failed)?;
        if staged.pcm_bytes() + piece.len() as u64 > max_bytes {
            return Err(failed(EngineError::Failed(format!("its audio is longer than {max_bytes} bytes"))));
        }
        staged.write(piece.clone()).await?;
        let (file, bytes) = (staged.reader(), staged.pcm_bytes());
        watched.audio.send_replace(Audio { file, latest: piece, sample_rate, bytes, is_whole: None });
    }
    // The engine is done; whoever is next may have it while the disk takes its time.
    drop(speech);
    if staged.pcm_bytes() == 0 {
        return Err(failed(EngineError::Failed("it ended without any audio".to_owned())));
    }
    if staged.pcm_bytes() % 2 == 1 {
        return Err(failed(EngineError::Failed("its audio ends in the middle of a sample".to_owned())));
    }
    Ok((sample_rate, staged.finish(sample_rate).await?))
}

/// Renews the lease and tells progress. Returns when the job is no longer this worker's.
async fn keep_lease(app: &App, claimed: &Claimed, watched: &Watched, progress: &Progress) {
    let mut renewed = Instant::now();
    let mut told = (0, 0);
    loop {
        tokio::time::sleep(TICK).await;
        let now = progress.now();
        if now == told && renewed.elapsed() < RENEWAL {
            // Cancelled at another origin: the engine has better things to do.
            match app.store.queue().is_held(claimed).await {
                Ok(false) => return,
                _ => continue,
            }
        }
        let sentences = (i64::try_from(now.0).unwrap_or(i64::MAX), i64::try_from(now.1).unwrap_or(i64::MAX));
        match app.store.queue().renew(claimed, sentences, lease_until(app.clock.now_ms())).await {
            Ok(true) => {
                (renewed, told) = (Instant::now(), now);
                watched.changed.notify_waiters();
            }
            Ok(false) => return,
            Err(error) => {
                tracing::error!(%error, id = claimed.job.id, "a lease could not be renewed");
                // Soon another worker may take it up; two must never make the same.
                if renewed.elapsed() > LEASE - RENEWAL {
                    return;
                }
            }
        }
    }
}

/// Ends a job without an output. True if it turns out to be booked after all.
async fn give_up(app: &App, claimed: &Claimed, watched: &Watched, progress: &Progress, end: End) -> bool {
    let (id, caller) = (claimed.job.id.as_str(), claimed.caller());
    let refusal = match end {
        End::Failed(refusal) => refusal,
        End::Stopped => speech::cancelled(),
        End::Lost => {
            forget(app, claimed).await;
            return false;
        }
    };
    let code = refusal.problem.code;
    let request_id = &claimed.job.request_id;
    if code != Code::Conflict {
        let cause = refusal.cause.as_deref();
        tracing::warn!(request_id, id, user = caller.user_id(), code = code.as_str(), cause, "a generation failed");
    }
    count(code.as_str());
    let failure = Failure {
        code: code.as_str(),
        detail: &refusal.problem.detail,
        retry_after: refusal.problem.retry_after_s.map(i64::from),
    };
    let heard = (code == Code::Conflict).then(|| heard(claimed, watched, progress)).flatten();
    let audit = caller.audit(&app.clock, "generate", code.as_str()).on(id);
    match app.store.of(caller).fail(claimed, &failure, heard, &audit).await {
        Ok(true) => {
            speech::remove_audio(app, caller, id).await;
            false
        }
        // Either it was booked and only the answer to that got lost, or it is another's now.
        Ok(false) => forget(app, claimed).await,
        Err(error) => {
            tracing::error!(%error, id, "a job could not be ended; its lease will lapse");
            false
        }
    }
}

/// Removes what a job that is no longer this worker's left behind. True if it is done.
async fn forget(app: &App, claimed: &Claimed) -> bool {
    let (id, caller) = (claimed.job.id.as_str(), claimed.caller());
    match app.store.of(caller).job(id).await {
        Ok(Some(job)) if job.state == "done" => true,
        // Another worker may have it: then the file's name is that one's.
        Ok(Some(job)) if !job.is_ended() => false,
        Ok(_) => {
            speech::remove_audio(app, caller, id).await;
            false
        }
        Err(error) => {
            tracing::error!(%error, id, "a lost job may have left audio");
            false
        }
    }
}

/// What a client has heard of a stream that it left. The sentences that were spoken to their end
/// count, at least one.
fn heard(claimed: &Claimed, watched: &Watched, progress: &Progress) -> Option<Heard> {
    let bytes = i64::try_from(watched.handed.load(Ordering::SeqCst)).unwrap_or(i64::MAX);
    if bytes == 0 {
        return None;
    }
    let (done, total) = progress.now();
    let (done, total) = (i64::try_from(done.max(1)).ok()?, i64::try_from(total.max(1)).ok()?);
    let characters = (claimed.job.characters.saturating_mul(done) + total - 1) / total;
    let sample_rate = watched.audio.borrow().sample_rate;
    Some(Heard {
        characters: characters.min(claimed.job.characters),
        audio_ms: audio_ms(bytes / 2, i64::from(sample_rate)),
        project_id: Order::read(&claimed.job.request).ok().and_then(|order| order.project_id),
    })
}

fn count(result: &'static str) {
    metrics::counter!("cosygate_generations_total", "result" => result).increment(1);
}
