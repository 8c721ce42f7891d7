//! Requests to providers: bounded in size and time, and nowhere that somebody on the way could read.

use std::time::Duration;

use openidconnect::{HttpRequest, HttpResponse};
use reqwest::Client;
use url::Url;

use super::settings::is_confidential;
use crate::tls;

const CONNECT: Duration = Duration::from_secs(3);
const WHOLE: Duration = Duration::from_secs(10);
/// The largest answer, in bytes: metadata, keys and tokens have a few kilobytes.
const MAX_BYTES: usize = 256 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The provider named an address that nobody should send a secret to.
    #[error("{0} is neither https nor on this machine")]
    Open(String),
    /// No connection, no answer in time, or it broke off.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// It cannot answer now.
    #[error("it answers {0}")]
    Status(u16),
    /// Too much of it.
    #[error("an answer of more than {MAX_BYTES} bytes")]
    TooLarge,
}

/// A client for one provider.
pub(super) fn client() -> Result<Client, String> {
    let client = tls::client(CONNECT).map_err(|error| error.to_string())?;
    client.timeout(WHOLE).build().map_err(|error| error.to_string())
}

/// Sends a request and reads the answer to its end. A redirect is an answer like any other.
pub(super) async fn call(client: Client, request: HttpRequest) -> Result<HttpResponse, FetchError> {
    let address = request.uri().to_string();
    if !Url::parse(&address).is_ok_and(|url| is_confidential(&url)) {
        return Err(FetchError::Open(address));
    }
    let unreachable = |error: reqwest::Error| FetchError::Unreachable(chain(&error.without_url()));
    let request = reqwest::Request::try_from(request).map_err(unreachable)?;
    let mut response = client.execute(request).await.map_err(unreachable)?;
    let status = response.status();
    if status.is_server_error() || status.as_u16() == 429 {
        return Err(FetchError::Status(status.as_u16()));
    }
    let headers = std::mem::take(response.headers_mut());
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(unreachable)? {
        if body.len() + piece.len() > MAX_BYTES {
            return Err(FetchError::TooLarge);
        }
        body.extend_from_slice(&piece);
    }
    let mut answer = HttpResponse::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    Ok(answer)
}

/// An error with all its causes, for the log.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
