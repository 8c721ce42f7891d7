//! Opus in Ogg (RFC 7845).

use opus_pure::{
    Application, Error, MAX_PACKET_BYTES, OggOpusWriter, OpusEncoder, OpusHead, OpusTags, RateControl, Signal,
};

use super::encoder::Encoder;
use super::{AudioError, resample};

/// The rates that Opus takes, in hertz.
pub(super) const RATES: [u32; 5] = [8_000, 12_000, 16_000, 24_000, 48_000];
/// Full band speech needs no more (RFC 7587, section 3.1.1, names 28 to 40 kbit/s).
const BITRATE: i32 = 40_000;
/// Frames a second: 20 ms each.
const FRAMES_A_SECOND: u32 = 50;
/// Granule positions count at this rate, whatever the encoder's (RFC 7845, section 4).
const GRANULE_RATE: u32 = 48_000;
/// A page is sent when it has so many bytes: a fifth of a second, for whoever listens meanwhile.
const PAGE_BYTES: usize = 1024;

/// The audio comes back with its own length: what the encoder adds at both ends is marked.
pub(super) fn encode(pcm: &[u8], sample_rate: u32) -> Result<Vec<u8>, AudioError> {
    let opus_rate = match sample_rate {
        rate if RATES.contains(&rate) => rate,
        rate if rate < 24_000 => 24_000,
        _ => 48_000,
    };
    let pcm = resample(pcm, sample_rate, opus_rate)?;
    let (mut encoder, mut file) = (Box::new(Opus::new(opus_rate)?), Vec::new());
    encoder.push(&pcm, &mut file)?;
    encoder.finish(&mut file)?;
    Ok(file)
}

/// Makes a file of one of the [`RATES`].
pub(super) struct Opus {
    encoder: OpusEncoder,
    writer: OggOpusWriter<Vec<u8>>,
    packet: Vec<u8>,
    /// Samples of a frame.
    frame: usize,
    /// Ticks of the granule position for each sample.
    ticks: usize,
    /// What the encoder puts before the audio, in ticks.
    pre_skip: usize,
    /// Less than a frame, or one that may be the last.
    waiting: Vec<i16>,
    samples: usize,
}

impl Opus {
    pub(super) fn new(rate: u32) -> Result<Self, AudioError> {
        Self::begin(rate).map_err(failed)
    }

    fn begin(rate: u32) -> Result<Self, Error> {
        let mut encoder = OpusEncoder::new(rate as i32, 1, Application::Audio)?;
        encoder.bitrate_bps = BITRATE;
        encoder.rate_control = RateControl::Vbr;
        encoder.signal_type = Some(Signal::Voice);
        let head = OpusHead::for_encoder(&encoder, rate);
        let pre_skip = usize::from(head.pre_skip);
        let tags = OpusTags { vendor: "cosygate".to_owned(), comments: Vec::new() };
        let mut writer = OggOpusWriter::with_tags(Vec::new(), head, tags)?;
        writer.set_page_target(PAGE_BYTES);
        Ok(Self {
            encoder,
            writer,
            packet: vec![0; MAX_PACKET_BYTES],
            frame: (rate / FRAMES_A_SECOND) as usize,
            ticks: (GRANULE_RATE / rate) as usize,
            pre_skip,
            waiting: Vec::new(),
            samples: 0,
        })
    }

    fn add(&mut self, pcm: &[u8]) -> Result<(), Error> {
        let before = self.waiting.len();
        self.waiting.extend(super::samples(pcm));
        self.samples += self.waiting.len() - before;
        // One frame stays, for the last one is written otherwise.
        while self.waiting.len() > self.frame {
            let frame: Vec<i16> = self.waiting.drain(..self.frame).collect();
            let length = self.encoder.encode_s16(&frame, self.frame, &mut self.packet)?;
            self.writer.write_packet(self.packet.get(..length).unwrap_or_default())?;
        }
        Ok(())
    }

    fn end(mut self) -> Result<Vec<u8>, Error> {
        // The last samples are still inside the encoder when its input ends; silence pushes them out.
        let silence = self.pre_skip.div_ceil(self.ticks);
        let frames = (self.waiting.len() + silence).div_ceil(self.frame);
        let end = (self.pre_skip + self.samples * self.ticks) as u64;
        self.waiting.resize(frames * self.frame, 0);
        let mut frames = self.waiting.chunks(self.frame).peekable();
        while let Some(frame) = frames.next() {
            let length = self.encoder.encode_s16(frame, self.frame, &mut self.packet)?;
            let bytes = self.packet.get(..length).unwrap_or_default();
            if frames.peek().is_some() {
                self.writer.write_packet(bytes)?;
            } else {
                // This is where the audio stops (RFC 7845, section 4.4).
                let last = end.saturating_sub(self.writer.granule() as u64);
                self.writer.write_packet_with_duration(bytes, last as u32)?;
            }
        }
        self.writer.finish()
    }
}

impl Encoder for Opus {
    fn push(&mut self, pcm: &[u8], file: &mut Vec<u8>) -> Result<(), AudioError> {
        self.add(pcm).map_err(failed)?;
        if let Some(written) = self.writer.get_mut() {
            file.append(written);
        }
        Ok(())
    }

    fn finish(self: Box<Self>, file: &mut Vec<u8>) -> Result<(), AudioError> {
        file.append(&mut self.end().map_err(failed)?);
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err hands over")]
fn failed(error: Error) -> AudioError {
    AudioError(format!("no Opus of it: {error}"))
}
