//! The whole API on one screen. One endpoint, one file: docs/API.md has the shapes.

mod admin_edges;
mod admin_invitations;
mod admin_policy;
mod admin_revocations;
mod admin_users;
mod archive;
mod audit;
mod download;
mod edge_bundle;
mod edge_list;
mod export;
mod generate;
mod identities;
mod job_events;
mod jobs;
mod jwks;
mod login;
mod logins;
mod logout;
mod me;
mod metadata;
mod oidc;
mod openai_models;
mod openai_speech;
mod openai_voices;
mod output;
mod outputs;
mod page;
mod passkeys;
mod password;
mod refresh;
mod register;
mod reset;
mod share;
mod shared;
mod status;
mod step_up;
mod tokens;
mod totp;
mod usage;
mod voice;
mod voices;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};
use gate::Code;

pub use audit::view as audit_view;
pub(crate) use download::encoded;

use crate::app::App;
use crate::problem::Refusal;
use crate::{answer, quota, seal};

/// The main listener: everything behind the door, the door behind the common answer.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/assets/{*path}", get(page::asset))
        .route("/.well-known/jwks.json", get(jwks::handler))
        .route("/.well-known/oauth-authorization-server", get(metadata::handler))
        .route("/status/{number}", get(status::handler))
        .route("/register", post(register::handler))
        .route("/login", post(login::handler))
        .route("/login/oidc", get(oidc::list).post(oidc::finish))
        .route("/login/oidc/{id}", get(oidc::begin))
        .route("/login/oidc/{id}/callback", get(oidc::callback))
        .route("/refresh", post(refresh::handler))
        .route("/reset", post(reset::handler))
        .route("/logout", post(logout::handler))
        .route("/api/me", get(me::get).patch(me::patch).delete(me::delete))
        .route("/api/me/password", post(password::handler))
        .route("/api/me/step-up", post(step_up::handler))
        .route("/api/me/step-up/{provider}", post(identities::step_up))
        .route("/api/me/identities", get(identities::list))
        .route("/api/me/identities/{id}", post(identities::link).delete(identities::unlink))
        .route("/api/me/totp", post(totp::offer).delete(totp::remove))
        .route("/api/me/totp/confirm", post(totp::confirm))
        .route("/api/me/passkeys", get(passkeys::list).post(passkeys::offer))
        .route("/api/me/passkeys/confirm", post(passkeys::confirm))
        .route("/api/me/passkeys/{id}", delete(passkeys::remove))
        .route("/api/me/usage", get(usage::handler))
        .route("/api/me/export", get(export::get).post(export::post))
        .route("/api/me/export/file", get(export::file))
        .route("/api/me/audit", get(audit::own))
        .route("/api/logins", get(logins::list).delete(logins::end_all))
        .route("/api/logins/{id}", delete(logins::end))
        .route("/api/tokens", get(tokens::list).post(tokens::post))
        .route("/api/tokens/{id}", delete(tokens::delete))
        .route("/api/voices", get(voices::get).post(voices::post))
        .route("/api/voices/{id}", get(voice::get).patch(voice::patch).delete(voice::delete))
        .route("/api/voices/{id}/preview", get(voice::preview))
        .route("/api/generate", post(generate::handler).layer(from_fn_with_state(Arc::clone(&app), quota::tell)))
        .route("/api/jobs", get(jobs::list))
        .route("/api/jobs/{id}", get(jobs::get).delete(jobs::delete))
        .route("/api/jobs/{id}/events", get(job_events::handler))
        .route(
            "/v1/audio/speech",
            post(openai_speech::handler).layer(from_fn_with_state(Arc::clone(&app), quota::tell)),
        )
        .route("/v1/audio/voices", get(openai_voices::get).post(openai_voices::post))
        .route("/v1/models", get(openai_models::handler))
        .route("/api/outputs", get(outputs::handler))
        .route("/api/outputs/delete", post(outputs::delete))
        .route("/api/outputs/zip", post(archive::handler))
        .route("/api/outputs/{id}", get(output::get).delete(output::delete))
        .route("/api/outputs/{id}/share", post(share::post))
        .route("/api/shares", get(share::list))
        .route("/api/shares/{id}", delete(share::delete))
        .route("/s/{secret}", get(shared::page).post(shared::unlock).layer(DefaultBodyLimit::max(shared::FORM_BYTES)))
        .route("/s/{secret}/audio", get(shared::audio))
        .route("/download/{id}", get(download::handler).delete(output::delete))
        .route("/api/admin/users", get(admin_users::list))
        .route("/api/admin/users/{id}", get(admin_users::get).patch(admin_users::patch))
        .route("/api/admin/users/{id}/reset", post(admin_users::reset))
        .route("/api/admin/invitations", get(admin_invitations::get).post(admin_invitations::post))
        .route("/api/admin/invitations/{id}", delete(admin_invitations::delete))
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
