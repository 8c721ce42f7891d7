//! Servers of OpenAI's speech API that take a reference recording with the request: vLLM-Omni and
//! SGLang-Omni (`POST /v1/audio/speech` with `ref_audio` and `ref_text`).
//!
//! They can also keep voices, in one namespace for all their clients. That is never used here.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use reqwest::{Client, RequestBuilder};
use serde_json::{Map, Value, json};

use super::http::{Ask, PcmBody, Servers};
use super::pool::Pool;
use super::prompt::{SOUNDS, Speaker, languages, modes, system_prompt};
use super::stock::Speakers;
use super::{
    Abilities, CosyVoiceMode, CosyVoiceModel, Engine, EngineError, EngineSettings, SettingsError, Speech, Utterance,
    Voice,
};

/// The engine.
pub(super) struct OpenAi {
    pool: Pool,
    servers: Servers,
    stock: Speakers,
    model: CosyVoiceModel,
    served_model: String,
    mode: CosyVoiceMode,
}

/// A request but for the text.
struct Request(Map<String, Value>);

impl OpenAi {
    /// Expects settings that are valid.
    pub(super) fn new(settings: &EngineSettings) -> Result<Self, SettingsError> {
        let pool = Pool::new(settings);
        let servers = Servers::new(&pool, "/health")?;
        pool.watch(Arc::new(servers.clone()));
        Ok(Self {
            pool,
            servers,
            stock: Speakers::read(settings)?,
            model: settings.model,
            served_model: settings.served_model.clone(),
            mode: settings.mode,
        })
    }

    async fn begin(&self, utterance: Utterance) -> Result<Speech, EngineError> {
        utterance.check(self.abilities())?;
        let speaker = self.stock.of(&utterance)?;
        let request = self.request(&speaker, utterance.speed);
        self.pool.speak(&utterance.text, utterance.speed, PcmBody(self.servers.clone(), request)).await
    }

    fn request(&self, speaker: &Speaker, speed: f32) -> Request {
        let mut body = Map::new();
        let mut set = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
        set("model", json!(self.served_model));
        set("response_format", json!("pcm"));
        if (speed - 1.0).abs() > f32::EPSILON {
            set("speed", json!(speed));
        } else {
            // These servers change the speed of whole audio only.
            set("stream", json!(true));
            set("stream_format", json!("audio"));
        }
        match speaker {
            Speaker::Preset { speaker_id } => set("voice", json!(speaker_id)),
            Speaker::Reference { audio, transcript } => {
                set("ref_audio", json!(format!("data:audio/wav;base64,{}", STANDARD.encode(audio))));
                set("ref_text", json!(format!("{}{transcript}", system_prompt(self.model))));
            }
        }
        Request(body)
    }
}

impl Ask for Request {
    fn request(&self, client: &Client, address: &str, text: &str) -> RequestBuilder {
        let mut body = self.0.clone();
        body.insert("input".to_owned(), json!(text));
        client.post(format!("{address}/v1/audio/speech")).json(&body)
    }
}

impl Engine for OpenAi {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn voices(&self) -> &[Voice] {
        self.stock.voices()
    }

    fn notice(&self) -> Option<&str> {
        None
    }

    /// CosyVoice3 has no instructions here: its prompt is system prompt and transcript.
    fn abilities(&self) -> Abilities {
        Abilities {
            modes: modes(self.mode, false),
            languages: languages(self.model),
            streaming: true,
            formats: &["pcm"],
            reference: self.mode != CosyVoiceMode::Sft,
            speed: true,
            instruct: false,
            seed: false,
            tokens: &SOUNDS,
        }
    }

    fn check(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(self.pool.check(&self.servers))
    }

    fn speak(&self, utterance: Utterance) -> BoxFuture<'_, Result<Speech, EngineError>> {
        Box::pin(self.begin(utterance))
    }
}

#[cfg(test)]
mod tests;
