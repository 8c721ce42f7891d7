//! `/api/logins`: where one is logged in, and ending it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::caller::LoggedIn;
use crate::clock::rfc3339;
use crate::input::{ObjectId, Parameters};
use crate::keys::grace_ms;
use crate::logins::{clear_cookies, withdrawal};
use crate::problem::Refusal;
use crate::store::{Ended, Login};

/// `GET`: one's own, the last used first, and for a week those that were ended.
pub(super) async fn list(State(app): State<Arc<App>>, login: LoggedIn) -> Result<Json<Value>, Refusal> {
    let logins = app.store.of(login.caller()).logins().await?;
    let described: Vec<Value> = logins.iter().map(|other| describe(other, other.id == login.login())).collect();
    Ok(Json(json!({ "logins": described })))
}

/// `DELETE` of one.
pub(super) async fn end(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    ObjectId(id): ObjectId,
) -> Result<StatusCode, Refusal> {
    let caller = login.caller();
    let withdrawal = withdrawal(&app, &id, caller.user_id(), Ended::Owner)?;
    let audit = caller.audit(&app.clock, "login_end", "ok").on(&id);
    if !app.store.of(caller).end_login(&id, Ended::Owner, &withdrawal, &audit).await? {
        return Err(Refusal::not_found());
    }
    app.policy.hurry();
    Ok(StatusCode::NO_CONTENT)
}

/// The query of `DELETE`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// The login that asks, too.
    #[serde(default)]
    all: bool,
}

/// `DELETE`: all others, or all.
pub(super) async fn end_all(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    Parameters(which): Parameters<Which>,
) -> Result<Response, Refusal> {
    let caller = login.caller();
    let except = (!which.all).then_some(login.login());
    let withdrawal = withdrawal(&app, login.login(), caller.user_id(), Ended::Owner)?;
    // A login that was given no token for so long has none that could still hold.
    let since_ms = app.clock.now_ms().saturating_sub(grace_ms(&app.policy.now().document));
    let audit = caller.audit(&app.clock, "login_end", "ok");
    let ended = app.store.of(caller).end_logins(except, since_ms, &withdrawal, &audit).await?;
    app.policy.hurry();
    let mut response = Json(json!({ "ended": ended })).into_response();
    if which.all {
        clear_cookies(&mut response, caller.visit().is_secure)?;
    }
    Ok(response)
}

fn describe(login: &Login, is_current: bool) -> Value {
    json!({
        "id": login.id,
        "current": is_current,
        "label": login.label,
        "address": login.address,
        "region": login.region,
        "created_at": rfc3339(login.created_at),
        "seen_at": rfc3339(login.seen_at),
        "expires_at": rfc3339(login.expires_at),
        "ended_at": login.ended_at.map(rfc3339),
        "ended_why": login.ended_why,
    })
}

#[cfg(test)]
mod tests;
