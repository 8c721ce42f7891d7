//! Audio on its way from an engine to its caller.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use super::EngineError;

/// Audio that is still being made.
pub struct Speech {
    /// Samples (and frames) a second.
    pub sample_rate: u32,
    /// 16-bit signed little-endian mono PCM without a header. Every item holds whole samples and
    /// at least one. The audio is complete only if the stream ends without an error.
    pub pcm: BoxStream<'static, Result<Bytes, EngineError>>,
    /// How far it has come.
    pub sentences: Sentences,
}

/// Sentences of an utterance: the pieces of its text that the engine speaks in one go.
#[derive(Clone, Debug, Default)]
pub struct Sentences(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    left: AtomicUsize,
    total: AtomicUsize,
}

impl Sentences {
    /// Those that are spoken, and all of them; `(0, 0)` if the engine does not say.
    pub fn progress(&self) -> (usize, usize) {
        let total = self.0.total.load(Ordering::Relaxed);
        (total.saturating_sub(self.0.left.load(Ordering::Relaxed)), total)
    }

    fn of(total: usize) -> Self {
        Self(Arc::new(Counts { left: AtomicUsize::new(total), total: AtomicUsize::new(total) }))
    }

    fn set_left(&self, left: usize) {
        self.0.left.store(left, Ordering::Relaxed);
    }
}

#[cfg(test)]
impl Speech {
    /// Waits for the whole audio; the server writes it to the disk piece by piece (`jobs/work.rs`).
    /// Half an audio is never returned.
    ///
    /// # Errors
    /// What the stream reports, and [`EngineError::Failed`] for audio that is empty, ends inside
    /// a sample or is longer than `max_bytes`.
    pub async fn collect(mut self, max_bytes: usize) -> Result<Vec<u8>, EngineError> {
        let mut pcm = Vec::new();
        while let Some(piece) = self.pcm.next().await {
            let piece = piece?;
            if pcm.len() + piece.len() > max_bytes {
                return Err(too_long(max_bytes));
            }
            pcm.extend_from_slice(&piece);
        }
        if pcm.is_empty() {
            return Err(EngineError::failed("it ended without any audio"));
        }
        if pcm.len() % 2 == 1 {
            return Err(EngineError::failed("its audio ends in the middle of a sample"));
        }
        Ok(pcm)
    }
}

pub(super) fn too_long(max_bytes: usize) -> EngineError {
    EngineError::failed(format!("its audio is longer than {max_bytes} bytes"))
}

/// An engine at work on one utterance. Dropping it stops the work.
pub(super) trait Session: Send + 'static {
    /// The next piece of PCM (whole samples, at least one), or `None` at the proper end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, EngineError>> + Send;

    /// How many sentences are still to be spoken, the one at work included.
    fn left(&self) -> usize {
        0
    }
}

/// Waits for the first piece and leaves the rest to the stream.
pub(super) async fn start(sample_rate: u32, mut session: impl Session) -> Result<Speech, EngineError> {
    let sentences = Sentences::of(session.left());
    let Some(first) = session.next().await? else {
        return Err(EngineError::rejected("The engine has no sound for this text."));
    };
    sentences.set_left(session.left());
    let rest = stream::try_unfold((session, sentences.clone()), |(mut session, sentences)| async move {
        let piece = session.next().await?;
        sentences.set_left(session.left());
        Ok(piece.map(|piece| (piece, (session, sentences))))
    });
    let pcm = stream::once(async { Ok(first) }).chain(rest).boxed();
    Ok(Speech { sample_rate, pcm, sentences })
}
