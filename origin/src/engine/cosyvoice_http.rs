//! CosyVoice behind its FastAPI server (`runtime/python/fastapi/server.py`).
//!
//! The server has no limit, no queue, no deadline and no health route, and reports most errors as
//! 200 with a body that breaks off. All of that is made up for here.

mod form;

use std::sync::Arc;

use futures::future::BoxFuture;

use self::form::Prompt;
use super::http::{PcmBody, Servers};
use super::instructs::{INSTRUCTS, Instruct, resolve};
use super::pool::Pool;
use super::stock::Speakers;
use super::{
    Abilities, CosyVoiceMode, CosyVoiceModel, Engine, EngineError, EngineSettings, SettingsError, Speech, Utterance,
    Voice, prompt,
};

/// The engine.
pub(super) struct CosyVoiceHttp {
    pool: Pool,
    servers: Servers,
    stock: Speakers,
    model: CosyVoiceModel,
    mode: CosyVoiceMode,
}

impl CosyVoiceHttp {
    /// Expects settings that are valid.
    pub(super) fn new(settings: &EngineSettings) -> Result<Self, SettingsError> {
        let pool = Pool::new(settings);
        let servers = Servers::new(&pool, "/")?;
        pool.watch(Arc::new(servers.clone()));
        Ok(Self { pool, servers, stock: Speakers::read(settings)?, model: settings.model, mode: settings.mode })
    }

    async fn begin(&self, utterance: Utterance) -> Result<Speech, EngineError> {
        utterance.check(self.abilities())?;
        let speaker = self.stock.of(&utterance)?;
        let instruct = resolve(utterance.instruction().unwrap_or(""));
        let instruct = prompt::without_tokens(instruct).trim().to_owned();
        // Only this way has a field for an instruction.
        let mode = if instruct.is_empty() { self.mode } else { CosyVoiceMode::Instruct2 };
        let prompt = Prompt { model: self.model, mode, speaker, instruct };
        self.pool.speak(&utterance.text, utterance.speed, PcmBody(self.servers.clone(), prompt)).await
    }

    /// Whether the model and the voices go together with instructions.
    fn can_instruct(&self) -> bool {
        self.mode != CosyVoiceMode::Sft && self.model != CosyVoiceModel::CosyVoice
    }
}

impl Engine for CosyVoiceHttp {
    fn name(&self) -> &'static str {
        "cosyvoice-http"
    }

    fn voices(&self) -> &[Voice] {
        self.stock.voices()
    }

    fn notice(&self) -> Option<&str> {
        None
    }

    /// The model can change its speed, but the server has no field for it.
    fn abilities(&self) -> Abilities {
        let instruct = self.can_instruct();
        Abilities {
            modes: prompt::modes(self.mode, instruct),
            languages: prompt::languages(self.model),
            streaming: true,
            formats: &["pcm"],
            reference: self.mode != CosyVoiceMode::Sft,
            speed: false,
            instruct,
            seed: false,
            tokens: &prompt::SOUNDS,
        }
    }

    fn instructs(&self) -> &'static [Instruct] {
        if self.can_instruct() && self.model == CosyVoiceModel::CosyVoice3 { &INSTRUCTS } else { &[] }
    }

    fn check(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(self.pool.check(&self.servers))
    }

    fn speak(&self, utterance: Utterance) -> BoxFuture<'_, Result<Speech, EngineError>> {
        Box::pin(self.begin(utterance))
    }
}

#[cfg(test)]
pub(crate) mod tests;
