//! `/api/me`: who the caller is, where its days begin, and the end of it all.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use gate::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::caller::Caller;
use crate::clock::Time;
use crate::days::zone;
use crate::fresh;
use crate::input::JsonBody;
use crate::logins::clear_cookies;
use crate::openapi::{About, Gives, Section};
use crate::privacy::{self, ExportError};
use crate::problem::Refusal;
use crate::revocation::{self, Withdrawal};
use crate::second_factor;
use crate::store::{Changed, Whose};

/// What can be changed; what is absent stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Changes {
    /// IANA name.
    #[serde(default)]
    time_zone: Option<String>,
}

/// Who the caller is.
#[derive(Serialize, JsonSchema)]
pub(super) struct Me {
    user_id: String,
    username: String,
    role: String,
    time_zone: String,
    created_at: Option<Time>,
    second_factor: Option<SecondFactor>,
}

/// What is asked for beside the password.
#[derive(Serialize, JsonSchema)]
struct SecondFactor {
    since: Option<Time>,
    /// How many are left.
    recovery_codes: i64,
    /// Codes of an authenticator app.
    totp: bool,
    /// How many there are.
    passkeys: i64,
}

pub(super) const GET: About = About::new(Section::Accounts, "Who you are");

/// Users of other issuers have no account here: their name is their id, and nobody knows since when.
pub(super) async fn get(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Me>, Refusal> {
    let user = app.store.accounts().by_id(caller.user_id()).await?;
    let factor = second_factor::of_user(&app, caller.user_id()).await?;
    let time_zone = app.store.of(&caller).time_zone().await?;
    Ok(Json(Me {
        user_id: caller.user_id().to_owned(),
        role: caller.role().to_owned(),
        time_zone: time_zone.unwrap_or_else(|| "UTC".to_owned()),
        created_at: user.as_ref().map(|user| Time(user.created_at)),
        username: user.map_or_else(|| caller.user_id().to_owned(), |user| user.username),
        second_factor: factor.map(|factor| SecondFactor {
            since: factor.since().map(Time),
            recovery_codes: factor.codes_left,
            totp: factor.totp_since.is_some(),
            passkeys: factor.passkeys,
        }),
    }))
}

pub(super) const PATCH: About = About::new(Section::Accounts, "Says where your days begin");

/// Another time zone names other days; each name has its allowance once, wherever the user is.
pub(super) async fn patch(
    State(app): State<Arc<App>>,
    caller: Caller,
    JsonBody(changes): JsonBody<Changes>,
) -> Result<Json<Me>, Refusal> {
    if let Some(name) = changes.time_zone {
        let zone = zone(&name).ok_or_else(|| {
            Refusal::new(Code::RequestInvalid, "time_zone must be an IANA name, for example Asia/Shanghai.")
        })?;
        app.store.of(&caller).set_time_zone(zone.name()).await?;
    }
    get(State(app), caller).await
}

/// The body of `DELETE`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Farewell {
    /// Of the account here. Users of other issuers and accounts without a password have none.
    #[serde(default)]
    password: String,
}

pub(super) const DELETE: About = About::new(Section::Accounts, "Erases you and everything that is yours")
    .answers(&[Gives::empty(204, "Gone, and the cookies are cleared")])
    .refuses(&[Code::Conflict]);

/// `DELETE /api/me`: erases the caller. The policy asks for a fresh login, and the password is asked
/// for once more: a stolen token is not enough. `400 request_invalid` when it is wrong, `429
/// rate_limited` when too many were.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    JsonBody(body): JsonBody<Farewell>,
) -> Result<Response, Refusal> {
    let account = app.store.accounts().by_id(caller.user_id()).await?;
    // Users of other issuers prove who they are there; the policy asks how long ago.
    if account.is_some_and(|user| !user.is_of_another_issuer()) {
        fresh::confirm(&app, &caller, "erase", &body.password).await?;
    }
    // Not by whom: the withdrawal outlives the account for as long as its tokens could.
    let withdrawal =
        Withdrawal { whose: Whose::User, subject: caller.user_id(), author: "erased", reason: "the user was erased" };
    let record = revocation::record(withdrawal, &app.policy.now().document, app.clock.now_ms());
    let record = record.map_err(Refusal::internal)?;
    let audit = caller.audit(&app.clock, "erase", "ok");
    match privacy::erase(&app.store, &app.blobs, caller.user_id(), &record, &audit).await {
        Ok(Changed::LastAdmin) => {
            return Err(Refusal::new(Code::Conflict, "You are the last administrator. Make another one first."));
        }
        Ok(_) => {}
        Err(ExportError::Store(error)) => return Err(error.into()),
        // The rows are gone, and with them every way to the files; upkeep removes them.
        Err(error) => tracing::error!(%error, "files of an erased user could not be removed yet"),
    }
    app.policy.hurry();
    let mut response = StatusCode::NO_CONTENT.into_response();
    clear_cookies(&mut response, caller.visit().is_secure)?;
    Ok(response)
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
            "created_at": "2026-11-23T12:00:00Z", "second_factor": null});
        assert_eq!(app.get(id, "/api/me").await.json(), expected);
        let partner = app.get("partner:42", "/api/me").await.json();
        assert_eq!((&partner["username"], &partner["created_at"]), (&json!("partner:42"), &Value::Null));
    }
}
