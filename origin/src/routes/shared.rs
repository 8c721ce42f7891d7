//! `/s/{secret}`: what a link leads to, for people without an account.

/// The page in words.
mod html;

use std::sync::Arc;

use axum::Form;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use gate::Code;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::app::App;
use crate::caller::Visit;
use crate::guessing;
use crate::input::Parameters;
use crate::openapi::{About, Gives, Input, Operation, Section};
use crate::problem::Refusal;
use crate::ranges::{self, Answer, FileHead};
use crate::shares::{Pass, Secret};
use crate::store::OpenedLink;

/// Nothing runs, nothing is fetched but the sound and the look, and the form goes nowhere else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; media-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");
/// The largest form, in bytes.
pub(super) const FORM_BYTES: usize = 4096;

/// A link that holds, opened by the secret in the path. Everything else is one and the same 404:
/// unknown, run out, ended, used up, its output deleted.
pub(super) struct Opened {
    link: OpenedLink,
    secret: Secret,
    pass: Option<Pass>,
}

impl FromRequestParts<Arc<App>> for Opened {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let path = Path::<String>::from_request_parts(parts, app).await.map_err(|_| Refusal::not_found())?;
        let secret = Secret::parse(&path).ok_or_else(Refusal::not_found)?;
        let opened = app.store.share_links().open(&secret.hash(), app.clock.now_ms()).await?;
        let link = opened.ok_or_else(Refusal::not_found)?;
        let pass = app.passes.shown(&parts.headers, &link.link.id, app.clock.now_s());
        // Whoever has begun a download may read on, others find nothing.
        if link.is_used_up() && pass != Some(Pass::Counted) {
            return Err(Refusal::not_found());
        }
        Ok(Self { link, secret, pass })
    }
}

impl Input for Opened {
    fn describe(operation: &mut Operation<'_>) {
        operation.path_parameter(serde_json::json!({"type": "string"}));
        operation.refuses(&[Code::NotFound]);
    }
}

impl Opened {
    fn is_locked(&self) -> bool {
        self.link.link.password_hash.is_some() && self.pass.is_none()
    }

    fn cookie(&self, app: &App, visit: &Visit, pass: Pass) -> Result<HeaderValue, Refusal> {
        app.passes.cookie(pass, &self.link.link.id, &self.secret, app.clock.now_s(), visit.is_secure)
    }
}

/// The query of the page.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    /// 1: the password was wrong.
    #[serde(default)]
    wrong: u8,
}

pub(super) const PAGE: About = About::new(Section::Links, "A page with a player, or a question for the password")
    .answers(&[Gives::media(200, &["text/html"], "The page")]);

/// The page, with a player or with a question for the password.
pub(super) async fn page(
    opened: Opened,
    Parameters(query): Parameters<PageQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let words = html::words(&headers);
    let path = opened.secret.path();
    let page = match opened.is_locked() {
        true => html::question(words, &path, query.wrong == 1),
        false => html::player(words, &path, &opened.link),
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)),
        (ROBOTS, HeaderValue::from_static("noindex, nofollow, noarchive")),
    ];
    Ok((headers, page).into_response())
}

/// The form of `POST`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Answered {
    password: String,
}

pub(super) const UNLOCK: About = About::new(Section::Links, "Answers the question for the password")
    .answers(&[Gives::empty(303, "Back to the page")]);

/// `POST`: the password. Leads back to the page.
pub(super) async fn unlock(
    State(app): State<Arc<App>>,
    visit: Visit,
    opened: Opened,
    Form(answered): Form<Answered>,
) -> Result<Response, Refusal> {
    let path = opened.secret.path();
    let is_right = match &opened.link.link.password_hash {
        Some(hash) => guessing::unlock(&app, &visit, &opened.link.link.id, hash, &answered.password).await?,
        None => true,
    };
    if !is_right {
        return Ok(back_to(&format!("{path}?wrong=1"))?.into_response());
    }
    let mut response = back_to(&path)?.into_response();
    // A download that has begun is not to be paid for again.
    let cookie = opened.cookie(&app, &visit, opened.pass.unwrap_or(Pass::Unlocked))?;
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

fn back_to(path: &str) -> Result<(StatusCode, [(HeaderName, HeaderValue); 1]), Refusal> {
    let path = path.parse().map_err(Refusal::internal)?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, path)]))
}

/// The query of the audio.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AudioQuery {
    /// 1: the browser saves instead of playing.
    #[serde(default)]
    download: u8,
}

pub(super) const AUDIO: About = About::new(Section::Links, "The audio, whole or in part; also HEAD")
    .answers(&[
        Gives::media(200, &["audio/wav"], "The audio"),
        Gives::media(206, &["audio/wav"], "The part that `Range` asks for"),
        Gives::empty(303, "To the page: the password comes first"),
        Gives::empty(304, "Not modified"),
    ])
    .refuses(&[Code::RangeInvalid, Code::StorageFull])
    .reads(&ranges::READS);

/// The audio, counted when its first byte is handed out. `HEAD` counts nothing.
pub(super) async fn audio(
    State(app): State<Arc<App>>,
    visit: Visit,
    opened: Opened,
    Parameters(query): Parameters<AudioQuery>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    if opened.is_locked() {
        return Ok(back_to(&opened.secret.path())?.into_response());
    }
    let output = &opened.link.output;
    let head = FileHead {
        tag: output.sha256.clone(),
        media_type: "audio/wav",
        name: format!("cosygate-{}.wav", output.id),
        is_attachment: query.download == 1,
        made_at: output.created_at,
    };
    let size = u64::try_from(output.bytes).unwrap_or_default();
    let (mut response, range) = match head.answer(&headers, size)? {
        Answer::Done(response) => return Ok(response),
        Answer::Bytes(response, range) => (response, range),
    };
    response.headers_mut().insert(ROBOTS, HeaderValue::from_static("noindex, nofollow, noarchive"));
    if method == Method::HEAD {
        return Ok(response);
    }
    if opened.pass != Some(Pass::Counted) {
        let audit = visit.audit(&app.clock, "share_download", "ok").on(&opened.link.link.id);
        if !app.store.share_links().count(&opened.link, &audit).await? {
            return Err(Refusal::not_found());
        }
        response.headers_mut().insert(header::SET_COOKIE, opened.cookie(&app, &visit, Pass::Counted)?);
    }
    *response.body_mut() = audio_body(&app, &opened.link, range).await?;
    Ok(response)
}

async fn audio_body(app: &App, link: &OpenedLink, range: std::ops::Range<u64>) -> Result<Body, Refusal> {
    ranges::stream(app.blobs.of_link(link), link.output.id.clone(), range).await
}

#[cfg(test)]
mod tests;
