//! Audio files: what comes in is decoded, measured and brought into one form; what goes out is
//! encoded.
//!
//! Everything in between is 16-bit little-endian mono PCM. All of this is computing that takes
//! milliseconds to seconds, so it runs in [`Workers`], a bounded number at a time.

mod decode;
mod encoder;
mod flac;
mod measure;
#[cfg(feature = "mp3")]
mod mp3;
mod ogg_opus;
mod resample;
mod sample;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::engine::wav;
use crate::problem::Refusal;

pub use encoder::{comes_live, live};
pub use measure::{Advice, Measured};
pub use resample::resample;
pub use sample::{MAX_SECONDS, MIN_SECONDS, SAMPLE_RATE, Sample, SampleError, prepare};

/// How long work waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// Recordings that come in at the same time.
const MAX_RECEIVING: usize = 4;

/// Audio cannot be brought into the wanted form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("audio: {0}")]
pub struct AudioError(pub(crate) String);

/// What speech is sent as. AAC is not among them: no encoder of it is free of terms that a user
/// of this server would have to meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Format {
    /// RIFF with 16-bit PCM: what is stored.
    #[default]
    Wav,
    /// The samples alone: 16-bit, little-endian, mono.
    Pcm,
    /// Free Lossless Audio Codec (RFC 9639).
    Flac,
    /// Opus in Ogg (RFC 6716, RFC 7845).
    Opus,
    /// MPEG-1 and -2 Audio Layer III, at a constant 64 kbit/s.
    Mp3,
}

impl Format {
    /// Those that this program can make.
    pub const ALL: &'static [Self] = if cfg!(feature = "mp3") {
        &[Self::Wav, Self::Pcm, Self::Flac, Self::Opus, Self::Mp3]
    } else {
        &[Self::Wav, Self::Pcm, Self::Flac, Self::Opus]
    };

    /// Of all of them, without parameters.
    pub const MEDIA_TYPES: &'static [&'static str] =
        &["audio/wav", "audio/pcm", "audio/flac", "audio/ogg", "audio/mpeg"];

    /// As in `format=`; also the end of a file's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Pcm => "pcm",
            Self::Flac => "flac",
            Self::Opus => "opus",
            Self::Mp3 => "mp3",
        }
    }

    /// For `Content-Type`.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Wav => "audio/wav",
            Self::Pcm => "audio/pcm",
            Self::Flac => "audio/flac",
            Self::Opus => "audio/ogg; codecs=opus",
            Self::Mp3 => "audio/mpeg",
        }
    }

    /// A whole file of PCM at `sample_rate`.
    ///
    /// # Errors
    /// The audio is longer than a file of this format can be, or its encoder failed.
    pub fn encode(self, pcm: &[u8], sample_rate: u32) -> Result<Vec<u8>, AudioError> {
        match self {
            Self::Wav => wav::file(pcm, sample_rate).ok_or_else(|| AudioError("too long for a WAV file".to_owned())),
            Self::Pcm => Ok(pcm.to_vec()),
            Self::Flac => flac::encode(pcm, sample_rate),
            Self::Opus => ogg_opus::encode(pcm, sample_rate),
            #[cfg(feature = "mp3")]
            Self::Mp3 => mp3::encode(pcm, sample_rate),
            #[cfg(not(feature = "mp3"))]
            Self::Mp3 => Err(AudioError("this program was built without MP3".to_owned())),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl From<Format> for &'static str {
    fn from(format: Format) -> Self {
        format.name()
    }
}

impl JsonSchema for Format {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Format".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "enum": Self::ALL})
    }
}

impl TryFrom<String> for Format {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|format| format.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|format| format.name()).collect();
            format!("the format must be one of {}", names.join(", "))
        })
    }
}

/// Samples of 16-bit little-endian PCM; half a sample at the end is passed over.
fn samples(pcm: &[u8]) -> impl Iterator<Item = i16> + '_ {
    pcm.as_chunks::<2>().0.iter().map(|sample| i16::from_le_bytes(*sample))
}

/// Places for work on audio, so that it stays bounded in time and memory.
#[derive(Clone, Debug)]
pub struct Workers {
    /// As many as there are cores.
    computing: Arc<Semaphore>,
    /// Recordings that are on their way in, each up to some megabytes.
    receiving: Arc<Semaphore>,
}

/// The right to compute, given back on drop.
#[derive(Debug)]
pub struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Default for Workers {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(cores)
    }
}

impl Workers {
    fn new(computing: usize) -> Self {
        Self { computing: Arc::new(Semaphore::new(computing)), receiving: Arc::new(Semaphore::new(MAX_RECEIVING)) }
    }

    /// Waits for a turn to compute. What the work needs should be read only then.
    ///
    /// # Errors
    /// It did not come in time.
    pub async fn turn(&self) -> Result<Turn, Refusal> {
        Ok(Turn { _permit: wait(&self.computing).await? })
    }

    /// Waits until a recording may come in; it may while what is returned lives.
    ///
    /// # Errors
    /// There was no room in time.
    pub async fn room(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        wait(&self.receiving).await
    }
}

async fn wait(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Refusal> {
    let permit = tokio::time::timeout(PATIENCE, Arc::clone(places).acquire_owned()).await;
    match permit {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(Refusal::overloaded()),
    }
}

impl Turn {
    /// Does `work`. Once begun, it runs to its end even if nobody waits.
    ///
    /// # Errors
    /// It panicked.
    pub async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
        let working = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(self);
            done
        });
        working.await.map_err(Refusal::internal)
    }
}

#[cfg(test)]
pub(crate) mod tests;
