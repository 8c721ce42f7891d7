//! The outermost layer: what every request gets and every response carries.
//!
//! Names the request, catches panics, writes problems, adds the headers of a careful web server,
//! logs one line and counts.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use gate::{Code, Problem};

use crate::app::App;
use crate::caller::{Caller, Visit};
use crate::clock::new_id;
use crate::openai;
use crate::problem::Refusal;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID: usize = 128;

/// Only what the page itself needs; nothing of others, nothing inline.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; media-src 'self' blob:; connect-src 'self'; form-action 'none'; base-uri 'none'; \
    frame-ancestors 'none'";

/// Who a response is for; handed from the inner layers to the log.
#[derive(Clone)]
pub struct For(pub Caller);

/// The layer; see the module.
pub async fn layer(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let visit = visit(&app, request.headers());
    let request_id = visit.request_id.clone();
    let method = request.method().clone();
    let is_openai = request.uri().path().starts_with(openai::PREFIX);
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    request.extensions_mut().insert(visit);

    let outcome = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let mut response = outcome.unwrap_or_else(|_| Refusal::internal("a handler panicked").into_response());
    let refusal = refusal_of(&response);
    if let Some(refusal) = &refusal {
        response = with_body(response, refusal, &request_id, is_openai);
    }
    let user = response.extensions_mut().remove::<For>();
    add_headers(response.headers_mut(), &request_id);

    let status = response.status().as_u16();
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let user = user.as_ref().map_or("-", |user| user.0.user_id());
    let cause = refusal.as_ref().and_then(|refusal| refusal.cause.as_deref());
    if status >= 500 {
        tracing::error!(request_id, user, %method, route, status, ms, cause, "request");
    } else {
        tracing::info!(request_id, user, %method, route, status, ms, cause, "request");
    }
    metrics::counter!("cosygate_requests_total", "route" => route.clone(), "status" => status.to_string()).increment(1);
    metrics::histogram!("cosygate_request_seconds", "route" => route).record(started.elapsed().as_secs_f64());
    response
}

fn visit(app: &App, headers: &HeaderMap) -> Visit {
    let started_ms = app.clock.now_ms();
    let is_plain = |id: &&str| {
        (1..=MAX_REQUEST_ID).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(is_plain);
    let is_secure = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    let request_id = given.map_or_else(|| new_id(started_ms), str::to_owned);
    // The edge leaves one address there, that of the client as far as trusted hops tell.
    let address = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Visit { request_id, started_ms, policy_rev: 0, is_secure, address, region: String::new() }
}

/// The refusal that a handler gave, or one that fits an error which no handler of ours made.
fn refusal_of(response: &Response) -> Option<Arc<Refusal>> {
    if let Some(refusal) = response.extensions().get::<Arc<Refusal>>() {
        return Some(Arc::clone(refusal));
    }
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return None;
    }
    let (code, detail) = match status {
        StatusCode::NOT_FOUND => (Code::NotFound, "There is nothing here."),
        StatusCode::METHOD_NOT_ALLOWED => (Code::MethodNotAllowed, "This path has other methods."),
        StatusCode::PAYLOAD_TOO_LARGE => (Code::BodyTooLarge, "The body is too large."),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => (Code::UnsupportedMedia, "The body is of a kind that is not read here."),
        status if status.is_client_error() => (Code::RequestInvalid, "The request cannot be understood."),
        _ => (Code::Internal, "Something went wrong on our side."),
    };
    Some(Arc::new(Problem::new(code, detail).into()))
}

/// Writes the problem into the response; headers that the handler set stay.
fn with_body(response: Response, refusal: &Refusal, request_id: &str, is_openai: bool) -> Response {
    let problem = &refusal.problem;
    let (mut parts, _) = response.into_parts();
    parts.status = StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in problem.headers() {
        if let Ok(value) = HeaderValue::from_str(&value) {
            parts.headers.insert(name, value);
        }
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    if is_openai {
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        return Response::from_parts(parts, Body::from(openai::error_body(problem, request_id)));
    }
    Response::from_parts(parts, Body::from(refusal.body(request_id)))
}

fn add_headers(headers: &mut HeaderMap, request_id: &str) {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, value);
    }
    // A page of its own kind may have a stricter one.
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // Answers of the API are about one user; only what says otherwise may be kept.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}
