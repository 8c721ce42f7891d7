//! One utterance at a server: its pieces of text one after the other, as one stream of audio.
//!
//! The server answers 200 before it begins to work, so the status proves nothing. What counts is
//! how the body ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use reqwest::{Response, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::super::slots::Slot;
use super::super::speech::{self, Session};
use super::super::{EngineError, RETRY_AFTER_SECONDS};
use super::{Ask, Server};

/// Pause before the only address there is gets a second chance.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// A validation error is read up to this size.
const MAX_ERROR_BYTES: usize = 16 * 1024;

pub(super) struct Work {
    server: Arc<Server>,
    slot: Slot,
    ask: Arc<dyn Ask>,
    texts: VecDeque<String>,
    reply: Option<Reply>,
    may_retry: bool,
    deadline: Instant,
    bytes_left: usize,
}

/// The audio of one piece of text, on its way.
struct Reply {
    response: Response,
    /// Half a sample: the network cuts where it likes.
    half_sample: Option<u8>,
    has_audio: bool,
    /// When the next byte must be there.
    patience_ends: Instant,
}

/// What went wrong with one request.
#[derive(Debug)]
pub(in crate::engine) enum Fault {
    /// There was no connection, or it was lost before the answer began, or a proxy said so.
    Unreachable(String),
    /// Connected, but no audio in time.
    Silent(String),
    /// The answer began and went wrong.
    Broken(String),
    /// The server says that the request is wrong. Asking again changes nothing.
    Refused(String),
}

impl Work {
    pub(super) fn new(server: Arc<Server>, slot: Slot, ask: Arc<dyn Ask>, texts: VecDeque<String>) -> Self {
        let deadline = Instant::now() + server.limits.deadline;
        let bytes_left = server.limits.max_bytes;
        Self { server, slot, ask, texts, reply: None, may_retry: true, deadline, bytes_left }
    }

    /// Sends the request for `text`.
    async fn ask(&self, text: &str) -> Result<Result<Reply, Fault>, EngineError> {
        let limits = &self.server.limits;
        let address = self.server.addresses.get(self.slot.address()).map_or("", String::as_str);
        let patience_ends = (Instant::now() + limits.first_byte).min(self.deadline);
        let request = self.ask.request(&self.server.client, address, text)?;
        let Ok(answer) = timeout_at(patience_ends, request.send()).await else {
            return Ok(Err(Fault::Silent("it did not answer in time".to_owned())));
        };
        Ok(match answer {
            Ok(response) => accept(response, patience_ends).await,
            Err(error) => Err(Fault::Unreachable(describe(error))),
        })
    }

    /// The next audio of the current reply; `None` at its proper end.
    async fn receive(&mut self, mut reply: Reply) -> Result<Option<(Bytes, Reply)>, Fault> {
        loop {
            let chunk = timeout_at(reply.patience_ends, reply.response.chunk()).await;
            let Ok(chunk) = chunk else { return Err(self.silence(reply.has_audio)) };
            let chunk = chunk.map_err(|error| Fault::Broken(format!("its answer was cut off: {}", describe(error))))?;
            let Some(chunk) = chunk else { return reply.finish().map(|()| None) };
            let samples = reply.whole_samples(chunk);
            reply.patience_ends = (Instant::now() + self.server.limits.idle).min(self.deadline);
            if !samples.is_empty() {
                reply.has_audio = true;
                return Ok(Some((samples, reply)));
            }
        }
    }

    fn silence(&self, has_audio: bool) -> Fault {
        if !has_audio {
            return Fault::Silent("it sent no audio in time".to_owned());
        }
        let is_over = Instant::now() >= self.deadline;
        let reason = if is_over { "it did not finish in time" } else { "it fell silent" };
        Fault::Broken(reason.to_owned())
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

impl Session for Work {
    async fn next(&mut self) -> Result<Option<Bytes>, EngineError> {
        loop {
            let Some(text) = self.texts.front().cloned() else { return Ok(None) };
            let reply = match self.reply.take() {
                Some(reply) => Ok(reply),
                None => self.ask(&text).await?,
            };
            let before_audio = reply.as_ref().map_or(true, |reply| !reply.has_audio);
            let received = match reply {
                Ok(reply) => self.receive(reply).await,
                Err(fault) => Err(fault),
            };
            match received {
                Ok(Some((samples, reply))) => {
                    let left = self.bytes_left.checked_sub(samples.len());
                    self.bytes_left = left.ok_or_else(|| speech::too_long(self.server.limits.max_bytes))?;
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

impl Reply {
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
            (_, Some(_)) => Err(Fault::Broken("its audio ends in a half sample".to_owned())),
            (false, None) => Err(Fault::Broken("it answered without any audio".to_owned())),
            (true, None) => Ok(()),
        }
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

/// Judges the head of an answer.
async fn accept(response: Response, patience_ends: Instant) -> Result<Reply, Fault> {
    let status = response.status();
    match status {
        StatusCode::OK => {}
        StatusCode::UNPROCESSABLE_ENTITY => {
            let problem = timeout_at(patience_ends, read_problem(response)).await;
            let problem = problem.unwrap_or_default();
            return Err(Fault::Refused(format!("it refused the request (422): {problem}")));
        }
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            return Err(Fault::Unreachable(format!("it answered {status}")));
        }
        status if status.is_server_error() => {
            return Err(Fault::Broken(format!("it answered {status}")));
        }
        status => return Err(Fault::Refused(format!("it answered {status}"))),
    }
    let headers = response.headers();
    if !headers.contains_key(TRANSFER_ENCODING) && !headers.contains_key(CONTENT_LENGTH) {
        let reason = "its answer has no length, so its end cannot be told from a cut";
        return Err(Fault::Refused(reason.to_owned()));
    }
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if media_type.starts_with("text/") || media_type.contains("json") {
        return Err(Fault::Refused("it answered with text instead of audio".to_owned()));
    }
    Ok(Reply { response, half_sample: None, has_audio: false, patience_ends })
}

/// Which fields a 422 of FastAPI complains about. Its `input` members repeat what the user wrote,
/// so only the kind and the place of each error are kept.
async fn read_problem(mut response: Response) -> String {
    let mut body = BytesMut::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ERROR_BYTES {
            return String::new();
        }
    }
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let errors = problem.get("detail").and_then(|detail| detail.as_array());
    let described = errors.into_iter().flatten().take(8).map(|error| {
        let kind = error.get("type").and_then(|kind| kind.as_str()).unwrap_or("error");
        let place = error.get("loc").and_then(|place| place.as_array()).into_iter().flatten();
        let place: Vec<&str> = place.filter_map(|step| step.as_str()).collect();
        format!("{kind} at {}", place.join("."))
    });
    described.collect::<Vec<_>>().join(", ")
}

/// The whole chain of causes on one line; reqwest's own message stops at the first.
pub(in crate::engine) fn describe(error: reqwest::Error) -> String {
    let mut line = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        line.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    line
}
