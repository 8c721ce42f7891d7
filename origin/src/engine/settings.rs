//! What an operator can set about the engine: the table `[engine]`.

use std::collections::HashSet;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The settings are wrong. One line that says which one and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(String);

impl SettingsError {
    pub(super) fn new(line: impl Into<String>) -> Self {
        Self(line.into())
    }
}

/// The table `[engine]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineSettings {
    /// Which engine speaks: `espeak` (default), `cosyvoice-http`, `cosyvoice-grpc`, `gradio` or
    /// `openai`.
    pub kind: EngineKind,
    /// Where the servers listen, without `/v1`, for example `http://127.0.0.1:50000`. All serve
    /// the same model; work spreads over them. No default.
    pub urls: Vec<String>,
    /// Utterances spoken at once, for each url. Default: the number of cores for espeak, 1 for
    /// CosyVoice, whose server runs everything it gets at the same time and slows down, 8 for
    /// openai, whose servers batch.
    pub concurrency: Option<usize>,
    /// Utterances that may wait for their turn; one more is refused at once. Default 32.
    pub queue_length: usize,
    /// How long an utterance waits for its turn, in seconds. Default 10.
    pub queue_seconds: u64,
    /// How long one utterance may take from its turn to its last byte, however long it is, in
    /// seconds. Default 1800.
    pub deadline_seconds: u64,
    /// How long a server may take for a second of audio, in seconds. A piece of text must be
    /// whole after `first_byte_seconds` and so much for each second that it lasts. Default 5.
    pub deadline_per_audio_second: f64,
    /// How long connecting to CosyVoice may take, in seconds. Default 3.
    pub connect_seconds: u64,
    /// How long a server may take to begin, in seconds. Default 60.
    pub first_byte_seconds: u64,
    /// How long CosyVoice may be silent between two pieces of audio, in seconds. Default 30.
    pub idle_seconds: u64,
    /// Pause between two looks at a server that has nothing to do, in seconds; 0 for none. One
    /// that is not there gets no work. Default 5.
    pub health_seconds: u64,
    /// Longest audio of one utterance, in seconds. Default 1800.
    pub max_speech_seconds: usize,
    /// Sample rate in hertz. espeak is resampled to it. CosyVoice does not tell its rate, so this
    /// must be the rate of the model: 24000 (default) for CosyVoice 2 and 3, 22050 for
    /// CosyVoice-300M.
    pub sample_rate_hz: u32,
    /// The espeak-ng program: a name looked up in PATH, or a path. Default `espeak-ng`.
    pub espeak_program: String,
    /// Which generation of CosyVoice the urls serve. Default `cosyvoice3`.
    pub model: CosyVoiceModel,
    /// Which way of speaking to ask CosyVoice for. Default `zero_shot`.
    pub mode: CosyVoiceMode,
    /// What the engine `openai` is asked for as `model`. Default
    /// `FunAudioLLM/Fun-CosyVoice3-0.5B-2512`.
    pub served_model: String,
    /// The stock voices of CosyVoice. espeak has its own.
    pub voices: Vec<VoiceSettings>,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            kind: EngineKind::default(),
            urls: Vec::new(),
            concurrency: None,
            queue_length: 32,
            queue_seconds: 10,
            deadline_seconds: 1800,
            deadline_per_audio_second: 5.0,
            connect_seconds: 3,
            first_byte_seconds: 60,
            idle_seconds: 30,
            health_seconds: 5,
            max_speech_seconds: 1800,
            sample_rate_hz: 24_000,
            espeak_program: "espeak-ng".to_owned(),
            model: CosyVoiceModel::default(),
            mode: CosyVoiceMode::default(),
            served_model: "FunAudioLLM/Fun-CosyVoice3-0.5B-2512".to_owned(),
            voices: Vec::new(),
        }
    }
}

/// The engines there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum EngineKind {
    /// espeak-ng as a child process: a robot, everywhere available.
    #[default]
    #[serde(rename = "espeak")]
    Espeak,
    /// CosyVoice behind its own FastAPI server.
    #[serde(rename = "cosyvoice-http")]
    CosyVoiceHttp,
    /// CosyVoice behind its own gRPC server.
    #[serde(rename = "cosyvoice-grpc")]
    CosyVoiceGrpc,
    /// CosyVoice behind its demonstration page, `webui.py`.
    #[serde(rename = "gradio")]
    Gradio,
    /// vLLM-Omni, SGLang-Omni or another server of OpenAI's speech API that takes `ref_audio`.
    #[serde(rename = "openai")]
    OpenAi,
}

impl FromStr for EngineKind {
    type Err = SettingsError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "espeak" => Ok(Self::Espeak),
            "cosyvoice-http" => Ok(Self::CosyVoiceHttp),
            "cosyvoice-grpc" => Ok(Self::CosyVoiceGrpc),
            "gradio" => Ok(Self::Gradio),
            "openai" => Ok(Self::OpenAi),
            _ => Err(SettingsError::new(format!(
                "engine.kind is {name:?}; it must be espeak, cosyvoice-http, cosyvoice-grpc, gradio or \
                 openai"
            ))),
        }
    }
}

/// Generations of CosyVoice. They want their prompts in different forms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CosyVoiceModel {
    /// Fun-CosyVoice3: no preset voices; every prompt needs the system prompt.
    #[default]
    CosyVoice3,
    /// CosyVoice2.
    CosyVoice2,
    /// CosyVoice-300M and its variants.
    CosyVoice,
}

/// Ways to ask CosyVoice for speech; each is a route of its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CosyVoiceMode {
    /// A preset voice of the model.
    Sft,
    /// The voice of a reference audio with its transcript.
    #[default]
    ZeroShot,
    /// The voice of a reference audio, in another language than the reference.
    CrossLingual,
    /// The voice of a reference audio, with a style instruction.
    Instruct2,
}

/// One stock voice of CosyVoice: `[[engine.voices]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct VoiceSettings {
    /// What a request names: 1 to 64 of `A-Z a-z 0-9 . _ -`.
    pub id: String,
    /// What a person reads.
    pub name: String,
    /// BCP 47 tags of the languages that it speaks well.
    #[serde(default)]
    pub languages: Vec<String>,
    /// One sentence for a person.
    #[serde(default)]
    pub description: String,
    /// Where the voice comes from.
    pub source: VoiceSource,
}

/// Where a stock voice comes from, told apart by `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum VoiceSource {
    /// A voice inside the model, for the mode `sft`.
    Preset {
        /// `spk_id` of the model, for example `中文女`.
        speaker_id: String,
    },
    /// A recording, for the other modes. It goes along with each request and stays out of the
    /// engine's own storage.
    Reference {
        /// WAV file, at most 30 seconds, at least 16 kHz. A relative path starts at the working
        /// directory.
        audio_path: PathBuf,
        /// Exactly what is said in the recording. The mode `zero_shot` needs it.
        #[serde(default)]
        transcript: String,
    },
}

impl EngineSettings {
    /// Utterances spoken at once, for each address.
    pub fn concurrency(&self) -> usize {
        self.concurrency.unwrap_or_else(|| match self.kind {
            EngineKind::Espeak => std::thread::available_parallelism().map_or(1, usize::from),
            EngineKind::CosyVoiceHttp | EngineKind::CosyVoiceGrpc | EngineKind::Gradio => 1,
            // It batches what it is given.
            EngineKind::OpenAi => 8,
        })
    }

    /// Utterances spoken at once, at all addresses together.
    pub fn slots(&self) -> usize {
        self.concurrency() * self.urls.len().max(1)
    }

    /// Longest audio of one utterance, in bytes of PCM.
    pub fn max_speech_bytes(&self) -> usize {
        self.max_speech_seconds * self.sample_rate_hz as usize * 2
    }

    /// Checks everything that can be checked without touching a file or the network.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), SettingsError> {
        const DAY_SECONDS: u64 = 86_400;
        within("concurrency", self.concurrency() as u64, 1..=1024)?;
        within("queue_length", self.queue_length as u64, 0..=100_000)?;
        within("queue_seconds", self.queue_seconds, 0..=DAY_SECONDS)?;
        within("deadline_seconds", self.deadline_seconds, 1..=DAY_SECONDS)?;
        within("connect_seconds", self.connect_seconds, 1..=DAY_SECONDS)?;
        within("first_byte_seconds", self.first_byte_seconds, 1..=DAY_SECONDS)?;
        within("idle_seconds", self.idle_seconds, 1..=DAY_SECONDS)?;
        within("health_seconds", self.health_seconds, 0..=DAY_SECONDS)?;
        if !(0.0..=1000.0).contains(&self.deadline_per_audio_second) {
            return Err(SettingsError::new("engine.deadline_per_audio_second must be 0 to 1000"));
        }
        within("max_speech_seconds", self.max_speech_seconds as u64, 1..=36_000)?;
        within("sample_rate_hz", u64::from(self.sample_rate_hz), 8_000..=48_000)?;
        match self.kind {
            EngineKind::Espeak if self.espeak_program.is_empty() => {
                Err(SettingsError::new("engine.espeak_program is empty"))
            }
            EngineKind::Espeak => Ok(()),
            EngineKind::CosyVoiceHttp | EngineKind::CosyVoiceGrpc | EngineKind::Gradio | EngineKind::OpenAi => {
                self.validate_cosyvoice()
            }
        }
    }

    fn validate_cosyvoice(&self) -> Result<(), SettingsError> {
        if self.urls.is_empty() || self.urls.len() > 64 {
            return Err(SettingsError::new(
                "engine.urls needs 1 to 64 addresses, for example [\"http://127.0.0.1:50000\"]",
            ));
        }
        self.urls.iter().try_for_each(|url| validate_url(url))?;
        let has_path = |url: &String| reqwest::Url::parse(url).is_ok_and(|url| url.path() != "/");
        if self.kind == EngineKind::CosyVoiceGrpc && self.urls.iter().any(has_path) {
            return Err(SettingsError::new("engine.urls: of a gRPC server, only host and port can be said"));
        }
        if self.kind == EngineKind::OpenAi && !matches!(self.mode, CosyVoiceMode::ZeroShot | CosyVoiceMode::Sft) {
            return Err(SettingsError::new("engine.mode must be zero_shot or sft for the engine openai"));
        }
        if matches!(self.kind, EngineKind::Gradio | EngineKind::CosyVoiceGrpc) && self.mode == CosyVoiceMode::Instruct2
        {
            return Err(SettingsError::new(
                "engine.mode is instruct2, but the engines gradio and cosyvoice-grpc have no such way",
            ));
        }
        match (self.model, self.mode) {
            (CosyVoiceModel::CosyVoice3, CosyVoiceMode::Sft) => {
                Err(SettingsError::new("engine.mode is sft, but CosyVoice3 has no preset voices; use zero_shot"))
            }
            (CosyVoiceModel::CosyVoice, CosyVoiceMode::Instruct2) => {
                Err(SettingsError::new("engine.mode is instruct2, but only CosyVoice 2 and 3 know it; use zero_shot"))
            }
            _ => Ok(()),
        }?;
        if self.voices.is_empty() || self.voices.len() > 1000 {
            return Err(SettingsError::new("engine.voices needs 1 to 1000 voices; add at least one [[engine.voices]]"));
        }
        self.voices.iter().try_for_each(|voice| voice.validate(self.mode))?;
        let mut seen = HashSet::new();
        match self.voices.iter().find(|voice| !seen.insert(&voice.id)) {
            Some(twice) => Err(twice.error("is there twice")),
            None => Ok(()),
        }
    }
}

impl VoiceSettings {
    fn validate(&self, mode: CosyVoiceMode) -> Result<(), SettingsError> {
        let is_id_character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.id.is_empty() || self.id.len() > 64 || !self.id.chars().all(is_id_character) {
            return Err(self.error("has an id that is not 1 to 64 of A-Z a-z 0-9 . _ -"));
        }
        if self.name.is_empty() {
            return Err(self.error("has no name"));
        }
        match (&self.source, mode) {
            (VoiceSource::Preset { speaker_id }, CosyVoiceMode::Sft) => match speaker_id.as_str() {
                "" => Err(self.error("has an empty speaker_id")),
                _ => Ok(()),
            },
            (VoiceSource::Preset { .. }, _) => Err(self.error("is a preset, which only the mode sft can speak")),
            (VoiceSource::Reference { .. }, CosyVoiceMode::Sft) => {
                Err(self.error("is a reference, which the mode sft cannot speak"))
            }
            (VoiceSource::Reference { transcript, .. }, _) if transcript.contains("<|") => {
                Err(self.error("has a control token in its transcript; the system prompt is added for you"))
            }
            (VoiceSource::Reference { transcript, .. }, CosyVoiceMode::ZeroShot) if transcript.trim().is_empty() => {
                Err(self.error("has no transcript, which the mode zero_shot needs"))
            }
            (VoiceSource::Reference { .. }, _) => Ok(()),
        }
    }

    pub(super) fn error(&self, what: impl std::fmt::Display) -> SettingsError {
        SettingsError::new(format!("engine.voices: {:?} {what}", self.id))
    }
}

fn within(name: &str, value: u64, range: std::ops::RangeInclusive<u64>) -> Result<(), SettingsError> {
    if range.contains(&value) {
        return Ok(());
    }
    let (least, most) = range.into_inner();
    Err(SettingsError::new(format!("engine.{name} is {value}; it must be {least} to {most}")))
}

/// HTTP, over TLS or plain, without user, password, query or fragment; a path is fine. The url may appear in
/// logs, so it must not hold a secret.
fn validate_url(url: &str) -> Result<(), SettingsError> {
    let is_good = reqwest::Url::parse(url).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    if is_good {
        return Ok(());
    }
    Err(SettingsError::new(
        "engine.urls: each must look like http://host:port or https://host, without password or query",
    ))
}

#[cfg(test)]
mod tests;
