//! The recordings that stock voices are made from.

use std::io::Read;
use std::path::Path;

use bytes::Bytes;

use crate::audio;

const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// CosyVoice refuses longer prompts.
const MAX_SECONDS: u32 = 30;
/// CosyVoice refuses lower rates.
const MIN_SAMPLE_RATE: u32 = 16_000;

/// Reads a recording and brings it into the form that CosyVoice takes, so that a wrong file is an
/// error at the start and not one in every request.
pub(super) fn read(path: &Path) -> Result<Bytes, String> {
    let mut file = Vec::new();
    std::fs::File::open(path)
        .and_then(|opened| opened.take(MAX_BYTES + 1).read_to_end(&mut file))
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    if file.len() as u64 > MAX_BYTES {
        return Err(format!("{} is larger than {MAX_BYTES} bytes", path.display()));
    }
    let file = Bytes::from(file);
    // What has the form already is sent as it is.
    if is_in_form(&file) {
        return Ok(file);
    }
    let prepared = audio::prepare(file).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(prepared.wav)
}

/// A WAV file of 16-bit mono PCM, at a good rate and not too long.
fn is_in_form(file: &[u8]) -> bool {
    let Ok(reader) = hound::WavReader::new(file) else { return false };
    let spec = reader.spec();
    (spec.channels, spec.bits_per_sample, spec.sample_format) == (1, 16, hound::SampleFormat::Int)
        && (MIN_SAMPLE_RATE..=48_000).contains(&spec.sample_rate)
        && (1..=MAX_SECONDS * spec.sample_rate).contains(&reader.duration())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::wav;

    fn kept(file: &[u8]) -> Result<Bytes, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("voice");
        std::fs::write(&path, file).unwrap();
        read(&path)
    }

    /// A tone, interleaved.
    fn tone(seconds: usize, rate: u32, channels: u16, bits: u16) -> Vec<u8> {
        let spec = hound::WavSpec {
            channels,
            sample_rate: rate,
            bits_per_sample: bits,
            sample_format: hound::SampleFormat::Int,
        };
        let mut file = std::io::Cursor::new(Vec::new());
        let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
        let height = 1 << (bits - 3);
        for at in 0..seconds * rate as usize {
            for _ in 0..channels {
                writer.write_sample(if at / 40 % 2 == 0 { height } else { -height }).unwrap();
            }
        }
        writer.finalize().unwrap();
        file.into_inner()
    }

    #[test]
    fn what_has_the_form_is_kept_and_everything_else_is_brought_into_it() {
        let good = tone(3, 16_000, 1, 16);
        assert_eq!(kept(&good).unwrap(), good);
        for file in [tone(3, 44_100, 2, 16), tone(3, 48_000, 1, 24), tone(3, 96_000, 1, 16)] {
            let kept = kept(&file).unwrap();
            assert!(is_in_form(&kept));
            let reader = hound::WavReader::new(kept.as_ref()).unwrap();
            assert_eq!((reader.spec().sample_rate, reader.duration()), (24_000, 72_000));
        }
    }

    #[test]
    fn rules_of_cosyvoice_are_checked_at_the_start() {
        for (file, expected) in [
            (b"ID3".to_vec(), "no audio file"),
            (tone(3, 8_000, 1, 16), "has 8000 Hz"),
            (tone(31, 16_000, 1, 16), "longer than 30 seconds"),
            (wav::file(&[], 16_000).unwrap(), "damaged"),
        ] {
            let error = kept(&file).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert!(read(Path::new("/nowhere.wav")).unwrap_err().contains("cannot be read"));
    }
}
