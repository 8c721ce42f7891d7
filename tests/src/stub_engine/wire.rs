//! The HTTP of the stub.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Form, FromRequest, Multipart, Request, State};
use axum::http::header::{CONTENT_TYPE, SERVER};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::audio::{sentence_pcm, sentences};
use super::play::{Answering, FLUSH, Step, perform, steps};
use super::{Counters, Mode, Model, Seen, Shared, gradio, grpc};

const END_OF_PROMPT: &str = "<|endofprompt|>";
/// vLLM-Omni's route.
const SPEECH: &str = "/v1/audio/speech";
const PRESETS: [&str; 7] = ["中文女", "中文男", "日语男", "粤语女", "英文女", "英文男", "韩语女"];
const MIN_SAMPLE_RATE: u32 = 16_000;
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// Paths and required fields; `prompt_wav` is an upload.
const ROUTES: [(&str, &[&str]); 5] = [
    ("/inference_sft", &["tts_text", "spk_id"]),
    ("/inference_zero_shot", &["tts_text", "prompt_text", "prompt_wav"]),
    ("/inference_cross_lingual", &["tts_text", "prompt_wav"]),
    ("/inference_instruct", &["tts_text", "spk_id", "instruct_text"]),
    ("/inference_instruct2", &["tts_text", "instruct_text", "prompt_wav"]),
];

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let inference = ROUTES.iter().fold(Router::new(), |router, (path, _)| router.route(path, get(speak).post(speak)));
    inference
        .route(SPEECH, post(speak_openai))
        .route(grpc::INFERENCE, post(grpc::speak))
        .merge(gradio::router())
        .route("/stub/mode", post(change_mode))
        .route("/stub/counters", get(show_counters))
        .fallback(async || detail(StatusCode::NOT_FOUND, "Not Found"))
        .method_not_allowed_fallback(async || detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(shared)
}

async fn change_mode(State(shared): State<Arc<Shared>>, Json(mode): Json<Mode>) -> StatusCode {
    *shared.mode.lock().unwrap() = mode;
    StatusCode::NO_CONTENT
}

async fn show_counters(State(shared): State<Arc<Shared>>) -> Json<Counters> {
    Json(*shared.counters.lock().unwrap())
}

async fn speak(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let answering = Answering::new(&shared);
    let seen = read_form(path, request).await;
    answer(&shared, answering, seen)
}

/// As vLLM-Omni: JSON in, PCM out, errors as JSON.
async fn speak_openai(State(shared): State<Arc<Shared>>, Json(body): Json<BTreeMap<String, Value>>) -> Response {
    let answering = Answering::new(&shared);
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let audio = text("ref_audio").strip_prefix("data:audio/wav;base64,").and_then(|audio| STANDARD.decode(audio).ok());
    let is_whole = !text("input").is_empty() && text("response_format") == "pcm" && !text("ref_text").is_empty();
    let Some(audio) = audio.filter(|_| is_whole) else {
        answering.finish();
        let error = json!({"message": "ref_audio and ref_text are needed", "type": "BadRequestError", "code": 400});
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    };
    let fields = [("tts_text", text("input")), ("prompt_text", text("ref_text"))];
    let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let mut response =
        answer(&shared, answering, Seen { path: SPEECH.to_owned(), fields, prompt_wav: Some(audio.into()) });
    if response.status() == StatusCode::OK {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("audio/pcm"));
    }
    response
}

fn answer(shared: &Arc<Shared>, answering: Answering, seen: Seen) -> Response {
    shared.remember(seen.clone());
    let required = ROUTES.iter().find(|(path, _)| *path == seen.path).map_or(&[][..], |(_, fields)| fields);
    let missing: Vec<&str> = required.iter().copied().filter(|field| !seen.has(field)).collect();
    if !missing.is_empty() {
        answering.finish();
        return unprocessable(&missing);
    }
    let mode = *shared.mode.lock().unwrap();
    let undecodable = seen.prompt_wav.as_ref().is_some_and(|audio| !is_decodable(audio));
    let unknown_method = seen.path == "/inference_instruct2" && shared.model == Model::CosyVoice;
    let mode = if undecodable || unknown_method { Mode::ServerError } else { mode };
    if let Some(refusal) = refusal(mode) {
        answering.finish();
        return refusal;
    }
    let steps = plan(shared, mode, &seen);
    let mut response = Response::new(Body::from_stream(perform(steps, answering, shared.stopped.subscribe())));
    response.headers_mut().insert(SERVER, HeaderValue::from_static("uvicorn"));
    response
}

/// The answer of a server that takes nothing on, if that is how it behaves.
pub(super) fn refusal(mode: Mode) -> Option<Response> {
    Some(match mode {
        Mode::ServerError => (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error").into_response(),
        Mode::Unprocessable => unprocessable(&["tts_text"]),
        Mode::QueueFull => detail(StatusCode::SERVICE_UNAVAILABLE, "Queue is full."),
        Mode::TooLarge => detail(StatusCode::PAYLOAD_TOO_LARGE, "Too large."),
        _ => return None,
    })
}

/// What is done about a request that is taken on.
pub(super) fn plan(shared: &Shared, mode: Mode, seen: &Seen) -> Vec<Step> {
    match judge(shared.model, seen) {
        Verdict::Speak { text, voice } => steps(mode, shared.cost, audio_chunks(text, voice)),
        Verdict::Raise => vec![Step::Wait(FLUSH), Step::Cut],
        Verdict::NeverEnd => {
            shared.count(|counters| counters.rule_violations += 1);
            vec![Step::Hang]
        }
    }
}

/// What the model makes of a request that the server lets through.
enum Verdict<'a> {
    Speak {
        text: &'a str,
        voice: &'a [u8],
    },
    /// An exception after the head of the answer.
    Raise,
    NeverEnd,
}

fn judge(model: Model, seen: &Seen) -> Verdict<'_> {
    let field = |name: &str| seen.fields.get(name).map_or("", String::as_str);
    let text = field("tts_text");
    if let Some(audio) = &seen.prompt_wav {
        let prompt_field = match seen.path.as_str() {
            "/inference_zero_shot" | SPEECH => "prompt_text",
            "/inference_cross_lingual" => "tts_text",
            _ => "instruct_text",
        };
        let prompts = ["tts_text", "prompt_text", "instruct_text"].map(field).concat();
        let marks = (field(prompt_field).matches(END_OF_PROMPT).count(), prompts.matches(END_OF_PROMPT).count());
        if model == Model::CosyVoice3 && marks != (1, 1) {
            return Verdict::NeverEnd;
        }
        let text = text.split_once(END_OF_PROMPT).map_or(text, |(_, text)| text);
        return Verdict::Speak { text, voice: audio };
    }
    let speaker = field("spk_id");
    let has_presets = model != Model::CosyVoice3;
    let knows_route = seen.path == "/inference_sft" || model == Model::CosyVoice;
    if has_presets && knows_route && PRESETS.contains(&speaker) {
        return Verdict::Speak { text, voice: speaker.as_bytes() };
    }
    Verdict::Raise
}

/// One chunk for each sentence.
fn audio_chunks(text: &str, voice: &[u8]) -> Vec<Bytes> {
    sentences(text).into_iter().map(|sentence| sentence_pcm(sentence, voice).into()).collect()
}

/// Fields from a multipart or urlencoded body, also of a GET. An unreadable body has no fields.
async fn read_form(path: String, mut request: Request) -> Seen {
    let mut seen = Seen { path, fields: BTreeMap::new(), prompt_wav: None };
    let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if !media_type.starts_with("multipart/form-data") {
        // axum would look for a GET's form in the query.
        *request.method_mut() = Method::POST;
        if let Ok(Form(fields)) = Form::from_request(request, &()).await {
            seen.fields = fields;
        }
        return seen;
    }
    let Ok(mut form) = Multipart::from_request(request, &()).await else { return seen };
    while let Ok(Some(field)) = form.next_field().await {
        let name = field.name().unwrap_or_default().to_owned();
        if field.file_name().is_some() {
            seen.prompt_wav = field.bytes().await.ok();
        } else if let Ok(value) = field.text().await {
            seen.fields.insert(name, value);
        }
    }
    seen
}

impl Seen {
    fn has(&self, field: &str) -> bool {
        if field == "prompt_wav" { self.prompt_wav.is_some() } else { self.fields.contains_key(field) }
    }
}

/// Whether libsndfile would know the format, and the server accept the rate (checked for WAV).
fn is_decodable(audio: &[u8]) -> bool {
    match audio.get(..4) {
        Some(b"RIFF") => {
            let rate = audio.get(24..28).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
            audio.get(8..12) == Some(b"WAVE") && rate >= MIN_SAMPLE_RATE
        }
        Some(b"fLaC" | b"OggS") => true,
        _ => audio.starts_with(b"ID3") || audio.starts_with(&[0xFF, 0xFB]),
    }
}

fn unprocessable(missing: &[&str]) -> Response {
    let errors: Vec<_> = missing
        .iter()
        .map(|field| json!({"type": "missing", "loc": ["body", field], "msg": "Field required", "input": null}))
        .collect();
    (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "detail": errors }))).into_response()
}

fn detail(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "detail": text }))).into_response()
}
