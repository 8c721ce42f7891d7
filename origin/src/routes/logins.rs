//! `/api/logins`: where one is logged in, and ending it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, NoContent, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::caller::LoggedIn;
use crate::clock::Time;
use crate::input::{ObjectId, Parameters};
use crate::keys::grace_ms;
use crate::logins::{clear_cookies, withdrawal};
use crate::openapi::{About, Gives, Section};
use crate::problem::Refusal;
use crate::store::{Ended, Login};

/// Logins, the last used first.
#[derive(Serialize, JsonSchema)]
pub(super) struct Logins {
    logins: Vec<LoginView>,
}

/// Where one is logged in, or was.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Login")]
struct LoginView {
    /// The `sid` of its tokens.
    id: String,
    /// The one that asks.
    current: bool,
    /// What the program calls itself.
    label: String,
    address: String,
    region: String,
    created_at: Time,
    /// Up to two minutes late.
    seen_at: Time,
    expires_at: Time,
    ended_at: Option<Time>,
    ended_why: Option<String>,
}

pub(super) const LIST: About = About::new(Section::Accounts, "Lists where you are logged in");

/// `GET`: one's own, the last used first, and for a week those that were ended.
pub(super) async fn list(State(app): State<Arc<App>>, login: LoggedIn) -> Result<Json<Logins>, Refusal> {
    let logins = app.store.of(login.caller()).logins().await?;
    Ok(Json(Logins { logins: logins.into_iter().map(|other| describe(other, login.login())).collect() }))
}

pub(super) const END: About = About::new(Section::Accounts, "Ends a login");

/// `DELETE` of one.
pub(super) async fn end(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    ObjectId(id): ObjectId,
) -> Result<NoContent, Refusal> {
    let caller = login.caller();
    let withdrawal = withdrawal(&app, &id, caller.user_id(), Ended::Owner)?;
    let audit = caller.audit(&app.clock, "login_end", "ok").on(&id);
    if !app.store.of(caller).end_login(&id, Ended::Owner, &withdrawal, &audit).await? {
        return Err(Refusal::not_found());
    }
    app.policy.hurry();
    Ok(NoContent)
}

/// The query of `DELETE`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// The login that asks, too.
    #[serde(default)]
    all: bool,
}

/// How many were ended.
#[derive(Serialize, JsonSchema)]
struct EndedLogins {
    ended: usize,
}

pub(super) const END_ALL: About =
    About::new(Section::Accounts, "Ends all other logins, or all").answers(&[Gives::json::<EndedLogins>(200, "Ended")]);

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
    let mut response = Json(EndedLogins { ended }).into_response();
    if which.all {
        clear_cookies(&mut response, caller.visit().is_secure)?;
    }
    Ok(response)
}

fn describe(login: Login, current: &str) -> LoginView {
    LoginView {
        current: login.id == current,
        id: login.id,
        label: login.label,
        address: login.address,
        region: login.region,
        created_at: Time(login.created_at),
        seen_at: Time(login.seen_at),
        expires_at: Time(login.expires_at),
        ended_at: login.ended_at.map(Time),
        ended_why: login.ended_why,
    }
}

#[cfg(test)]
mod tests;
