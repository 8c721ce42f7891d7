//! `/api/me/identities`: the providers that somebody may log in with.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::http::header::{HeaderName, SET_COOKIE};
use axum::response::NoContent;
use gate::Code;
use schemars::JsonSchema;
use serde::Serialize;

use super::oidc::{ProviderView, providers};
use crate::app::App;
use crate::caller::LoggedIn;
use crate::clock::Time;
use crate::input::ObjectId;
use crate::oidc;
use crate::openapi::{About, Section};
use crate::problem::Refusal;
use crate::store::{Identity, Unlinked};

/// Ways to log in.
#[derive(Serialize, JsonSchema)]
pub(super) struct Identities {
    /// Whether there is one, too.
    password: bool,
    identities: Vec<IdentityView>,
    /// Who can be linked.
    providers: Vec<ProviderView>,
}

/// Somebody at a provider.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LinkedIdentity")]
pub(super) struct IdentityView {
    id: String,
    /// The id of the provider, while it is one.
    provider: Option<String>,
    issuer: String,
    label: String,
    created_at: Time,
}

/// Where the browser goes next.
#[derive(Serialize, JsonSchema)]
pub(super) struct Address {
    url: String,
}

/// The way there is kept in a cookie.
type Departure = ([(HeaderName, HeaderValue); 1], Json<Address>);

pub(super) const LIST: About = About::new(Section::Accounts, "Lists your ways to log in");

/// `GET`: who the caller is elsewhere, whether there is a password, too, and who the providers are.
pub(super) async fn list(State(app): State<Arc<App>>, login: LoggedIn) -> Result<Json<Identities>, Refusal> {
    let user = app.store.accounts().by_id(login.caller().user_id()).await?;
    let identities = app.store.of(login.caller()).identities().await?;
    let view = |identity: Identity| IdentityView {
        id: identity.id,
        provider: app
            .oidc
            .iter()
            .find(|provider| provider.settings.issuer == identity.issuer)
            .map(|provider| provider.settings.id.clone()),
        issuer: identity.issuer,
        label: identity.label,
        created_at: Time(identity.created_at),
    };
    Ok(Json(Identities {
        password: user.is_some_and(|user| user.password().is_some()),
        identities: identities.into_iter().map(view).collect(),
        providers: providers(&app),
    }))
}

pub(super) const LINK: About = About::new(Section::Accounts, "Begins to link a provider").refuses(&[Code::Conflict]);

/// `POST …/{provider}`: the address at which the caller links this provider.
pub(super) async fn link(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    Path(id): Path<String>,
) -> Result<Departure, Refusal> {
    let (address, cookie) = oidc::begin_link(&app, &login, app.oidc.find(&id)?).await?;
    Ok(([(SET_COOKIE, cookie)], Json(Address { url: address })))
}

pub(super) const STEP_UP: About =
    About::new(Section::Accounts, "Begins to prove at a provider who you are").refuses(&[Code::Conflict]);

/// `POST /api/me/step-up/{provider}`: the address at which the caller proves again who they are.
pub(super) async fn step_up(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    Path(id): Path<String>,
) -> Result<Departure, Refusal> {
    let (address, cookie) = oidc::begin_step_up(&app, &login, app.oidc.find(&id)?).await?;
    Ok(([(SET_COOKIE, cookie)], Json(Address { url: address })))
}

pub(super) const UNLINK: About = About::new(Section::Accounts, "Unlinks a provider").refuses(&[Code::Conflict]);

/// `DELETE …/{id}`: unlinks one. `409 conflict` if there would be no way left to log in.
pub(super) async fn unlink(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    ObjectId(id): ObjectId,
) -> Result<NoContent, Refusal> {
    let audit = login.caller().audit(&app.clock, "identity_unlink", "ok").on(&id);
    match app.store.of(login.caller()).unlink(&id, &app.oidc.issuers(), &audit).await? {
        Unlinked::Done => Ok(NoContent),
        Unlinked::NotFound => Err(Refusal::not_found()),
        Unlinked::LastWay => Err(Refusal::new(
            Code::Conflict,
            "You could not log in any more. Link another one or set a password first.",
        )),
    }
}
