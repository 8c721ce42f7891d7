//! The whole API on one screen. One endpoint, one file: docs/API.md has the shapes.

mod admin_edges;
mod admin_policy;
mod admin_revocations;
mod audit;
mod download;
mod edge_bundle;
mod edge_list;
mod export;
mod generate;
mod jwks;
mod login;
mod logout;
mod me;
mod output;
mod outputs;
mod page;
mod register;
mod status;
mod usage;
mod voices;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use gate::Code;

pub use audit::view as audit_view;

use crate::app::App;
use crate::problem::Refusal;
use crate::{answer, quota, seal};

/// The main listener: everything behind the door, the door behind the common answer.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/assets/{*path}", get(page::asset))
        .route("/.well-known/jwks.json", get(jwks::handler))
        .route("/status/{number}", get(status::handler))
        .route("/register", post(register::handler))
        .route("/login", post(login::handler))
        .route("/logout", post(logout::handler))
        .route("/api/me", get(me::handler).delete(me::delete))
        .route("/api/me/usage", get(usage::handler))
        .route("/api/me/export", get(export::get).post(export::post))
        .route("/api/me/export/file", get(export::file))
        .route("/api/me/audit", get(audit::own))
        .route("/api/voices", get(voices::handler))
        .route("/api/generate", post(generate::handler).layer(from_fn_with_state(Arc::clone(&app), quota::tell)))
        .route("/api/outputs", get(outputs::handler))
        .route("/api/outputs/{id}", get(output::get).delete(output::delete))
        .route("/download/{id}", get(download::handler).delete(output::delete))
        .route("/api/admin/policy", get(admin_policy::get).put(admin_policy::put))
        .route("/api/admin/policy/history", get(admin_policy::history))
        .route("/api/admin/edges", get(admin_edges::handler))
        .route("/api/admin/revocations", get(admin_revocations::get).post(admin_revocations::post))
        .route("/api/admin/audit", get(audit::all))
        .route("/internal/edge/bundle", get(edge_bundle::handler))
        .route("/internal/edge/list", get(edge_list::handler))
        .fallback(async || Refusal::not_found())
        .method_not_allowed_fallback(async || Refusal::new(Code::MethodNotAllowed, "This path has other methods."))
        .layer(from_fn_with_state(Arc::clone(&app), seal::require))
        .layer(from_fn_with_state(Arc::clone(&app), answer::layer))
        .with_state(app)
}

#[cfg(test)]
mod tests;
