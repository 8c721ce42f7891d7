//! `POST /register`: makes an account, where the policy lets anybody do so.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use gate::Code;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::accounts::{check_password, fold_username};
use crate::app::App;
use crate::caller::Visit;
use crate::clock::new_id;
use crate::input::JsonBody;
use crate::problem::Refusal;
use crate::store::{StoreError, User};

/// The body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    username: String,
    password: String,
}

/// `409 conflict` when the name is taken, `403 role_forbidden` when registration is closed.
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    visit: Visit,
    JsonBody(body): JsonBody<Body>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let registration = app.policy.now().document.registration.clone();
    if !registration.open {
        return Err(Refusal::new(Code::RoleForbidden, "Registration is closed here."));
    }
    let invalid = |reason: &str| Refusal::new(Code::RequestInvalid, reason);
    let username = fold_username(&body.username).map_err(invalid)?;
    check_password(&body.password).map_err(invalid)?;
    let taken = || Refusal::new(Code::Conflict, "This username is taken.");
    if app.store.accounts().by_username(&username).await?.is_some() {
        return Err(taken());
    }
    let password_hash = app.passwords.hash(body.password).await?;
    let now_ms = app.clock.now_ms();
    let user = User {
        id: new_id(now_ms),
        username,
        password_hash,
        role: registration.role,
        created_at: now_ms,
        disabled_at: None,
    };
    let audit = visit.audit(&app.clock, "register", "ok").by(&user.id);
    match app.store.accounts().add(&user, &audit).await {
        Err(StoreError::Conflict) => return Err(taken()),
        other => other?,
    }
    let body = json!({"user_id": user.id, "username": user.username, "role": user.role});
    Ok((StatusCode::CREATED, Json(body)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::test_app::TestApp;

    #[tokio::test]
    async fn a_name_is_taken_once() {
        let app = TestApp::new().await;
        let reply = app.post("/register", json!({"username": "Ada", "password": "correct horse"})).await;
        assert_eq!(reply.status.as_u16(), 201);
        assert_eq!((&reply.json()["username"], &reply.json()["role"]), (&json!("ada"), &json!("free")));
        for taken in ["ada", "ADA", "ａｄａ"] {
            let reply = app.post("/register", json!({"username": taken, "password": "correct horse"})).await;
            assert_eq!((reply.status.as_u16(), reply.code().as_str()), (409, "conflict"));
        }
    }

    #[tokio::test]
    async fn bad_names_and_passwords_are_explained() {
        let app = TestApp::new().await;
        for (username, password, reason) in
            [("ab", "correct horse", "username"), ("a b c", "correct horse", "username"), ("ada", "short", "password")]
        {
            let reply = app.post("/register", json!({"username": username, "password": password})).await;
            assert_eq!(reply.code(), "request_invalid");
            assert!(reply.json()["detail"].as_str().unwrap().starts_with(reason));
        }
    }

    #[tokio::test]
    async fn the_policy_can_close_it() {
        let app = TestApp::with_policy(|policy| policy["registration"]["open"] = json!(false)).await;
        let reply = app.post("/register", json!({"username": "ada", "password": "correct horse"})).await;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (403, "role_forbidden"));
    }
}
