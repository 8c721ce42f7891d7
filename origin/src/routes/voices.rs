//! `GET /api/voices`: what the engine can sound like, and the caller's own voices.
//! `POST /api/voices`: makes a voice of a recording.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::app::App;
use crate::caller::Caller;
use crate::clock::rfc3339;
use crate::form::{self, Field};
use crate::problem::Refusal;
use crate::store::OwnVoice;
use crate::voices::{self, CONSENTS, NewVoice};

/// The largest recording, in bytes: half a minute of WAV in studio quality.
pub(super) const MAX_SAMPLE_BYTES: u64 = 10 * 1024 * 1024;
const MAX_TEXT_BYTES: u64 = 4 * 1024;

const FIELDS: [Field; 5] = [
    Field { name: "name", most_bytes: MAX_TEXT_BYTES },
    Field { name: "transcript", most_bytes: MAX_TEXT_BYTES },
    Field { name: "language", most_bytes: MAX_TEXT_BYTES },
    Field { name: "consent", most_bytes: MAX_TEXT_BYTES },
    Field { name: "sample", most_bytes: MAX_SAMPLE_BYTES },
];

/// The first stock voice is the default.
pub(super) async fn get(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, Refusal> {
    let own = app.store.of(&caller).voices().await?;
    Ok(Json(json!({
        "engine": app.engine.name(),
        "notice": app.engine.notice(),
        "voices": app.engine.voices(),
        "own": own.iter().map(view).collect::<Vec<_>>(),
        "own_limit": app.policy.now().role(caller.role())?.voices,
        "cloning": app.engine.abilities().reference,
        "abilities": app.engine.abilities(),
        "instructs": app.engine.instructs(),
        "consents": CONSENTS,
    })))
}

/// `201` with the voice, and advice on how to make a better one.
pub(super) async fn post(
    State(app): State<Arc<App>>,
    caller: Caller,
    request: Request,
) -> Result<impl IntoResponse, Refusal> {
    // Before megabytes are read for nothing.
    voices::check_room(&app, &caller).await?;
    let _room = app.audio.room().await?;
    let [name, transcript, language, consent, sample] = form::read(&app, &caller, request, &FIELDS).await?;
    let new = NewVoice {
        name: form::required("name", name)?,
        transcript: form::required("transcript", transcript)?,
        language: language.map(|language| form::text("language", &language)).transpose()?,
        consent: form::required("consent", consent)?,
        sample: sample.unwrap_or_else(Bytes::new),
    };
    let (voice, advice) = voices::add(&app, &caller, new).await?;
    let mut body = view(&voice);
    if let Value::Object(members) = &mut body {
        members.insert("advice".to_owned(), json!(advice));
    }
    Ok((StatusCode::CREATED, [(LOCATION, format!("/api/voices/{}", voice.id))], Json(body)))
}

/// An own voice as its owner sees it.
pub(super) fn view(voice: &OwnVoice) -> Value {
    json!({
        "id": voice.id,
        "name": voice.name,
        "transcript": voice.transcript,
        "language": voice.language,
        "seconds": voice.seconds(),
        "sample_rate": voice.sample_rate,
        "bytes": voice.bytes,
        "consent": {"statement": voice.consent, "agreed_at": rfc3339(voice.consented_at)},
        "preview_url": format!("/api/voices/{}/preview", voice.id),
        "created_at": rfc3339(voice.created_at),
    })
}

#[cfg(test)]
mod tests;
