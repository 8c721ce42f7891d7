//! Opus in Ogg (RFC 7845).

use opus_pure::{
    Application, Error, MAX_PACKET_BYTES, OggOpusWriter, OpusEncoder, OpusHead, OpusTags, RateControl, Signal,
};

use super::{AudioError, resample};

/// Full band speech needs no more (RFC 7587, section 3.1.1, names 28 to 40 kbit/s).
const BITRATE: i32 = 40_000;
/// Frames a second: 20 ms each.
const FRAMES_A_SECOND: u32 = 50;
/// Granule positions count at this rate, whatever the encoder's (RFC 7845, section 4).
const GRANULE_RATE: u32 = 48_000;

/// The audio comes back with its own length: what the encoder adds at both ends is marked.
pub(super) fn encode(pcm: &[u8], sample_rate: u32) -> Result<Vec<u8>, AudioError> {
    let opus_rate = match sample_rate {
        8_000 | 12_000 | 16_000 | 24_000 | 48_000 => sample_rate,
        rate if rate < 24_000 => 24_000,
        _ => 48_000,
    };
    let pcm = resample(pcm, sample_rate, opus_rate)?;
    let samples: Vec<i16> = super::samples(&pcm).collect();
    write(&samples, opus_rate).map_err(|error| AudioError(format!("no Opus of it: {error}")))
}

fn write(samples: &[i16], rate: u32) -> Result<Vec<u8>, Error> {
    let mut encoder = OpusEncoder::new(rate as i32, 1, Application::Audio)?;
    encoder.bitrate_bps = BITRATE;
    encoder.rate_control = RateControl::Vbr;
    encoder.signal_type = Some(Signal::Voice);
    let head = OpusHead::for_encoder(&encoder, rate);
    let ticks = (GRANULE_RATE / rate) as usize;
    let frame = (rate / FRAMES_A_SECOND) as usize;
    // The last samples are still inside the encoder when its input ends; silence pushes them out.
    let frames = (samples.len() + usize::from(head.pre_skip).div_ceil(ticks)).div_ceil(frame);
    let end = u64::from(head.pre_skip) + (samples.len() * ticks) as u64;
    let tags = OpusTags { vendor: "cosygate".to_owned(), comments: Vec::new() };
    let mut file = Vec::new();
    let mut writer = OggOpusWriter::with_tags(&mut file, head, tags)?;
    let mut packet = vec![0; MAX_PACKET_BYTES];
    let mut pieces = samples.chunks(frame);
    for index in 1..=frames {
        let mut block = pieces.next().unwrap_or_default().to_vec();
        block.resize(frame, 0);
        let length = encoder.encode_s16(&block, frame, &mut packet)?;
        let bytes = packet.get(..length).unwrap_or_default();
        if index == frames {
            // This is where the audio stops (RFC 7845, section 4.4).
            let last = end.saturating_sub(writer.granule() as u64);
            writer.write_packet_with_duration(bytes, last as u32)?;
        } else {
            writer.write_packet(bytes)?;
        }
    }
    writer.finish()?;
    Ok(file)
}
