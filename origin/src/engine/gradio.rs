//! CosyVoice behind its demonstration page (`webui.py`, Gradio 5): upload, call, events, file.
//!
//! Of the servers in CosyVoice's own repository, only this one speaks CosyVoice3 without a patch.
//! The page keeps what it is sent and what it speaks in its temporary folder, so a recording stays
//! there; it is meant for one operator's own machine.

mod session;

use std::sync::Arc;

use futures::future::BoxFuture;

use self::session::{Prompt, Work};
use super::http::{Pool, Speakers};
use super::{
    Abilities, CosyVoiceMode, CosyVoiceModel, Engine, EngineError, EngineSettings, SettingsError, Speech, Utterance,
    Voice, speech,
};

/// The engine.
pub(super) struct Gradio {
    pool: Pool,
    stock: Speakers,
    model: CosyVoiceModel,
    mode: CosyVoiceMode,
}

impl Gradio {
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
        let prompt = Prompt { model: self.model, mode: self.mode, speaker, speed: utterance.speed };
        let (server, slot, texts) = self.pool.begin(&utterance.text).await?;
        let sample_rate = server.limits.sample_rate;
        speech::start(sample_rate, Work::new(Arc::clone(&server), slot, prompt, texts)).await
    }
}

impl Engine for Gradio {
    fn name(&self) -> &'static str {
        "gradio"
    }

    fn voices(&self) -> &[Voice] {
        self.stock.voices()
    }

    fn notice(&self) -> Option<&str> {
        None
    }

    /// The page's way of instructing works with CosyVoice-300M alone.
    fn abilities(&self) -> Abilities {
        Abilities { speed: true, instruct: false, reference: self.mode != CosyVoiceMode::Sft }
    }

    fn check(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(self.pool.check())
    }

    fn speak(&self, utterance: Utterance) -> BoxFuture<'_, Result<Speech, EngineError>> {
        Box::pin(self.begin(utterance))
    }
}

#[cfg(test)]
mod tests;
