//! `GET`, `PATCH` and `DELETE /api/voices/{id}`: one own voice. `GET /api/voices/{id}/preview`:
//! its recording.

use std::sync::Arc;

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response};
use axum::response::NoContent;
use gate::Code;
use schemars::JsonSchema;
use serde::Deserialize;

use super::voices::{OwnVoiceView, view};
use crate::app::App;
use crate::audio::Format;
use crate::caller::Caller;
use crate::input::{JsonBody, ObjectId};
use crate::openapi::{About, Gives, Section};
use crate::problem::Refusal;
use crate::ranges::{self, Answer, FileHead};
use crate::voices;

/// What may change.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    #[serde(default)]
    name: Option<String>,
    /// What is said in the recording.
    #[serde(default)]
    transcript: Option<String>,
}

pub(super) const GET: About = About::new(Section::Speech, "One of your voices");

/// The voice.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    ObjectId(id): ObjectId,
) -> Result<Json<OwnVoiceView>, Refusal> {
    let voice = app.store.of(&caller).voice(&id).await?.ok_or_else(Refusal::not_found)?;
    Ok(Json(view(voice)))
}

pub(super) const PATCH: About =
    About::new(Section::Speech, "Changes the name or the transcript of a voice").refuses(&[Code::Conflict]);

/// The voice as it is then.
pub(super) async fn patch(
    State(app): State<Arc<App>>,
    caller: Caller,
    ObjectId(id): ObjectId,
    JsonBody(body): JsonBody<Body>,
) -> Result<Json<OwnVoiceView>, Refusal> {
    // Asked first, so that a wrong body says nothing of voices that are somebody else's.
    app.store.of(&caller).voice(&id).await?.ok_or_else(Refusal::not_found)?;
    if body.name.is_none() && body.transcript.is_none() {
        return Err(Refusal::new(Code::RequestInvalid, "Give a name or a transcript."));
    }
    let voice = voices::change(&app, &caller, &id, body.name.as_deref(), body.transcript.as_deref()).await?;
    Ok(Json(view(voice)))
}

pub(super) const DELETE: About = About::new(Section::Speech, "Deletes a voice and its recording");

/// Removes voice and recording: `204`.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    ObjectId(id): ObjectId,
) -> Result<NoContent, Refusal> {
    match voices::delete(&app, &caller, &id).await? {
        true => Ok(NoContent),
        false => Err(Refusal::not_found()),
    }
}

pub(super) const PREVIEW: About = About::new(Section::Speech, "The recording of a voice, whole or in part; also HEAD")
    .answers(&[
        Gives::media(200, &["audio/wav"], "The recording"),
        Gives::media(206, &["audio/wav"], "The part that `Range` asks for"),
        Gives::empty(304, "Not modified"),
    ])
    .refuses(&[Code::RangeInvalid])
    .reads(&ranges::READS);

/// The recording as it is stored. GET and HEAD.
pub(super) async fn preview(
    State(app): State<Arc<App>>,
    caller: Caller,
    ObjectId(id): ObjectId,
    method: Method,
    headers: HeaderMap,
) -> Result<Response<HttpBody>, Refusal> {
    let voice = app.store.of(&caller).voice(&id).await?.ok_or_else(Refusal::not_found)?;
    let head = FileHead {
        tag: voice.sha256,
        media_type: Format::Wav.media_type(),
        name: format!("cosygate-voice-{id}.wav"),
        is_attachment: false,
        made_at: voice.created_at,
    };
    let (mut response, range) = match head.answer(&headers, u64::try_from(voice.bytes).unwrap_or_default())? {
        Answer::Done(response) => return Ok(response),
        Answer::Bytes(response, range) => (response, range),
    };
    if method != Method::HEAD {
        *response.body_mut() = ranges::stream(app.blobs.of(&caller), id, range).await?;
    }
    Ok(response)
}
