//! espeak-ng as a child process: one run of the program for each piece of text.
//!
//! The text goes in on stdin, so it never shows in a process list, and a WAV comes out on
//! stdout, at whose header nobody looks for sizes: a stream has none, so espeak-ng invents them.

mod resample;
mod script;

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout_at};

use self::script::Piece;
use super::slots::{Slot, Slots};
use super::speech::{self, Session};
use super::{Abilities, Engine, EngineError, EngineSettings, Speech, Utterance, Voice};

/// Most runs of the program for one utterance. A text that changes its script at every character
/// would cost a process each.
const MAX_PIECES: usize = 500;
/// espeak-ng's own default, in words a minute.
const WORDS_A_MINUTE: f32 = 175.0;
const MAX_STDERR_BYTES: u64 = 1024;
const CHECK_PATIENCE: Duration = Duration::from_secs(5);

/// A robot voice: what makes espeak-ng sound different without a language of its own.
struct Robot {
    id: &'static str,
    name: &'static str,
    description: &'static str,
    /// Suffix of the language: espeak-ng's voice variant.
    variant: &'static str,
    /// 0 to 99; espeak-ng's default is 50.
    pitch: &'static str,
}

const ROBOTS: [Robot; 3] = [
    Robot {
        id: "robot",
        name: "Robot",
        description: "Plain robot voice.",
        variant: "",
        pitch: "50",
    },
    Robot {
        id: "robot-low",
        name: "Robot, low",
        description: "Deep robot voice.",
        variant: "+m3",
        pitch: "25",
    },
    Robot {
        id: "robot-bright",
        name: "Robot, bright",
        description: "High robot voice.",
        variant: "+f2",
        pitch: "70",
    },
];

/// The engine.
pub(super) struct Espeak {
    program: String,
    voices: Vec<Voice>,
    slots: Arc<Slots>,
    deadline: Duration,
    sample_rate: u32,
    max_bytes: usize,
}

impl Espeak {
    pub(super) fn new(settings: &EngineSettings) -> Self {
        let voices = ROBOTS
            .iter()
            .map(|robot| Voice {
                id: robot.id.to_owned(),
                name: robot.name.to_owned(),
                languages: ["zh", "en", "ja", "ko", "ru"].map(str::to_owned).to_vec(),
                description: robot.description.to_owned(),
            })
            .collect();
        Self {
            program: settings.espeak_program.clone(),
            voices,
            slots: Slots::new(
                1,
                settings.concurrency(),
                settings.queue_length,
                Duration::from_secs(settings.queue_seconds),
            ),
            deadline: Duration::from_secs(settings.deadline_seconds),
            sample_rate: settings.sample_rate_hz,
            max_bytes: settings.max_speech_bytes(),
        }
    }

    /// The program with an empty environment: what the gateway knows is none of its business.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("LC_ALL", "C.UTF-8");
        for name in ["PATH", "ESPEAK_DATA_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        command
    }

    fn spawn(&self, command: &mut Command) -> Result<Child, EngineError> {
        command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => EngineError::unavailable(format!(
                "the program {} is missing; install it, for example with: apt-get install espeak-ng",
                self.program
            )),
            _ => EngineError::unavailable(format!("{} does not start: {error}", self.program)),
        })
    }

    async fn run_check(&self) -> Result<(), EngineError> {
        let mut command = self.command();
        let child = self.spawn(command.arg("--version"))?;
        match tokio::time::timeout(CHECK_PATIENCE, child.wait_with_output()).await {
            Ok(Ok(output)) if output.status.success() => Ok(()),
            _ => Err(EngineError::unavailable(format!("{} --version fails", self.program))),
        }
    }

    async fn begin(&self, utterance: Utterance) -> Result<Speech, EngineError> {
        utterance.check(self.abilities())?;
        let robot = ROBOTS
            .iter()
            .find(|robot| robot.id == utterance.voice)
            .ok_or_else(EngineError::unknown_voice)?;
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
        let words_a_minute = (WORDS_A_MINUTE * utterance.speed).round();
        let runs = pieces.into_iter().map(|piece| self.run(piece, robot, words_a_minute)).collect();
        let work = Work {
            runs,
            program: self.program.clone(),
            sample_rate: self.sample_rate,
            bytes_left: self.max_bytes,
            max_bytes: self.max_bytes,
            deadline: Instant::now() + self.deadline,
            _slot: slot,
        };
        speech::start(self.sample_rate, work).await
    }
}
