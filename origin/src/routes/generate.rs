//! `POST /api/generate`: speaks a text. `speech` has the flow; here the request is read.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gate::Code;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::audio::Format;
use crate::caller::Caller;
use crate::clock::rfc3339;
use crate::engine::Utterance;
use crate::input::JsonBody;
use crate::problem::Refusal;
use crate::speech::{self, Order};
use crate::voices;

const MAX_INSTRUCT_CHARACTERS: usize = 500;
const MAX_PROJECT_ID: usize = 64;

/// The body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    text: String,
    #[serde(default)]
    voice: Option<String>,
    /// Alias of `voice`.
    #[serde(default)]
    voice_type: Option<String>,
    #[serde(default)]
    instruct: Option<String>,
    #[serde(default)]
    speed: Option<f32>,
    #[serde(default)]
    project_id: Option<String>,
    #[serde(default)]
    format: Format,
}

/// Answers when the audio is on disk.
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    caller: Caller,
    JsonBody(body): JsonBody<Body>,
) -> Result<Json<Value>, Refusal> {
    let format = body.format;
    let order = read(&app, &caller, body).await?;
    let output = speech::generate(&app, &caller, order).await?;
    Ok(Json(json!({
        "id": output.id,
        "audio_url": audio_url(&output.id, format),
        "seconds": output.seconds(),
        "characters": output.characters,
        "voice": output.voice,
        "engine": output.engine,
        "sample_rate": output.sample_rate,
        "created_at": rfc3339(output.created_at),
    })))
}

/// Where an output is heard in this format.
pub(super) fn audio_url(id: &str, format: Format) -> String {
    match format {
        Format::Wav => format!("/download/{id}"),
        other => format!("/download/{id}?format={other}"),
    }
}

async fn read(app: &App, caller: &Caller, body: Body) -> Result<Order, Refusal> {
    if body.voice.is_some() && body.voice_type.is_some() {
        return Err(invalid("voice and voice_type are the same; give one.".to_owned()));
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
    Ok(Order { project_id: body.project_id, ..order })
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
    Ok(Order {
        utterance: Utterance { text: text.to_owned(), voice, reference: None, instruct, speed },
        characters: i64::try_from(characters).unwrap_or(i64::MAX),
        project_id: None,
    })
}

fn invalid(detail: String) -> Refusal {
    Refusal::new(Code::RequestInvalid, detail)
}

#[cfg(test)]
mod tests;
