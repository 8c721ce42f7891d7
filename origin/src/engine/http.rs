//! What engines behind HTTP servers have in common: addresses, patience, voices that are
//! recordings, and the way from a text in pieces to one stream of audio.

mod reference;
mod session;

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, RequestBuilder};

use self::session::Work;
pub(super) use self::session::{Fault, describe};
use super::prompt::{PIECE_BUDGET, Speaker, without_tokens};
use super::slots::{Slot, Slots};
use super::{EngineError, EngineSettings, Reference, SettingsError, Speech, Utterance, Voice, VoiceSource};
use super::{sentences, speech};
use crate::tls;

/// How one piece of text is asked for. The answer is PCM, of which the whole belongs to the piece.
pub(super) trait Ask: Send + Sync + 'static {
    /// The request for `text` to the server at `address`.
    fn request(&self, client: &Client, address: &str, text: &str) -> Result<RequestBuilder, EngineError>;
}

/// Servers of one model.
pub(super) struct Pool {
    server: Arc<Server>,
    slots: Arc<Slots>,
}

/// The stock voices and where they come from.
pub(super) struct Speakers {
    voices: Vec<Voice>,
    speakers: HashMap<String, Speaker>,
}

impl Pool {
    /// Expects settings that are valid.
    pub(super) fn new(settings: &EngineSettings) -> Result<Self, SettingsError> {
        let addresses: Vec<String> = settings.urls.iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
        let patience = Duration::from_secs(settings.queue_seconds);
        Ok(Self {
            slots: Slots::new(addresses.len(), settings.concurrency(), settings.queue_length, patience),
            server: Arc::new(Server::new(settings, addresses)?),
        })
    }

    /// Waits for a place at a server, and for a text in the pieces that it can speak.
    pub(super) async fn begin(&self, text: &str) -> Result<(Arc<Server>, Slot, VecDeque<String>), EngineError> {
        let text = without_tokens(text);
        let texts: VecDeque<String> = sentences::split(&text, PIECE_BUDGET).into_iter().map(str::to_owned).collect();
        if texts.is_empty() {
            return Err(EngineError::nothing_to_say());
        }
        Ok((Arc::clone(&self.server), self.slots.take().await?, texts))
    }

    /// Speaks a text, piece by piece at one server.
    pub(super) async fn speak(&self, text: &str, ask: impl Ask) -> Result<Speech, EngineError> {
        let (server, slot, texts) = self.begin(text).await?;
        let sample_rate = server.limits.sample_rate;
        speech::start(sample_rate, Work::new(server, slot, Arc::new(ask), texts)).await
    }

    /// Whether any server answers.
    pub(super) async fn check(&self) -> Result<(), EngineError> {
        self.server.check().await
    }
}

impl Speakers {
    /// Reads the recordings of the stock voices.
    pub(super) fn read(settings: &EngineSettings) -> Result<Self, SettingsError> {
        let mut stock = Self { voices: Vec::new(), speakers: HashMap::new() };
        for voice in &settings.voices {
            let speaker = match &voice.source {
                VoiceSource::Preset { speaker_id } => Speaker::Preset { speaker_id: speaker_id.clone() },
                VoiceSource::Reference { audio_path, transcript } => Speaker::Reference {
                    audio: reference::read(audio_path).map_err(|error| voice.error(error))?,
                    transcript: transcript.trim().to_owned(),
                },
            };
            stock.speakers.insert(voice.id.clone(), speaker);
            stock.voices.push(Voice {
                id: voice.id.clone(),
                name: voice.name.clone(),
                languages: voice.languages.clone(),
                description: voice.description.clone(),
            });
        }
        Ok(stock)
    }

    pub(super) fn voices(&self) -> &[Voice] {
        &self.voices
    }

    /// Whose voice an utterance wants.
    pub(super) fn of(&self, utterance: &Utterance) -> Result<Speaker, EngineError> {
        match &utterance.reference {
            Some(Reference { wav, transcript }) => {
                // A user wrote the transcript, so it is cleaned like a text.
                let transcript = without_tokens(transcript).trim().to_owned();
                Ok(Speaker::Reference { audio: wav.clone(), transcript })
            }
            None => self.speakers.get(&utterance.voice).cloned().ok_or_else(EngineError::unknown_voice),
        }
    }
}

/// How to reach the engine, and how long to wait for it.
pub(super) struct Server {
    pub(super) client: Client,
    pub(super) addresses: Vec<String>,
    pub(super) limits: Limits,
}

/// How long to wait for what, and how much to take.
pub(super) struct Limits {
    pub(super) deadline: Duration,
    connect: Duration,
    pub(super) first_byte: Duration,
    idle: Duration,
    pub(super) sample_rate: u32,
    pub(super) max_bytes: usize,
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
        // The settings name the server, and nothing else does.
        let client = tls::client(limits.connect)
            .map_err(|error| SettingsError::new(format!("engine: no TLS: {error}")))?
            // uvicorn closes idle connections after 5 seconds, perhaps just when we write.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| SettingsError::new(format!("engine: no HTTP client: {error}")))?;
        Ok(Self { client, addresses, limits })
    }

    /// Any answer will do: CosyVoice's own server has no health route, so a healthy one says 404.
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
        Err(EngineError::unavailable(format!("no address of the engine answers: {reason}")))
    }
}
