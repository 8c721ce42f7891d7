//! What goes out is read back by another implementation; what comes in may be anything.

use bytes::Bytes;

use super::decode::decode;
use super::*;

const M4A: &[u8] = include_bytes!("fixtures/tone.m4a");
const WEBM: &[u8] = include_bytes!("fixtures/tone.webm");
const VORBIS: &[u8] = include_bytes!("fixtures/tone.ogg");

/// 440 Hz, as PCM.
pub(crate) fn tone(seconds: f32, sample_rate: u32, amplitude: f32) -> Vec<u8> {
    let frames = (seconds * sample_rate as f32) as u32;
    let phase = |n: u32| n as f32 / sample_rate as f32 * 440.0 * std::f32::consts::TAU;
    (0..frames).flat_map(|n| ((phase(n).sin() * amplitude * 32_767.0) as i16).to_le_bytes()).collect()
}

/// A WAV file of a tone that makes a good voice.
pub(crate) fn recording(seconds: f32) -> Vec<u8> {
    wav::file(&tone(seconds, 24_000, 0.3), 24_000).unwrap()
}

fn rises(samples: &[f32]) -> usize {
    samples.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count()
}

#[test]
fn every_format_is_read_back_as_the_same_sound() {
    for sample_rate in [16_000, 22_050, 24_000, 48_000] {
        let pcm = tone(2.5, sample_rate, 0.5);
        for format in Format::ALL {
            let file = format.encode(&pcm, sample_rate).unwrap();
            assert_eq!(file, format.encode(&pcm, sample_rate).unwrap(), "{format}: a tag names one content");
            if *format == Format::Pcm {
                assert_eq!(file, pcm);
                continue;
            }
            let decoded = decode(file.into()).unwrap();
            let seconds = decoded.samples.len() as f32 / decoded.sample_rate as f32;
            assert!((seconds - 2.5).abs() < 0.06, "{format} at {sample_rate}: {seconds} s");
            assert!(rises(&decoded.samples).abs_diff(1100) <= 12, "{format}: {}", rises(&decoded.samples));
            let level = Measured::of(&decoded.samples, decoded.sample_rate).level_dbfs;
            assert!((level + 9.0).abs() < 0.7, "{format} at {sample_rate}: {level} dBFS");
        }
    }
}

#[test]
fn flac_and_wav_lose_nothing() {
    let noise: Vec<u8> = (0..60_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for format in [Format::Wav, Format::Flac] {
        let decoded = decode(format.encode(&noise, 24_000).unwrap().into()).unwrap();
        let back: Vec<i16> = decoded.samples.iter().map(|sample| (sample * 32_768.0).round() as i16).collect();
        assert_eq!(back, samples(&noise).collect::<Vec<i16>>(), "{format}");
    }
}

#[test]
fn audio_of_no_length_is_a_file_all_the_same() {
    for format in Format::ALL {
        assert!(format.encode(&[], 24_000).is_ok(), "{format}");
        assert!(format.encode(&[1, 2], 24_000).is_ok(), "{format}");
    }
}

#[test]
fn formats_have_names() {
    assert_eq!("mp3".parse(), Ok(Format::Mp3));
    assert_eq!("aac".parse::<Format>().unwrap_err(), "the format must be one of wav, pcm, flac, opus, mp3");
}

#[test]
fn what_phones_and_browsers_record_is_taken() {
    for (name, file) in [("m4a", M4A), ("webm", WEBM), ("vorbis", VORBIS)] {
        let sample = prepare(Bytes::from_static(file)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let reader = hound::WavReader::new(sample.wav.as_ref()).unwrap();
        let spec = reader.spec();
        assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (1, SAMPLE_RATE, 16), "{name}");
        assert_eq!(reader.duration() as usize, sample.frames);
        assert!((sample.frames as f32 / SAMPLE_RATE as f32 - 3.0).abs() < 0.1, "{name}: {} frames", sample.frames);
    }
}

#[test]
fn a_bad_recording_is_refused_in_words() {
    let file = |pcm: Vec<u8>, rate| wav::file(&pcm, rate).unwrap();
    for (sample, expected) in [
        (b"".to_vec(), "no audio file"),
        (b"#!/bin/sh\nexit 1\n".to_vec(), "no audio file"),
        (file(tone(31.0, 16_000, 0.3), 16_000), "longer than 30 seconds"),
        (file(tone(1.5, 16_000, 0.3), 16_000), "has 1.5 seconds"),
        (file(tone(5.0, 8_000, 0.3), 8_000), "has 8000 Hz"),
        (file(vec![0; 200_000], 24_000), "is silent"),
        (file(tone(5.0, 24_000, 0.001), 24_000), "is silent"),
        (file(vec![], 24_000), "damaged"),
    ] {
        let error = prepare(sample.into()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn advice_says_what_could_be_better() {
    let advice = |pcm: Vec<u8>| -> Vec<Advice> { prepare(wav::file(&pcm, 24_000).unwrap().into()).unwrap().advice };
    assert_eq!(advice(tone(8.0, 24_000, 0.3)), []);
    let quiet = advice(tone(8.0, 24_000, 0.018));
    assert_eq!(quiet[0].code, "quiet");
    assert!(quiet[0].detail.starts_with("The recording is very quiet (−38 dBFS)."), "{quiet:?}");
    let square = tone(8.0, 24_000, 1.0);
    let clipped: Vec<u8> = samples(&square).flat_map(|s| s.saturating_mul(4).to_le_bytes()).collect();
    assert_eq!(advice(clipped)[0].code, "clipped");
    assert_eq!(advice(tone(3.0, 24_000, 0.3))[0].code, "short");
    let mut pauses = tone(2.0, 24_000, 0.3);
    pauses.resize(48_000 * 10, 0);
    assert_eq!(advice(pauses)[0].code, "pauses");
}

#[test]
fn two_channels_become_one() {
    let left = tone(3.0, 44_100, 0.4);
    let mut writer = Vec::new();
    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: 44_100,
        bits_per_sample: 24,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = hound::WavWriter::new(std::io::Cursor::new(&mut writer), spec).unwrap();
    for sample in samples(&left) {
        file.write_sample(i32::from(sample) << 8).unwrap();
        file.write_sample(0).unwrap();
    }
    file.finalize().unwrap();
    let sample = prepare(writer.into()).unwrap();
    assert_eq!(sample.frames, 72_000);
}

/// A megabyte of FLAC can be hours of silence.
#[test]
fn a_bomb_stops_at_the_limit() {
    let silence = vec![0; 24_000 * 2 * 600];
    let flac = Format::Flac.encode(&silence, 24_000).unwrap();
    assert!(flac.len() < 200_000, "{}", flac.len());
    assert_eq!(prepare(flac.into()).unwrap_err(), SampleError::TooLong);
}

#[test]
fn a_thousand_broken_files_are_refused_or_taken_and_nothing_else() {
    let pcm = tone(2.5, 24_000, 0.3);
    let mut seeds: Vec<Vec<u8>> =
        [Format::Wav, Format::Flac, Format::Opus, Format::Mp3].map(|f| f.encode(&pcm, 24_000).unwrap()).to_vec();
    seeds.extend([M4A, WEBM, VORBIS].map(<[u8]>::to_vec));
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for round in 0..1000 {
        let mut file = seeds[round % seeds.len()].clone();
        for _ in 0..=random(12) {
            // Most harm is done where a file says what it is.
            let reach = if random(2) == 0 { file.len().min(512) } else { file.len() };
            let at = random(reach);
            match random(5) {
                0 => file.truncate(at.max(1)),
                1 => file[at] = 0xFF,
                2 => file[at] ^= 1 << random(8),
                3 => drop(file.splice(at..at, std::iter::repeat_n(random(256) as u8, random(64)))),
                _ => drop(file.drain(at..(at + random(64)).min(file.len()))),
            }
            if file.is_empty() {
                file.push(0);
            }
        }
        let outcome = std::panic::catch_unwind(|| prepare(Bytes::from(file.clone())).map(|sample| sample.frames));
        let Ok(outcome) = outcome else { panic!("round {round} panics") };
        assert!(outcome.is_err() || outcome.is_ok_and(|frames| frames <= (MAX_SECONDS * SAMPLE_RATE) as usize));
    }
}

#[tokio::test]
async fn work_that_panics_is_an_error_and_frees_its_place() {
    let workers = Workers::new(1);
    assert!(workers.turn().await.unwrap().run(|| panic!("broken")).await.is_err());
    assert_eq!(workers.turn().await.unwrap().run(|| 7).await.unwrap(), 7);
}
