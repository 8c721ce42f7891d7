//! `POST /v1/audio/speech`: speaks a text and answers with the audio, as OpenAI's API does. It
//! costs, is kept and is counted like any generation. What need not be known whole is sent while it
//! is made.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Extension;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LOCATION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use gate::Code;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{download, generate};
use crate::app::App;
use crate::audio::{self, Format};
use crate::caller::Caller;
use crate::days::Today;
use crate::input::JsonBody;
use crate::openai::{MODELS, PCM_RATE, VOICES};
use crate::openapi::{About, Gives, Section};
use crate::problem::Refusal;
use crate::speech::{self, Live, Order};
use crate::store::Output;
use crate::voices;

/// How much of a file that is whole already is sent at once, in bytes.
const PIECE_BYTES: usize = 32 * 1024;
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
    let Sound { id, today, seconds, file } = sound(&app, &caller, &order, key).await?;
    let place = (today.map(Extension), [(CONTENT_LOCATION, speech::audio_url(&id, format))]);
    Ok(match stream_format {
        StreamFormat::Audio => {
            (place, [(CONTENT_TYPE, format.media_type())], HttpBody::from_stream(file)).into_response()
        }
        StreamFormat::Sse => {
            let events = events(file, order.characters(), seconds);
            (place, [(CONTENT_TYPE, "text/event-stream")], events).into_response()
        }
    })
}

/// What is answered with.
struct Sound {
    /// Of the output.
    id: String,
    /// See [`Live::today`].
    today: Option<Today>,
    /// How long it is; known when the file has ended.
    seconds: Arc<dyn Fn() -> f64 + Send + Sync>,
    /// Ends with an error when it is not whole.
    file: BoxStream<'static, io::Result<Bytes>>,
}

/// Speaks; the file comes while it is made, where that can be.
async fn sound(app: &Arc<App>, caller: &Caller, order: &Order, key: Option<String>) -> Result<Sound, Refusal> {
    let format = order.format;
    let is_right_rate = format != Format::Pcm || app.settings.engine.sample_rate_hz == PCM_RATE;
    if !is_right_rate || !audio::comes_live(format, app.settings.engine.sample_rate_hz) {
        let (output, file) = spoken(app, caller, order, key).await?;
        let seconds = output.seconds();
        return Ok(Sound { id: output.id, today: None, seconds: Arc::new(move || seconds), file: pieces(file) });
    }
    let Live { id, sample_rate, today, pcm } = speech::stream(app, caller, order, key).await?;
    let bytes = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&bytes);
    let pcm = pcm.inspect_ok(move |piece| {
        counted.fetch_add(piece.len() as u64, Ordering::Relaxed);
    });
    let file = audio::live(format, sample_rate, pcm.boxed(), &app.audio).map_err(Refusal::internal)?;
    let file = file.ok_or_else(|| Refusal::internal("the engine has another rate than it is set to"))?;
    let seconds = move || bytes.load(Ordering::Relaxed) as f64 / 2.0 / f64::from(sample_rate.max(1));
    Ok(Sound { id, today, seconds: Arc::new(seconds), file })
}

/// A whole file, piece by piece.
fn pieces(file: Bytes) -> BoxStream<'static, io::Result<Bytes>> {
    let starts = (0..file.len()).step_by(PIECE_BYTES);
    stream::iter(starts.map(move |start| Ok(file.slice(start..file.len().min(start + PIECE_BYTES))))).boxed()
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
fn events(
    file: BoxStream<'static, io::Result<Bytes>>,
    characters: i64,
    seconds: Arc<dyn Fn() -> f64 + Send + Sync>,
) -> HttpBody {
    let event = |value: Value| Bytes::from(format!("data: {value}\n\n"));
    let events = stream::try_unfold(Some((file, seconds)), move |state| async move {
        let Some((mut file, seconds)) = state else { return Ok::<_, io::Error>(None) };
        // What breaks off never says that it is done.
        if let Some(piece) = file.try_next().await? {
            let delta = json!({"type": "speech.audio.delta", "audio": STANDARD.encode(piece)});
            return Ok(Some((event(delta), Some((file, seconds)))));
        }
        let output_tokens = (seconds() * TOKENS_A_SECOND).ceil();
        let usage = json!({
            "input_tokens": characters,
            "output_tokens": output_tokens,
            "total_tokens": characters as f64 + output_tokens,
        });
        Ok(Some((event(json!({"type": "speech.audio.done", "usage": usage})), None)))
    });
    HttpBody::from_stream(events)
}

#[cfg(test)]
mod tests;
