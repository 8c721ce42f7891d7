//! Audio on its way from an engine to its caller.

use std::future::Future;

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
}

impl Speech {
    /// Waits for the whole audio. The only way from a stream to something worth keeping: half an
    /// audio is never returned.
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
}

/// Waits for the first piece and leaves the rest to the stream.
pub(super) async fn start(sample_rate: u32, mut session: impl Session) -> Result<Speech, EngineError> {
    let Some(first) = session.next().await? else {
        return Err(EngineError::rejected("The engine has no sound for this text."));
    };
    let rest =
        stream::try_unfold(
            session,
            |mut session| async move { Ok(session.next().await?.map(|piece| (piece, session))) },
        );
    let pcm = stream::once(async { Ok(first) }).chain(rest).boxed();
    Ok(Speech { sample_rate, pcm })
}
