//! MP3, made by LAME. The library is under the LGPL 3, so it stands behind the feature `mp3`.

use mp3lame_encoder::{Bitrate, Builder, FlushGap, Mode, MonoPcm, Quality, max_required_buffer_size};

use super::AudioError;
use super::encoder::Encoder;

/// Constant, so that players know every position without an index.
const BITRATE: Bitrate = Bitrate::Kbps64;
/// Samples handed to LAME at once.
const PIECE: usize = 64 * 1024;

/// Makes a file. LAME resamples what is none of MP3's own rates.
pub(super) struct Mp3(mp3lame_encoder::Encoder);

/// The whole file.
pub(super) fn encode(pcm: &[u8], sample_rate: u32) -> Result<Vec<u8>, AudioError> {
    let (mut encoder, mut file) = (Mp3::new(sample_rate, true)?, Vec::new());
    encoder.push(pcm, &mut file)?;
    encoder.flush(&mut file)?;
    // The first frame is empty until the length is known: now it says how much of the beginning
    // and of the end is none of the audio.
    let mut tag = Vec::with_capacity(encoder.0.lame_tag_size());
    if encoder.0.lame_tag_encode_to_vec(&mut tag).is_some()
        && let Some(place) = file.get_mut(..tag.len())
    {
        place.copy_from_slice(&tag);
    }
    Ok(file)
}

impl Mp3 {
    /// A file whose length is not known yet, so no frame tells it.
    pub(super) fn live(sample_rate: u32) -> Result<Self, AudioError> {
        Self::new(sample_rate, false)
    }

    fn new(sample_rate: u32, has_tag: bool) -> Result<Self, AudioError> {
        let encoder = Builder::new()
            .ok_or_else(|| failed(&"LAME does not start"))?
            .with_num_channels(1)
            .and_then(|builder| builder.with_mode(Mode::Mono))
            .and_then(|builder| builder.with_sample_rate(sample_rate))
            .and_then(|builder| builder.with_brate(BITRATE))
            .and_then(|builder| builder.with_quality(Quality::Good))
            .and_then(|builder| builder.with_to_write_vbr_tag(has_tag))
            .and_then(Builder::build)
            .map_err(|error| failed(&error))?;
        Ok(Self(encoder))
    }

    fn flush(&mut self, file: &mut Vec<u8>) -> Result<(), AudioError> {
        file.reserve(max_required_buffer_size(0));
        self.0.flush_to_vec::<FlushGap>(file).map(drop).map_err(|error| failed(&error))
    }
}

impl Encoder for Mp3 {
    fn push(&mut self, pcm: &[u8], file: &mut Vec<u8>) -> Result<(), AudioError> {
        let samples: Vec<i16> = super::samples(pcm).collect();
        for piece in samples.chunks(PIECE) {
            file.reserve(max_required_buffer_size(piece.len()));
            self.0.encode_to_vec(MonoPcm(piece), file).map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, file: &mut Vec<u8>) -> Result<(), AudioError> {
        self.flush(file)
    }
}

fn failed(reason: &dyn std::fmt::Debug) -> AudioError {
    AudioError(format!("no MP3 of it: {reason:?}"))
}
