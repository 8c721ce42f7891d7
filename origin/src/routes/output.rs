//! `GET` and `DELETE /api/outputs/{id}`: one entry of the history.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::NoContent;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::caller::Caller;
use crate::clock::Time;
use crate::input::ObjectId;
use crate::openapi::{About, Section};
use crate::problem::Refusal;
use crate::speech;
use crate::store::Output;

/// An entry of the history.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Output")]
pub(super) struct OutputView {
    id: String,
    text: String,
    voice: String,
    engine: String,
    characters: i64,
    seconds: f64,
    bytes: i64,
    sample_rate: i64,
    project_id: Option<String>,
    /// How many links lead to it.
    share_links: i64,
    audio_url: String,
    created_at: Time,
}

pub(super) const GET: About = About::new(Section::Speech, "An output");

/// The entry.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    ObjectId(id): ObjectId,
) -> Result<Json<OutputView>, Refusal> {
    let output = app.store.of(&caller).output(&id).await?.ok_or_else(Refusal::not_found)?;
    let shared = app.store.of(&caller).share_counts(app.clock.now_ms()).await?;
    Ok(Json(view(output, &shared)))
}

pub(super) const DELETE: About = About::new(Section::Speech, "Deletes an output");

/// Removes audio and entry: `204`.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    ObjectId(id): ObjectId,
) -> Result<NoContent, Refusal> {
    match speech::delete(&app, &caller, &id).await? {
        true => Ok(NoContent),
        false => Err(Refusal::not_found()),
    }
}

/// An output as clients see it; `shared` has the number of its links, if any.
pub(super) fn view(output: Output, shared: &HashMap<String, i64>) -> OutputView {
    OutputView {
        seconds: output.seconds(),
        share_links: shared.get(&output.id).copied().unwrap_or_default(),
        audio_url: format!("/download/{}", output.id),
        id: output.id,
        text: output.text,
        voice: output.voice,
        engine: output.engine,
        characters: output.characters,
        bytes: output.bytes,
        sample_rate: output.sample_rate,
        project_id: output.project_id,
        created_at: Time(output.created_at),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::test_app::{ADA, BOB, TestApp};

    #[tokio::test]
    async fn foreign_and_unknown_ids_answer_alike() {
        let app = TestApp::new().await;
        let id = app.generate(ADA, json!({"text": "hello"})).await.json()["id"].as_str().unwrap().to_owned();
        let unknown = crate::clock::new_id(0);
        for method in ["GET", "DELETE"] {
            for prefix in ["/api/outputs/", "/download/"] {
                let mut bodies = Vec::new();
                for wanted in [id.as_str(), &unknown, "x", &id.to_lowercase()] {
                    let mut request = app.request(method, &format!("{prefix}{wanted}"), Some((BOB, "free")), None);
                    request.headers_mut().insert("x-request-id", "same".parse().unwrap());
                    let reply = app.send(request).await;
                    assert_eq!((reply.status.as_u16(), reply.code().as_str()), (404, "not_found"));
                    bodies.push((reply.body, reply.headers));
                }
                bodies.dedup();
                assert_eq!(bodies.len(), 1, "{method} {prefix}");
            }
        }
        assert_eq!(app.get(ADA, &format!("/api/outputs/{id}")).await.status.as_u16(), 200);
    }

    #[tokio::test]
    async fn deleting_removes_entry_and_audio() {
        let app = TestApp::new().await;
        for prefix in ["/api/outputs/", "/download/"] {
            let id = app.generate(ADA, json!({"text": "hello"})).await.json()["id"].as_str().unwrap().to_owned();
            let target = format!("{prefix}{id}");
            let reply = app.delete(ADA, &target).await;
            assert_eq!((reply.status.as_u16(), reply.body.len()), (204, 0));
            assert_eq!(app.delete(ADA, &target).await.code(), "not_found");
            assert_eq!(app.get(ADA, &format!("/download/{id}")).await.code(), "not_found");
            assert!(app.audio_files().is_empty());
        }
        assert_eq!(app.get(ADA, "/api/me/usage").await.json()["storage_bytes"]["used"], 0);
    }
}
