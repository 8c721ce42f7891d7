//! `GET /v1/audio/voices`: what `voice` of `/v1/audio/speech` may be. `POST /v1/audio/voices`:
//! makes a voice, with the field names of OpenAI and vLLM-Omni.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use gate::Code;
use serde_json::{Value, json};

use super::voices::MAX_SAMPLE_BYTES;
use crate::app::App;
use crate::caller::Caller;
use crate::form::{self, Field};
use crate::problem::Refusal;
use crate::voices::{self, NewVoice};

const MAX_TEXT_BYTES: u64 = 4 * 1024;

/// What voices are made of here; OpenAI also makes some of a description.
const KIND: &str = "audio_sample";

const FIELDS: [Field; 6] = [
    Field { name: "name", most_bytes: MAX_TEXT_BYTES },
    Field { name: "ref_text", most_bytes: MAX_TEXT_BYTES },
    Field { name: "language", most_bytes: MAX_TEXT_BYTES },
    Field { name: "consent", most_bytes: MAX_TEXT_BYTES },
    Field { name: "audio_sample", most_bytes: MAX_SAMPLE_BYTES },
    Field { name: "type", most_bytes: MAX_TEXT_BYTES },
];

/// Stock voices and own ones.
pub(super) async fn get(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, Refusal> {
    let own = app.store.of(&caller).voices().await?;
    let stock = app.engine.voices().iter().map(|voice| json!({"id": voice.id, "name": voice.name, "own": false}));
    let own = own.iter().map(|voice| json!({"id": voice.id, "name": voice.name, "own": true}));
    Ok(Json(json!({"object": "list", "voices": stock.chain(own).collect::<Vec<_>>()})))
}

/// The voice, and advice on how to make a better one.
pub(super) async fn post(
    State(app): State<Arc<App>>,
    caller: Caller,
    request: Request,
) -> Result<Json<Value>, Refusal> {
    voices::check_room(&app, &caller).await?;
    let _room = app.audio.room().await?;
    let [name, transcript, language, consent, sample, kind] = form::read(&app, &caller, request, &FIELDS).await?;
    if kind.is_some_and(|kind| kind != KIND) {
        return Err(Refusal::new(
            Code::RequestInvalid,
            format!("A voice is made of a recording: type must be {KIND}."),
        ));
    }
    let new = NewVoice {
        name: form::required("name", name)?,
        transcript: form::required("ref_text", transcript)?,
        language: language.map(|language| form::text("language", &language)).transpose()?,
        consent: form::required("consent", consent)?,
        sample: sample.unwrap_or_default(),
    };
    let (voice, advice) = voices::add(&app, &caller, new).await?;
    Ok(Json(json!({
        "id": voice.id,
        "object": "audio.voice",
        "name": voice.name,
        "type": KIND,
        "created_at": voice.created_at / 1000,
        "advice": advice,
    })))
}
