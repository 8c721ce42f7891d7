//! CosyVoice behind its FastAPI server (`runtime/python/fastapi/server.py`).
//!
//! The server has no limit, no queue, no deadline and no health route, and reports most errors as
//! 200 with a body that breaks off. All of that is made up for here.

mod prompt;
mod reference;
mod session;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::Client;

use self::prompt::{Prompt, Speaker};
use self::session::Work;
use super::slots::Slots;
use super::{
    Abilities, CosyVoiceMode, CosyVoiceModel, Engine, EngineError, EngineSettings, Reference, SettingsError, Speech,
    Utterance, Voice, VoiceSource, sentences, speech,
};

/// Longest text of one request, in units of [`sentences::split`]: some 20 seconds. The model stops
/// at 30 seconds, and the server does not cut a text that holds a control token.
const PIECE_BUDGET: usize = 240;

/// The engine.
pub(super) struct CosyVoiceHttp {
    server: Arc<Server>,
    slots: Arc<Slots>,
    voices: Vec<Voice>,
    speakers: HashMap<String, Speaker>,
    model: CosyVoiceModel,
    mode: CosyVoiceMode,
}

/// How to reach the engine, and how long to wait for it.
struct Server {
    client: Client,
    addresses: Vec<String>,
    limits: Limits,
}

struct Limits {
    deadline: Duration,
    connect: Duration,
    first_byte: Duration,
    idle: Duration,
    sample_rate: u32,
    max_bytes: usize,
}

impl CosyVoiceHttp {
    /// Expects settings that are valid.
    pub(super) fn new(settings: &EngineSettings) -> Result<Self, SettingsError> {
        let mut voices = Vec::new();
        let mut speakers = HashMap::new();
        for voice in &settings.voices {
            let speaker = match &voice.source {
                VoiceSource::Preset { speaker_id } => Speaker::Preset { speaker_id: speaker_id.clone() },
                VoiceSource::Reference { audio_path, transcript } => Speaker::Reference {
                    audio: reference::read(audio_path).map_err(|error| voice.error(error))?,
                    transcript: transcript.trim().to_owned(),
                },
            };
            speakers.insert(voice.id.clone(), speaker);
            voices.push(Voice {
                id: voice.id.clone(),
                name: voice.name.clone(),
                languages: voice.languages.clone(),
                description: voice.description.clone(),
            });
        }
        let patience = Duration::from_secs(settings.queue_seconds);
        let addresses: Vec<String> = settings.urls.iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
        Ok(Self {
            slots: Slots::new(addresses.len(), settings.concurrency(), settings.queue_length, patience),
            server: Arc::new(Server::new(settings, addresses)?),
            voices,
            speakers,
            model: settings.model,
            mode: settings.mode,
        })
    }

    async fn begin(&self, utterance: Utterance) -> Result<Speech, EngineError> {
        utterance.check(self.abilities())?;
        let speaker = match &utterance.reference {
            Some(Reference { wav, transcript }) => {
                // A user wrote the transcript, so it is cleaned like a text.
                let transcript = prompt::without_tokens(transcript).trim().to_owned();
                Speaker::Reference { audio: wav.clone(), transcript }
            }
            None => self.speakers.get(&utterance.voice).ok_or_else(EngineError::unknown_voice)?.clone(),
        };
        let instruct = prompt::without_tokens(utterance.instruction().unwrap_or(""));
        let text = prompt::without_tokens(&utterance.text);
        let texts: Vec<&str> = sentences::split(&text, PIECE_BUDGET);
        if texts.is_empty() {
            return Err(EngineError::nothing_to_say());
        }
        let texts = texts.into_iter().map(str::to_owned).collect();
        let prompt = Prompt { model: self.model, mode: self.mode, speaker, instruct: instruct.trim().to_owned() };
        let slot = self.slots.take().await?;
        let work = Work::new(Arc::clone(&self.server), slot, prompt, texts);
        speech::start(self.server.limits.sample_rate, work).await
    }
}

impl Engine for CosyVoiceHttp {
    fn name(&self) -> &'static str {
        "cosyvoice-http"
    }

    fn voices(&self) -> &[Voice] {
        &self.voices
    }

    fn notice(&self) -> Option<&str> {
        None
    }

    /// The model can change its speed, but the server has no field for it.
    fn abilities(&self) -> Abilities {
        Abilities {
            speed: false,
            instruct: self.mode == CosyVoiceMode::Instruct2,
            reference: self.mode != CosyVoiceMode::Sft,
        }
    }

    fn check(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(self.server.check())
    }

    fn speak(&self, utterance: Utterance) -> BoxFuture<'_, Result<Speech, EngineError>> {
        Box::pin(self.begin(utterance))
    }
}

impl Server {
    fn new(settings: &EngineSettings, addresses: Vec<String>) -> Result<Self, SettingsError> {
        let limits = Limits {
            deadline: Duration::from_secs(settings.deadline_seconds),
            connect: Duration::from_secs(settings.connect_seconds),
            first_byte: Duration::from_secs(settings.first_byte_seconds),
            idle: Duration::from_secs(settings.idle_seconds),
            sample_rate: settings.sample_rate_hz,
            max_bytes: settings.max_speech_bytes(),
        };
        let client = Client::builder()
            .connect_timeout(limits.connect)
            // The settings name the server; neither a redirect nor the environment changes that.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // uvicorn closes idle connections after 5 seconds, perhaps just when we write.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| SettingsError::new(format!("engine: no HTTP client: {error}")))?;
        Ok(Self { client, addresses, limits })
    }

    /// Any answer will do: the server has no health route, so a healthy one says 404.
    async fn check(&self) -> Result<(), EngineError> {
        let mut last = None;
        for address in &self.addresses {
            let request = self.client.get(address).timeout(self.limits.connect).send();
            match request.await {
                Ok(_) => return Ok(()),
                Err(error) => last = Some(error),
            }
        }
        let reason = last.map(session::describe).unwrap_or_default();
        Err(EngineError::unavailable(format!("no address of CosyVoice answers: {reason}")))
    }
}

#[cfg(test)]
mod tests;
