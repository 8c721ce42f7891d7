//! espeak-ng as a child process: a robot, but present everywhere and without a model to fetch.

mod program;
mod script;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::time::{Instant, timeout_at};

use self::program::{Program, Sound};
use self::script::Piece;
use super::slots::{Slot, Slots};
use super::speech::{self, Session};
use super::{Abilities, Engine, EngineError, EngineSettings, Speech, Utterance, Voice};

/// Most runs of the program for one utterance. A text that changes its script at every character
/// would cost one each.
const MAX_PIECES: usize = 500;
/// espeak-ng's own speed, in words a minute.
const NATURAL_RATE: f32 = 175.0;

/// What makes espeak-ng sound different without being another language.
struct Robot {
    id: &'static str,
    name: &'static str,
    description: &'static str,
    variant: &'static str,
    pitch: u32,
}

const ROBOTS: [Robot; 3] = [
    Robot { id: "robot", name: "Robot", description: "The plain robot.", variant: "", pitch: 50 },
    Robot { id: "robot-low", name: "Robot, low", description: "A deep robot.", variant: "+m3", pitch: 20 },
    Robot { id: "robot-bright", name: "Robot, bright", description: "A high robot.", variant: "+f2", pitch: 70 },
];

/// The engine.
pub(super) struct Espeak {
    program: Program,
    voices: Vec<Voice>,
    slots: Arc<Slots>,
    deadline: Duration,
    sample_rate: u32,
    max_bytes: usize,
}

impl Espeak {
    pub(super) fn new(settings: &EngineSettings) -> Self {
        let patience = Duration::from_secs(settings.queue_seconds);
        Self {
            program: Program(settings.espeak_program.clone()),
            voices: ROBOTS.iter().map(Robot::voice).collect(),
            slots: Slots::new(1, settings.concurrency(), settings.queue_length, patience),
            deadline: Duration::from_secs(settings.deadline_seconds),
            sample_rate: settings.sample_rate_hz,
            max_bytes: settings.max_speech_bytes(),
        }
    }

    async fn begin(&self, utterance: Utterance) -> Result<Speech, EngineError> {
        utterance.check(self.abilities())?;
        let robot = ROBOTS.iter().find(|robot| robot.id == utterance.voice).ok_or_else(EngineError::unknown_voice)?;
        let pieces = script::pieces(&script::clean(&utterance.text));
        if pieces.is_empty() {
            return Err(EngineError::nothing_to_say());
        }
        if pieces.len() > MAX_PIECES {
            return Err(EngineError::rejected(
                "This text is too long or changes its script too often; send it in parts.",
            ));
        }
        let slot = self.slots.take().await?;
        let work = Work {
            pieces: pieces.into(),
            sound: robot.sound(utterance.speed),
            program: self.program.clone(),
            sample_rate: self.sample_rate,
            max_bytes: self.max_bytes,
            bytes_left: self.max_bytes,
            deadline: Instant::now() + self.deadline,
            _slot: slot,
        };
        speech::start(self.sample_rate, work).await
    }
}

impl Robot {
    fn voice(&self) -> Voice {
        Voice {
            id: self.id.to_owned(),
            name: self.name.to_owned(),
            languages: ["zh", "en", "ja", "ko", "ru"].map(str::to_owned).to_vec(),
            description: self.description.to_owned(),
        }
    }

    fn sound(&self, speed: f32) -> Sound {
        Sound { variant: self.variant, pitch: self.pitch, rate: (NATURAL_RATE * speed).round() as u32 }
    }
}

impl Engine for Espeak {
    fn name(&self) -> &'static str {
        "espeak"
    }

    fn voices(&self) -> &[Voice] {
        &self.voices
    }

    fn notice(&self) -> Option<&str> {
        Some("Robot voice (espeak-ng): for trying things out, no cloning.")
    }

    fn abilities(&self) -> Abilities {
        Abilities { speed: true, instruct: false, reference: false }
    }

    fn check(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(self.program.check())
    }

    fn speak(&self, utterance: Utterance) -> BoxFuture<'_, Result<Speech, EngineError>> {
        Box::pin(self.begin(utterance))
    }
}

/// One utterance being spoken, piece by piece.
struct Work {
    pieces: VecDeque<Piece>,
    sound: Sound,
    program: Program,
    sample_rate: u32,
    max_bytes: usize,
    bytes_left: usize,
    deadline: Instant,
    _slot: Slot,
}

impl Session for Work {
    async fn next(&mut self) -> Result<Option<Bytes>, EngineError> {
        while let Some(piece) = self.pieces.pop_front() {
            let pcm = timeout_at(self.deadline, self.speak(&piece))
                .await
                .map_err(|_| EngineError::failed("espeak-ng did not finish in time"))??;
            if !pcm.is_empty() {
                return Ok(Some(pcm.into()));
            }
        }
        Ok(None)
    }

    fn left(&self) -> usize {
        self.pieces.len()
    }
}

impl Work {
    async fn speak(&mut self, piece: &Piece) -> Result<Vec<u8>, EngineError> {
        let audio = self.program.speak(piece, self.sound, self.max_bytes).await?;
        let sample_rate = self.sample_rate;
        // Resampling takes milliseconds of pure computing: too long for a thread that serves others.
        let resampling = move || crate::audio::resample(&audio.pcm, audio.sample_rate, sample_rate);
        let pcm = tokio::task::spawn_blocking(resampling)
            .await
            .map_err(|_| EngineError::failed("resampling was interrupted"))?
            .map_err(|error| EngineError::failed(error.to_string()))?;
        self.bytes_left = self.bytes_left.checked_sub(pcm.len()).ok_or_else(|| speech::too_long(self.max_bytes))?;
        Ok(pcm)
    }
}

#[cfg(test)]
mod tests;
