//! `POST /api/generate`: speaks a text. `speech` has the flow; here the request is read.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CONTENT_LOCATION, CONTENT_TYPE, HeaderName, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use gate::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::audio::{self, Format};
use crate::caller::Caller;
use crate::input::JsonBody;
use crate::openapi::{About, Gives, Header, Section};
use crate::problem::Refusal;
use crate::speech::{self, Live, Order, Spoken};
use crate::voices;

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// As long as Stripe allows, too.
const MAX_KEY: usize = 255;

const MAX_INSTRUCT_CHARACTERS: usize = 500;
const MAX_PROJECT_ID: usize = 64;

/// The body.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    /// What to say; how long it may be is the role's.
    #[schemars(length(min = 1))]
    text: String,
    /// The id of a voice, or the name of one of your own; the first one if absent.
    #[serde(default)]
    voice: Option<String>,
    /// Alias of `voice`.
    #[serde(default)]
    voice_type: Option<String>,
    /// How to say it, in words.
    #[serde(default)]
    #[schemars(length(max = MAX_INSTRUCT_CHARACTERS))]
    instruct: Option<String>,
    #[serde(default)]
    #[schemars(range(min = 0.5, max = 2.0))]
    speed: Option<f32>,
    /// A free label.
    #[serde(default)]
    #[schemars(regex(pattern = "^[A-Za-z0-9._-]{1,64}$"))]
    project_id: Option<String>,
    /// What `audio_url` leads to.
    #[serde(default)]
    format: Format,
    /// The audio itself is the answer, while it is made.
    #[serde(default)]
    stream: bool,
}

/// The answer to whoever does not wait.
#[derive(Serialize, JsonSchema)]
struct Pending {
    job: PendingJob,
}

/// Where to ask for it.
#[derive(Serialize, JsonSchema)]
struct PendingJob {
    id: String,
    url: String,
    events_url: String,
}

pub(super) const POST: About = About::new(Section::Speech, "Speaks a text")
    .answers(&[
        Gives::json::<Spoken>(200, "The audio is there; with `stream`, this is the audio").or(&[
            "application/json",
            "audio/wav",
            "audio/pcm",
            "audio/mpeg",
            "audio/ogg",
        ]),
        Gives::json::<Pending>(202, "With `Prefer: respond-async`: it is in the queue"),
    ])
    .refuses(&REFUSES)
    .reads(&[KEY_HEADER, Header::new("Prefer", "`respond-async`: answer with the job at once (RFC 7240)")]);

/// Why nothing is spoken.
pub(super) const REFUSES: [Code; 6] = [
    Code::Conflict,
    Code::IdempotencyConflict,
    Code::QuotaExhausted,
    Code::ConcurrencyExceeded,
    Code::EngineUnavailable,
    Code::EngineFailed,
];
/// The client's name for what it wants done once.
pub(super) const KEY_HEADER: Header = Header {
    pattern: Some("^[ -~]{1,255}$"),
    ..Header::new("Idempotency-Key", "Your own name for what is to be done once; kept for 24 hours")
};

/// Answers when the audio is on disk, or, if the client wishes so, with the job at once
/// (`Prefer: respond-async`, RFC 7240, section 4.1) or with audio while it is made (`"stream"`).
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Body>,
) -> Result<Response, Refusal> {
    let key = idempotency_key(&headers)?;
    let is_live = body.stream;
    let order = read(&app, &caller, body).await?;
    if is_live {
        return live(&app, &caller, &order, key).await;
    }
    let id = speech::enqueue(&app, &caller, &order, key).await?;
    if prefers_async(&headers) {
        app.store.sync().await?;
        // Nothing in it changes, so that a repetition is answered alike.
        let url = format!("/api/jobs/{id}");
        let headers = [(LOCATION, url.clone()), (PREFERENCE_APPLIED, "respond-async".to_owned())];
        let job = PendingJob { events_url: format!("{url}/events"), url, id };
        return Ok((StatusCode::ACCEPTED, headers, Json(Pending { job })).into_response());
    }
    let job = speech::wait(&app, &caller, &id).await?;
    let answer = job.answer.ok_or_else(|| Refusal::internal("a job without an answer"))?;
    Ok(([(CONTENT_TYPE, "application/json")], answer).into_response())
}

/// A file whose end is not known yet.
async fn live(app: &Arc<App>, caller: &Caller, order: &Order, key: Option<String>) -> Result<Response, Refusal> {
    let Live { id, sample_rate, today, pcm } = speech::stream(app, caller, order, key).await?;
    let file = audio::live(order.format, sample_rate, pcm, &app.audio).map_err(Refusal::internal)?;
    let file = file.ok_or_else(|| Refusal::internal("a format that needs the whole was let through"))?;
    let media_type = order.format.media_type().to_owned();
    let headers = [(CONTENT_TYPE, media_type), (CONTENT_LOCATION, speech::audio_url(&id, order.format))];
    Ok((today.map(Extension), headers, axum::body::Body::from_stream(file)).into_response())
}

/// The client's name for what it wants done once
/// (draft-ietf-httpapi-idempotency-key-header, section 2.1).
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let mut keys = headers.get_all("idempotency-key").iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let is_good = (1..=MAX_KEY).contains(&key.len()) && keys.next().is_none();
    match key.to_str() {
        Ok(key) if is_good => Ok(Some(key.to_owned())),
        _ => {
            let detail = format!("Idempotency-Key must be one header of 1 to {MAX_KEY} printable ASCII characters.");
            Err(Refusal::new(Code::RequestInvalid, detail))
        }
    }
}

fn prefers_async(headers: &HeaderMap) -> bool {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    preferences.flat_map(|value| value.split(',')).any(|one| {
        let name = one.split([';', '=']).next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("respond-async")
    })
}

async fn read(app: &App, caller: &Caller, body: Body) -> Result<Order, Refusal> {
    if body.voice.is_some() && body.voice_type.is_some() {
        return Err(invalid("voice and voice_type are the same; give one.".to_owned()));
    }
    if body.stream && !audio::comes_live(body.format, app.settings.engine.sample_rate_hz) {
        let formats = Format::ALL.iter().filter(|one| audio::comes_live(**one, app.settings.engine.sample_rate_hz));
        let formats: Vec<&str> = formats.map(|one| one.name()).collect();
        let detail =
            format!("While it is made, audio comes as one of {}; fetch another format later.", formats.join(", "));
        return Err(invalid(detail));
    }
    let is_label = |label: &String| {
        (1..=MAX_PROJECT_ID).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    if body.project_id.as_ref().is_some_and(|label| !is_label(label)) {
        return Err(invalid(format!("project_id must be 1 to {MAX_PROJECT_ID} of A-Z a-z 0-9 . _ -")));
    }
    let voice = voices::choose(app, caller, body.voice.or(body.voice_type).as_deref()).await?;
    let order = order(app, caller, body.text, voice, body.instruct, body.speed)?;
    Ok(Order { project_id: body.project_id, format: body.format, ..order })
}

/// What is to be spoken, if it can be; `voice` is known to be.
pub(super) fn order(
    app: &App,
    caller: &Caller,
    text: String,
    voice: String,
    instruct: Option<String>,
    speed: Option<f32>,
) -> Result<Order, Refusal> {
    let policy = app.policy.now();
    let longest = policy.role(caller.role())?.characters_per_request;
    let text = text.trim();
    let characters = text.chars().count();
    if characters == 0 {
        return Err(invalid("text is empty.".to_owned()));
    }
    if u32::try_from(characters).is_err() || characters > longest as usize {
        return Err(invalid(format!("text has {characters} characters; your role allows {longest} at a time.")));
    }
    let instruct = instruct.filter(|instruct| !instruct.trim().is_empty());
    if instruct.as_ref().is_some_and(|instruct| instruct.chars().count() > MAX_INSTRUCT_CHARACTERS) {
        return Err(invalid(format!("instruct may have {MAX_INSTRUCT_CHARACTERS} characters.")));
    }
    let speed = speed.unwrap_or(1.0);
    if !(0.5..=2.0).contains(&speed) {
        return Err(invalid("speed must be 0.5 to 2.0.".to_owned()));
    }
    Ok(Order { text: text.to_owned(), voice, instruct, speed, project_id: None, format: Format::Wav })
}

fn invalid(detail: String) -> Refusal {
    Refusal::new(Code::RequestInvalid, detail)
}

#[cfg(test)]
mod tests;
