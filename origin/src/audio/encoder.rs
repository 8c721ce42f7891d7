//! Encoding audio while it is made.

use std::io;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};

#[cfg(feature = "mp3")]
use super::mp3;
use super::{AudioError, Format, Workers, ogg_opus};
use crate::engine::wav;

/// Takes PCM piece by piece, and writes what of the file follows from it. However the pieces are
/// cut, the file is the same.
pub(super) trait Encoder: Send {
    /// Adds 16-bit little-endian mono PCM: whole samples.
    fn push(&mut self, pcm: &[u8], file: &mut Vec<u8>) -> Result<(), AudioError>;

    /// Writes what is left.
    fn finish(self: Box<Self>, file: &mut Vec<u8>) -> Result<(), AudioError>;
}

/// Whether a format can be made of PCM at `sample_rate` while that is made. FLAC begins with what
/// only the whole tells.
pub fn comes_live(format: Format, sample_rate: u32) -> bool {
    match format {
        Format::Wav | Format::Pcm => true,
        Format::Opus => ogg_opus::RATES.contains(&sample_rate),
        Format::Mp3 => cfg!(feature = "mp3"),
        Format::Flac => false,
    }
}

/// A file of PCM at `sample_rate`, while the PCM is made; `None` where
/// [`comes_live`] says no. `pcm` ends with an error when it is not whole, and so does what is returned.
///
/// # Errors
/// The encoder does not start.
pub fn live(
    format: Format,
    sample_rate: u32,
    pcm: BoxStream<'static, io::Result<Bytes>>,
    workers: &Workers,
) -> Result<Option<BoxStream<'static, io::Result<Bytes>>>, AudioError> {
    let encoder: Box<dyn Encoder> = match format {
        Format::Wav => {
            let header = Bytes::copy_from_slice(&wav::live_header(sample_rate));
            return Ok(Some(stream::once(async { Ok(header) }).chain(pcm).boxed()));
        }
        Format::Pcm => return Ok(Some(pcm)),
        Format::Opus if comes_live(format, sample_rate) => Box::new(ogg_opus::Opus::new(sample_rate)?),
        #[cfg(feature = "mp3")]
        Format::Mp3 => Box::new(mp3::Mp3::live(sample_rate)?),
        _ => return Ok(None),
    };
    let state = Encoding { pcm, encoder, half: None, workers: workers.clone() };
    let file = stream::try_unfold(Some(state), |state| async move {
        match state {
            Some(state) => state.next().await,
            None => Ok(None),
        }
    });
    Ok(Some(file.boxed()))
}

struct Encoding {
    pcm: BoxStream<'static, io::Result<Bytes>>,
    encoder: Box<dyn Encoder>,
    /// The first byte of a sample whose second one has not come.
    half: Option<u8>,
    workers: Workers,
}

impl Encoding {
    /// What comes next, and what comes after it; nothing after the end.
    async fn next(mut self) -> io::Result<Option<(Bytes, Option<Self>)>> {
        loop {
            let piece = self.pcm.next().await.transpose()?;
            let (done, file) = self.work(piece).await?;
            self = match done {
                None => return Ok(Some((file, None))),
                Some(state) if file.is_empty() => state,
                Some(state) => return Ok(Some((file, Some(state)))),
            };
        }
    }

    /// Encodes a piece, or what is left when there is none.
    async fn work(self, piece: Option<Bytes>) -> io::Result<(Option<Self>, Bytes)> {
        let turn = self.workers.turn().await.map_err(|_| io::Error::other("there was no turn to encode"))?;
        let Self { pcm, mut encoder, mut half, workers } = self;
        let work = move || -> Result<_, AudioError> {
            let mut file = Vec::new();
            let Some(piece) = piece else {
                encoder.finish(&mut file)?;
                return Ok((None, Bytes::from(file)));
            };
            let mut whole: Vec<u8> = half.take().into_iter().chain(piece).collect();
            if whole.len() % 2 == 1 {
                half = whole.pop();
            }
            encoder.push(&whole, &mut file)?;
            Ok((Some((encoder, half)), Bytes::from(file)))
        };
        let done = turn.run(work).await.map_err(|_| io::Error::other("the encoder panicked"))?;
        let (rest, file) = done.map_err(io::Error::other)?;
        Ok((rest.map(|(encoder, half)| Self { pcm, encoder, half, workers }), file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::tests::tone;

    fn pieces(pcm: &[u8], size: usize) -> BoxStream<'static, io::Result<Bytes>> {
        let pieces: Vec<_> = pcm.chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        stream::iter(pieces).boxed()
    }

    async fn file(format: Format, pcm: &[u8], size: usize) -> Vec<u8> {
        let live = live(format, 24_000, pieces(pcm, size), &Workers::default()).unwrap().unwrap();
        let parts: Vec<Bytes> = live.map(Result::unwrap).collect().await;
        assert!(size > 10_000 || parts.len() > 3, "{format} comes in {} parts", parts.len());
        parts.concat()
    }

    #[tokio::test]
    async fn a_file_is_the_same_however_its_samples_come() {
        let pcm = tone(2.5, 24_000, 0.3);
        for format in [Format::Wav, Format::Pcm, Format::Opus, Format::Mp3] {
            let whole = file(format, &pcm, usize::MAX).await;
            assert_eq!(file(format, &pcm, 4801).await, whole, "{format}");
        }
        assert_eq!(file(Format::Opus, &pcm, 999).await, Format::Opus.encode(&pcm, 24_000).unwrap());
        // The same sound as of a file that is made at once.
        let live = crate::audio::prepare(file(Format::Mp3, &pcm, 999).await.into()).unwrap();
        let whole = crate::audio::prepare(Format::Mp3.encode(&pcm, 24_000).unwrap().into()).unwrap();
        assert!(live.frames.abs_diff(whole.frames) < 3 * 1152, "{} and {}", live.frames, whole.frames);
    }

    #[tokio::test]
    async fn what_breaks_off_has_no_proper_end() {
        let broken = || pieces(&[0; 96_000], 9_600).chain(stream::once(async { Err(io::Error::other("cut")) })).boxed();
        for format in [Format::Wav, Format::Pcm, Format::Opus, Format::Mp3] {
            let live = live(format, 24_000, broken(), &Workers::default()).unwrap().unwrap();
            let parts: Vec<_> = live.collect().await;
            let (last, before) = parts.split_last().unwrap();
            assert!(last.is_err() && before.iter().all(Result::is_ok), "{format}");
        }
    }

    #[test]
    fn what_needs_the_whole_says_so() {
        let workers = Workers::default();
        assert!(live(Format::Flac, 24_000, pieces(&[], 1), &workers).unwrap().is_none());
        assert!(live(Format::Opus, 22_050, pieces(&[], 1), &workers).unwrap().is_none());
        assert!(live(Format::Mp3, 22_050, pieces(&[], 1), &workers).unwrap().is_some());
    }
}
