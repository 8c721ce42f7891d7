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
mod openapi;
mod output;
mod outputs;
mod page;
mod passkeys;
mod password;
mod proof;
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

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get as described_nowhere;
use gate::Code;
use serde_json::Value;

pub use audit::line as audit_line;
pub(crate) use download::encoded;

use crate::app::App;
use crate::openapi::{Api, delete, get, post};
use crate::problem::Refusal;
use crate::{answer, leftover, seal};

/// Everything that clients can reach. To add a route: write the handler with typed arguments and
/// answers, beside it a constant `About` with what these types do not say, and name both here. Then
/// renew docs/openapi.json (`cosygate openapi > docs/openapi.json`) and give it a heading in
/// docs/API.md and a way in `tests/it/roles.rs`; tests insist on each of these.
fn api() -> Api {
    Api::default()
        .route("/", get(page::index, page::INDEX))
        .route("/assets/{*path}", get(page::asset, page::ASSET))
        .route("/docs", get(page::docs, page::DOCS))
        .route("/openapi.json", get(openapi::handler, openapi::GET))
        .route("/.well-known/jwks.json", get(jwks::handler, jwks::GET))
        .route("/.well-known/oauth-authorization-server", get(metadata::handler, metadata::GET))
        .route("/status/{number}", get(status::handler, status::GET))
        .route("/register", post(register::handler, register::POST))
        .route("/login", post(login::handler, login::POST))
        .route("/login/oidc", get(oidc::list, oidc::LIST).post(oidc::finish, oidc::FINISH))
        .route("/login/oidc/{id}", get(oidc::begin, oidc::BEGIN))
        .route("/login/oidc/{id}/callback", get(oidc::callback, oidc::CALLBACK))
        .route("/refresh", post(refresh::handler, refresh::POST))
        .route("/reset", post(reset::handler, reset::POST))
        .route("/logout", post(logout::handler, logout::POST))
        .route("/api/me", get(me::get, me::GET).patch(me::patch, me::PATCH).delete(me::delete, me::DELETE))
        .route("/api/me/password", post(password::handler, password::POST))
        .route("/api/me/step-up", post(step_up::handler, step_up::POST))
        .route("/api/me/step-up/{provider}", post(identities::step_up, identities::STEP_UP))
        .route("/api/me/identities", get(identities::list, identities::LIST))
        .route(
            "/api/me/identities/{id}",
            post(identities::link, identities::LINK).delete(identities::unlink, identities::UNLINK),
        )
        .route("/api/me/passkeys", get(passkeys::list, passkeys::LIST).post(passkeys::offer, passkeys::OFFER))
        .route("/api/me/passkeys/confirm", post(passkeys::confirm, passkeys::CONFIRM))
        .route("/api/me/passkeys/{id}", delete(passkeys::remove, passkeys::REMOVE))
        .route("/api/me/totp", post(totp::offer, totp::OFFER).delete(totp::remove, totp::REMOVE))
        .route("/api/me/totp/confirm", post(totp::confirm, totp::CONFIRM))
        .route("/api/me/usage", get(usage::handler, usage::GET))
        .route("/api/me/export", get(export::get, export::GET).post(export::post, export::POST))
        .route("/api/me/export/file", get(export::file, export::FILE_GET))
        .route("/api/me/audit", get(audit::own, audit::OWN))
        .route("/api/logins", get(logins::list, logins::LIST).delete(logins::end_all, logins::END_ALL))
        .route("/api/logins/{id}", delete(logins::end, logins::END))
        .route("/api/tokens", get(tokens::list, tokens::LIST).post(tokens::post, tokens::POST))
        .route("/api/tokens/{id}", delete(tokens::delete, tokens::DELETE))
        .route("/api/voices", get(voices::get, voices::GET).post(voices::post, voices::POST))
        .route(
            "/api/voices/{id}",
            get(voice::get, voice::GET).patch(voice::patch, voice::PATCH).delete(voice::delete, voice::DELETE),
        )
        .route("/api/voices/{id}/preview", get(voice::preview, voice::PREVIEW))
        .route("/api/generate", post(generate::handler, generate::POST).metered())
        .route("/api/jobs", get(jobs::list, jobs::LIST))
        .route("/api/jobs/{id}", get(jobs::get, jobs::GET).delete(jobs::delete, jobs::DELETE))
        .route("/api/jobs/{id}/events", get(job_events::handler, job_events::GET))
        .route("/v1/audio/speech", post(openai_speech::handler, openai_speech::POST).metered())
        .route(
            "/v1/audio/voices",
            get(openai_voices::get, openai_voices::GET).post(openai_voices::post, openai_voices::POST),
        )
        .route("/v1/models", get(openai_models::handler, openai_models::GET))
        .route("/api/outputs", get(outputs::handler, outputs::LIST))
        .route("/api/outputs/delete", post(outputs::delete, outputs::DELETE))
        .route("/api/outputs/zip", post(archive::handler, archive::POST))
        .route("/api/outputs/{id}", get(output::get, output::GET).delete(output::delete, output::DELETE))
        .route("/api/outputs/{id}/share", post(share::post, share::POST))
        .route("/api/shares", get(share::list, share::LIST))
        .route("/api/shares/{id}", delete(share::delete, share::DELETE))
        .route(
            "/s/{secret}",
            get(shared::page, shared::PAGE)
                .post(shared::unlock, shared::UNLOCK)
                .within(|route| route.layer(DefaultBodyLimit::max(shared::FORM_BYTES))),
        )
        .route("/s/{secret}/audio", get(shared::audio, shared::AUDIO))
        .route("/download/{id}", get(download::handler, download::GET).delete(output::delete, output::DELETE))
        .route("/api/admin/users", get(admin_users::list, admin_users::LIST))
        .route(
            "/api/admin/users/{id}",
            get(admin_users::get, admin_users::GET).patch(admin_users::patch, admin_users::PATCH),
        )
        .route("/api/admin/users/{id}/reset", post(admin_users::reset, admin_users::RESET))
        .route(
            "/api/admin/invitations",
            get(admin_invitations::get, admin_invitations::GET).post(admin_invitations::post, admin_invitations::POST),
        )
        .route("/api/admin/invitations/{id}", delete(admin_invitations::delete, admin_invitations::DELETE))
        .route("/api/admin/policy", get(admin_policy::get, admin_policy::GET).put(admin_policy::put, admin_policy::PUT))
        .route("/api/admin/policy/history", get(admin_policy::history, admin_policy::HISTORY))
        .route("/api/admin/edges", get(admin_edges::handler, admin_edges::GET))
        .route(
            "/api/admin/revocations",
            get(admin_revocations::get, admin_revocations::GET).post(admin_revocations::post, admin_revocations::POST),
        )
        .route("/api/admin/audit", get(audit::all, audit::ALL))
}

/// What [`api`] can do, as OpenAPI 3.1 has it. The same for every server of this version.
pub static DESCRIPTION: LazyLock<Value> = LazyLock::new(|| api().document());

/// The main listener: everything behind the door, the door behind the common answer.
pub fn router(app: Arc<App>) -> Router {
    let router: Router<Arc<App>> = api().into_router(&app);
    router
        .route("/internal/edge/bundle", described_nowhere(edge_bundle::handler))
        .route("/internal/edge/list", described_nowhere(edge_list::handler))
        .fallback(async || Refusal::not_found())
        .method_not_allowed_fallback(async || Refusal::new(Code::MethodNotAllowed, "This path has other methods."))
        .layer(from_fn_with_state(Arc::clone(&app), seal::require))
        .layer(from_fn_with_state(Arc::clone(&app), answer::layer))
        .layer(from_fn(leftover::layer))
        .with_state(app)
}

#[cfg(test)]
mod tests;
