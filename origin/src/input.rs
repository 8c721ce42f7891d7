//! What handlers read: JSON bodies, queries and ids, each with a limit and a clear refusal.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use bytes::Bytes;
use gate::Code;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::app::App;
use crate::caller::Caller;
use crate::clock::is_id;
use crate::problem::Refusal;

/// The largest body of somebody who has not logged in, in bytes.
const ANONYMOUS_BYTES: u64 = 16 * 1024;
/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much of a parser's explanation is passed on.
const MAX_REASON: usize = 200;

/// A JSON body. Unknown and doubled members are refused; the size is counted while it arrives.
pub struct JsonBody<T>(pub T);

/// A JSON body as it was sent, not looked into.
pub struct JsonText(pub Bytes);

/// The query of the target. Unknown parameters are refused.
pub struct Parameters<T>(pub T);

/// The id in the path. What is no id is answered like an id that does not exist.
pub struct ObjectId(pub String);

/// The id of a user in the path, of another issuer, too. Such ids may have a `%`, which no path can
/// have in a segment: there `~` stands for it. Ids have no `~` of their own.
pub struct UserId(pub String);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for JsonBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refusal> {
        let JsonText(bytes) = JsonText::from_request(request, app).await?;
        let members =
            gate::json::object(&bytes).map_err(|error| invalid("The body is not JSON as it is read here", &error))?;
        if members.values().any(has_nul) {
            return Err(invalid("The body is wrong", &"a text has the character U+0000"));
        }
        let body =
            serde_json::from_value(Value::Object(members)).map_err(|error| invalid("The body is wrong", &error))?;
        Ok(Self(body))
    }
}

impl FromRequest<Arc<App>> for JsonText {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refusal> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(Refusal::new(Code::UnsupportedMedia, "Send the body as application/json."));
        }
        let limit = match request.extensions().get::<Caller>() {
            Some(caller) => {
                let (method, path) = (request.method().as_str(), request.uri().path());
                app.policy.now().body_bytes(caller.role(), method, path)?
            }
            None => ANONYMOUS_BYTES,
        };
        Ok(Self(read(request, limit).await?))
    }
}

async fn read(request: Request, limit: u64) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::new(Code::BodyTooLarge, format!("A body may have {} KiB here.", limit / 1024));
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let body = Limited::new(request.into_body(), usize::try_from(limit).unwrap_or(usize::MAX));
    match tokio::time::timeout(PATIENCE, body.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Refusal::new(Code::RequestInvalid, "The body broke off.")),
        Err(_) => Err(Refusal::new(Code::RequestInvalid, "The body took too long to arrive.")),
    }
}

impl<T: DeserializeOwned, S: Sync + Send> FromRequestParts<S> for Parameters<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        if parts.uri.query().is_some_and(|query| query.contains("%00")) {
            return Err(invalid("A parameter is wrong", &"a text has the character U+0000"));
        }
        let query = Query::<T>::try_from_uri(&parts.uri);
        query.map(|Query(query)| Self(query)).map_err(|error| invalid("A parameter is wrong", &error.body_text()))
    }
}

impl<S: Sync + Send> FromRequestParts<S> for ObjectId {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let id = Path::<String>::from_request_parts(parts, state).await.map_err(|_| Refusal::not_found())?;
        if is_id(&id) { Ok(Self(id.0)) } else { Err(Refusal::not_found()) }
    }
}

impl<S: Sync + Send> FromRequestParts<S> for UserId {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let id = Path::<String>::from_request_parts(parts, state).await.map_err(|_| Refusal::not_found())?;
        let is_outside = id.contains(':') && id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'%');
        if is_id(&id) || is_outside { Ok(Self(id.replace('~', "%"))) } else { Err(Refusal::not_found()) }
    }
}

/// Postgres keeps no such text, and nobody means one.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(members) => members.values().any(has_nul),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn invalid(what: &str, reason: &impl ToString) -> Refusal {
    let reason: String = reason.to_string().chars().take(MAX_REASON).collect();
    Refusal::new(Code::RequestInvalid, format!("{what}: {reason}."))
}
