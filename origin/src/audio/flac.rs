//! FLAC (RFC 9639).

use flacenc::component::BitRepr as _;
use flacenc::error::{SourceError, Verify as _};
use flacenc::source::{Fill, Source};

use super::AudioError;

/// The samples come back bit for bit.
pub(super) fn encode(pcm: &[u8], sample_rate: u32) -> Result<Vec<u8>, AudioError> {
    let failed = |reason: &dyn std::fmt::Debug| AudioError(format!("no FLAC of it: {reason:?}"));
    let config = flacenc::config::Encoder::default().into_verified().map_err(|error| failed(&error))?;
    let block = config.block_size;
    let source = Pcm { rest: pcm.as_chunks::<2>().0.as_flattened(), sample_rate: sample_rate as usize };
    let mut stream = flacenc::encode_with_fixed_block_size(&config, source, block).map_err(|error| failed(&error))?;
    // The last block, which may be shorter, does not count (RFC 9639, section 8.2); flacenc counts it,
    // and some decoders then expect blocks of changing sizes.
    stream.stream_info_mut().set_block_sizes(block, block).map_err(|error| failed(&error))?;
    let mut sink = flacenc::bitsink::ByteSink::with_capacity(stream.count_bits());
    stream.write(&mut sink).map_err(|error| failed(&error))?;
    Ok(sink.into_inner())
}

/// 16-bit mono PCM, read block by block: flacenc's own source would hold all of it twice, in four
/// bytes a sample.
struct Pcm<'a> {
    rest: &'a [u8],
    sample_rate: usize,
}

impl Source for Pcm<'_> {
    fn channels(&self) -> usize {
        1
    }

    fn bits_per_sample(&self) -> usize {
        16
    }

    fn sample_rate(&self) -> usize {
        self.sample_rate
    }

    fn read_samples<F: Fill>(&mut self, block_size: usize, block: &mut F) -> Result<usize, SourceError> {
        let (bytes, rest) = self.rest.split_at(self.rest.len().min(block_size * 2));
        block.fill_le_bytes(bytes, 2)?;
        self.rest = rest;
        Ok(bytes.len() / 2)
    }

    fn len_hint(&self) -> Option<usize> {
        Some(self.rest.len() / 2)
    }
}
