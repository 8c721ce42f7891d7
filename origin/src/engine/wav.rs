//! WAV files around 16-bit mono PCM: RIFF with one `fmt ` and one `data` chunk (Microsoft,
//! "Multimedia Programming Interface and Data Specifications 1.0").

/// Size of the header in bytes; the PCM follows it unchanged.
pub const HEADER_BYTES: usize = 44;

const BYTES_A_SAMPLE: u32 = 2;

/// Header for `pcm_bytes` bytes of PCM, or `None` if a RIFF size field (32 bits) cannot hold it.
pub fn header(pcm_bytes: usize, sample_rate: u32) -> Option<[u8; HEADER_BYTES]> {
    let data_size = u32::try_from(pcm_bytes).ok()?;
    let riff_size = data_size.checked_add(36)?;
    let bytes_a_second = sample_rate.checked_mul(BYTES_A_SAMPLE)?;
    let fields: [&[u8]; 13] = [
        b"RIFF",
        &riff_size.to_le_bytes(),
        b"WAVE",
        b"fmt ",
        &16_u32.to_le_bytes(), // size of this chunk
        &1_u16.to_le_bytes(),  // integer PCM
        &1_u16.to_le_bytes(),  // one channel
        &sample_rate.to_le_bytes(),
        &bytes_a_second.to_le_bytes(),
        &2_u16.to_le_bytes(),  // bytes a frame
        &16_u16.to_le_bytes(), // bits a sample
        b"data",
        &data_size.to_le_bytes(),
    ];
    fields.concat().try_into().ok()
}

/// Header of a file whose length nobody knows yet: both sizes say "as far as it goes", as ffmpeg
/// writes them into a pipe.
pub fn live_header(sample_rate: u32) -> [u8; HEADER_BYTES] {
    let mut header = header(0, sample_rate).unwrap_or([0; HEADER_BYTES]);
    for size in [4..8, 40..44] {
        if let Some(size) = header.get_mut(size) {
            size.fill(0xFF);
        }
    }
    header
}

/// A whole WAV file, or `None` if the PCM is too long for one (4 GiB).
pub fn file(pcm: &[u8], sample_rate: u32) -> Option<Vec<u8>> {
    Some([header(pcm.len(), sample_rate)?.as_slice(), pcm].concat())
}

/// How long `pcm_bytes` bytes of PCM play, in seconds. Counts whole samples only.
pub fn seconds(pcm_bytes: usize, sample_rate: u32) -> f64 {
    let frames = pcm_bytes / BYTES_A_SAMPLE as usize;
    frames as f64 / f64::from(sample_rate.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_reads_back_to_the_same_samples() {
        let samples: [i16; 5] = [0, 1, -1, i16::MAX, i16::MIN];
        let pcm: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let wav = file(&pcm, 24_000).unwrap();

        assert_eq!(wav.len(), HEADER_BYTES + pcm.len());
        assert_eq!(wav[HEADER_BYTES..], pcm);
        let mut reader = hound::WavReader::new(wav.as_slice()).unwrap();
        let spec = reader.spec();
        assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (1, 24_000, 16));
        let read: Vec<i16> = reader.samples().map(Result::unwrap).collect();
        assert_eq!(read, samples);
    }

    #[test]
    fn the_header_is_the_canonical_one() {
        let expected: Vec<u8> = [
            b"RIFF".as_slice(),
            &[40, 0, 0, 0],
            b"WAVEfmt ",
            &[16, 0, 0, 0, 1, 0, 1, 0, 0xC0, 0x5D, 0, 0, 0x80, 0xBB, 0, 0, 2, 0, 16, 0],
            b"data",
            &[4, 0, 0, 0],
        ]
        .concat();
        assert_eq!(header(4, 24_000).unwrap().as_slice(), expected);
    }

    #[test]
    fn a_live_header_leaves_the_length_open() {
        let (live, whole) = (live_header(24_000), header(0, 24_000).unwrap());
        assert_eq!((&live[4..8], &live[40..]), (&[0xFF; 4][..], &[0xFF; 4][..]));
        assert_eq!((&live[..4], &live[8..40]), (&whole[..4], &whole[8..40]));
    }

    #[test]
    fn more_than_a_riff_file_holds_is_refused() {
        assert!(header(u32::MAX as usize - 36, 24_000).is_some());
        assert!(header(u32::MAX as usize - 35, 24_000).is_none());
    }

    #[test]
    fn seconds_count_frames() {
        assert_eq!(seconds(48_000, 24_000), 1.0);
        assert_eq!(seconds(3, 24_000), 1.0 / 24_000.0);
        assert_eq!(seconds(0, 24_000), 0.0);
    }
}
