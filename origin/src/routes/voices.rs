//! `GET /api/voices`: what the engine can sound like, and the caller's own voices.
//! `POST /api/voices`: makes a voice of a recording.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{HeaderName, LOCATION};
use gate::Code;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::audio::Advice;
use crate::caller::Caller;
use crate::clock::Time;
use crate::engine::{Abilities, Instruct, Voice};
use crate::form::{self, Field};
use crate::openapi::{About, Created, Section};
use crate::problem::Refusal;
use crate::store::OwnVoice;
use crate::voices::{self, CONSENTS, Consent, NewVoice};

/// The largest recording, in bytes: half a minute of WAV in studio quality.
pub(super) const MAX_SAMPLE_BYTES: u64 = 10 * 1024 * 1024;

const FIELDS: [Field; 5] = [
    Field::text("name", true),
    Field::text("transcript", true),
    Field::text("language", false),
    Field::text("consent", true),
    Field::file("sample", MAX_SAMPLE_BYTES),
];

/// What one can sound like.
#[derive(Serialize, JsonSchema)]
pub(super) struct Voices {
    engine: &'static str,
    /// Something that a person should know of the engine.
    notice: Option<String>,
    /// Everybody's; the first one is the default.
    voices: Vec<Voice>,
    own: Vec<OwnVoiceView>,
    /// How many the role may have.
    own_limit: u32,
    /// Whether the engine can speak with own ones.
    cloning: bool,
    /// What the engine can do.
    abilities: Abilities,
    /// Styles that can be named as an instruction.
    instructs: Vec<Instruct>,
    /// What has to be agreed to, word for word.
    consents: [Consent; CONSENTS.len()],
}

/// A voice of one's own.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OwnVoice")]
pub(super) struct OwnVoiceView {
    id: String,
    name: String,
    transcript: String,
    language: Option<String>,
    seconds: f64,
    sample_rate: i64,
    bytes: i64,
    consent: Agreed,
    preview_url: String,
    created_at: Time,
}

/// What was agreed to.
#[derive(Serialize, JsonSchema)]
struct Agreed {
    statement: String,
    agreed_at: Time,
}

/// A new voice.
#[derive(Serialize, JsonSchema)]
pub(super) struct NewOwnVoice {
    #[serde(flatten)]
    voice: OwnVoiceView,
    /// What would make a better one.
    advice: Vec<Advice>,
}

pub(super) const GET: About = About::new(Section::Speech, "Lists voices");
pub(super) const POST: About =
    About::new(Section::Speech, "Makes a voice of a recording").form(&FIELDS).refuses(&[Code::Conflict]);

/// The first stock voice is the default.
pub(super) async fn get(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Voices>, Refusal> {
    let own = app.store.of(&caller).voices().await?;
    Ok(Json(Voices {
        engine: app.engine.name(),
        notice: app.engine.notice().map(str::to_owned),
        voices: app.engine.voices().to_vec(),
        own: own.into_iter().map(view).collect(),
        own_limit: app.policy.now().role(caller.role())?.voices,
        cloning: app.engine.abilities().reference,
        abilities: app.engine.abilities(),
        instructs: app.engine.instructs().to_vec(),
        consents: CONSENTS,
    }))
}

/// `201` with the voice, and advice on how to make a better one.
pub(super) async fn post(
    State(app): State<Arc<App>>,
    caller: Caller,
    request: Request,
) -> Result<([(HeaderName, String); 1], Created<NewOwnVoice>), Refusal> {
    // Before megabytes are read for nothing.
    voices::check_room(&app, &caller).await?;
    let _room = app.audio.room().await?;
    let [name, transcript, language, consent, sample] = form::read(&app, &caller, request, &FIELDS).await?;
    let new = NewVoice {
        name: form::required("name", name)?,
        transcript: form::required("transcript", transcript)?,
        language: language.map(|language| form::text("language", &language)).transpose()?,
        consent: form::required("consent", consent)?,
        sample: sample.unwrap_or_default(),
    };
    let (voice, advice) = voices::add(&app, &caller, new).await?;
    let location = format!("/api/voices/{}", voice.id);
    Ok(([(LOCATION, location)], Created(NewOwnVoice { voice: view(voice), advice })))
}

/// An own voice as its owner sees it.
pub(super) fn view(voice: OwnVoice) -> OwnVoiceView {
    OwnVoiceView {
        seconds: voice.seconds(),
        preview_url: format!("/api/voices/{}/preview", voice.id),
        id: voice.id,
        name: voice.name,
        transcript: voice.transcript,
        language: voice.language,
        sample_rate: voice.sample_rate,
        bytes: voice.bytes,
        consent: Agreed { statement: voice.consent, agreed_at: Time(voice.consented_at) },
        created_at: Time(voice.created_at),
    }
}

#[cfg(test)]
mod tests;
