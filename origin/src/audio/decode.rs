//! Reading audio that somebody sent: WAV, FLAC, MP3, Ogg (Vorbis, Opus), M4A and AAC, WebM.
//!
//! Nothing that the file says of itself is believed. What is decoded is counted while it comes,
//! and everything ends at a limit: seconds of audio, broken packets, time.

use std::io::Cursor;
use std::time::{Duration, Instant};

use bytes::Bytes;
use opus_pure::{MAX_PACKET_SAMPLES, OpusDecoder};
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::common::Limit;
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

use super::sample::{MAX_SECONDS, SampleError};

/// Decoding thirty seconds takes a fraction of this.
const TIME: Duration = Duration::from_secs(10);
/// Packets that cannot be decoded, or belong to no audio.
const MAX_BAD_PACKETS: usize = 1000;
/// Names and covers in the file are of no interest.
const MAX_TAG_BYTES: usize = 64 * 1024;
const MAX_SAMPLE_RATE: u32 = 192_000;
const MAX_CHANNELS: usize = 8;
const OPUS_RATE: u32 = 48_000;

/// One channel; full scale is 1.0.
pub(super) struct Decoded {
    pub(super) samples: Vec<f32>,
    pub(super) sample_rate: u32,
}

/// Decodes the first audio track and mixes its channels.
pub(super) fn decode(file: Bytes) -> Result<Decoded, SampleError> {
    let until = Instant::now() + TIME;
    let stream = MediaSourceStream::new(Box::new(Cursor::new(file)), Default::default());
    let tags = Limit::Maximum(MAX_TAG_BYTES);
    let metadata = MetadataOptions::default().limit_tag_bytes(tags).limit_visual_bytes(tags);
    let mut reader = symphonia::default::get_probe()
        .probe(&Hint::new(), stream, FormatOptions::default(), metadata)
        .map_err(|_| SampleError::Unknown)?;
    let track = reader.default_track(TrackType::Audio).ok_or(SampleError::Unknown)?;
    let Some(CodecParameters::Audio(parameters)) = &track.codec_params else { return Err(SampleError::Unknown) };
    let (track_id, mut decoder) = (track.id, Decoder::new(parameters)?);
    let mut decoded = Decoded { samples: Vec::new(), sample_rate: 0 };
    let mut bad_packets = 0;
    while let Some(packet) = next_packet(reader.as_mut())? {
        if Instant::now() > until || bad_packets > MAX_BAD_PACKETS {
            return Err(SampleError::Broken);
        }
        let is_good = packet.track_id == track_id && decoder.decode(&packet, &mut decoded)?;
        bad_packets += usize::from(!is_good);
        if decoded.samples.len() > MAX_SECONDS as usize * decoded.sample_rate as usize {
            return Err(SampleError::TooLong);
        }
    }
    if decoded.samples.is_empty() { Err(SampleError::Broken) } else { Ok(decoded) }
}

/// A file that breaks off ends where it breaks off.
fn next_packet(reader: &mut dyn FormatReader) -> Result<Option<Packet>, SampleError> {
    match reader.next_packet() {
        Ok(packet) => Ok(packet),
        Err(Error::IoError(_) | Error::ResetRequired) => Ok(None),
        Err(_) => Err(SampleError::Broken),
    }
}

enum Decoder {
    Symphonia { decoder: Box<dyn AudioDecoder>, interleaved: Vec<f32> },
    Opus { decoder: Box<OpusDecoder>, interleaved: Vec<f32>, channels: usize, skip: usize },
}

impl Decoder {
    fn new(parameters: &AudioCodecParameters) -> Result<Self, SampleError> {
        if parameters.codec == CODEC_ID_OPUS {
            return Self::opus(parameters.extra_data.as_deref().unwrap_or_default());
        }
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map_err(|_| SampleError::Unknown)?;
        Ok(Self::Symphonia { decoder, interleaved: Vec::new() })
    }

    /// From the identification header (RFC 7845, section 5.1): the number of channels is its tenth
    /// byte, the two after it say how much of the beginning is none of the audio.
    fn opus(head: &[u8]) -> Result<Self, SampleError> {
        let Some([channels @ 1..=2, low, high]) = head.get(9..12) else { return Err(SampleError::Unknown) };
        let channels = usize::from(*channels);
        let decoder = OpusDecoder::new(OPUS_RATE as i32, channels).map_err(|_| SampleError::Unknown)?;
        let interleaved = vec![0.0; MAX_PACKET_SAMPLES * channels];
        let skip = usize::from(u16::from_le_bytes([*low, *high]));
        Ok(Self::Opus { decoder: Box::new(decoder), interleaved, channels, skip })
    }

    /// Adds what a packet holds; false if it cannot be decoded.
    fn decode(&mut self, packet: &Packet, decoded: &mut Decoded) -> Result<bool, SampleError> {
        match self {
            Self::Symphonia { decoder, interleaved } => {
                let Ok(audio) = decoder.decode(packet) else { return Ok(false) };
                let (rate, channels) = (audio.spec().rate(), audio.num_planes());
                audio.copy_to_vec_interleaved(interleaved);
                decoded.add(interleaved, channels, rate)?;
            }
            Self::Opus { decoder, interleaved, channels, skip } => {
                let Ok(frames) = decoder.decode(&packet.data, MAX_PACKET_SAMPLES, interleaved) else {
                    return Ok(false);
                };
                let skipped = frames.min(*skip);
                *skip -= skipped;
                // In Ogg, where positions count at Opus' own rate, the end is marked, too.
                let end = frames.saturating_sub(usize::try_from(packet.trim_end.get()).unwrap_or_default());
                let audio = interleaved.get(skipped * *channels..end * *channels).unwrap_or_default();
                decoded.add(audio, *channels, OPUS_RATE)?;
            }
        }
        Ok(true)
    }
}

impl Decoded {
    fn add(&mut self, interleaved: &[f32], channels: usize, sample_rate: u32) -> Result<(), SampleError> {
        if self.sample_rate == 0 {
            self.sample_rate = sample_rate;
        }
        let is_possible = (1..=MAX_CHANNELS).contains(&channels) && (1..=MAX_SAMPLE_RATE).contains(&sample_rate);
        // A rate that changes on the way would be heard as another voice.
        if !is_possible || self.sample_rate != sample_rate {
            return Err(SampleError::Broken);
        }
        let mixed = interleaved.chunks_exact(channels).map(|frame| {
            let mean = frame.iter().sum::<f32>() / channels as f32;
            if mean.is_finite() { mean.clamp(-1.0, 1.0) } else { 0.0 }
        });
        self.samples.extend(mixed);
        Ok(())
    }
}
