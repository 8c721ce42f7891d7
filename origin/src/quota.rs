//! What is left of the caller's day, told to the client and to the edge.
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
use crate::days::Today;

/// The header; the edge takes it off (`filter/src/http.rs`).
const HEADER: &str = "x-cosygate-quota";

/// For the client: what is left of each allowance (structured fields, RFC 9651), and in how many
/// seconds it is whole again.
const REMAINING: &str = "x-quota-remaining";
const RESET: &str = "x-quota-reset";

/// What is left of a day.
struct Left {
    characters: i64,
    generations: i64,
    audio_seconds: Option<i64>,
    reset_s: u32,
    rev: i64,
}

/// Adds what is left of the day to every answer that charged, or that would have. A response that knows
/// [`Today`] saves a look.
pub async fn tell(State(app): State<Arc<App>>, caller: Caller, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let status = response.status();
    let known = response.extensions_mut().remove::<Today>();
    if (status.is_success() || status == StatusCode::TOO_MANY_REQUESTS)
        && let Some(left) = left(&app, &caller, known).await
    {
        for (name, value) in left.headers() {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
    }
    response
}

/// `None` if it cannot be said; then the edge remembers nothing.
async fn left(app: &App, caller: &Caller, known: Option<Today>) -> Option<Left> {
    let policy = app.policy.now();
    let role = policy.role(caller.role()).ok()?;
    let Today { day, usage } = match known {
        Some(today) => today,
        None => Today::of(app, caller).await.ok()?,
    };
    let left = |limit: u32, used: i64| i64::from(limit).saturating_sub(used).max(0);
    Some(Left {
        characters: left(role.characters_per_day, usage.characters),
        generations: left(role.generations_per_day, usage.generations),
        audio_seconds: role.audio_seconds_per_day.map(|seconds| left(seconds, usage.audio_ms / 1000)),
        reset_s: day.seconds_left(),
        rev: policy.record.rev,
    })
}

impl Left {
    fn headers(&self) -> [(&'static str, String); 3] {
        let Self { characters, generations, audio_seconds, reset_s, rev } = self;
        let least = (*characters).min(*generations).min(audio_seconds.unwrap_or(i64::MAX));
        let audio = audio_seconds.map(|seconds| format!(", audio-seconds={seconds}")).unwrap_or_default();
        [
            (HEADER, format!("r={least};t={reset_s};rev={rev}")),
            (REMAINING, format!("characters={characters}, generations={generations}{audio}")),
            (RESET, reset_s.to_string()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::test_app::{ADA, TestApp};

    #[tokio::test]
    async fn audio_counts_where_it_is_bounded() {
        let app = TestApp::with_policy(|policy| policy["roles"]["free"]["audio_seconds_per_day"] = json!(3)).await;
        for left in [2, 1] {
            let reply = app.generate(ADA, json!({"text": "hello"})).await;
            assert!(reply.header("x-quota-remaining").ends_with(&format!("audio-seconds={left}")), "{reply:?}");
            assert!(reply.header("x-cosygate-quota").starts_with(&format!("r={left};")), "{reply:?}");
        }
        assert_eq!(app.generate(ADA, json!({"text": "hello world"})).await.code(), "quota_exhausted");
    }

    #[tokio::test]
    async fn an_answer_that_charged_says_what_is_left() {
        let app = TestApp::new().await;
        let reply = app.generate(ADA, json!({"text": "hello"})).await;
        let said = reply.headers["x-cosygate-quota"].to_str().unwrap();
        // 50 generations a day are fewer than 5000 characters.
        assert!(said.starts_with("r=49;t=43201;rev="), "{said}");
        assert_eq!(reply.header("x-quota-remaining"), "characters=4995, generations=49");
        assert_eq!(reply.header("x-quota-reset"), "43201");
        assert!(!app.get(ADA, "/api/me").await.headers.contains_key("x-cosygate-quota"));
        let refused = app.generate(ADA, json!({"text": ""})).await;
        assert!(!refused.headers.contains_key("x-cosygate-quota"), "what could not charge says nothing");
    }
}
