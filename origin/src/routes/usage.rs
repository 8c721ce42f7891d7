//! `GET /api/me/usage`: what the caller has used of what the role allows.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gate::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::caller::Caller;
use crate::clock::Time;
use crate::days::Today;
use crate::input::Parameters;
use crate::openapi::{About, Section};
use crate::problem::Refusal;
use crate::store::{DayUsage, ProjectUsage};

const MAX_DAYS: u32 = 366;
/// How many projects are told.
const MAX_PROJECTS: i64 = 100;

/// The query.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// How many days of history, today included; 0 for none.
    #[serde(default)]
    #[schemars(range(max = MAX_DAYS))]
    days: u32,
}

/// What was used of what the role allows.
#[derive(Serialize, JsonSchema)]
pub(super) struct Usage {
    day: String,
    time_zone: String,
    resets_at: Time,
    characters: Amount,
    generations: Amount,
    audio_seconds: AmountOfTime,
    storage_bytes: Amount,
    characters_per_request: u32,
    /// The days before, if they were asked for; those without use are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    days: Option<Vec<PastDay>>,
    /// The same time by project, the most used first; with `days` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    projects: Option<Vec<OfProject>>,
}

/// Of something that is counted.
#[derive(Serialize, JsonSchema)]
struct Amount {
    used: i64,
    limit: u64,
}

/// Of something that takes time.
#[derive(Serialize, JsonSchema)]
struct AmountOfTime {
    used: f64,
    limit: Option<u32>,
}

/// A day that is over, or the one that is.
#[derive(Serialize, JsonSchema)]
struct PastDay {
    day: String,
    characters: i64,
    generations: i64,
    audio_seconds: f64,
}

/// What was used under one label.
#[derive(Serialize, JsonSchema)]
struct OfProject {
    /// None for all that has none.
    project_id: Option<String>,
    characters: i64,
    generations: i64,
    audio_seconds: f64,
}

pub(super) const GET: About = About::new(Section::Accounts, "What you have used of what your role allows");

/// Generations under way are not counted until they end.
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    caller: Caller,
    Parameters(query): Parameters<Query>,
) -> Result<Json<Usage>, Refusal> {
    if query.days > MAX_DAYS {
        return Err(Refusal::new(Code::RequestInvalid, format!("days must be at most {MAX_DAYS}.")));
    }
    let policy = app.policy.now();
    let role = policy.role(caller.role())?;
    let Today { day, usage } = Today::of(&app, &caller).await?;
    let owned = app.store.of(&caller);
    let stored = owned.stored_bytes().await?;
    let amount = |used, limit: u32| Amount { used, limit: u64::from(limit) };
    let (days, projects) = match query.days {
        0 => (None, None),
        days => {
            let first = day.first_of(days);
            let projects = owned.projects(&first, MAX_PROJECTS).await?.into_iter().map(of_project);
            (Some(owned.history(&first).await?.into_iter().map(past).collect()), Some(projects.collect()))
        }
    };
    Ok(Json(Usage {
        day: day.name(),
        time_zone: day.zone().to_owned(),
        resets_at: Time(day.ends_ms()),
        characters: amount(usage.characters, role.characters_per_day),
        generations: amount(usage.generations, role.generations_per_day),
        audio_seconds: AmountOfTime { used: seconds(usage.audio_ms), limit: role.audio_seconds_per_day },
        storage_bytes: Amount { used: stored, limit: u64::from(role.storage_mb) * 1024 * 1024 },
        characters_per_request: role.characters_per_request,
        days,
        projects,
    }))
}

fn of_project(project: ProjectUsage) -> OfProject {
    OfProject {
        project_id: project.project_id,
        characters: project.characters,
        generations: project.generations,
        audio_seconds: seconds(project.audio_ms),
    }
}

fn past(day: DayUsage) -> PastDay {
    PastDay {
        day: day.day,
        characters: day.characters,
        generations: day.generations,
        audio_seconds: seconds(day.audio_ms),
    }
}

/// To a hundredth.
fn seconds(ms: i64) -> f64 {
    (ms as f64 / 10.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::test_app::{ADA, TestApp};

    #[tokio::test]
    async fn what_was_generated_counts_until_midnight() {
        let app = TestApp::new().await;
        app.generate(ADA, json!({"text": "你好, world"})).await;
        let expected = json!({
            "day": "2026-11-23",
            "time_zone": "UTC",
            "resets_at": "2026-11-24T00:00:00Z",
            "characters": {"used": 9, "limit": 5000},
            "generations": {"used": 1, "limit": 50},
            "audio_seconds": {"used": 1.0, "limit": null},
            "storage_bytes": {"used": 48_044, "limit": 200 * 1024 * 1024},
            "characters_per_request": 500,
        });
        assert_eq!(app.get(ADA, "/api/me/usage").await.json(), expected);
        app.app.clock.advance(12 * 3_600_000);
        let tomorrow = app.get(ADA, "/api/me/usage?days=2").await.json();
        let yesterday = json!({"day": "2026-11-23", "characters": 9, "generations": 1, "audio_seconds": 1.0});
        assert_eq!(tomorrow["days"], json!([yesterday]));
        let nameless = json!({"project_id": null, "characters": 9, "generations": 1, "audio_seconds": 1.0});
        assert_eq!(tomorrow["projects"], json!([nameless]));
        for _ in 0..2 {
            app.generate(ADA, json!({"text": "hello", "project_id": "book"})).await;
        }
        let book = json!({"project_id": "book", "characters": 10, "generations": 2, "audio_seconds": 2.0});
        assert_eq!(app.get(ADA, "/api/me/usage?days=2").await.json()["projects"], json!([book, nameless]));
        assert_eq!(app.get(ADA, "/api/me/usage?days=367").await.code(), "request_invalid");
        let today = app.get(ADA, "/api/me/usage?days=1").await.json();
        assert_eq!((&today["projects"], &today["days"][0]["characters"]), (&json!([book]), &json!(10)));
        assert_eq!((&tomorrow["characters"]["used"], &tomorrow["storage_bytes"]["used"]), (&json!(0), &json!(48_044)));
    }

    #[tokio::test]
    async fn the_day_ends_where_the_user_is() {
        let app = TestApp::with_policy(|policy| policy["roles"]["free"]["characters_per_day"] = json!(500)).await;
        let change = json!({"time_zone": "Asia/Shanghai"});
        let reply = app.send(app.request("PATCH", "/api/me", Some((ADA, "free")), Some(&change))).await;
        assert_eq!(reply.json()["time_zone"], "Asia/Shanghai");
        let wrong = json!({"time_zone": "Atlantis"});
        let refused = app.send(app.request("PATCH", "/api/me", Some((ADA, "free")), Some(&wrong))).await;
        assert_eq!(refused.code(), "request_invalid");
        // It is eight in the evening there.
        assert_eq!(app.generate(ADA, json!({"text": "x".repeat(400)})).await.status.as_u16(), 200);
        let full = app.generate(ADA, json!({"text": "x".repeat(400)})).await;
        assert_eq!((full.code().as_str(), full.header("retry-after")), ("quota_exhausted", "14401"));
        assert!(full.json()["detail"].as_str().unwrap().contains("midnight (Asia/Shanghai)"), "{full:?}");
        assert_eq!(app.get(ADA, "/api/me/usage").await.json()["resets_at"], "2026-11-23T16:00:00Z");
        app.app.clock.advance(4 * 3_600_000);
        assert_eq!(app.generate(ADA, json!({"text": "x".repeat(400)})).await.status.as_u16(), 200);
        // Another zone names the day of before: what was used of it stays used.
        let change = json!({"time_zone": "UTC"});
        app.send(app.request("PATCH", "/api/me", Some((ADA, "free")), Some(&change))).await;
        assert_eq!(app.generate(ADA, json!({"text": "x".repeat(400)})).await.code(), "quota_exhausted");
    }
}
