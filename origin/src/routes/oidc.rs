//! `/login/oidc…`: logging in with a provider of OpenID Connect. Browsers come here by links and
//! redirects, so what goes wrong is told on the page, as a word behind `#login=`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header::{ACCEPT, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use gate::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use webauthn_rs::prelude::PublicKeyCredential;

use crate::app::App;
use crate::caller::Visit;
use crate::input::JsonBody;
use crate::logins::{Granted, check_same_origin};
use crate::oidc::{self, Answer, Arrived, Nowhere, Provider, Word};
use crate::openapi::{About, Gives, Section};
use crate::problem::Refusal;
use crate::second_factor::Given;

/// The page.
const PAGE: &str = "/";

/// Who the providers are.
#[derive(Serialize, JsonSchema)]
pub(super) struct ProviderList {
    providers: Vec<ProviderView>,
}

/// Somebody who vouches for people.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Provider")]
pub(super) struct ProviderView {
    id: String,
    name: String,
}

pub(super) const LIST: About = About::new(Section::Accounts, "Lists providers to log in with");

/// `GET /login/oidc`: who the providers are.
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<ProviderList>, Refusal> {
    Ok(Json(ProviderList { providers: providers(&app) }))
}

/// The providers as clients know them.
pub(super) fn providers(app: &App) -> Vec<ProviderView> {
    let view =
        |provider: &Provider| ProviderView { id: provider.settings.id.clone(), name: provider.settings.name.clone() };
    app.oidc.iter().map(view).collect()
}

/// The browser goes on from here.
const AWAY: Gives = Gives::empty(302, "To the provider");
/// The browser comes back.
const BACK: Gives = Gives::empty(303, "To the page");

pub(super) const BEGIN: About = About::new(Section::Accounts, "Begins a login with a provider").answers(&[AWAY, BACK]);

/// `GET /login/oidc/{id}`: sends the browser to the provider. `404 not_found` if there is none of this
/// id, `503 overloaded` if it does not answer.
pub(super) async fn begin(
    State(app): State<Arc<App>>,
    visit: Visit,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let provider = app.oidc.find(&id)?;
    match oidc::begin(&app, &visit, provider).await {
        Ok((address, cookie)) => redirect(StatusCode::FOUND, &address, [cookie]),
        Err(refusal) => shown(&headers, refusal),
    }
}

/// What comes back in the address; providers add what they like.
#[derive(Deserialize)]
struct Returned {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
    iss: Option<String>,
}

pub(super) const CALLBACK: About =
    About::new(Section::Accounts, "Ends the way to a provider and back").answers(&[BACK]);

/// `GET /login/oidc/{id}/callback`: back from the provider. Whatever comes of it, the browser ends at
/// the page, and never anywhere else.
pub(super) async fn callback(
    State(app): State<Arc<App>>,
    visit: Visit,
    headers: HeaderMap,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let provider = app.oidc.find(&id)?;
    let answer = match Query::<Returned>::try_from_uri(&uri) {
        Ok(Query(Returned { state, code, error, iss })) => Answer { state, code, error, iss },
        // Something stands there twice.
        Err(_) => Answer::default(),
    };
    let done = oidc::no_cookie(&visit)?;
    match oidc::answer(&app, &visit, &headers, provider, &answer).await {
        Ok(Arrived::In(session)) => with_cookies(session.into_response(true, visit.is_secure)?, PAGE, done),
        Ok(Arrived::SteppedUp(session)) => {
            with_cookies(session.into_response(true, visit.is_secure)?, &behind("stepped_up"), done)
        }
        Ok(Arrived::Linked) => redirect(StatusCode::SEE_OTHER, &behind("linked"), [done]),
        Ok(Arrived::NeedsCode(ticket)) => redirect(StatusCode::SEE_OTHER, &behind("code"), [ticket]),
        // Whoever was sent here with an answer that is not theirs keeps the way that they are on.
        Err(Nowhere::Word(Word::Expired)) => redirect(StatusCode::SEE_OTHER, &behind(Word::Expired.as_str()), []),
        Err(Nowhere::Word(word)) => redirect(StatusCode::SEE_OTHER, &behind(word.as_str()), [done]),
        Err(Nowhere::Refusal(refusal)) => shown(&headers, refusal),
    }
}

/// The body of `POST /login/oidc`: a proof of the second factor.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    #[serde(default)]
    totp: Option<String>,
    #[serde(default)]
    recovery_code: Option<String>,
    #[serde(default)]
    #[schemars(with = "Option<Map<String, Value>>")]
    passkey: Option<PublicKeyCredential>,
}

pub(super) const FINISH: About = About::new(Section::Accounts, "Ends a login with a provider by the second factor")
    .answers(&[Gives::json::<Granted>(200, "Logged in")])
    .refuses(&[Code::TokenInvalid, Code::StepUpRequired, Code::CsrfRefused]);

/// `POST /login/oidc`: ends a login that needs a second factor, too; answers as `POST /login` with
/// cookies.
pub(super) async fn finish(
    State(app): State<Arc<App>>,
    visit: Visit,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Body>,
) -> Result<Response, Refusal> {
    check_same_origin(&Method::POST, &headers)?;
    let (totp, recovery_code) = (body.totp.as_deref(), body.recovery_code.as_deref());
    let given = Given { totp, recovery_code, passkey: body.passkey.as_ref() };
    let (session, done) = oidc::finish(&app, &visit, &headers, given).await?;
    let mut response = session.into_response(true, visit.is_secure)?;
    response.headers_mut().append(SET_COOKIE, done);
    Ok(response)
}

fn behind(word: &str) -> String {
    format!("{PAGE}#login={word}")
}

fn redirect(
    status: StatusCode,
    location: &str,
    cookies: impl IntoIterator<Item = HeaderValue>,
) -> Result<Response, Refusal> {
    let mut response = status.into_response();
    response.headers_mut().insert(LOCATION, location.parse().map_err(Refusal::internal)?);
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// To the page, with the cookies of an answer that has the rest in its body.
fn with_cookies(answer: Response, location: &str, done: HeaderValue) -> Result<Response, Refusal> {
    let cookies = answer.headers().get_all(SET_COOKIE).iter().cloned();
    redirect(StatusCode::SEE_OTHER, location, cookies.chain([done]))
}

/// Browsers are shown the page in place of JSON when we cannot go on now.
fn shown(headers: &HeaderMap, refusal: Refusal) -> Result<Response, Refusal> {
    let wants_html =
        headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"));
    if refusal.problem.code.status() != StatusCode::SERVICE_UNAVAILABLE.as_u16() || !wants_html {
        return Err(refusal);
    }
    tracing::warn!(cause = refusal.cause, "a provider cannot be asked");
    redirect(StatusCode::SEE_OTHER, &behind(Word::Unavailable.as_str()), [])
}
