//! `GET /api/me/usage`: what the caller has used of what the role allows.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::app::App;
use crate::caller::Caller;
use crate::clock;
use crate::problem::Refusal;

/// Generations under way are not counted until they end.
pub(super) async fn handler(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, Refusal> {
    let policy = app.policy.now();
    let role = policy.role(caller.role())?;
    let now_ms = app.clock.now_ms();
    let usage = app.store.of(&caller).usage(now_ms).await?;
    Ok(Json(json!({
        "day": clock::day(now_ms),
        "resets_at": clock::rfc3339(clock::next_midnight_ms(now_ms)),
        "characters": {"used": usage.characters, "limit": role.characters_per_day},
        "generations": {"used": usage.generations, "limit": role.generations_per_day},
        "storage_bytes": {"used": usage.storage_bytes, "limit": u64::from(role.storage_mb) * 1024 * 1024},
        "characters_per_request": role.characters_per_request,
    })))
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
            "resets_at": "2026-11-24T00:00:00Z",
            "characters": {"used": 9, "limit": 5000},
            "generations": {"used": 1, "limit": 50},
            "storage_bytes": {"used": 48_044, "limit": 200 * 1024 * 1024},
            "characters_per_request": 500,
        });
        assert_eq!(app.get(ADA, "/api/me/usage").await.json(), expected);
        app.app.clock.advance(12 * 3_600_000);
        let tomorrow = app.get(ADA, "/api/me/usage").await.json();
        assert_eq!((&tomorrow["characters"]["used"], &tomorrow["storage_bytes"]["used"]), (&json!(0), &json!(48_044)));
    }
}
