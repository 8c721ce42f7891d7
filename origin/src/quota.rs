//! What is left of the caller's day, told to the edge.
//!
//! The edge remembers a day that is used up and refuses by itself until it ends, so that a client
//! that keeps trying costs nothing here. Only what is settled counts: a generation under way may
//! still be refunded.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use crate::app::App;
use crate::caller::Caller;
use crate::clock;

/// The header; the edge takes it off (`filter/src/http.rs`).
const HEADER: &str = "x-cosygate-quota";

/// Adds what is left of the day to every answer that charged, or that would have.
pub async fn tell(State(app): State<Arc<App>>, caller: Caller, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let status = response.status();
    if (status.is_success() || status == StatusCode::TOO_MANY_REQUESTS)
        && let Some(value) = left(&app, &caller).await
    {
        response.headers_mut().insert(HEADER, value);
    }
    response
}

/// `None` if it cannot be said; then the edge remembers nothing.
async fn left(app: &App, caller: &Caller) -> Option<HeaderValue> {
    let policy = app.policy.now();
    let role = policy.role(caller.role()).ok()?;
    let now_ms = app.clock.now_ms();
    let usage = app.store.of(caller).usage(now_ms).await.ok()?;
    let characters = i64::from(role.characters_per_day).saturating_sub(usage.characters);
    let generations = i64::from(role.generations_per_day).saturating_sub(usage.generations);
    let left = characters.min(generations).max(0);
    let reset_s = (clock::next_midnight_ms(now_ms) - now_ms) / 1000 + 1;
    HeaderValue::from_str(&format!("r={left};t={reset_s};rev={}", policy.record.rev)).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::test_app::{ADA, TestApp};

    #[tokio::test]
    async fn an_answer_that_charged_says_what_is_left() {
        let app = TestApp::new().await;
        let reply = app.generate(ADA, json!({"text": "hello"})).await;
        let said = reply.headers["x-cosygate-quota"].to_str().unwrap();
        // 50 generations a day are fewer than 5000 characters.
        assert!(said.starts_with("r=49;t=43201;rev="), "{said}");
        assert!(!app.get(ADA, "/api/me").await.headers.contains_key("x-cosygate-quota"));
        let refused = app.generate(ADA, json!({"text": ""})).await;
        assert!(!refused.headers.contains_key("x-cosygate-quota"), "what could not charge says nothing");
    }
}
