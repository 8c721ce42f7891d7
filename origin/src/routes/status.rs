//! `GET /status/{number}`: one status list (draft-ietf-oauth-status-list, section 8), for others who
//! accept this server's tokens.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use gate::status;

use crate::app::App;
use crate::openapi::{About, Gives, Section};
use crate::problem::Refusal;
use crate::status_lists::TTL_S;

pub(super) const GET: About =
    About::new(Section::Accounts, "Which tokens were withdrawn (draft-ietf-oauth-status-list)")
        .answers(&[Gives::media(200, &["application/statuslist+jwt"], "The list")]);

/// The list as it is now, signed with the key that signs tokens. Every number has one: nothing tells
/// how many tokens there are.
pub(super) async fn handler(State(app): State<Arc<App>>, Path(number): Path<String>) -> Result<Response, Refusal> {
    let number = number.parse().map_err(|_| Refusal::not_found())?;
    let text = app.policy.public_status_list(number);
    let headers =
        [(CONTENT_TYPE, format!("application/{}", status::TYPE)), (CACHE_CONTROL, format!("public, max-age={TTL_S}"))];
    Ok((headers, text).into_response())
}
