//! `GET /v1/audio/voices`: what `voice` of `/v1/audio/speech` may be. `POST /v1/audio/voices`:
//! makes a voice, with the field names of OpenAI and vLLM-Omni.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use gate::Code;
use schemars::JsonSchema;
use serde::Serialize;

use super::voices::MAX_SAMPLE_BYTES;
use crate::app::App;
use crate::audio::Advice;
use crate::caller::Caller;
use crate::form::{self, Field};
use crate::openapi::{About, Section};
use crate::problem::Refusal;
use crate::voices::{self, NewVoice};

/// What voices are made of here; OpenAI also makes some of a description.
const KIND: &str = "audio_sample";

const FIELDS: [Field; 6] = [
    Field::text("name", true),
    Field::text("ref_text", true),
    Field::text("language", false),
    Field::text("consent", true),
    Field::file("audio_sample", MAX_SAMPLE_BYTES),
    Field::text("type", false),
];

/// What `voice` may be.
#[derive(Serialize, JsonSchema)]
pub(super) struct VoiceNames {
    /// `list`.
    object: &'static str,
    voices: Vec<VoiceName>,
}

/// A voice.
#[derive(Serialize, JsonSchema)]
struct VoiceName {
    id: String,
    name: String,
    /// It is the caller's own.
    own: bool,
}

/// A voice that was made.
#[derive(Serialize, JsonSchema)]
pub(super) struct MadeOfSample {
    id: String,
    /// `audio.voice`.
    object: &'static str,
    name: String,
    /// `audio_sample`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Seconds since the epoch.
    created_at: i64,
    advice: Vec<Advice>,
}

pub(super) const GET: About = About::new(Section::OpenAi, "Lists voices");
pub(super) const POST: About =
    About::new(Section::OpenAi, "Makes a voice of a recording").form(&FIELDS).refuses(&[Code::Conflict]);

/// Stock voices and own ones.
pub(super) async fn get(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<VoiceNames>, Refusal> {
    let own = app.store.of(&caller).voices().await?;
    let stock = app.engine.voices().iter();
    let stock = stock.map(|voice| VoiceName { id: voice.id.clone(), name: voice.name.clone(), own: false });
    let own = own.into_iter().map(|voice| VoiceName { id: voice.id, name: voice.name, own: true });
    Ok(Json(VoiceNames { object: "list", voices: stock.chain(own).collect() }))
}

/// The voice, and advice on how to make a better one.
pub(super) async fn post(
    State(app): State<Arc<App>>,
    caller: Caller,
    request: Request,
) -> Result<Json<MadeOfSample>, Refusal> {
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
    Ok(Json(MadeOfSample {
        id: voice.id,
        object: "audio.voice",
        name: voice.name,
        kind: KIND,
        created_at: voice.created_at / 1000,
        advice,
    }))
}
