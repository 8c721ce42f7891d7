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
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::caller::{Admin, Caller};
use crate::clock::{parse_rfc3339, rfc3339};
use crate::input::Parameters;
use crate::problem::Refusal;
use crate::store::{AuditFilter, Personal, Store, StoreError, TrailRow};

const MAX_LIMIT: u32 = 1000;
/// How many rows of an export are read at once.
const STEP: i64 = 1000;
/// The longest text that is searched for, in bytes.
const MAX_TEXT: usize = 512;
const JSON_LINES: &str = "application/jsonl";

/// The query.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    limit: Option<u32>,
    before: Option<i64>,
    since: Option<String>,
    user: Option<String>,
    action: Option<String>,
    request_id: Option<String>,
}

/// The query for one's own rows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnQuery {
    limit: Option<u32>,
    before: Option<i64>,
}

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

/// `GET /api/me/audit`.
pub(super) async fn own(
    State(app): State<Arc<App>>,
    caller: Caller,
    Parameters(query): Parameters<OwnQuery>,
) -> Result<Json<Value>, Refusal> {
    let filter = AuditFilter { user_id: Some(caller.user_id().to_owned()), ..AuditFilter::default() };
    Ok(Json(page(&app, &filter, query.before, query.limit).await?))
}

async fn page(app: &App, filter: &AuditFilter, before: Option<i64>, limit: Option<u32>) -> Result<Value, Refusal> {
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
    Ok(json!({"entries": rows.iter().map(view).collect::<Vec<_>>(), "next": next}))
}

fn lines(store: Store, filter: AuditFilter) -> Body {
    Body::from_stream(stream::try_unfold((store, filter, 0), async |(store, filter, after)| {
        let rows = store.trail().after(&filter, after, STEP).await?;
        let Some(last) = rows.last() else { return Ok(None) };
        let after = last.row.seq;
        let text = rows.iter().map(|row| format!("{}\n", view(row))).collect::<String>();
        Ok::<_, StoreError>(Some((text, (store, filter, after))))
    }))
}

/// A row as it is shown. Whatever the chain's hash covers is in it.
pub fn view(row: &TrailRow) -> Value {
    let TrailRow { user_id, row } = row;
    let personal = row.personal.as_deref().and_then(|personal| serde_json::from_str::<Personal>(personal).ok());
    let Personal { address, characters, text_sha256 } = personal.unwrap_or_default();
    json!({
        "seq": row.seq, "time": rfc3339(row.at), "at": row.at, "action": row.action, "result": row.result,
        "user_id": user_id, "subject": row.subject, "object": row.object, "via": row.via, "address": address,
        "characters": characters, "text_sha256": text_sha256, "request_id": row.request_id,
        "policy_rev": row.policy_rev, "duration_ms": row.duration_ms, "personal_hash": row.personal_hash,
        "hash": row.hash,
    })
}

#[cfg(test)]
mod tests;
