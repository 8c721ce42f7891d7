//! `POST /api/me/step-up`: proves again who one is, for routes that ask for a recent login
//! (RFC 9470).

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use gate::Code;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use webauthn_rs::prelude::PublicKeyCredential;

use crate::app::App;
use crate::caller::{Caller, LoggedIn};
use crate::guessing;
use crate::input::JsonBody;
use crate::logins::{self, Granted};
use crate::openapi::{About, Gives, Section};
use crate::problem::Refusal;
use crate::second_factor::{self, Given};

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
    #[serde(default)]
    #[schemars(with = "Option<Map<String, Value>>")]
    passkey: Option<PublicKeyCredential>,
    /// The token goes into a cookie in place of the answer.
    #[serde(default)]
    cookie: bool,
}

pub(super) const POST: About = About::new(Section::Accounts, "Proves again who you are, for a fresh access token")
    .answers(&[Gives::json::<Granted>(200, "A fresh access token of the same login")]);

/// Answers as `POST /login` does, with another access token of the same login. An account with a
/// second factor proves it by a code or a passkey, any other by the password. What is wrong or
/// missing is `400 request_invalid`.
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    JsonBody(body): JsonBody<Body>,
) -> Result<Response, Refusal> {
    let caller = login.caller();
    let (totp, recovery_code) = (body.totp.as_deref(), body.recovery_code.as_deref());
    let given = Given { totp, recovery_code, passkey: body.passkey.as_ref() };
    if !second_factor::confirm(&app, caller, "step_up", given).await? {
        let missing = |what: &str| Refusal::new(Code::RequestInvalid, what);
        let password = body.password.as_deref().ok_or_else(|| missing("password is missing."))?;
        if has_no_password(&app, caller).await? {
            return Err(missing(
                "password: this account has none. Prove who you are at its provider: POST /api/me/step-up/{provider}.",
            ));
        }
        guessing::confirm(&app, caller, "step_up", password).await?;
    }
    logins::step_up(&app, &login).await?.into_response(body.cookie, caller.visit().is_secure)
}

async fn has_no_password(app: &App, caller: &Caller) -> Result<bool, Refusal> {
    let user = app.store.accounts().by_id(caller.user_id()).await?;
    Ok(user.is_some_and(|user| user.password().is_none()))
}
