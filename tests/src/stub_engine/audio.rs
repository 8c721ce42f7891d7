//! What the stub says: a tone for each sentence, led by a marker that tells whose voice and which
//! words it is.

use sha2::{Digest, Sha256};

/// Hertz; the rate of CosyVoice 2 and 3.
pub const SAMPLE_RATE: u32 = 24_000;

const MAGIC: [u8; 4] = *b"STUB";
const HASH_BYTES: usize = 8;
const SAMPLES_A_CHARACTER: usize = 1200;

/// Leads the audio of each sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Marker {
    /// First bytes of SHA-256 over the reference audio, or over the `spk_id`.
    pub voice: [u8; HASH_BYTES],
    /// First bytes of SHA-256 over the sentence without marks and spaces around it.
    pub text: [u8; HASH_BYTES],
}

impl Marker {
    /// The marker of one sentence in one voice (reference audio, or the bytes of a `spk_id`).
    pub fn new(sentence: &str, voice: &[u8]) -> Self {
        Self { voice: hash(voice), text: hash(core(sentence).as_bytes()) }
    }
}

/// The PCM of a whole text in a voice (reference audio, or the bytes of a `spk_id`).
///
/// A text that is sent in parts sounds the same as in one, if it is cut between sentences.
pub fn pcm_for(text: &str, voice: &[u8]) -> Vec<u8> {
    sentences(text).iter().flat_map(|sentence| sentence_pcm(sentence, voice)).collect()
}

/// All markers in a PCM, in their order.
pub fn markers(pcm: &[u8]) -> Vec<Marker> {
    let marker_bytes = MAGIC.len() + 2 * HASH_BYTES;
    let candidates = pcm.windows(marker_bytes).step_by(2);
    let marked = candidates.filter_map(|window| window.strip_prefix(&MAGIC));
    marked
        .map(|hashes| {
            let (voice, text) = hashes.split_at(HASH_BYTES);
            Marker { voice: voice.try_into().unwrap(), text: text.try_into().unwrap() }
        })
        .collect()
}

/// Cuts after every mark that can end a sentence, whatever stands around it, so that the result
/// does not depend on what the text is part of.
pub(super) fn sentences(text: &str) -> Vec<&str> {
    text.split(|character| "。！？!?.…｡\n".contains(character))
        .map(core)
        .filter(|sentence| !sentence.is_empty())
        .collect()
}

pub(super) fn sentence_pcm(sentence: &str, voice: &[u8]) -> Vec<u8> {
    let marker = Marker::new(sentence, voice);
    let hertz = 100 + usize::from(marker.voice[0]);
    let period = SAMPLE_RATE as usize / hertz;
    let count = core(sentence).chars().count() * SAMPLES_A_CHARACTER;
    let tone = (0..count).flat_map(|at| triangle(at, period).to_le_bytes());
    [MAGIC.as_slice(), &marker.voice, &marker.text].concat().into_iter().chain(tone).collect()
}

/// Whole numbers only, so that every machine makes the same wave.
fn triangle(at: usize, period: usize) -> i16 {
    let phase = at % period * 4 * 6000 / period;
    let height = if phase < 12_000 { phase as i32 - 6000 } else { 18_000 - phase as i32 };
    height as i16
}

fn core(sentence: &str) -> &str {
    sentence.trim_matches(|character: char| !character.is_alphanumeric())
}

fn hash(bytes: &[u8]) -> [u8; HASH_BYTES] {
    Sha256::digest(bytes)[..HASH_BYTES].try_into().unwrap()
}
