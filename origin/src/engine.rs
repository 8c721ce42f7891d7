//! Speech engines: one trait, and one implementation for each way of reaching an engine.
//!
//! An engine turns text into 16-bit PCM. It knows no users, no files of users and no database.
//! What a user owns is sent along with each request and never stored inside an engine.

mod cosyvoice_grpc;
mod cosyvoice_http;
mod espeak;
mod gradio;
mod http;
mod instructs;
mod openai;
mod pool;
mod prompt;
mod reference;
mod sentences;
mod session;
mod settings;
mod slots;
mod speech;
mod stock;
pub mod wav;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Serialize;

pub use instructs::{Instruct, Names};
pub use settings::{
    CosyVoiceMode, CosyVoiceModel, EngineKind, EngineSettings, SettingsError, VoiceSettings, VoiceSource,
};
pub use speech::{Sentences, Speech};

/// How long a client should wait before it tries an unavailable engine again, in seconds.
const RETRY_AFTER_SECONDS: u32 = 5;

/// Something that can speak.
pub trait Engine: Send + Sync {
    /// Short stable name, as reported to clients and written into the history.
    fn name(&self) -> &'static str;

    /// The stock voices, never empty; the first one is the default.
    fn voices(&self) -> &[Voice];

    /// One sentence that a client must be shown about this engine, if any.
    fn notice(&self) -> Option<&str>;

    /// What the engine can do. What it cannot do it refuses.
    fn abilities(&self) -> Abilities;

    /// The styles that a request may name in place of an instruction in words.
    fn instructs(&self) -> &'static [Instruct] {
        &[]
    }

    /// Tells whether the engine could speak right now. Meant for the start and for readiness.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with one line that says what is missing.
    fn check(&self) -> BoxFuture<'_, Result<(), EngineError>>;

    /// Speaks. Returns once the first audio is there, so the caller knows the outcome of the
    /// start before it answers; the rest follows in [`Speech::pcm`]. Dropping the future or the
    /// speech stops the work.
    ///
    /// # Errors
    /// See [`EngineError`]. The same errors may still come out of the stream.
    fn speak(&self, utterance: Utterance) -> BoxFuture<'_, Result<Speech, EngineError>>;
}

/// A voice that every user may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Voice {
    /// What a request names.
    pub id: String,
    /// What a person reads.
    pub name: String,
    /// BCP 47 tags, for example `zh` or `en-US`.
    pub languages: Vec<String>,
    /// One sentence for a person; may be empty.
    pub description: String,
}

/// What an engine can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Abilities {
    /// Ways of speaking, as CosyVoice names them; none where there is only one.
    pub modes: &'static [&'static str],
    /// BCP 47 tags of what it was made to speak; empty if that is up to the model behind it.
    pub languages: &'static [&'static str],
    /// Whether audio comes while a piece of text is still being spoken.
    pub streaming: bool,
    /// What the engine itself delivers; clients get any [`crate::audio::Format`].
    pub formats: &'static [&'static str],
    /// Voices that come with the request.
    pub reference: bool,
    /// Speeds other than 1.0.
    pub speed: bool,
    /// Style instructions.
    pub instruct: bool,
    /// The same audio for the same number. None of the servers can promise that: where there is a
    /// seed at all, it is one for everything that runs at the time.
    pub seed: bool,
    /// Control tokens that a text may have.
    pub tokens: &'static [&'static str],
}

/// One thing to say. Holds private text, so it has no `Debug`.
#[derive(Clone)]
pub struct Utterance {
    /// What to say, as the user wrote it.
    pub text: String,
    /// The id of one of [`Engine::voices`], unless there is a reference.
    pub voice: String,
    /// The voice to speak with, where it is none of the engine's own.
    pub reference: Option<Reference>,
    /// How to say it, in words, for example "slowly and warmly".
    pub instruct: Option<String>,
    /// 0.5 (slow) to 2.0 (fast); 1.0 is the natural speed.
    pub speed: f32,
}

/// A recording to take the voice from. It belongs to a user, so it goes along with each request
/// and stays out of the engine's own storage.
#[derive(Clone)]
pub struct Reference {
    /// A WAV file: 16-bit mono PCM, at least 16 kHz, at most 30 seconds.
    pub wav: Bytes,
    /// What is said in it.
    pub transcript: String,
}

impl Utterance {
    /// Refuses what the engine would otherwise ignore in silence.
    fn check(&self, abilities: Abilities) -> Result<(), EngineError> {
        if !(0.5..=2.0).contains(&self.speed) {
            return Err(EngineError::rejected("speed must be between 0.5 and 2.0."));
        }
        if !abilities.speed && (self.speed - 1.0).abs() > f32::EPSILON {
            return Err(EngineError::rejected("This engine speaks at its natural speed only; leave speed at 1.0."));
        }
        if !abilities.instruct && self.instruction().is_some() {
            return Err(EngineError::rejected("This engine takes no style instruction; leave instruct out."));
        }
        if !abilities.reference && self.reference.is_some() {
            return Err(EngineError::rejected("This engine has only its own voices; choose one of those."));
        }
        Ok(())
    }

    /// The instruction, unless there is nothing in it.
    fn instruction(&self) -> Option<&str> {
        self.instruct.as_deref().map(str::trim).filter(|instruction| !instruction.is_empty())
    }
}

/// Why there is no speech. Whatever the case, nothing of the audio may be used.
///
/// The messages never contain what the user wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Not now: the engine is not reachable, silent or busy. HTTP 503.
    #[error("the speech engine is not available: {reason}")]
    Unavailable {
        /// For the client's `Retry-After`.
        retry_after_seconds: u32,
        /// For the operator's log, not for the client.
        reason: String,
    },
    /// The engine was reached and failed. HTTP 502. The text is for the operator's log.
    #[error("the speech engine failed: {0}")]
    Failed(String),
    /// The request cannot be spoken. HTTP 400. The text is for the client.
    #[error("{0}")]
    Rejected(String),
}

impl EngineError {
    fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { retry_after_seconds: RETRY_AFTER_SECONDS, reason: reason.into() }
    }

    fn failed(reason: impl Into<String>) -> Self {
        Self::Failed(reason.into())
    }

    fn rejected(detail: impl Into<String>) -> Self {
        Self::Rejected(detail.into())
    }

    fn unknown_voice() -> Self {
        Self::rejected("The engine has no voice with this id.")
    }

    fn nothing_to_say() -> Self {
        Self::rejected("There is nothing to speak in this text: it has no letters or digits.")
    }
}

/// Makes the engine that the settings describe. Reads reference audio; reaches no engine yet.
///
/// # Errors
/// [`SettingsError`] when the settings are wrong or a reference file is unusable.
pub fn build(settings: &EngineSettings) -> Result<Arc<dyn Engine>, SettingsError> {
    settings.validate()?;
    Ok(match settings.kind {
        EngineKind::Espeak => Arc::new(espeak::Espeak::new(settings)),
        EngineKind::CosyVoiceHttp => Arc::new(cosyvoice_http::CosyVoiceHttp::new(settings)?),
        EngineKind::CosyVoiceGrpc => Arc::new(cosyvoice_grpc::CosyVoiceGrpc::new(settings)?),
        EngineKind::Gradio => Arc::new(gradio::Gradio::new(settings)?),
        EngineKind::OpenAi => Arc::new(openai::OpenAi::new(settings)?),
    })
}

#[cfg(test)]
mod tests;
