//! `POST /v1/audio/speech`: speaks a text and answers with the audio, as OpenAI's API does. It
//! costs, is kept and is counted like any generation. WAV and PCM are sent while they are made.

use std::sync::Arc;

use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LOCATION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream;
use gate::Code;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{download, generate};
use crate::app::App;
use crate::audio::{self, Format};
use crate::caller::Caller;
use crate::input::JsonBody;
use crate::openai::{MODELS, PCM_RATE, VOICES};
use crate::openapi::{About, Gives, Section};
use crate::problem::Refusal;
use crate::speech::{self, Live, Order};
use crate::store::Output;
use crate::voices;

/// How much audio one event holds, in bytes.
const DELTA_BYTES: usize = 48 * 1024;
/// Of CosyVoice's speech, a second is so many tokens.
const TOKENS_A_SECOND: f64 = 25.0;

/// The body.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    /// One of `/v1/models`.
    model: String,
    /// What to say.
    #[schemars(length(min = 1))]
    input: String,
    voice: Voice,
    /// How to say it, in words.
    #[serde(default)]
    instructions: Option<String>,
    #[serde(default = "usual_format")]
    response_format: Format,
    #[serde(default)]
    #[schemars(range(min = 0.5, max = 2.0))]
    speed: Option<f32>,
    #[serde(default)]
    stream_format: StreamFormat,
}

/// A name or an id, or an object that holds the id.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Voice {
    Name(String),
    Object { id: String },
}

/// How the audio is sent.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
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

pub(super) const POST: About = About::new(Section::OpenAi, "Speaks a text and answers with the audio")
    .answers(&[Gives::media(200, AUDIO, "The audio, or events that hold it")])
    .refuses(&REFUSES)
    .reads(&[generate::KEY_HEADER]);

const AUDIO: &[&str] = &["audio/mpeg", "audio/ogg", "audio/flac", "audio/wav", "audio/pcm", "text/event-stream"];
const REFUSES: [Code; 7] = {
    let [a, b, c, d, e, f] = generate::REFUSES;
    [Code::NotFound, a, b, c, d, e, f]
};

/// The audio.
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Body>,
) -> Result<Response, Refusal> {
    let key = generate::idempotency_key(&headers)?;
    let model = body.model.as_str();
    if model != app.engine.name() && !MODELS.contains(&model) {
        let model: String = model.chars().take(64).collect();
        return Err(Refusal::new(Code::NotFound, format!("There is no model {model:?}; see /v1/models.")));
    }
    let (format, stream_format) = (body.response_format, body.stream_format);
    let (Voice::Name(wanted) | Voice::Object { id: wanted }) = body.voice;
    let voice = choose(&app, &caller, &wanted).await?;
    let order = generate::order(&app, &caller, body.input, voice, body.instructions, body.speed)?;
    let order = Order { format, ..order };
    if stream_format == StreamFormat::Audio && comes_live(&app, format) {
        let live = speech::stream(&app, &caller, &order, key).await?;
        return Ok(if format == Format::Wav { generate::live(live) } else { samples(live) });
    }
    let (output, audio) = spoken(&app, &caller, &order, key).await?;
    let place = [(CONTENT_LOCATION, speech::audio_url(&output.id, format))];
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

/// Whether the audio can be sent while it is made. Formats of encoders need the whole, and so
/// does resampling.
fn comes_live(app: &App, format: Format) -> bool {
    match format {
        Format::Wav => true,
        Format::Pcm => app.settings.engine.sample_rate_hz == PCM_RATE,
        Format::Flac | Format::Opus | Format::Mp3 => false,
    }
}

/// Samples alone, while they are made.
fn samples(live: Live) -> Response {
    let place = (CONTENT_LOCATION, speech::audio_url(&live.id, Format::Pcm));
    let kind = (CONTENT_TYPE, Format::Pcm.media_type().to_owned());
    ([place, kind], HttpBody::from_stream(live.pcm)).into_response()
}

/// Speaks to the end.
async fn spoken(
    app: &Arc<App>,
    caller: &Caller,
    order: &Order,
    key: Option<String>,
) -> Result<(Output, Bytes), Refusal> {
    let id = speech::enqueue(app, caller, order, key).await?;
    speech::wait(app, caller, &id).await?;
    // It may have been deleted since, if this is a repetition.
    let output = app.store.of(caller).output(&id).await?.ok_or_else(speech::deleted)?;
    let format = order.format;
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
