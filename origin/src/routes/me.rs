//! `GET /api/me`: who the caller is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::app::App;
use crate::caller::Caller;
use crate::clock::rfc3339;
use crate::problem::Refusal;
use crate::second_factor;

/// Users of other issuers have no account here: their name is their id, and nobody knows since when.
pub(super) async fn handler(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, Refusal> {
    let user = app.store.accounts().by_id(caller.user_id()).await?;
    let factor = second_factor::of_user(&app, caller.user_id()).await?;
    Ok(Json(json!({
        "user_id": caller.user_id(),
        "username": user.as_ref().map_or(caller.user_id(), |user| &user.username),
        "role": caller.role(),
        "created_at": user.as_ref().map(|user| rfc3339(user.created_at)),
        "second_factor": factor.map(|factor| json!({
            "since": factor.confirmed_at.map(rfc3339), "recovery_codes": factor.codes_left,
        })),
    })))
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
        let expected = json!({"user_id": id, "username": "ada", "role": "free", "created_at": "2026-11-23T12:00:00Z",
            "second_factor": null});
        assert_eq!(app.get(id, "/api/me").await.json(), expected);
        let partner = app.get("partner:42", "/api/me").await.json();
        assert_eq!((&partner["username"], &partner["created_at"]), (&json!("partner:42"), &Value::Null));
    }
}
