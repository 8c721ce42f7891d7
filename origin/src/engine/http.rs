//! What engines behind HTTP servers have in common.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use tokio::time::Instant;

use super::SettingsError;
use super::pool::{Pool, Probe};
use super::session::{Fault, Wire};
use crate::tls;

/// A validation error is read up to this size.
const MAX_ERROR_BYTES: usize = 16 * 1024;

/// The servers, and the client that reaches them.
#[derive(Clone)]
pub(super) struct Servers {
    pub(super) client: Client,
    addresses: Arc<[String]>,
    /// What is asked for to see whether a server is there.
    health: &'static str,
    patience: Duration,
}

/// How one piece of text is asked for. The answer is PCM, of which the whole belongs to the piece.
pub(super) trait Ask: Send + Sync + 'static {
    /// The request for `text` to the server at `address`.
    fn request(&self, client: &Client, address: &str, text: &str) -> RequestBuilder;
}

/// One request for each piece, and its body is the audio.
pub(super) struct PcmBody<A>(pub(super) Servers, pub(super) A);

impl Servers {
    pub(super) fn new(pool: &Pool, health: &'static str) -> Result<Self, SettingsError> {
        // The settings name the server, and nothing else does.
        let client = tls::client(pool.limits.connect)
            .map_err(|error| SettingsError::new(format!("engine: no TLS: {error}")))?
            // uvicorn closes idle connections after 5 seconds, perhaps just when we write.
            .pool_idle_timeout(Duration::from_secs(2))
            .build()
            .map_err(|error| SettingsError::new(format!("engine: no HTTP client: {error}")))?;
        Ok(Self { client, addresses: Arc::clone(&pool.addresses), health, patience: pool.limits.connect })
    }

    pub(super) fn address(&self, index: usize) -> &str {
        self.addresses.get(index).map_or("", String::as_str)
    }
}

impl Probe for Servers {
    /// Nearly any answer will do: CosyVoice's own servers have no health route, so a healthy one
    /// says 404.
    async fn probe(&self, address: usize) -> Result<(), String> {
        let url = format!("{}{}", self.address(address), self.health);
        match self.client.get(url).timeout(self.patience).send().await {
            Ok(response) if response.status().is_server_error() => Err(format!("it answers {}", response.status())),
            Ok(_) => Ok(()),
            Err(error) => Err(describe(error)),
        }
    }
}

impl<A: Ask> Wire for PcmBody<A> {
    type Reply = Response;

    async fn ask(&mut self, address: usize, text: &str, _: Instant) -> Result<Response, Fault> {
        let Self(servers, ask) = self;
        let request = ask.request(&servers.client, servers.address(address), text);
        let response = request.send().await.map_err(|error| Fault::Unreachable(describe(error)))?;
        accept(response).await
    }

    async fn more(&mut self, response: &mut Response) -> Result<Option<Bytes>, Fault> {
        let chunk = response.chunk().await;
        chunk.map_err(|error| Fault::Broken(format!("its answer was cut off: {}", describe(error))))
    }
}

/// Judges the head of an answer.
async fn accept(response: Response) -> Result<Response, Fault> {
    let response = good(response).await?;
    let headers = response.headers();
    if !headers.contains_key(TRANSFER_ENCODING) && !headers.contains_key(CONTENT_LENGTH) {
        let reason = "its answer has no length, so its end cannot be told from a cut";
        return Err(Fault::Refused(reason.to_owned()));
    }
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if media_type.starts_with("text/") || media_type.contains("json") {
        return Err(Fault::Refused("it answered with text instead of audio".to_owned()));
    }
    Ok(response)
}

/// An answer by which the server took the request on.
pub(super) async fn good(response: Response) -> Result<Response, Fault> {
    match response.status() {
        StatusCode::OK => Ok(response),
        StatusCode::UNPROCESSABLE_ENTITY => {
            let problem = read_problem(response).await;
            Err(Fault::Refused(format!("it refused the request (422): {problem}")))
        }
        status @ (StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT) => Err(Fault::Unreachable(format!("it answered {status}"))),
        status if status.is_server_error() => Err(Fault::Broken(format!("it answered {status}"))),
        status => Err(Fault::Refused(format!("it answered {status}"))),
    }
}

/// Which fields a 422 of FastAPI complains about. Its `input` members repeat what the user wrote,
/// so only the kind and the place of each error are kept.
async fn read_problem(mut response: Response) -> String {
    let mut body = BytesMut::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ERROR_BYTES {
            return String::new();
        }
    }
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let errors = problem.get("detail").and_then(|detail| detail.as_array());
    let described = errors.into_iter().flatten().take(8).map(|error| {
        let kind = error.get("type").and_then(|kind| kind.as_str()).unwrap_or("error");
        let place = error.get("loc").and_then(|place| place.as_array()).into_iter().flatten();
        let place: Vec<&str> = place.filter_map(|step| step.as_str()).collect();
        format!("{kind} at {}", place.join("."))
    });
    described.collect::<Vec<_>>().join(", ")
}

/// The whole chain of causes on one line; reqwest's own message stops at the first.
pub(super) fn describe(error: reqwest::Error) -> String {
    let mut line = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        line.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    line
}
