//! `GET /api/jobs`, `GET` and `DELETE /api/jobs/{id}`: the caller's generations until a day after
//! their end.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::NoContent;
use gate::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::app::App;
use crate::caller::Caller;
use crate::clock::{ID_PATTERN, Time, is_id};
use crate::input::{ObjectId, Parameters};
use crate::openapi::{About, Section};
use crate::problem::Refusal;
use crate::speech;
use crate::store::Job;

const MAX_LIMIT: u32 = 100;

/// The query.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = MAX_LIMIT))]
    limit: u32,
    /// The `next` of the page before.
    #[serde(default)]
    #[schemars(regex(pattern = ID_PATTERN))]
    before: Option<String>,
}

/// A page of jobs, the newest first.
#[derive(Serialize, JsonSchema)]
pub(super) struct Jobs {
    jobs: Vec<JobView>,
    /// The `before` of the next page.
    next: Option<String>,
}

/// A generation on its way.
#[derive(Serialize, JsonSchema, PartialEq)]
#[schemars(rename = "Job")]
pub(super) struct JobView {
    id: String,
    /// `queued`, `running`, `done`, `failed` or `cancelled`.
    state: String,
    /// The place in the queue, 1 is next.
    position: Option<i64>,
    characters: i64,
    sentences: Sentences,
    error: Option<JobError>,
    audio_url: Option<String>,
    created_at: Time,
    started_at: Option<Time>,
    ended_at: Option<Time>,
}

/// Pieces that the engine speaks in one go; 0 of 0 while unknown.
#[derive(Serialize, JsonSchema, PartialEq)]
struct Sentences {
    done: i64,
    total: i64,
}

/// Why it failed.
#[derive(Serialize, JsonSchema, PartialEq)]
struct JobError {
    code: String,
    detail: Option<String>,
    /// In seconds.
    retry_after: Option<i64>,
}

fn default_limit() -> u32 {
    20
}

pub(super) const LIST: About = About::new(Section::Speech, "Lists your jobs until a day after their end");

/// Newest first; `next` names the last one of a page that has one after it.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Parameters(page): Parameters<Page>,
) -> Result<Json<Jobs>, Refusal> {
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
    Ok(Json(Jobs { jobs: views, next }))
}

pub(super) const GET: About = About::new(Section::Speech, "A job");

pub(super) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    ObjectId(id): ObjectId,
) -> Result<Json<JobView>, Refusal> {
    let job = app.store.of(&caller).job(&id).await?.ok_or_else(Refusal::not_found)?;
    Ok(Json(view(&app, &caller, &job).await?))
}

pub(super) const DELETE: About = About::new(Section::Speech, "Cancels a job").refuses(&[Code::Conflict]);

/// Cancels. What has been made cannot be cancelled any more; what was cancelled stays so.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    ObjectId(id): ObjectId,
) -> Result<NoContent, Refusal> {
    if speech::cancel(&app, &caller, &id, true).await? {
        return Ok(NoContent);
    }
    let job = app.store.of(&caller).job(&id).await?.ok_or_else(Refusal::not_found)?;
    if job.state == "cancelled" {
        return Ok(NoContent);
    }
    Err(Refusal::new(Code::Conflict, "This generation has ended; it cannot be cancelled any more."))
}

/// What the client sees of a job.
pub(super) async fn view(app: &App, caller: &Caller, job: &Job) -> Result<JobView, Refusal> {
    let position = match job.state.as_str() {
        "queued" => Some(app.store.of(caller).position(&job.id).await?).filter(|position| *position > 0),
        _ => None,
    };
    let error = job.error.as_ref().map(|code| JobError {
        code: code.clone(),
        detail: job.detail.clone(),
        retry_after: job.retry_after,
    });
    let answer: Option<Value> = job.answer.as_deref().and_then(|answer| serde_json::from_str(answer).ok());
    Ok(JobView {
        id: job.id.clone(),
        state: job.state.clone(),
        position,
        characters: job.characters,
        sentences: Sentences { done: job.sentences_done, total: job.sentences_total },
        error,
        audio_url: answer.as_ref().and_then(|answer| answer.get("audio_url")?.as_str().map(str::to_owned)),
        created_at: Time(job.created_at),
        started_at: job.started_at.map(Time),
        ended_at: job.ended_at.map(Time),
    })
}

#[cfg(test)]
mod tests;
