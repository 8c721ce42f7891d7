//! CosyVoice behind its FastAPI server (`runtime/python/fastapi/server.py`).
//!
//! The server has no limit, no queue, no deadline and no health route, and reports most errors as
//! 200 with a body that breaks off. All of that is made up for here.

mod form;

use futures::future::BoxFuture;

use self::form::Prompt;
use super::http::{Pool, Speakers};
use super::{
    Abilities, CosyVoiceMode, CosyVoiceModel, Engine, EngineError, EngineSettings, SettingsError, Speech, Utterance,
    Voice, prompt,
};

/// The engine.
pub(super) struct CosyVoiceHttp {
    pool: Pool,
    stock: Speakers,
    model: CosyVoiceModel,
    mode: CosyVoiceMode,
}

impl CosyVoiceHttp {
    /// Expects settings that are valid.
    pub(super) fn new(settings: &EngineSettings) -> Result<Self, SettingsError> {
        Ok(Self {
            pool: Pool::new(settings)?,
            stock: Speakers::read(settings)?,
            model: settings.model,
            mode: settings.mode,
        })
    }

    async fn begin(&self, utterance: Utterance) -> Result<Speech, EngineError> {
        utterance.check(self.abilities())?;
        let speaker = self.stock.of(&utterance)?;
        let instruct = prompt::without_tokens(utterance.instruction().unwrap_or(""));
        let prompt = Prompt { model: self.model, mode: self.mode, speaker, instruct: instruct.trim().to_owned() };
        self.pool.speak(&utterance.text, prompt).await
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
        Abilities {
            speed: false,
            instruct: self.mode == CosyVoiceMode::Instruct2,
            reference: self.mode != CosyVoiceMode::Sft,
        }
    }

    fn check(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(self.pool.check())
    }

    fn speak(&self, utterance: Utterance) -> BoxFuture<'_, Result<Speech, EngineError>> {
        Box::pin(self.begin(utterance))
    }
}

#[cfg(test)]
pub(crate) mod tests;
