//! CosyVoice behind its demonstration page (`webui.py`, Gradio 5): upload, call, events, file.
//!
//! Of the servers in CosyVoice's own repository, only this one speaks CosyVoice3 without a patch.
//! The page keeps what it is sent and what it speaks in its temporary folder, so a recording stays
//! there; it is meant for one operator's own machine.

mod session;

use std::sync::Arc;

use futures::future::BoxFuture;

use self::session::{Page, Prompt};
use super::http::Servers;
use super::pool::Pool;
use super::stock::Speakers;
use super::{
    Abilities, CosyVoiceMode, CosyVoiceModel, Engine, EngineError, EngineSettings, SettingsError, Speech, Utterance,
    Voice, prompt,
};

/// The engine.
pub(super) struct Gradio {
    pool: Pool,
    servers: Servers,
    stock: Speakers,
    model: CosyVoiceModel,
    mode: CosyVoiceMode,
}

impl Gradio {
    /// Expects settings that are valid.
    pub(super) fn new(settings: &EngineSettings) -> Result<Self, SettingsError> {
        let pool = Pool::new(settings);
        let servers = Servers::new(&pool, "/health")?;
        pool.watch(Arc::new(servers.clone()));
        Ok(Self { pool, servers, stock: Speakers::read(settings)?, model: settings.model, mode: settings.mode })
    }

    async fn begin(&self, utterance: Utterance) -> Result<Speech, EngineError> {
        utterance.check(self.abilities())?;
        let speaker = self.stock.of(&utterance)?;
        let prompt = Prompt { model: self.model, mode: self.mode, speaker, speed: utterance.speed };
        let page = Page::new(self.servers.clone(), Arc::clone(&self.pool.limits), prompt);
        self.pool.speak(&utterance.text, utterance.speed, page).await
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
        Abilities {
            modes: prompt::modes(self.mode, false),
            languages: prompt::languages(self.model),
            streaming: false,
            formats: &["wav"],
            reference: self.mode != CosyVoiceMode::Sft,
            speed: true,
            instruct: false,
            seed: false,
            tokens: &prompt::SOUNDS,
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
