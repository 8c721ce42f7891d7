//! A speech engine without a model: speaks the wire format of CosyVoice's FastAPI server, always
//! says the same for the same request, and misbehaves on command.
//!
//! What it shares with the real server: five routes by GET and POST with form fields; raw 16-bit
//! little-endian PCM, chunked, one chunk for each sentence, without a content type; 422 for a
//! missing field; 500 for an upload that cannot be decoded; and 200 for nearly every other error,
//! followed by a connection that breaks before the last chunk.
//!
//! At the same address it is CosyVoice's gRPC server (`/cosyvoice.CosyVoice/Inference`) and its page
//! (`/gradio_api/…`), too; and `/v1/audio/speech` is vLLM-Omni's: JSON with `ref_audio` and
//! `ref_text`, PCM back. All of them say and count the same and misbehave alike. What was seen at
//! the real servers is in tests/rig.
//!
//! A prompt for CosyVoice3 without `<|endofprompt|>` gets 200 and then silence for ever. The real
//! model asserts in a thread of its own there; never ending is the worst that comes of it, and
//! what a client must survive.

mod audio;
mod gradio;
mod grpc;
mod play;
mod wire;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use audio::{Marker, SAMPLE_RATE, markers, pcm_for};

/// Requests that are remembered; older ones are forgotten.
const REMEMBERED_REQUESTS: usize = 1000;

/// A running stub. It stops when dropped: open answers are cut, new connections refused.
pub struct StubEngine {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// What cannot change while the stub runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Port on the loopback interface; 0 (default) takes a free one.
    pub port: u16,
    /// Which model the server pretends to have loaded. Default: CosyVoice3.
    pub model: Model,
    /// How long a request takes before its first byte. Default: nothing.
    pub cost: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { port: 0, model: Model::CosyVoice3, cost: Duration::ZERO }
    }
}

/// Generations of CosyVoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Model {
    /// Has no preset voices and wants `<|endofprompt|>` in every prompt.
    #[value(name = "cosyvoice3")]
    CosyVoice3,
    /// Has presets here, knows instruct2.
    #[value(name = "cosyvoice2")]
    CosyVoice2,
    /// Has presets, knows instruct.
    #[value(name = "cosyvoice")]
    CosyVoice,
}

/// How requests are answered from now on. As JSON: `{"mode": "cut", "after_bytes": 1000}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
pub enum Mode {
    /// Properly.
    Work,
    /// The connection breaks after so many bytes of audio, without the last chunk.
    Cut {
        /// Bytes of PCM before the cut; more than there are means all of them.
        after_bytes: usize,
    },
    /// The head of the answer comes and then nothing.
    HangBeforeFirstByte,
    /// So many bytes of audio come and then nothing.
    HangAfter {
        /// Bytes of PCM before the silence.
        after_bytes: usize,
    },
    /// A proper end without any audio.
    ZeroBytes,
    /// A proper end in the middle of the last sample.
    OddLength,
    /// Properly, but a tenth of a second of audio at a time with a pause before each.
    Slow {
        /// Length of the pause.
        pause_milliseconds: u64,
    },
    /// 500; over gRPC, an exception.
    ServerError,
    /// 422, as for a field that is missing; over gRPC, INVALID_ARGUMENT.
    Unprocessable,
    /// 503; over gRPC, RESOURCE_EXHAUSTED: as many calls as it takes.
    QueueFull,
    /// 413; over gRPC, RESOURCE_EXHAUSTED: a message that is too large.
    TooLarge,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Requests for speech, also bad ones.
    pub requests: usize,
    /// Answers being given right now.
    pub running: usize,
    /// Most answers that were ever given at once.
    pub max_running: usize,
    /// Answers that ended as the mode wants it.
    pub finished: usize,
    /// Answers that the client did not wait for.
    pub aborted: usize,
    /// Prompts for CosyVoice3 without `<|endofprompt|>`, or with one too many.
    pub rule_violations: usize,
}

/// One request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// For example `/inference_zero_shot`, whichever protocol said so; of OpenAI's API, its path.
    pub path: String,
    /// Text fields in the order of their names.
    pub fields: std::collections::BTreeMap<String, String>,
    /// The uploaded reference audio.
    pub prompt_wav: Option<bytes::Bytes>,
}

/// What all requests share.
struct Shared {
    model: Model,
    cost: Duration,
    mode: Mutex<Mode>,
    counters: Mutex<Counters>,
    seen: Mutex<VecDeque<Seen>>,
    page: gradio::Page,
    stopped: watch::Sender<bool>,
}

impl StubEngine {
    /// Starts a well-behaved CosyVoice3 on a free loopback port.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await.expect("a free loopback port")
    }

    /// # Errors
    /// The port is taken.
    pub async fn start_with(options: Options) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let address = listener.local_addr()?;
        let (stopped, mut stop) = watch::channel(false);
        let shared = Arc::new(Shared {
            model: options.model,
            cost: options.cost,
            mode: Mutex::new(Mode::Work),
            counters: Mutex::default(),
            seen: Mutex::default(),
            page: gradio::Page::default(),
            stopped,
        });
        let router = wire::router(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            let stop = async move { drop(stop.wait_for(|stopped| *stopped).await) };
            let served = axum::serve(listener, router).with_graceful_shutdown(stop).await;
            served.expect("the listener is good for ever");
        });
        Ok(Self { address, shared, server })
    }

    /// Where it listens, for example `http://127.0.0.1:43211`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes how requests that arrive from now on are answered.
    pub fn fail_with(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = mode;
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        *self.shared.counters.lock().unwrap()
    }

    /// The latest 1000 requests, oldest first.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().iter().cloned().collect()
    }

    /// Serves until the task is cancelled.
    pub async fn serve(mut self) {
        (&mut self.server).await.expect("the server does not panic");
    }
}

impl Drop for StubEngine {
    fn drop(&mut self) {
        self.shared.stopped.send_replace(true);
    }
}

impl Shared {
    fn count(&self, change: impl FnOnce(&mut Counters)) {
        change(&mut self.counters.lock().unwrap());
    }

    fn remember(&self, seen: Seen) {
        let mut all = self.seen.lock().unwrap();
        if all.len() == REMEMBERED_REQUESTS {
            all.pop_front();
        }
        all.push_back(seen);
    }
}

#[cfg(test)]
mod tests;
