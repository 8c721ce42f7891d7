//! The page of the stub: what Gradio 5 makes of CosyVoice's `webui.py`.
//!
//! The real page hands out audio that has been AAC on its way; here it is what was said.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Multipart, Path, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use serde_json::{Value, json};

use super::audio::SAMPLE_RATE;
use super::play::{Answering, FLUSH, Step, perform};
use super::wire::{plan, refusal};
use super::{Mode, Seen, Shared};

const HEADER_BYTES: usize = 44;
/// All that the page says of any error.
const ERROR: &str = "event: error\ndata: null\n\n";

/// What lies in the page's temporary folder, and what it was asked for.
#[derive(Default)]
pub(super) struct Page {
    uploads: Mutex<HashMap<String, Bytes>>,
    /// What the page could make nothing of is none.
    calls: Mutex<HashMap<String, Option<Seen>>>,
    files: Mutex<HashMap<String, (Mode, Vec<u8>)>>,
    count: AtomicUsize,
}

impl Page {
    fn next(&self) -> usize {
        self.count.fetch_add(1, Ordering::Relaxed)
    }
}

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/gradio_api/upload", post(upload))
        .route("/gradio_api/call/generate_audio", post(call))
        .route("/gradio_api/call/generate_audio/{event}", get(events))
        .route("/gradio_api/stream/{session}/{run}/{component}/playlist-file", get(file))
}

async fn upload(State(shared): State<Arc<Shared>>, mut form: Multipart) -> Json<Value> {
    let mut paths = Vec::new();
    while let Ok(Some(field)) = form.next_field().await {
        if field.name() != Some("files") {
            continue;
        }
        let name = field.file_name().unwrap_or("file").to_owned();
        let path = format!("/tmp/gradio/{}/{name}", shared.page.next());
        let content = field.bytes().await.unwrap_or_default();
        shared.page.uploads.lock().unwrap().insert(path.clone(), content);
        paths.push(path);
    }
    Json(json!(paths))
}

async fn call(State(shared): State<Arc<Shared>>, Json(body): Json<Value>) -> Response {
    let mode = *shared.mode.lock().unwrap();
    let refused = match body["data"] {
        Value::Array(_) => refusal(mode),
        _ => refusal(Mode::Unprocessable),
    };
    if let Some(refused) = refused {
        Answering::new(&shared).finish();
        return refused;
    }
    let seen = body["data"].as_array().and_then(|inputs| seen(&shared, inputs));
    seen.iter().for_each(|seen| shared.remember(seen.clone()));
    let event = format!("{:032x}", shared.page.next());
    shared.page.calls.lock().unwrap().insert(event.clone(), seen);
    Json(json!({"event_id": event})).into_response()
}

/// The ten inputs as a request over HTTP would have them.
fn seen(shared: &Shared, inputs: &[Value]) -> Option<Seen> {
    let [spoken, way, speaker, prompt_text, uploaded, _, instruct, _, _, _] = inputs else { return None };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (path, fields) = match way.as_str()? {
        "预训练音色" => ("/inference_sft", vec![("spk_id", text(speaker))]),
        "3s极速复刻" => ("/inference_zero_shot", vec![("prompt_text", text(prompt_text))]),
        "跨语种复刻" => ("/inference_cross_lingual", vec![]),
        "自然语言控制" => {
            ("/inference_instruct", vec![("spk_id", text(speaker)), ("instruct_text", text(instruct))])
        }
        _ => return None,
    };
    let fields =
        fields.into_iter().chain([("tts_text", text(spoken))]).map(|(name, value)| (name.to_owned(), value)).collect();
    let prompt_wav = match uploaded["path"].as_str() {
        Some(path) => Some(shared.page.uploads.lock().unwrap().get(path)?.clone()),
        None => None,
    };
    Some(Seen { path: path.to_owned(), fields, prompt_wav })
}

/// `generating`, then `complete` with a file, or `error` that says nothing.
async fn events(State(shared): State<Arc<Shared>>, Path(event): Path<String>) -> Response {
    let Some(seen) = shared.page.calls.lock().unwrap().remove(&event) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let head = [(CONTENT_TYPE, "text/event-stream; charset=utf-8")];
    let Some(seen) = seen else {
        Answering::new(&shared).finish();
        return (head, ERROR).into_response();
    };
    let mode = *shared.mode.lock().unwrap();
    // How the file is sent is settled when it is fetched; what is in it is settled now.
    let whole = match mode {
        Mode::Cut { .. } | Mode::HangAfter { .. } | Mode::OddLength => Mode::Work,
        mode => mode,
    };
    let steps = plan(&shared, whole, &seen);
    let has_no_samples = steps.iter().all(|step| !matches!(step, Step::Send(_)));
    let spoken = perform(steps, Answering::new(&shared), shared.stopped.subscribe());
    let result = async move {
        let pieces: Vec<Result<Bytes, &str>> = spoken.collect().await;
        let pcm: Result<Vec<Bytes>, &str> = pieces.into_iter().collect();
        match pcm {
            // The page has nothing to show then.
            Ok(_) if has_no_samples => "event: complete\ndata: [null]\n\n".to_owned(),
            Ok(pcm) => {
                shared.page.files.lock().unwrap().insert(event.clone(), (mode, wav(&pcm.concat())));
                let path = format!("{event}/1/21/playlist.m3u8");
                // The address is wrong in the real page, too.
                let made = json!([{"path": path, "url": "/gradio_a/gradio_api/stream/x", "is_stream": true}]);
                format!("event: generating\ndata: {made}\n\nevent: complete\ndata: {made}\n\n")
            }
            Err(_) => ERROR.to_owned(),
        }
    };
    let alive = stream::once(async { Ok::<_, Infallible>("event: heartbeat\ndata: null\n\n".to_owned()) });
    let body = Body::from_stream(alive.chain(stream::once(async { Ok(result.await) })));
    (head, body).into_response()
}

async fn file(State(shared): State<Arc<Shared>>, Path((event, _, _)): Path<(String, String, String)>) -> Response {
    let Some((mode, mut wav)) = shared.page.files.lock().unwrap().remove(&event) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if mode == Mode::OddLength {
        wav.pop();
    }
    let length = wav.len();
    let (sent, end) = match mode {
        Mode::Cut { after_bytes } => (HEADER_BYTES + after_bytes, Some(Step::Cut)),
        Mode::HangAfter { after_bytes } => (HEADER_BYTES + after_bytes, Some(Step::Hang)),
        _ => (length, None),
    };
    // Whatever is cut misses something.
    wav.truncate(if end.is_some() { sent.min(length - 1) } else { length });
    let ending = end.into_iter().flat_map(|end| [Step::Wait(FLUSH), end]);
    let steps = [Step::Send(wav.into())].into_iter().chain(ending).collect();
    let body = Body::from_stream(perform(steps, Answering::part(&shared), shared.stopped.subscribe()));
    ([(CONTENT_TYPE, "audio/x-wav".to_owned()), (CONTENT_LENGTH, length.to_string())], body).into_response()
}

fn wav(pcm: &[u8]) -> Vec<u8> {
    let length = pcm.len() as u32;
    let rate = SAMPLE_RATE.to_le_bytes();
    let fields: [&[u8]; 9] = [
        b"RIFF",
        &(36 + length).to_le_bytes(),
        b"WAVEfmt \x10\0\0\0\x01\0\x01\0",
        &rate,
        &(2 * SAMPLE_RATE).to_le_bytes(),
        b"\x02\0\x10\0data",
        &length.to_le_bytes(),
        pcm,
        b"",
    ];
    fields.concat()
}
