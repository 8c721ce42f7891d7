//! Files as they are asked for: whole, in part or not at all (RFC 9110, sections 13 and 14).

use std::ops::Range;

use axum::body::Body;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use gate::Code;

use crate::blobs::UserBlobs;
use crate::clock::{http_date, parse_http_date};
use crate::openapi::Header;
use crate::problem::Refusal;

/// The headers by which a part is asked for, or a file that was modified.
pub const READS: [Header; 4] = [
    Header::new("Range", "`bytes=…`: a part of the file (RFC 9110)"),
    Header::new("If-None-Match", "An `ETag`: answer only if the file has another"),
    Header::new("If-Modified-Since", "The same by a date"),
    Header::new("If-Range", "The part only if the file still has this `ETag` or date, otherwise the whole"),
];

/// How much of a file is in memory at a time.
const PIECE_BYTES: u64 = 256 * 1024;

/// What is said of a file before its bytes.
pub struct FileHead {
    /// Names the content; without quotation marks.
    pub tag: String,
    /// For `Content-Type`.
    pub media_type: &'static str,
    /// What a browser saves it as; no quotation marks, no backslashes.
    pub name: String,
    /// The browser saves instead of playing.
    pub is_attachment: bool,
    /// When the content came to be, in milliseconds since the epoch; it never changes.
    pub made_at: i64,
}

/// What a request is answered with.
pub enum Answer {
    /// This, and no byte of the file.
    Done(Response),
    /// These bytes, never none, under this head.
    Bytes(Response, Range<u64>),
}

impl FileHead {
    fn common(&self) -> [(HeaderName, String); 5] {
        let disposition = if self.is_attachment { "attachment" } else { "inline" };
        [
            (header::ETAG, self.etag()),
            (header::LAST_MODIFIED, http_date(self.made_at)),
            (header::ACCEPT_RANGES, "bytes".to_owned()),
            (header::CACHE_CONTROL, "private, no-cache".to_owned()),
            (header::CONTENT_DISPOSITION, format!("{disposition}; filename=\"{}\"", self.name)),
        ]
    }

    fn etag(&self) -> String {
        format!("\"{}\"", self.tag)
    }

    /// The answer to somebody who has this very content already. Asks for no size, so that nothing
    /// need be read or made for it.
    pub fn not_modified(&self, headers: &HeaderMap) -> Option<Response> {
        // A date counts only where there is no tag (RFC 9110, section 13.1.3).
        let has_it = match headers.contains_key(header::IF_NONE_MATCH) {
            true => matches_any(headers, header::IF_NONE_MATCH, &self.etag()),
            false => headers
                .get(header::IF_MODIFIED_SINCE)
                .and_then(|value| parse_http_date(value.to_str().ok()?))
                .is_some_and(|since| self.made_at.div_euclid(1000) <= since),
        };
        has_it.then(|| (StatusCode::NOT_MODIFIED, self.common()).into_response())
    }

    /// What of `size` bytes is wanted, and the head that goes before it.
    ///
    /// # Errors
    /// A header cannot be written, which would be our fault.
    pub fn answer(&self, headers: &HeaderMap, size: u64) -> Result<Answer, Refusal> {
        if let Some(response) = self.not_modified(headers) {
            return Ok(Answer::Done(response));
        }
        let (status, range) = match wanted(headers, &[self.etag(), http_date(self.made_at)], size) {
            Wanted::Whole => (StatusCode::OK, 0..size),
            Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
            Wanted::Outside => {
                let refusal = Refusal::new(Code::RangeInvalid, format!("The file has {size} bytes."));
                let response = ([(header::CONTENT_RANGE, format!("bytes */{size}"))], refusal).into_response();
                return Ok(Answer::Done(response));
            }
        };
        let mut response = (status, self.common()).into_response();
        let own = response.headers_mut();
        own.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        own.insert(header::CONTENT_LENGTH, (range.end - range.start).into());
        if status == StatusCode::PARTIAL_CONTENT {
            let value = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            own.insert(header::CONTENT_RANGE, value.parse().map_err(Refusal::internal)?);
        }
        Ok(Answer::Bytes(response, range))
    }
}

/// The bytes of a range of something that is in memory.
pub fn slice(bytes: &Bytes, range: Range<u64>) -> Bytes {
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(place(range.start)..place(range.end))
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

/// Reads the file piece by piece. The first piece is read here, so that a missing file is an
/// error and not half an answer.
///
/// # Errors
/// The file cannot be read.
pub async fn stream(blobs: UserBlobs, id: String, range: Range<u64>) -> Result<Body, Refusal> {
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

fn wanted(headers: &HeaderMap, validators: &[String], size: u64) -> Wanted {
    let mut ranges = headers.get_all(header::RANGE).iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return Wanted::Whole };
    // What is under one name never changes, so that its date is as strong as its tag (section 8.8.2.2).
    let is_current = headers.get(header::IF_RANGE).is_none_or(|value| validators.iter().any(|known| value == known));
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
pub fn matches_any(headers: &HeaderMap, name: HeaderName, etag: &str) -> bool {
    let values = headers.get_all(name);
    let mut tags = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    tags.any(|tag| {
        let tag = tag.trim();
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_understood() {
        let size = 100;
        for (range, expected) in [
            ("bytes=0-9", Wanted::Part(0..10)),
            ("bytes=0-0", Wanted::Part(0..1)),
            ("Bytes=90-", Wanted::Part(90..100)),
            ("bytes=-10", Wanted::Part(90..100)),
            ("bytes=-1000", Wanted::Part(0..100)),
            ("bytes=0-99999999999999999999999", Wanted::Part(0..100)),
            ("bytes=100-", Wanted::Outside),
            ("bytes=99999999999999999999999-", Wanted::Outside),
            ("bytes=-0", Wanted::Outside),
            ("bytes=9-0", Wanted::Whole),
            ("bytes=0-9,20-29", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("items=0-9", Wanted::Whole),
            ("bytes", Wanted::Whole),
            ("", Wanted::Whole),
        ] {
            assert_eq!(part(range, size), expected, "{range}");
        }
        assert_eq!(part("bytes=0-", 0), Wanted::Outside);
    }
}
