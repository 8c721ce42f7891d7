//! One utterance at a server: its pieces of text one after the other, as one stream of audio.
//!
//! What a server says at first proves little: some answer "good" before they begin to work. What
//! counts is how the answer ends.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout_at};

use super::pool::Limits;
use super::slots::Slot;
use super::speech::{self, Session};
use super::{EngineError, RETRY_AFTER_SECONDS, sentences};

/// Pause before the only address there is gets a second chance.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// How a server is spoken to: what differs from one adapter to the other.
pub(super) trait Wire: Send + 'static {
    /// An answer on its way.
    type Reply: Send;

    /// Asks the server at an address, named by its index, for the audio of `text`. After `ends`
    /// nobody waits any more.
    fn ask(
        &mut self,
        address: usize,
        text: &str,
        ends: Instant,
    ) -> impl Future<Output = Result<Self::Reply, Fault>> + Send;

    /// The next PCM of an answer, cut wherever the network cuts it; `None` at its proper end.
    fn more(&mut self, reply: &mut Self::Reply) -> impl Future<Output = Result<Option<Bytes>, Fault>> + Send;
}

/// What went wrong with one request.
#[derive(Debug)]
pub(super) enum Fault {
    /// There was no connection, or it was lost before the answer began, or a proxy said so, or
    /// the server has too much to do.
    Unreachable(String),
    /// Connected, but no audio in time.
    Silent(String),
    /// The answer began and went wrong.
    Broken(String),
    /// The server says that the request is wrong. Asking again changes nothing.
    Refused(String),
}

pub(super) struct Work<W: Wire> {
    wire: W,
    slot: Slot,
    limits: Arc<Limits>,
    texts: VecDeque<String>,
    speed: f32,
    reply: Option<Reply<W::Reply>>,
    may_retry: bool,
    deadline: Instant,
    bytes_left: usize,
}

/// The audio of one piece of text, on its way.
struct Reply<R> {
    source: R,
    /// Half a sample.
    half_sample: Option<u8>,
    has_audio: bool,
    /// When the next byte must be there.
    patience_ends: Instant,
    /// When the piece must be whole.
    ends: Instant,
}

impl<W: Wire> Work<W> {
    pub(super) fn new(wire: W, slot: Slot, limits: Arc<Limits>, texts: VecDeque<String>, speed: f32) -> Self {
        let deadline = Instant::now() + limits.deadline;
        let bytes_left = limits.max_bytes;
        Self { wire, slot, limits, texts, speed, reply: None, may_retry: true, deadline, bytes_left }
    }

    /// Until when a piece must be whole: the longer it is, the later.
    fn end_of(&self, text: &str) -> Instant {
        let seconds = sentences::seconds(text) / f64::from(self.speed);
        let patience = self.limits.first_byte + self.limits.audio_second.mul_f64(seconds);
        (Instant::now() + patience).min(self.deadline)
    }

    async fn ask(&mut self, text: &str) -> Result<Reply<W::Reply>, Fault> {
        let ends = self.end_of(text);
        let Ok(answer) = timeout_at(ends, self.wire.ask(self.slot.address(), text, ends)).await else {
            return Err(Fault::Silent("it did not answer in time".to_owned()));
        };
        answer.map(|source| Reply { source, half_sample: None, has_audio: false, patience_ends: ends, ends })
    }

    /// The next audio of the current reply; `None` at its proper end.
    async fn receive(&mut self, mut reply: Reply<W::Reply>) -> Result<Option<(Bytes, Reply<W::Reply>)>, Fault> {
        loop {
            let chunk = timeout_at(reply.patience_ends, self.wire.more(&mut reply.source)).await;
            let Ok(chunk) = chunk else { return Err(reply.silence()) };
            let Some(chunk) = chunk? else { return reply.finish().map(|()| None) };
            let samples = reply.whole_samples(chunk);
            reply.patience_ends = (Instant::now() + self.limits.idle).min(reply.ends);
            if !samples.is_empty() {
                reply.has_audio = true;
                return Ok(Some((samples, reply)));
            }
        }
    }

    /// Decides whether to ask again, which is right once and only before the first byte of a
    /// piece: later, its beginning would be heard twice.
    async fn retry(&mut self, fault: &Fault, before_audio: bool) -> bool {
        // A server that refuses a request is well.
        self.slot.report(matches!(fault, Fault::Refused(_)));
        if !before_audio || !self.may_retry || matches!(fault, Fault::Refused(_)) {
            return false;
        }
        self.may_retry = false;
        if self.slot.change_address() {
            return true;
        }
        // A busy or broken server is not helped by the same work twice.
        let is_worth_it = matches!(fault, Fault::Unreachable(_)) && Instant::now() < self.deadline;
        if is_worth_it {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        is_worth_it
    }
}

impl<W: Wire> Session for Work<W> {
    async fn next(&mut self) -> Result<Option<Bytes>, EngineError> {
        loop {
            let Some(text) = self.texts.front().cloned() else { return Ok(None) };
            let reply = match self.reply.take() {
                Some(reply) => Ok(reply),
                None => self.ask(&text).await,
            };
            let before_audio = reply.as_ref().map_or(true, |reply| !reply.has_audio);
            let received = match reply {
                Ok(reply) => self.receive(reply).await,
                Err(fault) => Err(fault),
            };
            match received {
                Ok(Some((samples, reply))) => {
                    let left = self.bytes_left.checked_sub(samples.len());
                    self.bytes_left = left.ok_or_else(|| speech::too_long(self.limits.max_bytes))?;
                    self.reply = Some(reply);
                    return Ok(Some(samples));
                }
                Ok(None) => {
                    self.slot.report(true);
                    drop(self.texts.pop_front());
                }
                Err(fault) if self.retry(&fault, before_audio).await => {
                    tracing::warn!(?fault, "the speech engine failed early; asking once more");
                }
                Err(fault) => return Err(fault.into()),
            }
        }
    }

    fn left(&self) -> usize {
        self.texts.len()
    }
}

impl<R> Reply<R> {
    /// Samples out of what the network delivered.
    fn whole_samples(&mut self, chunk: Bytes) -> Bytes {
        let mut samples = match self.half_sample.take() {
            None => chunk,
            Some(half) => {
                let mut joined = BytesMut::with_capacity(chunk.len() + 1);
                joined.extend_from_slice(&[half]);
                joined.extend_from_slice(&chunk);
                joined.freeze()
            }
        };
        if samples.len() % 2 == 1 {
            self.half_sample = samples.split_off(samples.len() - 1).first().copied();
        }
        samples
    }

    /// Whether an answer that ended properly is good audio.
    fn finish(&self) -> Result<(), Fault> {
        match (self.has_audio, self.half_sample) {
            (_, Some(_)) => Err(Fault::broken("its audio ends in a half sample")),
            (false, None) => Err(Fault::broken("it answered without any audio")),
            (true, None) => Ok(()),
        }
    }

    fn silence(&self) -> Fault {
        if !self.has_audio {
            return Fault::Silent("it sent no audio in time".to_owned());
        }
        Fault::broken(if Instant::now() >= self.ends { "it did not finish in time" } else { "it fell silent" })
    }
}

impl Fault {
    pub(super) fn broken(reason: &str) -> Self {
        Self::Broken(reason.to_owned())
    }
}

impl From<Fault> for EngineError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unreachable(reason) | Fault::Silent(reason) => {
                Self::Unavailable { retry_after_seconds: RETRY_AFTER_SECONDS, reason }
            }
            Fault::Broken(reason) | Fault::Refused(reason) => Self::Failed(reason),
        }
    }
}
