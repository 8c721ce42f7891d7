//! `POST /api/generate`: speaks a text. `speech` has the flow; here the request is read.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gate::Code;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::caller::Caller;
use crate::clock::rfc3339;
use crate::engine::Utterance;
use crate::input::JsonBody;
use crate::problem::Refusal;
use crate::speech::{self, Order};

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
}

/// Answers when the audio is on disk.
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    caller: Caller,
    JsonBody(body): JsonBody<Body>,
) -> Result<Json<Value>, Refusal> {
    let order = read(&app, &caller, body)?;
    let output = speech::generate(&app, &caller, order).await?;
    Ok(Json(json!({
        "id": output.id,
        "audio_url": format!("/download/{}", output.id),
        "seconds": output.seconds(),
        "characters": output.characters,
        "voice": output.voice,
        "engine": output.engine,
        "sample_rate": output.sample_rate,
        "created_at": rfc3339(output.created_at),
    })))
}

fn read(app: &App, caller: &Caller, body: Body) -> Result<Order, Refusal> {
    let invalid = |detail: String| Refusal::new(Code::RequestInvalid, detail);
    let policy = app.policy.now();
    let longest = policy.role(caller.role())?.characters_per_request;
    let text = body.text.trim();
    let characters = text.chars().count();
    if characters == 0 {
        return Err(invalid("text is empty.".to_owned()));
    }
    if u32::try_from(characters).is_err() || characters > longest as usize {
        return Err(invalid(format!("text has {characters} characters; your role allows {longest} at a time.")));
    }
    if body.voice.is_some() && body.voice_type.is_some() {
        return Err(invalid("voice and voice_type are the same; give one.".to_owned()));
    }
    let voices = app.engine.voices();
    let voice = match body.voice.or(body.voice_type) {
        Some(wanted) => voices.iter().find(|voice| voice.id == wanted),
        None => voices.first(),
    };
    let voice = voice.ok_or_else(|| invalid("voice is not one of /api/voices.".to_owned()))?;
    let instruct = body.instruct.filter(|instruct| !instruct.trim().is_empty());
    if instruct.as_ref().is_some_and(|instruct| instruct.chars().count() > MAX_INSTRUCT_CHARACTERS) {
        return Err(invalid(format!("instruct may have {MAX_INSTRUCT_CHARACTERS} characters.")));
    }
    let speed = body.speed.unwrap_or(1.0);
    if !(0.5..=2.0).contains(&speed) {
        return Err(invalid("speed must be 0.5 to 2.0.".to_owned()));
    }
    let is_label = |label: &String| {
        (1..=MAX_PROJECT_ID).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    if body.project_id.as_ref().is_some_and(|label| !is_label(label)) {
        return Err(invalid(format!("project_id must be 1 to {MAX_PROJECT_ID} of A-Z a-z 0-9 . _ -")));
    }
    Ok(Order {
        utterance: Utterance { text: text.to_owned(), voice: voice.id.clone(), instruct, speed },
        characters: i64::try_from(characters).unwrap_or(i64::MAX),
        project_id: body.project_id,
    })
}

#[cfg(test)]
mod tests;
