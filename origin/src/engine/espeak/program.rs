//! Runs of the program espeak-ng.
//!
//! The text goes in on stdin, so it never shows in a process list. A WAV comes out on stdout; its
//! sizes mean nothing, because a stream has none and espeak-ng invents them.

use std::io::ErrorKind;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{self, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::super::{EngineError, speech};
use super::script::Piece;

const MAX_STDERR_BYTES: u64 = 1024;
const HEADER_BYTES: usize = 44;
const CHECK_PATIENCE: Duration = Duration::from_secs(5);

/// How one utterance sounds.
#[derive(Clone, Copy)]
pub(super) struct Sound {
    /// Suffix of the language: espeak-ng's voice variant, or nothing.
    pub(super) variant: &'static str,
    /// 0 to 99; espeak-ng's own default is 50.
    pub(super) pitch: u32,
    /// Words a minute; espeak-ng's own default is 175.
    pub(super) rate: u32,
}

/// The program, by name or path.
#[derive(Clone)]
pub(super) struct Program(pub(super) String);

/// What one run says: 16-bit little-endian mono PCM and its rate in hertz.
#[derive(Debug)]
pub(super) struct Audio {
    pub(super) pcm: Vec<u8>,
    pub(super) sample_rate: u32,
}

impl Program {
    /// Whether the program is there and starts.
    pub(super) async fn check(&self) -> Result<(), EngineError> {
        let mut command = self.command();
        let child = self.spawn(command.arg("--version"))?;
        match tokio::time::timeout(CHECK_PATIENCE, child.wait_with_output()).await {
            Ok(Ok(output)) if output.status.success() => Ok(()),
            _ => Err(EngineError::unavailable(format!("`{} --version` fails", self.0))),
        }
    }

    /// Speaks one piece. Dropping the future kills the program.
    pub(super) async fn speak(&self, piece: &Piece, sound: Sound, max_bytes: usize) -> Result<Audio, EngineError> {
        let mut command = self.command();
        command.args(["--stdin", "--stdout", "-b", "1"]); // 1: the text is UTF-8
        command.arg("-v").arg(format!("{}{}", piece.language, sound.variant));
        command.arg("-p").arg(sound.pitch.to_string());
        command.arg("-s").arg(sound.rate.to_string());
        if !piece.pause {
            command.arg("-z");
        }
        let mut child = self.spawn(command.stdin(Stdio::piped()))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // All at once, or a full pipe on one side would stop the other for ever.
        let ((), wav, complaint) =
            tokio::try_join!(write(stdin, piece.text.as_bytes()), read(stdout, max_bytes), read_complaint(stderr),)?;
        let status = child.wait().await.map_err(broken)?;
        parse(&wav, status, &complaint)
    }

    /// The environment is empty: what the gateway knows is none of the program's business.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.0);
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
                "the program {0} is missing; install it, on Debian with: apt-get install espeak-ng",
                self.0
            )),
            _ => EngineError::unavailable(format!("{} does not start: {error}", self.0)),
        })
    }
}

async fn write(stdin: Option<impl AsyncWrite + Unpin>, text: &[u8]) -> Result<(), EngineError> {
    if let Some(mut stdin) = stdin {
        // A program that ends early says why with its exit status.
        let _ = stdin.write_all(text).await;
        let _ = stdin.shutdown().await;
    }
    Ok(())
}

async fn read(stdout: Option<impl AsyncRead + Unpin>, max_bytes: usize) -> Result<Vec<u8>, EngineError> {
    let limit = max_bytes + HEADER_BYTES;
    let mut wav = Vec::new();
    if let Some(stdout) = stdout {
        stdout.take(limit as u64 + 1).read_to_end(&mut wav).await.map_err(broken)?;
    }
    if wav.len() > limit { Err(speech::too_long(max_bytes)) } else { Ok(wav) }
}

/// Keeps the beginning, but reads to the end: a full pipe would stop the program.
async fn read_complaint(stderr: Option<impl AsyncRead + Unpin>) -> Result<String, EngineError> {
    let mut complaint = Vec::new();
    if let Some(mut stderr) = stderr {
        (&mut stderr).take(MAX_STDERR_BYTES).read_to_end(&mut complaint).await.map_err(broken)?;
        io::copy(&mut stderr, &mut io::sink()).await.map_err(broken)?;
    }
    Ok(String::from_utf8_lossy(&complaint).trim().to_owned())
}

fn parse(wav: &[u8], status: ExitStatus, complaint: &str) -> Result<Audio, EngineError> {
    if !status.success() {
        return Err(EngineError::failed(format!("espeak-ng ended with {status}: {complaint}")));
    }
    // espeak-ng writes no header either if it has nothing to say.
    let Some((header, pcm)) = wav.split_at_checked(HEADER_BYTES) else {
        return Ok(Audio { pcm: Vec::new(), sample_rate: 0 });
    };
    let field = |start: usize| header.get(start..).and_then(|rest| rest.first_chunk::<4>());
    let format = (field(0), field(8), field(20), field(36)); // field(20): PCM, one channel
    let expected = (Some(b"RIFF"), Some(b"WAVE"), Some(&[1, 0, 1, 0]), Some(b"data"));
    let sample_rate = field(24).map_or(0, |bytes| u32::from_le_bytes(*bytes));
    if format != expected || sample_rate == 0 || pcm.len() % 2 == 1 {
        return Err(EngineError::failed("espeak-ng wrote something else than a mono WAV"));
    }
    Ok(Audio { pcm: pcm.to_vec(), sample_rate })
}

fn broken(error: io::Error) -> EngineError {
    EngineError::failed(format!("lost contact with espeak-ng: {error}"))
}
