//! `GET /api/jobs/{id}/events`: what becomes of a job, as server-sent events (WHATWG HTML,
//! section 9.2).
//!
//! Each event holds the whole state, and the first one comes at once. So whoever reconnects has
//! missed nothing that counts.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use tokio::time::Instant;

use super::jobs::{JobView, view};
use crate::app::App;
use crate::caller::Caller;
use crate::input::ObjectId;
use crate::jobs::{LOOK, Watched};
use crate::openapi::{About, Gives, Header, Section};
use crate::problem::Refusal;

/// A comment after so long without an event keeps the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Longest life of a connection; browsers then connect again by themselves.
const LONGEST: Duration = Duration::from_secs(600);
/// Shortest pause between two events.
const PAUSE: Duration = Duration::from_millis(100);

/// The id of the event after which nothing more comes.
const LAST: &str = "end";

/// One reader.
struct Reader {
    app: Arc<App>,
    caller: Caller,
    id: String,
    watched: Arc<Watched>,
    until: Instant,
    seen: Option<JobView>,
    count: u64,
}

pub(super) const GET: About = About::new(Section::Speech, "What becomes of a job, as server-sent events")
    .answers(&[
        Gives::media(200, &["text/event-stream"], "`event: job` with the job, now and at each change"),
        Gives::empty(204, "There is nothing more to come"),
    ])
    .reads(&[Header::new("Last-Event-ID", "`end`: nothing more is wanted")]);

pub(super) async fn handler(
    State(app): State<Arc<App>>,
    caller: Caller,
    ObjectId(id): ObjectId,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    app.store.of(&caller).job(&id).await?.ok_or_else(Refusal::not_found)?;
    if headers.get("last-event-id").is_some_and(|last| last == LAST) {
        // Tells a browser not to connect again.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let watched = app.jobs.watch(&id);
    let until = Instant::now() + LONGEST;
    let reader = Reader { app, caller, id, watched, until, seen: None, count: 0 };
    let events = stream::unfold(Some(reader), |reader| async { reader?.next().await });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

impl Reader {
    /// The next event, and the reader if more may come.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Option<Self>)> {
        loop {
            let watched = Arc::clone(&self.watched);
            let changed = watched.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if Instant::now() >= self.until || self.app.stopping.is_cancelled() {
                return None;
            }
            // If the database cannot say, the browser asks again later.
            let job = self.app.store.of(&self.caller).job(&self.id).await.ok()??;
            let now = view(&self.app, &self.caller, &job).await.ok()?;
            if self.seen.as_ref() != Some(&now) {
                self.count += 1;
                let id = if job.is_ended() { LAST.to_owned() } else { self.count.to_string() };
                let event = Event::default().event("job").id(id).json_data(&now).ok()?;
                self.seen = Some(now);
                return Some((Ok(event), (!job.is_ended()).then_some(self)));
            }
            tokio::select! {
                () = changed => tokio::time::sleep(PAUSE).await,
                () = tokio::time::sleep(LOOK) => {}
                () = self.app.stopping.cancelled() => {}
            }
        }
    }
}
