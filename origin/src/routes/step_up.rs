//! `POST /api/me/step-up`: proves again who one is, for routes that ask for a recent login
//! (RFC 9470).

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use gate::Code;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::app::App;
use crate::caller::LoggedIn;
use crate::guessing;
use crate::input::JsonBody;
use crate::logins::{self, Granted};
use crate::openapi::{About, Gives, Section};
use crate::problem::Refusal;
use crate::second_factor::{self, Given, Proof};

/// The body: what the account has.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    totp: Option<String>,
    #[serde(default)]
    recovery_code: Option<String>,
    /// The token goes into a cookie in place of the answer.
    #[serde(default)]
    cookie: bool,
}

pub(super) const POST: About = About::new(Section::Accounts, "Proves again who you are, for a fresh access token")
    .answers(&[Gives::json::<Granted>(200, "A fresh access token of the same login")]);

/// Answers as `POST /login` does, with another access token of the same login. An account with a
/// second factor proves it by a code, any other by the password. What is wrong or missing is
/// `400 request_invalid`.
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    JsonBody(body): JsonBody<Body>,
) -> Result<Response, Refusal> {
    let caller = login.caller();
    let missing = |what: &str| Err(Refusal::new(Code::RequestInvalid, what));
    let given = Given { totp: body.totp.as_deref(), recovery_code: body.recovery_code.as_deref() };
    match second_factor::prove(&app, caller.user_id(), given, &|result| caller.audit(&app.clock, "step_up", result))
        .await?
    {
        Proof::Right => {}
        Proof::Wrong => return Err(second_factor::wrong()),
        Proof::Missing => return missing("code is missing: the account has a second factor."),
        Proof::None => match &body.password {
            Some(password) => drop(guessing::confirm(&app, caller, "step_up", password).await?),
            None => return missing("password is missing."),
        },
    }
    logins::step_up(&app, &login).await?.into_response(body.cookie, caller.visit().is_secure)
}
