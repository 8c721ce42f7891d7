//! `GET /api/outputs`: the caller's history, newest first, page by page.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gate::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::output::{OutputView, view};
use crate::app::App;
use crate::caller::Caller;
use crate::clock::{ID_PATTERN, is_id, parse_rfc3339};
use crate::input::{JsonBody, Parameters};
use crate::openapi::{About, Section};
use crate::problem::Refusal;
use crate::speech;
use crate::store::OutputFilter;

/// How many outputs one call is about.
pub(super) const MAX_LIMIT: u32 = 100;
/// The longest text that is looked for, in characters.
const MAX_WORDS: usize = 200;

/// The query.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = MAX_LIMIT))]
    limit: u32,
    /// The `next` of the page before.
    #[serde(default)]
    #[schemars(regex(pattern = ID_PATTERN))]
    before: Option<String>,
    /// A part of the text.
    #[serde(default)]
    #[schemars(length(max = MAX_WORDS))]
    q: Option<String>,
    #[serde(default)]
    #[schemars(length(max = MAX_WORDS))]
    project: Option<String>,
    #[serde(default)]
    #[schemars(length(max = MAX_WORDS))]
    voice: Option<String>,
    /// RFC 3339: not older than this.
    #[serde(default)]
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// RFC 3339: older than this.
    #[serde(default)]
    #[schemars(extend("format" = "date-time"))]
    until: Option<String>,
}

/// A page of the history, the newest first.
#[derive(Serialize, JsonSchema)]
pub(super) struct Outputs {
    outputs: Vec<OutputView>,
    /// The `before` of the next page.
    next: Option<String>,
}

pub(super) const LIST: About = About::new(Section::Speech, "Lists your outputs, the newest first");

impl Page {
    /// What is looked for, or what is wrong with it.
    fn filter(self) -> Result<OutputFilter, String> {
        let long = [("q", &self.q), ("project", &self.project), ("voice", &self.voice)];
        for (name, value) in long {
            let is_odd = |value: &String| value.chars().count() > MAX_WORDS || value.contains('\0');
            if value.as_ref().is_some_and(is_odd) {
                return Err(format!("{name} must have at most {MAX_WORDS} characters."));
            }
        }
        let moment = |name: &str, value: Option<String>| match value {
            Some(text) => match parse_rfc3339(&text) {
                Some(ms) => Ok(Some(ms)),
                None => Err(format!("{name} must be a time such as 2026-11-23T12:00:00Z.")),
            },
            None => Ok(None),
        };
        Ok(OutputFilter {
            text: self.q,
            project_id: self.project,
            voice: self.voice,
            since_ms: moment("since", self.since)?,
            until_ms: moment("until", self.until)?,
        })
    }
}

fn default_limit() -> u32 {
    20
}

/// `next` names the last one of a page that has one after it.
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    caller: Caller,
    Parameters(page): Parameters<Page>,
) -> Result<Json<Outputs>, Refusal> {
    let invalid = |detail: String| Refusal::new(Code::RequestInvalid, detail);
    if !(1..=MAX_LIMIT).contains(&page.limit) {
        return Err(invalid(format!("limit must be 1 to {MAX_LIMIT}.")));
    }
    if page.before.as_ref().is_some_and(|before| !is_id(before)) {
        return Err(invalid("before must be the id of an output.".to_owned()));
    }
    // One more than asked for tells whether there is a next page.
    let (limit, before) = (page.limit, page.before.clone());
    let filter = page.filter().map_err(invalid)?;
    let mut outputs = app.store.of(&caller).search(&filter, before.as_deref(), i64::from(limit) + 1).await?;
    let limit = limit as usize;
    let has_next = outputs.len() > limit;
    outputs.truncate(limit);
    let next = outputs.last().filter(|_| has_next).map(|output| output.id.clone());
    let shared = app.store.of(&caller).share_counts(app.clock.now_ms()).await?;
    Ok(Json(Outputs { outputs: outputs.into_iter().map(|output| view(output, &shared)).collect(), next }))
}

/// The body of `POST /api/outputs/delete`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Chosen {
    #[schemars(length(min = 1, max = MAX_LIMIT))]
    ids: Vec<String>,
}

/// Those that were there.
#[derive(Serialize, JsonSchema)]
pub(super) struct Deleted {
    deleted: Vec<String>,
}

pub(super) const DELETE: About = About::new(Section::Speech, "Deletes several outputs");

/// `POST /api/outputs/delete`: removes several. Those that are not the caller's, or not there, are
/// passed over alike.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    JsonBody(Chosen { mut ids }): JsonBody<Chosen>,
) -> Result<Json<Deleted>, Refusal> {
    if !(1..=MAX_LIMIT as usize).contains(&ids.len()) {
        return Err(Refusal::new(Code::RequestInvalid, format!("ids must be 1 to {MAX_LIMIT}.")));
    }
    ids.sort();
    ids.dedup();
    let mut deleted = Vec::new();
    for id in ids.into_iter().filter(|id| is_id(id)) {
        if speech::delete(&app, &caller, &id).await? {
            deleted.push(id);
        }
    }
    Ok(Json(Deleted { deleted }))
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

    #[tokio::test]
    async fn the_history_is_searched_by_text_label_voice_and_time() {
        let app = TestApp::new().await;
        let mut ids = Vec::new();
        for body in [
            json!({"text": "Hello World", "project_id": "book"}),
            json!({"text": "100% sure_thing!", "voice": "second"}),
            json!({"text": "你好", "project_id": "book", "voice": "second"}),
        ] {
            ids.push(app.generate(ADA, body).await.json()["id"].as_str().unwrap().to_owned());
            app.app.clock.advance(60_000);
        }
        for (query, expected) in [
            ("q=hello", &[0][..]),
            ("q=WORLD", &[0]),
            ("q=%25", &[1]),
            ("q=_", &[1]),
            ("q=!", &[1]),
            ("q=%E5%A5%BD", &[2]),
            ("q=", &[2, 1, 0]),
            ("q=nothing", &[]),
            ("q=%27%20OR%201=1", &[]),
            ("project=book", &[2, 0]),
            ("project=boo", &[]),
            ("voice=second", &[2, 1]),
            ("voice=second&project=book", &[2]),
            ("since=2026-11-23T12:01:00Z", &[2, 1]),
            ("until=2026-11-23T12:01:00Z", &[0]),
            ("since=2026-11-23T13:01:00%2B01:00&until=2026-11-23T12:02:00Z", &[1]),
        ] {
            let body = app.get(ADA, &format!("/api/outputs?{query}")).await.json();
            let found: Vec<&str> =
                body["outputs"].as_array().unwrap().iter().map(|found| found["id"].as_str().unwrap()).collect();
            let expected: Vec<&str> = expected.iter().map(|index| ids[*index].as_str()).collect();
            assert_eq!(found, expected, "{query}");
            assert_eq!(app.get(BOB, &format!("/api/outputs?{query}")).await.json()["outputs"], json!([]));
        }
        let page = app.get(ADA, "/api/outputs?project=book&limit=1").await.json();
        assert_eq!(page["next"], ids[2].as_str());
        let page = app.get(ADA, &format!("/api/outputs?project=book&limit=1&before={}", ids[2])).await.json();
        assert_eq!((page["outputs"][0]["id"].as_str(), &page["next"]), (Some(ids[0].as_str()), &Value::Null));
        for wrong in ["since=yesterday", "until=2026-11-23", "q=a%00b", &format!("q={}", "x".repeat(201))] {
            assert_eq!(app.get(ADA, &format!("/api/outputs?{wrong}")).await.code(), "request_invalid", "{wrong}");
        }
    }

    #[tokio::test]
    async fn several_are_deleted_and_only_one_s_own() {
        let app = TestApp::new().await;
        let make = async |user| app.generate(user, json!({"text": "hello"})).await.json()["id"].clone();
        let (first, second, of_bob) = (make(ADA).await, make(ADA).await, make(BOB).await);
        let delete = async |ids: Value| {
            let body = json!({ "ids": ids });
            app.send(app.request("POST", "/api/outputs/delete", Some((ADA, "free")), Some(&body))).await
        };
        let reply = delete(json!([first, first, of_bob, "../x", crate::clock::new_id(0)])).await;
        assert_eq!(reply.json(), json!({"deleted": [first]}));
        assert_eq!(app.audio_files().len(), 2);
        assert_eq!(app.get(ADA, "/api/outputs").await.json()["outputs"][0]["id"], second);
        for ids in [json!([]), json!(vec!["x"; 101]), json!("x")] {
            assert_eq!(delete(ids).await.code(), "request_invalid");
        }
    }
}
