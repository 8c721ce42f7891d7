//! From one sample rate to another.

use rubato::audioadapter_buffers::owned::InterleavedOwned;
use rubato::{Fft, FixedSync, Resampler};

use super::AudioError;

const CHUNK_FRAMES: usize = 1024;

/// Resamples 16-bit little-endian mono PCM. The same input always gives the same output.
///
/// # Errors
/// The rates do not go together.
pub fn resample(pcm: &[u8], from_hz: u32, to_hz: u32) -> Result<Vec<u8>, AudioError> {
    if from_hz == to_hz || pcm.is_empty() {
        return Ok(pcm.to_vec());
    }
    let (samples, _) = pcm.as_chunks::<2>();
    let samples: Vec<f32> = samples.iter().map(|sample| f32::from(i16::from_le_bytes(*sample))).collect();
    Ok(to_pcm(&resample_floats(samples, from_hz, to_hz)?))
}

/// Resamples one channel.
///
/// # Errors
/// The rates do not go together.
pub(super) fn resample_floats(samples: Vec<f32>, from_hz: u32, to_hz: u32) -> Result<Vec<f32>, AudioError> {
    if from_hz == to_hz {
        return Ok(samples);
    }
    let frames = samples.len();
    convert(samples, frames, from_hz as usize, to_hz as usize)
        .map_err(|error| AudioError(format!("it cannot be resampled: {error}")))
}

/// 16-bit little-endian PCM of samples that are as large as its own.
pub(super) fn to_pcm(samples: &[f32]) -> Vec<u8> {
    // A float-to-integer cast saturates, so a peak that overshoots is clipped, never wrapped.
    samples.iter().flat_map(|sample| (sample.round() as i16).to_le_bytes()).collect()
}

fn convert(
    samples: Vec<f32>,
    frames: usize,
    from_hz: usize,
    to_hz: usize,
) -> Result<Vec<f32>, Box<dyn std::error::Error>> {
    let input = InterleavedOwned::new_from(samples, 1, frames)?;
    let mut resampler = Fft::<f32>::new(from_hz, to_hz, CHUNK_FRAMES, 1, FixedSync::Both)?;
    let mut resampled = resampler.process_all(&input, frames, None)?.take_data();
    // rubato counts in floating point and may be one sample over.
    resampled.truncate((frames * to_hz).div_ceil(from_hz));
    Ok(resampled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(rate: u32, hertz: f32, amplitude: f32) -> Vec<u8> {
        (0..rate)
            .map(|n| (n as f32 / rate as f32 * hertz * std::f32::consts::TAU).sin() * amplitude)
            .flat_map(|sample| (sample as i16).to_le_bytes())
            .collect()
    }

    fn samples(pcm: &[u8]) -> Vec<f64> {
        pcm.chunks(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]).into()).collect()
    }

    #[test]
    fn keeps_length_pitch_and_loudness() {
        let resampled = resample(&sine(22_050, 440.0, 10_000.0), 22_050, 24_000).unwrap();
        let expected = sine(24_000, 440.0, 10_000.0);
        assert_eq!(resampled.len(), expected.len());
        let (resampled, expected) = (samples(&resampled), samples(&expected));
        let rises = |samples: &[f64]| samples.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
        assert!(rises(&resampled).abs_diff(rises(&expected)) <= 1);
        let power = |samples: &[f64]| samples.iter().map(|sample| sample * sample).sum::<f64>();
        assert!((power(&resampled) / power(&expected) - 1.0).abs() < 0.01);
    }

    #[test]
    fn clips_instead_of_wrapping() {
        let square: Vec<u8> =
            (0..22_050).flat_map(|n| if n / 50 % 2 == 0 { i16::MAX } else { i16::MIN }.to_le_bytes()).collect();
        let resampled = resample(&square, 22_050, 24_000).unwrap();
        // Wrapping would turn a peak of one half wave into its opposite.
        assert!(samples(&resampled)[10..40].iter().all(|sample| *sample > 20_000.0));
    }

    #[test]
    fn the_same_rate_changes_nothing() {
        let pcm = sine(22_050, 100.0, 5_000.0);
        assert_eq!(resample(&pcm, 22_050, 22_050).unwrap(), pcm);
    }
}
