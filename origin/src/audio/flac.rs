//! FLAC (RFC 9639).

use flacenc::component::BitRepr as _;
use flacenc::error::Verify as _;

use super::AudioError;

/// The samples come back bit for bit.
pub(super) fn encode(pcm: &[u8], sample_rate: u32) -> Result<Vec<u8>, AudioError> {
    let failed = |reason: &dyn std::fmt::Debug| AudioError(format!("no FLAC of it: {reason:?}"));
    let samples: Vec<i32> = super::samples(pcm).map(i32::from).collect();
    let config = flacenc::config::Encoder::default().into_verified().map_err(|error| failed(&error))?;
    let source = flacenc::source::MemSource::from_samples(&samples, 1, 16, sample_rate as usize);
    let mut stream =
        flacenc::encode_with_fixed_block_size(&config, source, config.block_size).map_err(|error| failed(&error))?;
    // The last block, which may be shorter, does not count (RFC 9639, section 8.2); flacenc counts it,
    // and some decoders then expect blocks of changing sizes.
    let block = config.block_size;
    stream.stream_info_mut().set_block_sizes(block, block).map_err(|error| failed(&error))?;
    let mut sink = flacenc::bitsink::ByteSink::with_capacity(stream.count_bits());
    stream.write(&mut sink).map_err(|error| failed(&error))?;
    Ok(sink.into_inner())
}
