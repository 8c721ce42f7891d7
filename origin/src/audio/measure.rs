//! How good a recording is, in words that help to make a better one.

use schemars::JsonSchema;
use serde::Serialize;

/// How long one measurement of the level is, in seconds.
const WINDOW_SECONDS: f32 = 0.05;
/// What is this much quieter than the loudest is a pause, in dB.
const PAUSE_DB: f32 = 20.0;
/// Speech that is quieter cannot be told from noise, in dBFS.
const SILENT_DBFS: f32 = -55.0;
const QUIET_DBFS: f32 = -35.0;
/// The share of samples at full scale from which on it is heard.
const CLIPPED_SHARE: f32 = 0.0005;
const FULL_SCALE: f32 = 0.999;
/// Shorter recordings give a voice, but a poor one.
const SHORT_SECONDS: f32 = 5.0;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// How long it plays.
    pub seconds: f32,
    /// Mean level of what is no pause, in dBFS.
    pub level_dbfs: f32,
    /// Seconds that are no pause.
    pub speech_seconds: f32,
    /// The share of samples at full scale, 0 to 1.
    pub clipped: f32,
}

/// Something that could be better. The recording is taken all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Advice {
    /// Stable name: `quiet`, `clipped`, `short` or `pauses`.
    pub code: &'static str,
    /// A sentence or two for a person.
    pub detail: String,
}

impl Measured {
    pub(super) fn of(samples: &[f32], sample_rate: u32) -> Self {
        let window = ((sample_rate as f32 * WINDOW_SECONDS) as usize).max(1);
        let powers: Vec<f32> = samples
            .chunks(window)
            .map(|window| window.iter().map(|sample| sample * sample).sum::<f32>() / window.len() as f32)
            .collect();
        let loudest = powers.iter().copied().fold(0.0, f32::max);
        let floor = loudest * 10_f32.powf(-PAUSE_DB / 10.0);
        let speech: Vec<f32> = powers.iter().copied().filter(|power| *power > 0.0 && *power >= floor).collect();
        let power = speech.iter().sum::<f32>() / speech.len().max(1) as f32;
        let clipped = samples.iter().filter(|sample| sample.abs() >= FULL_SCALE).count();
        Self {
            seconds: samples.len() as f32 / sample_rate.max(1) as f32,
            level_dbfs: 10.0 * power.max(1e-12).log10(),
            speech_seconds: speech.len() as f32 * WINDOW_SECONDS,
            clipped: clipped as f32 / samples.len().max(1) as f32,
        }
    }

    /// Nobody is heard.
    pub(super) fn is_silent(&self) -> bool {
        self.level_dbfs < SILENT_DBFS
    }

    /// What could be better, the worst first.
    pub(super) fn advice(&self) -> Vec<Advice> {
        let mut advice = Vec::new();
        let mut say = |code, detail| advice.push(Advice { code, detail });
        if self.level_dbfs < QUIET_DBFS {
            let level = format!("{:.0}", self.level_dbfs).replace('-', "−");
            say(
                "quiet",
                format!("The recording is very quiet ({level} dBFS). Go closer to the microphone or turn it up."),
            );
        }
        if self.clipped > CLIPPED_SHARE {
            let percent = self.clipped * 100.0;
            say(
                "clipped",
                format!(
                    "The recording is too loud: {percent:.1} % of it is cut off at full scale, which the voice will \
                     repeat. Turn the microphone down."
                ),
            );
        }
        if self.seconds < SHORT_SECONDS {
            let seconds = self.seconds;
            say("short", format!("The recording has {seconds:.1} seconds. Ten to twenty make a better voice."));
        } else if self.speech_seconds < self.seconds / 2.0 {
            let seconds = self.speech_seconds;
            say("pauses", format!("Only about {seconds:.0} seconds of it are speech. Cut the pauses off."));
        }
        advice
    }
}
