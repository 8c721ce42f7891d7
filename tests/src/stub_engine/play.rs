//! What an answer does, one step after the other, and what is counted of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, Stream};
use tokio::sync::watch;

use super::audio::SAMPLE_RATE;
use super::{Mode, Shared};

/// Before a cut, so that what was sent does not perish in a buffer.
pub(super) const FLUSH: Duration = Duration::from_millis(50);

pub(super) enum Step {
    Wait(Duration),
    Send(Bytes),
    Hang,
    Cut,
}

pub(super) fn steps(mode: Mode, cost: Duration, chunks: Vec<Bytes>) -> Vec<Step> {
    let all_bytes = chunks.iter().map(Bytes::len).sum::<usize>();
    let first = |count: usize| -> Vec<Step> {
        let sent = chunks.iter().scan(count, |left, chunk| {
            let size = chunk.len().min(*left);
            *left -= size;
            (size > 0).then(|| Step::Send(chunk.slice(..size)))
        });
        [Step::Wait(cost)].into_iter().chain(sent).collect()
    };
    let then = |mut steps: Vec<Step>, end: Vec<Step>| {
        steps.extend(end);
        steps
    };
    match mode {
        Mode::Work | Mode::ServerError | Mode::Unprocessable | Mode::QueueFull | Mode::TooLarge => first(all_bytes),
        Mode::Cut { after_bytes } => then(first(after_bytes), vec![Step::Wait(FLUSH), Step::Cut]),
        Mode::HangBeforeFirstByte => vec![Step::Hang],
        Mode::HangAfter { after_bytes } => then(first(after_bytes), vec![Step::Hang]),
        Mode::ZeroBytes => first(0),
        Mode::OddLength => first(all_bytes.saturating_sub(1)),
        Mode::Slow { pause_milliseconds } => {
            let pause = Duration::from_millis(pause_milliseconds);
            let tenth_bytes = SAMPLE_RATE as usize * 2 / 10;
            let pieces = chunks.iter().flat_map(|chunk| chunk.chunks(tenth_bytes));
            let paced = pieces.flat_map(|piece| [Step::Wait(pause), Step::Send(Bytes::copy_from_slice(piece))]);
            then(first(0), paced.collect())
        }
    }
}

/// Goes through the steps. An error in the stream makes hyper drop the connection before the last
/// chunk, just as uvicorn does after an exception.
pub(super) fn perform(
    steps: Vec<Step>,
    answering: Answering,
    stopped: watch::Receiver<bool>,
) -> impl Stream<Item = Result<Bytes, &'static str>> {
    stream::unfold(Some((steps.into_iter(), answering, stopped)), async |state| {
        let (mut steps, answering, mut stopped) = state?;
        loop {
            let step = if *stopped.borrow() { Some(Step::Cut) } else { steps.next() };
            match step {
                Some(Step::Wait(duration)) => drop(tokio::time::timeout(duration, stop(&mut stopped)).await),
                Some(Step::Hang) => stop(&mut stopped).await,
                Some(Step::Send(bytes)) => return Some((Ok(bytes), Some((steps, answering, stopped)))),
                Some(Step::Cut) => {
                    answering.finish();
                    return Some((Err("cut"), None));
                }
                None => {
                    answering.finish();
                    return None;
                }
            }
        }
    })
}

pub(super) async fn stop(stopped: &mut watch::Receiver<bool>) {
    // The sender lives as long as any answer, so this cannot end early.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Counts one answer from its request to its end. Dropped before the end, it counts as aborted.
pub(super) struct Answering {
    shared: Arc<Shared>,
    is_finished: bool,
    is_counted: bool,
}

impl Answering {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        shared.count(|counters| {
            counters.requests += 1;
            counters.running += 1;
            counters.max_running = counters.max_running.max(counters.running);
        });
        Self { shared: Arc::clone(shared), is_finished: false, is_counted: true }
    }

    /// A part of an answer that is counted already.
    pub(super) fn part(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), is_finished: false, is_counted: false }
    }

    pub(super) fn finish(mut self) {
        self.is_finished = true;
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if !self.is_counted {
            return;
        }
        self.shared.count(|counters| {
            counters.running -= 1;
            *(if self.is_finished { &mut counters.finished } else { &mut counters.aborted }) += 1;
        });
    }
}
