//! An engine without a model that speaks OpenAI's API and always takes the same time: what is
//! measured is what stands before it.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures::stream;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Samples a second of everything that is spoken.
pub const SAMPLE_RATE: usize = 24_000;
/// One second of 16-bit PCM.
pub const SECOND_BYTES: usize = SAMPLE_RATE * 2;

/// How an engine takes its time.
#[derive(Clone, Copy, Debug)]
pub enum Cost {
    /// A second of audio, at once.
    Instant,
    /// A second of audio in ten pieces: the first after 50 ms, each other 20 ms later.
    Pieces,
    /// A second of audio after 100 ms.
    Steady,
    /// Audio in real time, a piece each 100 ms, for ten minutes.
    Endless,
    /// 10 MB of audio, at once.
    Large,
}

impl Cost {
    const ALL: [Self; 5] = [Self::Instant, Self::Pieces, Self::Steady, Self::Endless, Self::Large];

    fn path(self) -> &'static str {
        match self {
            Self::Instant => "/instant",
            Self::Pieces => "/pieces",
            Self::Steady => "/steady",
            Self::Endless => "/endless",
            Self::Large => "/large",
        }
    }

    /// The pieces: how long to wait before each, and how many bytes it has.
    fn pieces(self) -> Vec<(Duration, usize)> {
        let ms = Duration::from_millis;
        match self {
            Self::Instant => vec![(ms(0), SECOND_BYTES)],
            Self::Pieces => (0..10).map(|at| (ms(if at == 0 { 50 } else { 20 }), SECOND_BYTES / 10)).collect(),
            Self::Steady => vec![(ms(100), SECOND_BYTES)],
            Self::Endless => vec![(ms(100), SECOND_BYTES / 10); 6000],
            Self::Large => vec![(ms(0), SECOND_BYTES); 10_000_000 / SECOND_BYTES],
        }
    }
}

/// The running engine; it stops when dropped.
pub struct Engine {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Engine {
    /// Starts it on a free port of the loopback interface.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start() -> anyhow::Result<Self> {
        let routes = Cost::ALL.into_iter().fold(Router::new(), |routes, cost| {
            let speech = format!("{}/v1/audio/speech", cost.path());
            let health = format!("{}/health", cost.path());
            routes.route(&speech, post(move || speak(cost))).route(&health, get(|| async { "well" }))
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, routes).await;
        });
        Ok(Self { address, server })
    }

    /// Where it takes this long; without a slash at the end.
    pub fn url(&self, cost: Cost) -> String {
        format!("http://{}{}", self.address, cost.path())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn speak(cost: Cost) -> Response {
    let pieces = cost.pieces();
    if let [(wait, bytes)] = pieces[..] {
        sleep(wait).await;
        return silence(bytes).into_response();
    }
    let pieces = stream::unfold(pieces.into_iter(), |mut pieces| async {
        let (wait, bytes) = pieces.next()?;
        if !wait.is_zero() {
            sleep(wait).await;
        }
        Some((Ok::<_, std::convert::Infallible>(silence(bytes)), pieces))
    });
    Body::from_stream(pieces).into_response()
}

fn silence(bytes: usize) -> Bytes {
    static ZEROS: [u8; SECOND_BYTES] = [0; SECOND_BYTES];
    Bytes::from_static(&ZEROS[..bytes])
}
