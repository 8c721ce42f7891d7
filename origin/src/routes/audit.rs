//! `/api/admin/audit` and `/api/me/audit`: what happened, the newest first.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use gate::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::caller::{Admin, Caller};
use crate::clock::{Time, parse_rfc3339};
use crate::input::Parameters;
use crate::openapi::{About, Gives, Section};
use crate::problem::Refusal;
use crate::store::{AuditFilter, Personal, Store, StoreError, TrailRow};

const MAX_LIMIT: u32 = 1000;
/// How many rows of an export are read at once.
const STEP: i64 = 1000;
/// The longest text that is searched for, in bytes.
const MAX_TEXT: usize = 512;
const JSON_LINES: &str = "application/jsonl";

/// The query.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    #[schemars(range(min = 1, max = MAX_LIMIT))]
    limit: Option<u32>,
    /// The `next` of the page before.
    before: Option<i64>,
    /// RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// A user id.
    #[schemars(length(max = MAX_TEXT))]
    user: Option<String>,
    #[schemars(length(max = MAX_TEXT))]
    action: Option<String>,
    #[schemars(length(max = MAX_TEXT))]
    request_id: Option<String>,
}

/// The query for one's own rows.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnQuery {
    #[schemars(range(min = 1, max = MAX_LIMIT))]
    limit: Option<u32>,
    /// The `next` of the page before.
    before: Option<i64>,
}

/// What happened, the newest first.
#[derive(Serialize, JsonSchema)]
pub(super) struct Trail {
    entries: Vec<Entry>,
    /// The `before` of the next page.
    next: Option<i64>,
}

/// A row as it is shown. Whatever the chain's hash covers is in it.
#[derive(Serialize, JsonSchema)]
struct Entry {
    action: String,
    address: Option<String>,
    at: i64,
    characters: Option<i64>,
    duration_ms: i64,
    hash: String,
    object: Option<String>,
    personal_hash: Option<String>,
    policy_rev: i64,
    request_id: String,
    result: String,
    seq: i64,
    subject: Option<String>,
    text_sha256: Option<String>,
    time: Time,
    user_id: Option<String>,
    via: String,
}

pub(super) const ALL: About = About::new(Section::Administration, "What happened, the newest first")
    .answers(&[Gives::json::<Trail>(200, "A page; every row with `Accept: application/jsonl`")
        .or(&["application/json", JSON_LINES])]);

/// `GET /api/admin/audit`. With `Accept: application/jsonl` all rows that are meant, the oldest
/// first, one a line.
pub(super) async fn all(
    State(app): State<Arc<App>>,
    admin: Admin,
    Parameters(query): Parameters<Query>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let invalid = |detail: &str| Refusal::new(Code::RequestInvalid, detail);
    let since_ms = match query.since.as_deref() {
        Some(since) => parse_rfc3339(since).ok_or_else(|| invalid("since must be a time, 2026-11-23T05:04:03Z."))?,
        None => 0,
    };
    let texts = [&query.user, &query.action, &query.request_id];
    if texts.iter().any(|text| text.as_ref().is_some_and(|text| text.len() > MAX_TEXT)) {
        return Err(invalid("user, action and request_id may have 512 bytes."));
    }
    let filter = AuditFilter { since_ms, user_id: query.user, action: query.action, request_id: query.request_id };
    let wants_lines = headers.get_all(ACCEPT).iter().any(|accept| accept == JSON_LINES);
    if wants_lines {
        // What leaves as a whole is an action of its own.
        app.store.audit(&admin.caller().audit(&app.clock, "audit_export", "ok")).await?;
        let kind = [(CONTENT_TYPE, HeaderValue::from_static(JSON_LINES))];
        return Ok((kind, lines(app.store.clone(), filter)).into_response());
    }
    Ok(Json(page(&app, &filter, query.before, query.limit).await?).into_response())
}

pub(super) const OWN: About = About::new(Section::Accounts, "What you did here, the newest first");

/// `GET /api/me/audit`.
pub(super) async fn own(
    State(app): State<Arc<App>>,
    caller: Caller,
    Parameters(query): Parameters<OwnQuery>,
) -> Result<Json<Trail>, Refusal> {
    let filter = AuditFilter { user_id: Some(caller.user_id().to_owned()), ..AuditFilter::default() };
    Ok(Json(page(&app, &filter, query.before, query.limit).await?))
}

async fn page(app: &App, filter: &AuditFilter, before: Option<i64>, limit: Option<u32>) -> Result<Trail, Refusal> {
    let limit = limit.unwrap_or(50);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Refusal::new(Code::RequestInvalid, format!("limit must be 1 to {MAX_LIMIT}.")));
    }
    // One more than asked for tells whether there is a next page.
    let before = before.unwrap_or(i64::MAX);
    let mut rows = app.store.trail().page(filter, before, i64::from(limit) + 1).await?;
    let has_next = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().filter(|_| has_next).map(|last| last.row.seq);
    Ok(Trail { entries: rows.iter().map(view).collect(), next })
}

fn lines(store: Store, filter: AuditFilter) -> Body {
    Body::from_stream(stream::try_unfold((store, filter, 0), async |(store, filter, after)| {
        let rows = store.trail().after(&filter, after, STEP).await?;
        let Some(last) = rows.last() else { return Ok(None) };
        let after = last.row.seq;
        let text = rows.iter().map(|row| line(row) + "\n").collect::<String>();
        Ok::<_, StoreError>(Some((text, (store, filter, after))))
    }))
}

fn view(row: &TrailRow) -> Entry {
    let TrailRow { user_id, row } = row;
    let personal = row.personal.as_deref().and_then(|personal| serde_json::from_str::<Personal>(personal).ok());
    let Personal { address, characters, text_sha256 } = personal.unwrap_or_default();
    let row = row.clone();
    Entry {
        seq: row.seq,
        time: Time(row.at),
        at: row.at,
        action: row.action,
        result: row.result,
        user_id: user_id.clone(),
        subject: row.subject,
        object: row.object,
        via: row.via,
        address,
        characters,
        text_sha256,
        request_id: row.request_id,
        policy_rev: row.policy_rev,
        duration_ms: row.duration_ms,
        personal_hash: row.personal_hash,
        hash: row.hash,
    }
}

/// A row as one line of JSON.
pub fn line(row: &TrailRow) -> String {
    serde_json::to_string(&view(row)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
