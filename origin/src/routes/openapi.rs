//! `GET /openapi.json`: the description of the API, for programs.

use std::sync::LazyLock;

use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::response::{IntoResponse as _, Response};

use super::DESCRIPTION;
use crate::hash::sha256_hex;
use crate::openapi::{About, Gives, Header, Section};
use crate::ranges::matches_any;

/// The text, and its name.
static TEXT: LazyLock<(String, String)> = LazyLock::new(|| {
    let text = DESCRIPTION.to_string();
    let tag = format!("\"{}\"", sha256_hex(&[text.as_bytes()]));
    (text, tag)
});

pub(super) const GET: About = About::new(Section::Other, "This description")
    .answers(&[Gives::media(200, &["application/json"], "OpenAPI 3.1"), Gives::empty(304, "Not modified")])
    .reads(&[Header::new("If-None-Match", "An `ETag`: answer only if the description has another")]);

/// The same for everybody.
pub(super) async fn handler(headers: HeaderMap) -> Response {
    let (text, tag) = &*TEXT;
    let common = [(ETAG, tag.as_str()), (CACHE_CONTROL, "no-cache")];
    if matches_any(&headers, IF_NONE_MATCH, tag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(CONTENT_TYPE, "application/json")], text.as_str()).into_response()
}
