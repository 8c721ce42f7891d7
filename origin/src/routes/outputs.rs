//! `GET /api/outputs`: the caller's history, newest first, page by page.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gate::Code;
use serde::Deserialize;
use serde_json::{Value, json};

use super::output::view;
use crate::app::App;
use crate::caller::Caller;
use crate::clock::is_id;
use crate::input::Parameters;
use crate::problem::Refusal;

const MAX_LIMIT: u32 = 100;

/// The query.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    #[serde(default = "default_limit")]
    limit: u32,
    #[serde(default)]
    before: Option<String>,
}

fn default_limit() -> u32 {
    20
}

/// `next` names the last one of a page that has one after it.
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    caller: Caller,
    Parameters(page): Parameters<Page>,
) -> Result<Json<Value>, Refusal> {
    let invalid = |detail: String| Refusal::new(Code::RequestInvalid, detail);
    if !(1..=MAX_LIMIT).contains(&page.limit) {
        return Err(invalid(format!("limit must be 1 to {MAX_LIMIT}.")));
    }
    if page.before.as_ref().is_some_and(|before| !is_id(before)) {
        return Err(invalid("before must be the id of an output.".to_owned()));
    }
    // One more than asked for tells whether there is a next page.
    let limit = page.limit as usize;
    let mut outputs = app.store.of(&caller).outputs(page.before.as_deref(), i64::from(page.limit) + 1).await?;
    let has_next = outputs.len() > limit;
    outputs.truncate(limit);
    let next = outputs.last().filter(|_| has_next).map(|output| output.id.clone());
    let shared = app.store.of(&caller).share_counts(app.clock.now_ms()).await?;
    let outputs: Vec<Value> = outputs.iter().map(|output| view(output, &shared)).collect();
    Ok(Json(json!({"outputs": outputs, "next": next})))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::test_app::{ADA, BOB, TestApp};

    #[tokio::test]
    async fn pages_follow_each_other() {
        let app = TestApp::new().await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            app.app.clock.advance(1);
            ids.insert(0, app.generate(ADA, json!({"text": "hello"})).await.json()["id"].clone());
        }
        let page = async |target: &str| {
            let body = app.get(ADA, target).await.json();
            let outputs = body["outputs"].as_array().unwrap().iter().map(|output| output["id"].clone());
            (outputs.collect::<Vec<_>>(), body["next"].clone())
        };
        assert_eq!(page("/api/outputs?limit=2").await, (ids[..2].to_vec(), ids[1].clone()));
        let second = format!("/api/outputs?limit=2&before={}", ids[1].as_str().unwrap());
        assert_eq!(page(&second).await, (ids[2..].to_vec(), Value::Null));
        assert_eq!(page("/api/outputs?limit=3").await, (ids.clone(), Value::Null));
        assert_eq!(app.get(BOB, &second).await.json(), json!({"outputs": [], "next": null}));
    }
}
