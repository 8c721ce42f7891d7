//! `/api/me/export`: everything that is the caller's, as one archive.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use gate::Code;
use serde_json::{Value, json};
use tokio_util::io::ReaderStream;

use crate::app::App;
use crate::caller::Caller;
use crate::clock::{new_id, rfc3339};
use crate::privacy::{self, PACKING_MS};
use crate::problem::Refusal;
use crate::store::{Export, ExportState};

const FILE: &str = "/api/me/export/file";

/// `POST`: begins one, in place of the one before. One at a time.
pub(super) async fn post(State(app): State<Arc<App>>, caller: Caller) -> Result<(StatusCode, Json<Value>), Refusal> {
    let now_ms = app.clock.now_ms();
    let before = app.store.of(&caller).export().await?;
    let id = new_id(now_ms);
    let audit = caller.audit(&app.clock, "export", "ok").on(&id);
    if !app.store.of(&caller).begin_export(&id, now_ms.saturating_add(PACKING_MS), &audit).await? {
        return Err(Refusal::new(Code::Conflict, "An export is being packed. Ask for it with GET."));
    }
    if let Some(before) = before {
        app.blobs.remove_export(caller.user_id(), &before.id).await?;
    }
    let export = app.store.of(&caller).export().await?.ok_or_else(Refusal::not_found)?;
    privacy::pack(&app, &caller, export.clone());
    Ok((StatusCode::ACCEPTED, Json(view(&export))))
}

/// `GET`: how far it is.
pub(super) async fn get(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, Refusal> {
    let export = app.store.of(&caller).export().await?.ok_or_else(Refusal::not_found)?;
    Ok(Json(view(&export)))
}

/// `GET /api/me/export/file`: the archive, once it is ready.
pub(super) async fn file(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, Refusal> {
    let (export, file) = privacy::ready_export(&app, &caller).await?;
    app.store.audit(&caller.audit(&app.clock, "export_download", "ok").on(&export.id)).await?;
    let disposition = format!("attachment; filename=\"cosygate-{}.zip\"", export.id);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/zip")),
        (header::CONTENT_LENGTH, HeaderValue::from(export.bytes)),
        (header::CONTENT_DISPOSITION, disposition.parse().map_err(Refusal::internal)?),
    ];
    let body = Body::from_stream(ReaderStream::with_capacity(tokio::fs::File::from_std(file), 64 * 1024));
    Ok((headers, body).into_response())
}

fn view(export: &Export) -> Value {
    let is_ready = export.state == ExportState::Ready.as_str();
    json!({
        "id": export.id,
        "state": export.state,
        "done": export.done,
        "total": export.total,
        "created_at": rfc3339(export.created_at),
        "bytes": is_ready.then_some(export.bytes),
        "expires_at": is_ready.then(|| rfc3339(export.expires_at)),
        "download_url": is_ready.then_some(FILE),
    })
}
