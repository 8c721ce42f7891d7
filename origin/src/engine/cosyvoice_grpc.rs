//! CosyVoice behind its gRPC server (`runtime/python/grpc/server.py`).
//!
//! It has a limit of its own (`--max_conc`), tells errors cleanly and stops when a call is taken
//! back. It knows no instructions, no speed and no health service.

mod messages;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use self::wire::{Calls, Prompt, Servers};
use super::pool::Pool;
use super::prompt::Speaker;
use super::stock::Speakers;
use super::{
    Abilities, CosyVoiceMode, CosyVoiceModel, Engine, EngineError, EngineSettings, SettingsError, Speech, Utterance,
    Voice, prompt,
};
use crate::audio;

/// At which rate the server takes recordings. It is told none.
const PROMPT_RATE: u32 = 16_000;

/// The engine.
pub(super) struct CosyVoiceGrpc {
    pool: Pool,
    servers: Servers,
    stock: Speakers,
    model: CosyVoiceModel,
    mode: CosyVoiceMode,
}

impl CosyVoiceGrpc {
    /// Expects settings that are valid.
    pub(super) fn new(settings: &EngineSettings) -> Result<Self, SettingsError> {
        let pool = Pool::new(settings);
        let servers = Servers::new(&pool)?;
        pool.watch(Arc::new(servers.clone()));
        Ok(Self { pool, servers, stock: Speakers::read(settings)?, model: settings.model, mode: settings.mode })
    }

    async fn begin(&self, utterance: Utterance) -> Result<Speech, EngineError> {
        utterance.check(self.abilities())?;
        let speaker = match self.stock.of(&utterance)? {
            Speaker::Reference { audio, transcript } => {
                let samples = tokio::task::spawn_blocking(move || samples(&audio)).await;
                let audio = samples.ok().flatten().ok_or_else(|| EngineError::failed("a recording cannot be read"))?;
                Speaker::Reference { audio, transcript }
            }
            preset @ Speaker::Preset { .. } => preset,
        };
        let prompt = Prompt { model: self.model, mode: self.mode, speaker };
        self.pool.speak(&utterance.text, utterance.speed, Calls(self.servers.clone(), prompt)).await
    }
}

/// The samples of a WAV file of 16-bit mono PCM, at the server's rate.
fn samples(wav: &[u8]) -> Option<Bytes> {
    let reader = hound::WavReader::new(wav).ok()?;
    let rate = reader.spec().sample_rate;
    let mut pcm = Vec::new();
    for sample in reader.into_samples::<i16>() {
        pcm.extend_from_slice(&sample.ok()?.to_le_bytes());
    }
    audio::resample(&pcm, rate, PROMPT_RATE).ok().map(Bytes::from)
}

impl Engine for CosyVoiceGrpc {
    fn name(&self) -> &'static str {
        "cosyvoice-grpc"
    }

    fn voices(&self) -> &[Voice] {
        self.stock.voices()
    }

    fn notice(&self) -> Option<&str> {
        None
    }

    /// The messages have no field for a speed, and none for an instruction beside a recording.
    fn abilities(&self) -> Abilities {
        Abilities {
            modes: prompt::modes(self.mode, false),
            languages: prompt::languages(self.model),
            streaming: true,
            formats: &["pcm"],
            reference: self.mode != CosyVoiceMode::Sft,
            speed: false,
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
