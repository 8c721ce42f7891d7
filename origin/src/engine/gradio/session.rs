//! One utterance at the page: for each piece of text a call, its events and the file that it made.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use reqwest::multipart::{Form, Part};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::http::{Servers, describe, good};
use super::super::pool::Limits;
use super::super::prompt::{Speaker, system_prompt};
use super::super::session::{Fault, Wire};
use super::super::{CosyVoiceMode, CosyVoiceModel};

/// Events hold names, not audio.
const MAX_EVENT_BYTES: usize = 1024 * 1024;
/// What a WAV file has beside its samples.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// The page's ways of speaking, by the names on its buttons.
const SFT: &str = "预训练音色";
const ZERO_SHOT: &str = "3s极速复刻";
const CROSS_LINGUAL: &str = "跨语种复刻";

/// A call but for the text.
pub(super) struct Prompt {
    pub(super) model: CosyVoiceModel,
    pub(super) mode: CosyVoiceMode,
    pub(super) speaker: Speaker,
    pub(super) speed: f32,
}

pub(super) struct Page {
    servers: Servers,
    limits: Arc<Limits>,
    prompt: Prompt,
    /// Where the recording lies at an address.
    uploaded: Option<(usize, String)>,
}

impl Prompt {
    /// The ten inputs of `generate_audio`, in the page's order.
    fn inputs(&self, text: &str, uploaded: Option<&str>) -> Value {
        let system_prompt = system_prompt(self.model);
        let recording = uploaded.map(|path| json!({"path": path, "meta": {"_type": "gradio.FileData"}}));
        let (way, text, speaker_id, prompt_text) = match (&self.speaker, self.mode) {
            (Speaker::Preset { speaker_id }, _) => (SFT, text.to_owned(), speaker_id.as_str(), String::new()),
            (Speaker::Reference { .. }, CosyVoiceMode::CrossLingual) => {
                (CROSS_LINGUAL, format!("{system_prompt}{text}"), "", String::new())
            }
            (Speaker::Reference { transcript, .. }, _) => {
                (ZERO_SHOT, text.to_owned(), "", format!("{system_prompt}{transcript}"))
            }
        };
        let (record, instruct, seed, stream) = (Value::Null, "", 0, false);
        json!([text, way, speaker_id, prompt_text, recording, record, instruct, seed, stream, self.speed])
    }
}

impl Page {
    pub(super) fn new(servers: Servers, limits: Arc<Limits>, prompt: Prompt) -> Self {
        Self { servers, limits, prompt, uploaded: None }
    }

    async fn speak(&mut self, address: usize, text: &str) -> Result<Bytes, Fault> {
        let uploaded = self.upload(address).await?;
        let call = self.url(address, "/gradio_api/call/generate_audio");
        let inputs = json!({"data": self.prompt.inputs(text, uploaded.as_deref())});
        let called = send(self.servers.client.post(&call).json(&inputs)).await?;
        let event = json_of(called).await?;
        let event = event.get("event_id").and_then(Value::as_str).filter(|id| is_plain(id)).unwrap_or_default();
        if event.is_empty() {
            return Err(Fault::broken("its call has no event"));
        }
        let events = send(self.servers.client.get(format!("{call}/{event}"))).await?;
        let result = result_of(events).await?;
        let made = result.pointer("/0/path").and_then(Value::as_str).and_then(place_of);
        let made = made.ok_or_else(|| Fault::broken("its result is no file"))?;
        let file = send(self.servers.client.get(self.url(address, &made))).await?;
        let file = body_of(file, self.limits.max_bytes.saturating_add(MAX_HEADER_BYTES)).await?;
        let rate = self.limits.sample_rate;
        let pcm = tokio::task::spawn_blocking(move || pcm_of(&file, rate)).await;
        pcm.unwrap_or_else(|_| Err(Fault::broken("its audio cannot be read")))
    }

    /// Uploads the recording, once for each address.
    async fn upload(&mut self, at: usize) -> Result<Option<String>, Fault> {
        let Speaker::Reference { audio, .. } = &self.prompt.speaker else { return Ok(None) };
        if let Some((_, path)) = self.uploaded.as_ref().filter(|(address, _)| *address == at) {
            return Ok(Some(path.clone()));
        }
        let part = Part::stream_with_length(audio.clone(), audio.len() as u64).file_name("reference.wav");
        let form = Form::new().part("files", part);
        let request = self.servers.client.post(self.url(at, "/gradio_api/upload")).multipart(form);
        let paths = json_of(send(request).await?).await?;
        let path =
            paths.get(0).and_then(Value::as_str).ok_or_else(|| Fault::broken("its upload has no path"))?.to_owned();
        self.uploaded = Some((at, path.clone()));
        Ok(Some(path))
    }

    fn url(&self, address: usize, path: &str) -> String {
        format!("{}{path}", self.servers.address(address))
    }
}

impl Wire for Page {
    /// The whole audio, until it is taken.
    type Reply = Option<Bytes>;

    async fn ask(&mut self, address: usize, text: &str, _: Instant) -> Result<Option<Bytes>, Fault> {
        self.speak(address, text).await.map(Some)
    }

    async fn more(&mut self, audio: &mut Option<Bytes>) -> Result<Option<Bytes>, Fault> {
        Ok(audio.take())
    }
}

async fn send(request: RequestBuilder) -> Result<Response, Fault> {
    // 503 says that the page's queue, which holds four, is full.
    good(request.send().await.map_err(|error| Fault::Unreachable(describe(error)))?).await
}

/// Letters, digits and dashes, so that nothing of it changes a path.
fn is_plain(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Where a result is fetched. The address that the page gives beside it is wrong in 5.4.
fn place_of(path: &str) -> Option<String> {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
    if path.is_empty() || path.len() > 1024 || !path.bytes().all(is_safe) || path.split('/').any(|part| part == "..") {
        return None;
    }
    match path.strip_suffix("/playlist.m3u8") {
        Some(stream) => Some(format!("/gradio_api/stream/{}/playlist-file", stream.trim_start_matches('/'))),
        None => Some(format!("/gradio_api/file={path}")),
    }
}

async fn body_of(mut response: Response, most: usize) -> Result<Bytes, Fault> {
    let mut body = BytesMut::new();
    loop {
        let chunk = response.chunk().await;
        let chunk = chunk.map_err(|error| Fault::Broken(format!("its answer was cut off: {}", describe(error))))?;
        let Some(chunk) = chunk else { return Ok(body.freeze()) };
        if body.len() + chunk.len() > most {
            return Err(Fault::broken("its answer is too long"));
        }
        body.extend_from_slice(&chunk);
    }
}

async fn json_of(response: Response) -> Result<Value, Fault> {
    let body = body_of(response, MAX_EVENT_BYTES).await?;
    serde_json::from_slice(&body).map_err(|_| Fault::broken("its answer is no JSON"))
}

/// The data of the event `complete`. Of an error, the page says nothing but that.
async fn result_of(response: Response) -> Result<Value, Fault> {
    let body = body_of(response, MAX_EVENT_BYTES).await?;
    let text = String::from_utf8_lossy(&body);
    let mut event = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("event:") {
            event = name.trim();
        } else if let Some(data) = line.strip_prefix("data:") {
            match event {
                "complete" => {
                    return serde_json::from_str(data.trim()).map_err(|_| Fault::broken("its result is no JSON"));
                }
                "error" => return Err(Fault::broken("it reports an error")),
                _ => {}
            }
        }
    }
    Err(Fault::broken("its events end without a result"))
}

/// The samples of a WAV file, at the rate of everything else.
fn pcm_of(file: &[u8], sample_rate: u32) -> Result<Bytes, Fault> {
    let reader = hound::WavReader::new(file).map_err(|_| Fault::broken("its audio is no WAV file"))?;
    let spec = reader.spec();
    if (spec.channels, spec.bits_per_sample, spec.sample_format) != (1, 16, hound::SampleFormat::Int) {
        return Err(Fault::broken("its audio is not 16-bit mono"));
    }
    let mut pcm = Vec::new();
    for sample in reader.into_samples::<i16>() {
        let sample = sample.map_err(|_| Fault::broken("its audio breaks off"))?;
        pcm.extend_from_slice(&sample.to_le_bytes());
    }
    if pcm.is_empty() {
        return Err(Fault::broken("it answered without any audio"));
    }
    let resampled = crate::audio::resample(&pcm, spec.sample_rate, sample_rate);
    resampled.map(Bytes::from).map_err(|error| Fault::Broken(error.to_string()))
}
