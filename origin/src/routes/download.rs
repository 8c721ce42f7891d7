//! `GET /download/{id}`: the audio, whole or in part (RFC 9110, sections 13 and 14).

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use axum::response::IntoResponse as _;
use futures::{StreamExt as _, stream};
use gate::Code;
use serde::Deserialize;

use crate::app::App;
use crate::blobs::UserBlobs;
use crate::caller::Caller;
use crate::input::{ObjectId, Parameters};
use crate::problem::Refusal;

/// How much of a file is in memory at a time.
const PIECE_BYTES: u64 = 256 * 1024;

/// The query.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// 1: the browser saves instead of playing.
    #[serde(default)]
    download: u8,
}

/// What part of a file is wanted.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// All of it; also the answer to ranges that are not understood.
    Whole,
    /// These bytes; never empty.
    Part(Range<u64>),
    /// Nothing that is there.
    Outside,
}

/// GET and HEAD.
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    caller: Caller,
    ObjectId(id): ObjectId,
    Parameters(query): Parameters<Query>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response<Body>, Refusal> {
    let output = app.store.of(&caller).output(&id).await?.ok_or_else(Refusal::not_found)?;
    let size = u64::try_from(output.bytes).unwrap_or_default();
    let etag = format!("\"{}\"", output.sha256);
    let disposition = if query.download == 1 { "attachment" } else { "inline" };
    let common = [
        (header::ETAG, etag.clone()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
        (header::CONTENT_DISPOSITION, format!("{disposition}; filename=\"cosygate-{id}.wav\"")),
    ];
    if matches_any(&headers, header::IF_NONE_MATCH, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    let (status, range) = match wanted(&headers, &etag, size) {
        Wanted::Whole => (StatusCode::OK, 0..size),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Outside => {
            let refusal = Refusal::new(Code::RangeInvalid, format!("The file has {size} bytes."));
            return Ok(([(header::CONTENT_RANGE, format!("bytes */{size}"))], refusal).into_response());
        }
    };
    let mut response = (status, common).into_response();
    let length = range.end - range.start;
    let own = response.headers_mut();
    own.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("audio/wav"));
    own.insert(header::CONTENT_LENGTH, length.into());
    if status == StatusCode::PARTIAL_CONTENT {
        let value = format!("bytes {}-{}/{size}", range.start, range.end - 1);
        own.insert(header::CONTENT_RANGE, value.parse().map_err(Refusal::internal)?);
    }
    if method != Method::HEAD {
        // A player asks for many parts; the audit counts the download once, at its first byte.
        if range.start == 0 {
            app.store.audit(&caller.audit(&app.clock, "download", "ok").on(&id)).await?;
        }
        *response.body_mut() = stream(app.blobs.of(&caller), id, range).await?;
    }
    Ok(response)
}

/// Reads the file piece by piece. The first piece is read here, so that a missing file is an
/// error and not half an answer.
async fn stream(blobs: UserBlobs, id: String, range: Range<u64>) -> Result<Body, Refusal> {
    let piece = |start: u64| start..range.end.min(start + PIECE_BYTES);
    let first = blobs.range(&id, piece(range.start)).await?;
    let (start, end) = (range.start + first.len() as u64, range.end);
    let rest = stream::try_unfold((blobs, id, start), move |(blobs, id, start)| async move {
        if start >= end {
            return Ok(None);
        }
        let bytes = blobs.range(&id, start..end.min(start + PIECE_BYTES)).await?;
        let next = start + bytes.len() as u64;
        Ok::<_, crate::blobs::BlobError>(Some((bytes, (blobs, id, next))))
    });
    Ok(Body::from_stream(stream::once(async { Ok(first) }).chain(rest)))
}

fn wanted(headers: &HeaderMap, etag: &str, size: u64) -> Wanted {
    let mut ranges = headers.get_all(header::RANGE).iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return Wanted::Whole };
    // A date in If-Range never matches: there is no Last-Modified here.
    let is_current = headers.get(header::IF_RANGE).is_none_or(|value| value == etag);
    match range.to_str() {
        Ok(range) if is_current => part(range, size),
        _ => Wanted::Whole,
    }
}

/// Reads one byte range. Several ranges, other units and nonsense are passed over, as RFC 9110,
/// section 14.2, allows.
fn part(range: &str, size: u64) -> Wanted {
    let Some((unit, range)) = range.split_once('=') else { return Wanted::Whole };
    let Some((first, last)) = range.trim().split_once('-') else { return Wanted::Whole };
    let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.is_empty() {
        // More digits than fit are simply very far.
        true => Some(digits.parse().unwrap_or(u64::MAX)),
        false => None,
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    let (start, end) = match (number(first), number(last)) {
        (None, Some(suffix)) if first.is_empty() => (size.saturating_sub(suffix), size),
        (Some(first), None) if last.is_empty() => (first, size),
        (Some(first), Some(last)) if first <= last => (first, size.min(last.saturating_add(1))),
        _ => return Wanted::Whole,
    };
    if start < end { Wanted::Part(start..end) } else { Wanted::Outside }
}

/// Whether the header is `*` or has the tag; weak tags match too (RFC 9110, section 13.1.2).
pub(super) fn matches_any(headers: &HeaderMap, name: HeaderName, etag: &str) -> bool {
    let values = headers.get_all(name);
    let mut tags = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    tags.any(|tag| {
        let tag = tag.trim();
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag
    })
}

#[cfg(test)]
mod tests;
