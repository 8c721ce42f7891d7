//! `GET /api/jobs`, `GET` and `DELETE /api/jobs/{id}`: the caller's generations until a day after
//! their end.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use gate::Code;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::caller::Caller;
use crate::clock::{is_id, rfc3339};
use crate::input::{ObjectId, Parameters};
use crate::problem::Refusal;
use crate::speech;
use crate::store::Job;

const MAX_LIMIT: u32 = 100;

/// The query.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    #[serde(default = "default_limit")]
    limit: u32,
    #[serde(default)]
    before: Option<String>,
}

fn default_limit() -> u32 {
    20
}

/// Newest first; `next` names the last one of a page that has one after it.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Parameters(page): Parameters<Page>,
) -> Result<Json<Value>, Refusal> {
    let invalid = |detail: String| Refusal::new(Code::RequestInvalid, detail);
    if !(1..=MAX_LIMIT).contains(&page.limit) {
        return Err(invalid(format!("limit must be 1 to {MAX_LIMIT}.")));
    }
    if page.before.as_ref().is_some_and(|before| !is_id(before)) {
        return Err(invalid("before must be the id of a job.".to_owned()));
    }
    let limit = page.limit as usize;
    let mut jobs = app.store.of(&caller).jobs(page.before.as_deref(), i64::from(page.limit) + 1).await?;
    let has_next = jobs.len() > limit;
    jobs.truncate(limit);
    let next = jobs.last().filter(|_| has_next).map(|job| job.id.clone());
    let mut views = Vec::with_capacity(jobs.len());
    for job in &jobs {
        views.push(view(&app, &caller, job).await?);
    }
    Ok(Json(json!({"jobs": views, "next": next})))
}

pub(super) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    ObjectId(id): ObjectId,
) -> Result<Json<Value>, Refusal> {
    let job = app.store.of(&caller).job(&id).await?.ok_or_else(Refusal::not_found)?;
    Ok(Json(view(&app, &caller, &job).await?))
}

/// Cancels. What has been made cannot be cancelled any more; what was cancelled stays so.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    ObjectId(id): ObjectId,
) -> Result<StatusCode, Refusal> {
    if speech::cancel(&app, &caller, &id, true).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    let job = app.store.of(&caller).job(&id).await?.ok_or_else(Refusal::not_found)?;
    if job.state == "cancelled" {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Refusal::new(Code::Conflict, "This generation has ended; it cannot be cancelled any more."))
}

/// What the client sees of a job.
pub(super) async fn view(app: &App, caller: &Caller, job: &Job) -> Result<Value, Refusal> {
    let position = match job.state.as_str() {
        "queued" => Some(app.store.of(caller).position(&job.id).await?).filter(|position| *position > 0),
        _ => None,
    };
    let error =
        job.error.as_ref().map(|code| json!({"code": code, "detail": job.detail, "retry_after": job.retry_after}));
    let answer: Option<Value> = job.answer.as_deref().and_then(|answer| serde_json::from_str(answer).ok());
    Ok(json!({
        "id": job.id,
        "state": job.state,
        "position": position,
        "characters": job.characters,
        "sentences": {"done": job.sentences_done, "total": job.sentences_total},
        "error": error,
        "audio_url": answer.as_ref().and_then(|answer| answer.get("audio_url")),
        "created_at": rfc3339(job.created_at),
        "started_at": job.started_at.map(rfc3339),
        "ended_at": job.ended_at.map(rfc3339),
    }))
}

#[cfg(test)]
mod tests;
