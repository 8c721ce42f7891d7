//! `POST /api/outputs/zip`: several outputs as one archive.

use std::sync::Arc;

use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use gate::Code;
use schemars::JsonSchema;
use serde::Deserialize;

use super::output::view;
use super::outputs::MAX_LIMIT;
use crate::app::App;
use crate::archive;
use crate::audio::Format;
use crate::caller::Caller;
use crate::clock::is_id;
use crate::input::JsonBody;
use crate::openapi::{About, Gives, Section};
use crate::problem::Refusal;

/// The body.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    ids: Vec<String>,
    #[serde(default)]
    format: Format,
}

pub(super) const POST: About = About::new(Section::Speech, "Several outputs as one archive")
    .answers(&[Gives::media(200, &["application/zip"], "The archive")])
    .refuses(&[Code::NotFound]);

/// The archive. Nothing is left out of it in silence: an id that is not the caller's, or of
/// nothing, is `404 not_found`.
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    caller: Caller,
    JsonBody(Body { mut ids, format }): JsonBody<Body>,
) -> Result<Response, Refusal> {
    if !(1..=MAX_LIMIT as usize).contains(&ids.len()) {
        return Err(Refusal::new(Code::RequestInvalid, format!("ids must be 1 to {MAX_LIMIT}.")));
    }
    ids.sort();
    ids.dedup();
    let owned = app.store.of(&caller);
    let mut outputs = Vec::with_capacity(ids.len());
    for id in &ids {
        let output = if is_id(id) { owned.output(id).await? } else { None };
        outputs.push(output.ok_or_else(Refusal::not_found)?);
    }
    let shared = owned.share_counts(app.clock.now_ms()).await?;
    let mut index = String::new();
    for output in &outputs {
        index.push_str(&serde_json::to_string(&view(output.clone(), &shared)).map_err(Refusal::internal)?);
        index.push('\n');
    }
    let downloads: Vec<_> = ids.iter().map(|id| caller.audit(&app.clock, "download", "ok").on(id)).collect();
    app.store.audit_all(&downloads).await?;
    let headers = [(CONTENT_TYPE, "application/zip"), (CONTENT_DISPOSITION, "attachment; filename=\"cosygate.zip\"")];
    let archive = archive::stream(&app, &caller, outputs, index, format);
    Ok((headers, HttpBody::from_stream(archive)).into_response())
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read as _};

    use serde_json::{Value, json};
    use zip::ZipArchive;

    use crate::test_app::{ADA, BOB, Mood, Reply, TestApp};

    async fn zip(app: &TestApp, body: Value) -> Reply {
        app.send(app.request("POST", "/api/outputs/zip", Some((ADA, "free")), Some(&body))).await
    }

    fn files(reply: &Reply) -> Vec<(String, Vec<u8>)> {
        assert_eq!(reply.header("content-type"), "application/zip");
        let mut archive = ZipArchive::new(Cursor::new(reply.body.clone())).unwrap();
        let read = |index: usize| {
            let mut file = archive.by_index(index).unwrap();
            let mut content = Vec::new();
            file.read_to_end(&mut content).unwrap();
            (file.name().unwrap().into_owned(), content)
        };
        (0..3).map(read).collect()
    }

    #[tokio::test]
    async fn an_archive_has_every_output_whole() {
        let app = TestApp::new().await;
        app.set_mood(Mood::Speak(100_000));
        let make = async |user| {
            app.app.clock.advance(1);
            app.generate(user, json!({"text": "hello"})).await.json()["id"].as_str().unwrap().to_owned()
        };
        let (first, second, of_bob) = (make(ADA).await, make(ADA).await, make(BOB).await);
        let unknown = crate::clock::new_id(0);
        for format in ["wav", "flac"] {
            let archive = files(&zip(&app, json!({"ids": [second, first, first], "format": format})).await);
            for (id, (name, content)) in [&first, &second].into_iter().zip(&archive) {
                assert_eq!(name, &format!("cosygate-{id}.{format}"));
                let kept = app.get(ADA, &format!("/download/{id}?format={format}")).await;
                assert!(kept.body == content.as_slice(), "{name}");
            }
            let (name, index) = &archive[2];
            let lines = std::str::from_utf8(index).unwrap().lines();
            let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!((name.as_str(), lines.len(), &lines[1]["id"]), ("outputs.jsonl", 2, &json!(second)));
        }
        let (of_bob, unknown) =
            (zip(&app, json!({"ids": [first, of_bob]})).await, zip(&app, json!({"ids": [unknown]})).await);
        assert_eq!((of_bob.code(), unknown.code()), ("not_found".to_owned(), "not_found".to_owned()));
        assert_eq!(zip(&app, json!({"ids": ["../x"]})).await.code(), "not_found");
        for body in [json!({"ids": []}), json!({"ids": vec!["x"; 101]}), json!({"ids": [first], "format": "aac"})] {
            assert_eq!(zip(&app, body).await.code(), "request_invalid");
        }
        assert_eq!(app.app.store.audited("download", "ok").await.len(), 2 * 2 + 2 * 2);
    }
}
