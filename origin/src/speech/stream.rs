//! Audio for a client while it is made.
//!
//! The client reads the file that is being written, at its own pace: a slow one never holds up the
//! engine, and memory holds one piece. Who keeps up gets that piece without a look at the disk. A client that leaves while the engine speaks stops it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Order, Put, QUEUE_RETRY_S, cancel, deleted, outcome, put, wait};
use crate::app::App;
use crate::caller::Caller;
use crate::clock::new_id;
use crate::days::Today;
use crate::engine::wav;
use crate::jobs::{Audio, RENEWAL, Watched, lease_until};
use crate::problem::Refusal;
use gate::{Code, Problem};

/// How much of the audio is in memory at a time.
const PIECE_BYTES: u64 = 32 * 1024;

/// Speech that is being made, or was made under the same key.
pub struct Live {
    /// The id of the output to come.
    pub id: String,
    /// Samples a second.
    pub sample_rate: u32,
    /// The user's day as it was when this was asked for, if it is new.
    pub today: Option<Today>,
    /// 16-bit signed little-endian mono PCM. An error means that the audio is not whole; whoever
    /// passes it on must not end properly then. After the proper end it is stored and charged.
    pub pcm: BoxStream<'static, io::Result<Bytes>>,
}

/// Makes speech and hands it over while it is made. Returns when the first of it is there, so what
/// goes wrong before is a refusal like any other.
///
/// Dropping the [`Live`] before its end stops the engine: nothing is stored, and only the
/// sentences that were spoken until then are charged, if the client got any audio at all.
///
/// # Errors
/// As [`super::enqueue`] and [`super::wait`].
pub async fn stream(app: &Arc<App>, caller: &Caller, order: &Order, key: Option<String>) -> Result<Live, Refusal> {
    let id = new_id(app.clock.now_ms());
    // Watched before anybody can take the job: what is heard begins at its beginning.
    let watched = app.jobs.watch(&id);
    let mut leaving = Leaving { app: Arc::clone(app), caller: caller.clone(), id: id.clone(), is_armed: true };
    let put = put(app, caller, order, key, Some(id.clone())).await;
    leaving.is_armed = put.as_ref().is_ok_and(|put| put.is_new);
    let Put { id: job_id, is_new, today } = put?;
    if !is_new {
        let job = wait(app, caller, &job_id).await?;
        return stored(app, caller, &job.id).await;
    }
    let mut audio = watched.audio.subscribe();
    let until = Instant::now() + Duration::from_secs(app.settings.queue.wait_seconds);
    while !is_audible(&mut audio) {
        tokio::select! {
            _ = audio.changed() => {}
            () = tokio::time::sleep(RENEWAL) => {
                app.store.queue().renew_pinned(&id, app.jobs.origin(), lease_until(app.clock.now_ms())).await?;
            }
            () = watched.stop.cancelled() => {}
            () = app.stopping.cancelled() => {}
        }
        let is_over = Instant::now() >= until || app.stopping.is_cancelled() || watched.stop.is_cancelled();
        if !is_over || is_audible(&mut audio) {
            continue;
        }
        let job = app.store.of(caller).job(&id).await?.ok_or_else(|| Refusal::internal("a job is gone"))?;
        if job.state == "queued" && cancel(app, caller, &id, false).await? {
            let problem = Problem::new(Code::Overloaded, "It did not come to its turn in time. Nothing was charged.");
            return Err(problem.retry_after(QUEUE_RETRY_S).into());
        }
        if job.is_ended() {
            break;
        }
        // It runs, so it will be heard or end; a look now and then is enough.
        let _ = tokio::time::timeout(crate::jobs::LOOK, audio.changed()).await;
    }
    let sample_rate = audio.borrow().sample_rate;
    if audio.borrow().file.is_none() || audio.borrow().is_whole == Some(false) {
        leaving.is_armed = false;
        let job = app.store.of(caller).job(&id).await?.ok_or_else(|| Refusal::internal("a job is gone"))?;
        outcome(job)?;
        return Err(Refusal::internal("speech without audio"));
    }
    let tail = Tail { audio, at: 0, watched, leaving };
    let pcm = stream::try_unfold(tail, |tail| async move { tail.next().await }).boxed();
    Ok(Live { id, sample_rate, today, pcm })
}

/// Whether there is something to hear, or to say.
fn is_audible(audio: &mut watch::Receiver<Audio>) -> bool {
    let audio = audio.borrow_and_update();
    audio.file.is_some() || audio.is_whole.is_some()
}

/// One listener.
struct Tail {
    audio: watch::Receiver<Audio>,
    at: u64,
    watched: Arc<Watched>,
    leaving: Leaving,
}

impl Tail {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        loop {
            let Audio { file, latest, bytes, is_whole, .. } = self.audio.borrow_and_update().clone();
            match (file, is_whole) {
                (_, Some(false)) => {
                    self.leaving.is_armed = false;
                    return Err(io::Error::other("the speech broke off"));
                }
                (Some(file), _) if self.at < bytes => {
                    let piece = match ahead(&latest, self.at, bytes) {
                        Some(piece) => piece,
                        None => read(file, self.at, bytes).await?,
                    };
                    self.at += piece.len() as u64;
                    self.watched.handed.store(self.at, Ordering::SeqCst);
                    return Ok(Some((piece, self)));
                }
                (_, Some(true)) => {
                    self.leaving.is_armed = false;
                    return Ok(None);
                }
                _ => {}
            }
            self.audio.changed().await.map_err(io::Error::other)?;
        }
    }
}

/// What is in the latest piece from here on, for those who are that far.
fn ahead(latest: &Bytes, at: u64, end: u64) -> Option<Bytes> {
    let begins = end.checked_sub(latest.len() as u64)?;
    let from = usize::try_from(at.checked_sub(begins)?).ok()?;
    let most = usize::try_from(PIECE_BYTES).unwrap_or(usize::MAX);
    (from < latest.len()).then(|| latest.slice(from..latest.len().min(from.saturating_add(most))))
}

async fn read(file: Arc<File>, at: u64, end: u64) -> io::Result<Bytes> {
    let length = usize::try_from((end - at).min(PIECE_BYTES)).unwrap_or_default();
    let reading = move || {
        let mut piece = vec![0; length];
        file.read_exact_at(&mut piece, wav::HEADER_BYTES as u64 + at)?;
        Ok(Bytes::from(piece))
    };
    tokio::task::spawn_blocking(reading).await.map_err(io::Error::other)?
}

/// Stops the work when the client leaves.
struct Leaving {
    app: Arc<App>,
    caller: Caller,
    id: String,
    is_armed: bool,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if !self.is_armed {
            return;
        }
        self.app.jobs.watch(&self.id).stop.cancel();
        let (app, caller, id) = (Arc::clone(&self.app), self.caller.clone(), self.id.clone());
        self.app.tasks.spawn(async move {
            // It may still wait for its turn; one that runs has just been stopped.
            if let Err(refusal) = cancel(&app, &caller, &id, false).await {
                tracing::error!(cause = refusal.cause, id, "a job that nobody listens to could not be cancelled");
            }
        });
    }
}

/// What was made before, under the same key.
async fn stored(app: &Arc<App>, caller: &Caller, id: &str) -> Result<Live, Refusal> {
    let output = app.store.of(caller).output(id).await?.ok_or_else(deleted)?;
    let end = u64::try_from(output.bytes).unwrap_or_default();
    let blobs = app.blobs.of(caller);
    let pcm = stream::try_unfold((blobs, output.id, wav::HEADER_BYTES as u64), move |(blobs, id, at)| async move {
        if at >= end {
            return Ok(None);
        }
        let piece = blobs.range(&id, at..end.min(at + PIECE_BYTES)).await.map_err(io::Error::other)?;
        let next = at + piece.len() as u64;
        Ok(Some((piece, (blobs, id, next))))
    });
    let sample_rate = u32::try_from(output.sample_rate).unwrap_or_default();
    Ok(Live { id: id.to_owned(), sample_rate, today: None, pcm: pcm.boxed() })
}
