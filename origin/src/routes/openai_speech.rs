//! `POST /v1/audio/speech`: speaks a text and answers with the audio, as OpenAI's API does. It
//! costs, is kept and is counted like any generation.

use std::sync::Arc;

use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::header::{CONTENT_LOCATION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream;
use gate::Code;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{download, generate};
use crate::app::App;
use crate::audio::{self, Format};
use crate::caller::Caller;
use crate::input::JsonBody;
use crate::openai::{MODELS, PCM_RATE, VOICES};
use crate::problem::Refusal;
use crate::speech;
use crate::store::Output;
use crate::voices;

/// How much audio one event holds, in bytes.
const DELTA_BYTES: usize = 48 * 1024;
/// Of CosyVoice's speech, a second is so many tokens.
const TOKENS_A_SECOND: f64 = 25.0;

/// The body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    model: String,
    input: String,
    voice: Voice,
    #[serde(default)]
    instructions: Option<String>,
    #[serde(default = "usual_format")]
    response_format: Format,
    #[serde(default)]
    speed: Option<f32>,
    #[serde(default)]
    stream_format: StreamFormat,
}

/// A name or an id, or an object that holds the id.
#[derive(Deserialize)]
#[serde(untagged)]
enum Voice {
    Name(String),
    Object { id: String },
}

/// How the audio is sent.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StreamFormat {
    /// As it is.
    #[default]
    Audio,
    /// In server-sent events.
    Sse,
}

/// OpenAI's default, where it can be made.
fn usual_format() -> Format {
    if cfg!(feature = "mp3") { Format::Mp3 } else { Format::Wav }
}

/// The audio.
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    caller: Caller,
    JsonBody(body): JsonBody<Body>,
) -> Result<Response, Refusal> {
    let model = body.model.as_str();
    if model != app.engine.name() && !MODELS.contains(&model) {
        let model: String = model.chars().take(64).collect();
        return Err(Refusal::new(Code::NotFound, format!("There is no model {model:?}; see /v1/models.")));
    }
    let (format, stream_format) = (body.response_format, body.stream_format);
    let (Voice::Name(wanted) | Voice::Object { id: wanted }) = body.voice;
    let voice = choose(&app, &caller, &wanted).await?;
    let order = generate::order(&app, &caller, body.input, voice, body.instructions, body.speed)?;
    let (output, audio) = spoken(&app, &caller, order, format).await?;
    let place = [(CONTENT_LOCATION, generate::audio_url(&output.id, format))];
    Ok(match stream_format {
        StreamFormat::Audio => (place, [(CONTENT_TYPE, format.media_type())], audio).into_response(),
        StreamFormat::Sse => (place, [(CONTENT_TYPE, "text/event-stream")], events(&output, audio)).into_response(),
    })
}

/// Whatever can be named in `/api/generate`, and the names of OpenAI's own voices.
async fn choose(app: &App, caller: &Caller, wanted: &str) -> Result<String, Refusal> {
    let chosen = voices::choose(app, caller, Some(wanted)).await;
    let stock = app.engine.voices();
    let stand_in = VOICES.iter().position(|name| *name == wanted);
    match (chosen, stand_in.and_then(|position| stock.get(position % stock.len().max(1)))) {
        (Err(_), Some(voice)) => Ok(voice.id.clone()),
        (chosen, _) => chosen,
    }
}

/// Speaks to the end. Where audio is sent while it is made, this is what changes.
async fn spoken(
    app: &Arc<App>,
    caller: &Caller,
    order: speech::Order,
    format: Format,
) -> Result<(Output, Bytes), Refusal> {
    let output = speech::generate(app, caller, order).await?;
    let audio = download::encoded(app, caller, &output, format).await?;
    let sample_rate = u32::try_from(output.sample_rate).unwrap_or_default();
    if format != Format::Pcm || sample_rate == PCM_RATE {
        return Ok((output, audio));
    }
    let resampled = app.audio.turn().await?.run(move || audio::resample(&audio, sample_rate, PCM_RATE)).await?;
    Ok((output, resampled.map_err(Refusal::internal)?.into()))
}

/// `speech.audio.delta` for each piece, then `speech.audio.done`. Characters and tokens of speech
/// are what there is to count.
fn events(output: &Output, audio: Bytes) -> HttpBody {
    let output_tokens = (output.seconds() * TOKENS_A_SECOND).ceil();
    let usage = json!({
        "input_tokens": output.characters,
        "output_tokens": output_tokens,
        "total_tokens": output.characters as f64 + output_tokens,
    });
    let event = |value: Value| Ok::<_, std::convert::Infallible>(Bytes::from(format!("data: {value}\n\n")));
    let pieces = audio.len().div_ceil(DELTA_BYTES);
    let deltas = (0..pieces).map(move |index| {
        let piece = audio.slice(index * DELTA_BYTES..audio.len().min((index + 1) * DELTA_BYTES));
        json!({"type": "speech.audio.delta", "audio": STANDARD.encode(piece)})
    });
    let done = std::iter::once(json!({"type": "speech.audio.done", "usage": usage}));
    HttpBody::from_stream(stream::iter(deltas.chain(done).map(event)))
}

#[cfg(test)]
mod tests;
