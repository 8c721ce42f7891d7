//! From a recording that somebody sent to the reference of a voice.

use bytes::Bytes;

use super::measure::{Advice, Measured};
use super::{decode, resample};
use crate::engine::wav;

/// The highest rate at which CosyVoice 2 and 3 look at a reference, in hertz.
pub const SAMPLE_RATE: u32 = 24_000;
/// CosyVoice refuses lower rates; a telephone's makes no voice.
const MIN_SAMPLE_RATE: u32 = 16_000;
/// CosyVoice refuses longer references.
pub const MAX_SECONDS: u32 = 30;
/// Nobody can be known by less.
pub const MIN_SECONDS: u32 = 2;

/// A recording in the form that engines take.
#[derive(Clone, Debug)]
pub struct Sample {
    /// A WAV file: 16-bit mono PCM at [`SAMPLE_RATE`].
    pub wav: Bytes,
    /// Samples in it.
    pub frames: usize,
    /// What could be better.
    pub advice: Vec<Advice>,
}

/// Why a recording cannot be the reference of a voice. The texts are for the client.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// No format that is known here.
    #[error("The sample is no audio file that can be read here. Send WAV, FLAC, MP3, Ogg, M4A or WebM.")]
    Unknown,
    /// A known format, and nothing to be heard in it.
    #[error("The sample is damaged: it cannot be decoded.")]
    Broken,
    /// More than [`MAX_SECONDS`].
    #[error("The sample is longer than {MAX_SECONDS} seconds. Cut it: ten to twenty seconds are best.")]
    TooLong,
    /// Less than [`MIN_SECONDS`].
    #[error("The sample has {0:.1} seconds; at least {MIN_SECONDS} are needed, ten to twenty are best.")]
    TooShort(f32),
    /// A telephone's rate.
    #[error("The sample has {0} Hz; at least {MIN_SAMPLE_RATE} are needed. Record it anew at a higher rate.")]
    LowRate(u32),
    /// Nobody is heard.
    #[error("The sample is silent. Check the microphone.")]
    Silent,
}

/// Decodes, measures and converts a recording. Takes up to a second of computing.
///
/// # Errors
/// See [`SampleError`].
pub fn prepare(file: Bytes) -> Result<Sample, SampleError> {
    let decode::Decoded { mut samples, sample_rate } = decode::decode(file)?;
    let measured = Measured::of(&samples, sample_rate);
    if sample_rate < MIN_SAMPLE_RATE {
        return Err(SampleError::LowRate(sample_rate));
    }
    if measured.seconds < MIN_SECONDS as f32 {
        return Err(SampleError::TooShort(measured.seconds));
    }
    if measured.is_silent() || measured.speech_seconds < 0.5 {
        return Err(SampleError::Silent);
    }
    samples.iter_mut().for_each(|sample| *sample *= f32::from(i16::MAX));
    let samples = resample::resample_floats(samples, sample_rate, SAMPLE_RATE).map_err(|_| SampleError::Broken)?;
    let pcm = resample::to_pcm(&samples);
    let wav = wav::file(&pcm, SAMPLE_RATE).ok_or(SampleError::TooLong)?;
    Ok(Sample { wav: wav.into(), frames: samples.len(), advice: measured.advice() })
}
