//! `GET /.well-known/jwks.json`: the issuer's public keys (RFC 7517).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, HeaderName};
use serde_json::Value;

use crate::app::App;
use crate::openapi::{About, Section};

pub(super) const GET: About =
    About::new(Section::Accounts, "The keys by which tokens of this server are verified (RFC 7517)");

/// Answers without a seal: whoever verifies tokens may read it.
pub(super) async fn handler(State(app): State<Arc<App>>) -> ([(HeaderName, &'static str); 1], Json<Value>) {
    ([(CACHE_CONTROL, "public, max-age=300")], Json(app.policy.issuer().jwks()))
}
