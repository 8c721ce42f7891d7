//! MP3, made by LAME. The library is under the LGPL 3, so it stands behind the feature `mp3`.

use mp3lame_encoder::{Bitrate, Builder, FlushGap, Mode, MonoPcm, Quality, max_required_buffer_size};

use super::AudioError;

/// Constant, so that players know every position without an index.
const BITRATE: Bitrate = Bitrate::Kbps64;
/// Samples handed to LAME at once.
const PIECE: usize = 64 * 1024;

/// LAME resamples what is none of MP3's own rates.
pub(super) fn encode(pcm: &[u8], sample_rate: u32) -> Result<Vec<u8>, AudioError> {
    let failed = |reason: &dyn std::fmt::Debug| AudioError(format!("no MP3 of it: {reason:?}"));
    let mut encoder = Builder::new()
        .ok_or_else(|| failed(&"LAME does not start"))?
        .with_num_channels(1)
        .and_then(|builder| builder.with_mode(Mode::Mono))
        .and_then(|builder| builder.with_sample_rate(sample_rate))
        .and_then(|builder| builder.with_brate(BITRATE))
        .and_then(|builder| builder.with_quality(Quality::Good))
        .and_then(Builder::build)
        .map_err(|error| failed(&error))?;
    let samples: Vec<i16> = super::samples(pcm).collect();
    let mut file = Vec::new();
    for piece in samples.chunks(PIECE) {
        file.reserve(max_required_buffer_size(piece.len()));
        encoder.encode_to_vec(MonoPcm(piece), &mut file).map_err(|error| failed(&error))?;
    }
    file.reserve(max_required_buffer_size(0));
    encoder.flush_to_vec::<FlushGap>(&mut file).map_err(|error| failed(&error))?;
    // The first frame is empty until the length is known: now it says how much of the beginning
    // and of the end is none of the audio.
    let mut tag = Vec::with_capacity(encoder.lame_tag_size());
    if encoder.lame_tag_encode_to_vec(&mut tag).is_some()
        && let Some(place) = file.get_mut(..tag.len())
    {
        place.copy_from_slice(&tag);
    }
    Ok(file)
}
