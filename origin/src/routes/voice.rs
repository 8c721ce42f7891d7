//! `GET`, `PATCH` and `DELETE /api/voices/{id}`: one own voice. `GET /api/voices/{id}/preview`:
//! its recording.

use std::sync::Arc;

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode};
use gate::Code;
use serde::Deserialize;
use serde_json::Value;

use super::voices::view;
use crate::app::App;
use crate::audio::Format;
use crate::caller::Caller;
use crate::input::{JsonBody, ObjectId};
use crate::problem::Refusal;
use crate::ranges::{self, Answer, FileHead};
use crate::voices;

/// What may change.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    transcript: Option<String>,
}

/// The voice.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    ObjectId(id): ObjectId,
) -> Result<Json<Value>, Refusal> {
    let voice = app.store.of(&caller).voice(&id).await?.ok_or_else(Refusal::not_found)?;
    Ok(Json(view(&voice)))
}

/// The voice as it is then.
pub(super) async fn patch(
    State(app): State<Arc<App>>,
    caller: Caller,
    ObjectId(id): ObjectId,
    JsonBody(body): JsonBody<Body>,
) -> Result<Json<Value>, Refusal> {
    // Asked first, so that a wrong body says nothing of voices that are somebody else's.
    app.store.of(&caller).voice(&id).await?.ok_or_else(Refusal::not_found)?;
    if body.name.is_none() && body.transcript.is_none() {
        return Err(Refusal::new(Code::RequestInvalid, "Give a name or a transcript."));
    }
    let voice = voices::change(&app, &caller, &id, body.name.as_deref(), body.transcript.as_deref()).await?;
    Ok(Json(view(&voice)))
}

/// Removes voice and recording: `204`.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    ObjectId(id): ObjectId,
) -> Result<StatusCode, Refusal> {
    match voices::delete(&app, &caller, &id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Refusal::not_found()),
    }
}

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
