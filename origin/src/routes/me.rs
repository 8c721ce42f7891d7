//! `GET` and `PATCH /api/me`: who the caller is, and where its days begin.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gate::Code;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::caller::Caller;
use crate::clock::rfc3339;
use crate::days::zone;
use crate::input::JsonBody;
use crate::problem::Refusal;

/// What can be changed; what is absent stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Changes {
    /// IANA name.
    #[serde(default)]
    time_zone: Option<String>,
}

/// Users of other issuers have no account here: their name is their id, and nobody knows since when.
pub(super) async fn get(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, Refusal> {
    let user = app.store.accounts().by_id(caller.user_id()).await?;
    let time_zone = app.store.of(&caller).time_zone().await?;
    Ok(Json(json!({
        "user_id": caller.user_id(),
        "username": user.as_ref().map_or(caller.user_id(), |user| &user.username),
        "role": caller.role(),
        "time_zone": time_zone.as_deref().unwrap_or("UTC"),
        "created_at": user.as_ref().map(|user| rfc3339(user.created_at)),
    })))
}

/// Another time zone names other days; each name has its allowance once, wherever the user is.
pub(super) async fn patch(
    State(app): State<Arc<App>>,
    caller: Caller,
    JsonBody(changes): JsonBody<Changes>,
) -> Result<Json<Value>, Refusal> {
    if let Some(name) = changes.time_zone {
        let zone = zone(&name).ok_or_else(|| {
            Refusal::new(Code::RequestInvalid, "time_zone must be an IANA name, for example Asia/Shanghai.")
        })?;
        app.store.of(&caller).set_time_zone(zone.name()).await?;
    }
    get(State(app), caller).await
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::test_app::TestApp;

    #[tokio::test]
    async fn accounts_and_users_of_other_issuers() {
        let app = TestApp::new().await;
        let registered = app.post("/register", json!({"username": "ada", "password": "correct horse"})).await.json();
        let id = registered["user_id"].as_str().unwrap();
        let expected = json!({"user_id": id, "username": "ada", "role": "free", "time_zone": "UTC",
            "created_at": "2026-11-23T12:00:00Z"});
        assert_eq!(app.get(id, "/api/me").await.json(), expected);
        let partner = app.get("partner:42", "/api/me").await.json();
        assert_eq!((&partner["username"], &partner["created_at"]), (&json!("partner:42"), &Value::Null));
    }
}
