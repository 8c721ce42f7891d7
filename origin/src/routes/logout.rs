//! `POST /logout`: clears the cookie. Public, because it has to work with an expired one too.

use axum::http::header::{HeaderName, SET_COOKIE};
use axum::http::{HeaderValue, StatusCode};

use super::login::cookie;
use crate::caller::Visit;
use crate::problem::Refusal;

/// `204`, always.
pub(super) async fn handler(visit: Visit) -> Result<(StatusCode, [(HeaderName, HeaderValue); 1]), Refusal> {
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, cookie("", 0, visit.is_secure)?)]))
}
