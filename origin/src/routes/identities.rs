//! `/api/me/identities`: the providers that somebody may log in with.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse as _, Response};
use gate::Code;
use serde_json::{Value, json};

use super::oidc::providers;
use crate::app::App;
use crate::caller::LoggedIn;
use crate::clock::rfc3339;
use crate::input::ObjectId;
use crate::oidc;
use crate::problem::Refusal;
use crate::store::Unlinked;

/// `GET`: who the caller is elsewhere, whether there is a password, too, and who the providers are.
pub(super) async fn list(State(app): State<Arc<App>>, login: LoggedIn) -> Result<Json<Value>, Refusal> {
    let user = app.store.accounts().by_id(login.caller().user_id()).await?;
    let identities = app.store.of(login.caller()).identities().await?;
    let identities: Vec<Value> = identities
        .iter()
        .map(|identity| {
            let provider = app.oidc.iter().find(|provider| provider.settings.issuer == identity.issuer);
            json!({
                "id": identity.id,
                "provider": provider.map(|provider| &provider.settings.id),
                "issuer": identity.issuer,
                "label": identity.label,
                "created_at": rfc3339(identity.created_at),
            })
        })
        .collect();
    let has_password = user.is_some_and(|user| user.password().is_some());
    Ok(Json(json!({"password": has_password, "identities": identities, "providers": providers(&app)})))
}

/// `POST …/{provider}`: the address at which the caller links this provider.
pub(super) async fn link(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let (address, cookie) = oidc::begin_link(&app, &login, app.oidc.find(&id)?).await?;
    Ok(([(SET_COOKIE, cookie)], Json(json!({ "url": address }))).into_response())
}

/// `POST /api/me/step-up/{provider}`: the address at which the caller proves again who they are.
pub(super) async fn step_up(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let (address, cookie) = oidc::begin_step_up(&app, &login, app.oidc.find(&id)?).await?;
    Ok(([(SET_COOKIE, cookie)], Json(json!({ "url": address }))).into_response())
}

/// `DELETE …/{id}`: unlinks one. `409 conflict` if there would be no way left to log in.
pub(super) async fn unlink(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    ObjectId(id): ObjectId,
) -> Result<StatusCode, Refusal> {
    let audit = login.caller().audit(&app.clock, "identity_unlink", "ok").on(&id);
    match app.store.of(login.caller()).unlink(&id, &app.oidc.issuers(), &audit).await? {
        Unlinked::Done => Ok(StatusCode::NO_CONTENT),
        Unlinked::NotFound => Err(Refusal::not_found()),
        Unlinked::LastWay => Err(Refusal::new(
            Code::Conflict,
            "You could not log in any more. Link another one or set a password first.",
        )),
    }
}
