//! Bodies that nobody read to their end.
//!
//! When an answer is out and part of its request is still to come, hyper closes the connection. The
//! edge may have put the next request on it by then, and that one would be lost: `503` for somebody
//! who did nothing wrong. So what is left of a refused request is read and thrown away; where that
//! would be too much, the answer says that the connection ends.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::header::{CONNECTION, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use futures::{StreamExt as _, stream};

/// The most that is read for nothing, in bytes, and for how long.
const MOST: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(1);

/// The outermost layer.
pub async fn layer(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let kept = Arc::new(Mutex::new(body.into_data_stream()));
    let lent = Arc::clone(&kept);
    let lent = stream::poll_fn(move |context| {
        let mut body = lent.lock().unwrap_or_else(PoisonError::into_inner);
        body.poll_next_unpin(context)
    });
    let mut response = next.run(Request::from_parts(parts, Body::from_stream(lent))).await;
    // Whoever answers while still reading reads on.
    let Some(rest) = Arc::into_inner(kept) else { return response };
    let rest = rest.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !is_read(rest).await {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Reads to the end, if that is near.
async fn is_read(rest: impl stream::Stream<Item = Result<bytes::Bytes, axum::Error>>) -> bool {
    let mut rest = pin!(rest);
    let reading = async {
        let mut read = 0;
        while let Some(piece) = rest.next().await {
            match piece {
                Ok(piece) if read + piece.len() <= MOST => read += piece.len(),
                _ => return false,
            }
        }
        true
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use futures::stream;

    use super::*;

    #[tokio::test]
    async fn a_little_is_read_and_much_is_not() {
        let pieces = |count| stream::iter((0..count).map(|_| Ok(Bytes::from(vec![0; 1024]))));
        assert!(is_read(pieces(64)).await);
        assert!(!is_read(pieces(65)).await);
        assert!(!is_read(stream::once(async { Err(axum::Error::new("broke off")) })).await);
    }
}
