//! `POST /refresh`: a refresh token against fresh tokens (RFC 6749, section 6).

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use gate::{Code, Problem};

use crate::app::App;
use crate::caller::Visit;
use crate::logins::{self, Granted, Presented, clear_cookies};
use crate::openapi::{About, Gives, Section};
use crate::problem::Refusal;

pub(super) const POST: About = About::new(Section::Accounts, "Gives fresh tokens for a refresh token")
    .answers(&[Gives::json::<Granted>(200, "Renewed")])
    .refuses(&[Code::TokenMissing]);

/// Answers as `POST /login` does, into cookies if the refresh token came in one. Whatever is wrong
/// with it: `401 token_invalid`, and the cookies go.
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    visit: Visit,
    presented: Presented,
) -> Result<Response, Refusal> {
    let missing = || Problem::new(Code::TokenMissing, "Send the refresh token.");
    let token = presented.token.ok_or_else(missing)?;
    match logins::refresh(&app, &visit, &token).await {
        Ok(session) => session.into_response(presented.from_cookie, visit.is_secure),
        Err(refusal) => {
            let is_over = presented.from_cookie && refusal.problem.code == Code::TokenInvalid;
            let mut response = refusal.into_response();
            if is_over {
                clear_cookies(&mut response, visit.is_secure)?;
            }
            Ok(response)
        }
    }
}
