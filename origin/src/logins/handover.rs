//! How a login is handed to its client, in the body or in cookies, and how a refresh token comes
//! back.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::response::{IntoResponse as _, Response};
use gate::Code;
use gate::headers::{Seen, credential_cookie, refresh_cookie, value_of};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Session;
use crate::app::App;
use crate::guessing;
use crate::input::JsonBody;
use crate::openapi::{Input, Operation};
use crate::problem::Refusal;

/// A login with fresh tokens; in cookies, if that was asked for.
#[derive(Serialize, JsonSchema)]
pub struct Granted {
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// `Bearer`.
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_expires_in: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_token: Option<String>,
    user_id: String,
    username: String,
    role: String,
}

impl Session {
    /// With what the device is known by at the next login.
    #[must_use]
    pub fn on(self, device_token: String) -> Self {
        Self { device: Some(device_token), ..self }
    }

    /// The answer of a login and of a refresh. `into_cookies`: both tokens go into cookies, out of
    /// reach of scripts, and the body has none.
    ///
    /// # Errors
    /// Never; a token is a good header value.
    pub fn into_response(self, into_cookies: bool, is_secure: bool) -> Result<Response, Refusal> {
        let Self { user, access, access_s, refresh, device } = self;
        let refresh = refresh.map(|(token, lifetime_s)| (token.text(), lifetime_s));
        let mut cookies = Vec::new();
        if into_cookies {
            cookies.push(cookie(credential_cookie(is_secure), &access, access_s, is_secure));
            let refresh = refresh.as_ref();
            cookies.extend(refresh.map(|(token, s)| cookie(refresh_cookie(is_secure), token, *s, is_secure)));
        }
        let device_cookie =
            device.as_deref().filter(|_| into_cookies).map(|device| guessing::device_cookie(device, is_secure));
        let answer = Granted {
            token: (!into_cookies).then_some(access),
            token_type: "Bearer",
            expires_in: access_s,
            refresh_expires_in: refresh.as_ref().map(|(_, lifetime_s)| *lifetime_s),
            refresh_token: refresh.filter(|_| !into_cookies).map(|(token, _)| token),
            device_token: device.filter(|_| !into_cookies),
            user_id: user.id,
            username: user.username,
            role: user.role,
        };
        let mut response = Json(answer).into_response();
        for cookie in cookies.into_iter().chain(device_cookie) {
            response.headers_mut().append(SET_COOKIE, cookie?);
        }
        Ok(response)
    }
}

/// Takes both cookies back.
///
/// # Errors
/// Never.
pub fn clear_cookies(response: &mut Response, is_secure: bool) -> Result<(), Refusal> {
    for name in [credential_cookie(is_secure), refresh_cookie(is_secure)] {
        response.headers_mut().append(SET_COOKIE, cookie(name, "", 0, is_secure)?);
    }
    Ok(())
}

/// A cookie (RFC 6265) out of reach of scripts, never sent from another site, for this host alone.
fn cookie(name: &str, value: &str, max_age_s: u64, is_secure: bool) -> Result<HeaderValue, Refusal> {
    let secure = if is_secure { "; Secure" } else { "" };
    let cookie = format!("{name}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={max_age_s}{secure}");
    cookie.parse().map_err(Refusal::internal)
}

/// A refresh token as it was sent: in the body, in our cookie, or not at all.
pub struct Presented {
    /// The text; nothing about it is known.
    pub token: Option<String>,
    /// The browser sent it by itself.
    pub from_cookie: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Body {
    refresh_token: Option<String>,
}

impl Input for Presented {
    fn describe(operation: &mut Operation<'_>) {
        operation.body::<Body>(false);
        operation.refuses(&[Code::TokenInvalid]);
    }
}

impl FromRequest<Arc<App>> for Presented {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refusal> {
        let is_secure = request.headers().get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
        let cookie = from_cookie(request.headers(), refresh_cookie(is_secure))?;
        if cookie.is_some() {
            check_same_origin(request.method(), request.headers())?;
        }
        let has_body = [CONTENT_TYPE, CONTENT_LENGTH]
            .into_iter()
            .any(|name| request.headers().get(name).is_some_and(|value| value != "0"));
        let body = match has_body {
            true => JsonBody::<Body>::from_request(request, app).await?.0.refresh_token,
            false => None,
        };
        match (body, cookie) {
            (Some(_), Some(_)) => Err(Refusal::new(Code::TokenInvalid, "Send one refresh token, not two.")),
            (Some(token), None) => Ok(Self { token: Some(token), from_cookie: false }),
            (None, cookie) => Ok(Self { from_cookie: cookie.is_some(), token: cookie }),
        }
    }
}

fn from_cookie(headers: &HeaderMap, name: &str) -> Result<Option<String>, Refusal> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| value_of(pair.trim_ascii(), name));
    let value = values.next();
    if values.next().is_some() {
        return Err(Refusal::new(Code::TokenInvalid, "Send one refresh token, not two."));
    }
    Ok(value.map(|value| String::from_utf8_lossy(value).into_owned()))
}

/// The edge does this for access tokens; on public routes it does not look at cookies.
///
/// # Errors
/// `csrf_refused`.
pub fn check_same_origin(method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
    let header = |name: HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    let mut headers = vec![(":method", method.as_str().as_bytes())];
    for (name, value) in [
        (":authority", header(HOST)),
        ("origin", header(ORIGIN)),
        ("sec-fetch-site", header(HeaderName::from_static("sec-fetch-site"))),
    ] {
        headers.extend(value.map(|value| (name, value)));
    }
    Ok(Seen::new(&headers).check_same_origin()?)
}
