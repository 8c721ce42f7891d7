//! `POST /logout`: ends the login that the request belongs to, by its access token, its refresh
//! token or its cookies.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use gate::Code;

use crate::app::App;
use crate::caller::{LoggedIn, Visit};
use crate::logins::{self, Presented, clear_cookies};
use crate::openapi::{About, Gives, Section};
use crate::problem::Refusal;
use crate::store::Ended;

pub(super) const POST: About = About::new(Section::Accounts, "Logs out; the token of the login says which one")
    .answers(&[Gives::empty(204, "Logged out, and the cookies are gone")])
    .refuses(&[Code::TokenMissing, Code::TokenExpired, Code::TokenRevoked, Code::RoleForbidden]);

/// `204`, and the cookies are gone. Where the policy makes this route public, only the refresh
/// token says which login is meant.
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    visit: Visit,
    login: Option<LoggedIn>,
    presented: Presented,
) -> Result<Response, Refusal> {
    if let Some(login) = login {
        let caller = login.caller();
        let withdrawal = logins::withdrawal(&app, login.login(), caller.user_id(), Ended::Logout)?;
        let audit = caller.audit(&app.clock, "logout", "ok").on(login.login());
        app.store.of(caller).end_login(login.login(), Ended::Logout, &withdrawal, &audit).await?;
        app.policy.hurry();
    }
    if let Some(token) = presented.token {
        logins::end_by_token(&app, &visit, &token).await?;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    clear_cookies(&mut response, visit.is_secure)?;
    Ok(response)
}
