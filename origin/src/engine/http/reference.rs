//! The recordings that stock voices are made from.

use std::io::Read;
use std::path::Path;

use bytes::Bytes;

const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// CosyVoice refuses longer prompts.
const MAX_SECONDS: u32 = 30;
/// CosyVoice refuses lower rates.
const MIN_SAMPLE_RATE: u32 = 16_000;

/// Reads a recording and checks it against CosyVoice's rules, so that a wrong file is an error at
/// the start and not one in every request.
pub(super) fn read(path: &Path) -> Result<Bytes, String> {
    let mut audio = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut audio))
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    check(&audio).map_err(|reason| format!("{} {reason}", path.display()))?;
    Ok(audio.into())
}

fn check(audio: &[u8]) -> Result<(), String> {
    if audio.len() as u64 > MAX_BYTES {
        return Err(format!("is larger than {MAX_BYTES} bytes"));
    }
    let reader =
        hound::WavReader::new(audio).map_err(|error| format!("is not a WAV file that can be read ({error})"))?;
    let sample_rate = reader.spec().sample_rate;
    if sample_rate < MIN_SAMPLE_RATE {
        return Err(format!("has {sample_rate} Hz; at least {MIN_SAMPLE_RATE} are needed"));
    }
    if reader.duration() == 0 || reader.duration() / sample_rate >= MAX_SECONDS {
        return Err(format!("must hold sound, and at most {MAX_SECONDS} seconds of it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::wav;

    #[test]
    fn rules_of_cosyvoice_are_checked_at_the_start() {
        let seconds = |seconds: usize, rate: usize| vec![0; seconds * rate * 2];
        let file = |pcm: Vec<u8>, rate| wav::file(&pcm, rate).unwrap();
        assert_eq!(check(&file(seconds(3, 16_000), 16_000)), Ok(()));
        for (audio, expected) in [
            (b"ID3".to_vec(), "not a WAV file"),
            (file(seconds(3, 8_000), 8_000), "has 8000 Hz"),
            (file(seconds(30, 16_000), 16_000), "at most 30 seconds"),
            (file(vec![], 16_000), "must hold sound"),
        ] {
            let error = check(&audio).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert!(read(Path::new("/nowhere.wav")).unwrap_err().contains("cannot be read"));
    }
}
