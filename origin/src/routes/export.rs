//! `/api/me/export`: everything that is the caller's, as one archive.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use gate::Code;
use schemars::JsonSchema;
use serde::Serialize;
use tokio_util::io::ReaderStream;

use crate::app::App;
use crate::caller::Caller;
use crate::clock::{Time, new_id};
use crate::openapi::{About, Accepted, Gives, Section};
use crate::privacy::{self, PACKING_MS};
use crate::problem::Refusal;
use crate::store::{Export, ExportState};

const FILE: &str = "/api/me/export/file";

/// How far an export is.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Export")]
pub(super) struct ExportView {
    id: String,
    /// `running`, `ready` or `failed`.
    state: String,
    done: i64,
    total: i64,
    created_at: Time,
    /// Null until it is ready, like all that follows.
    bytes: Option<i64>,
    expires_at: Option<Time>,
    download_url: Option<&'static str>,
}

pub(super) const POST: About =
    About::new(Section::Accounts, "Begins to pack everything that is yours").refuses(&[Code::Conflict, Code::NotFound]);

/// `POST`: begins one, in place of the one before. One at a time.
pub(super) async fn post(State(app): State<Arc<App>>, caller: Caller) -> Result<Accepted<ExportView>, Refusal> {
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
    Ok(Accepted(view(&export)))
}

pub(super) const GET: About = About::new(Section::Accounts, "How far the packing is").refuses(&[Code::NotFound]);

/// `GET`: how far it is.
pub(super) async fn get(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<ExportView>, Refusal> {
    let export = app.store.of(&caller).export().await?.ok_or_else(Refusal::not_found)?;
    Ok(Json(view(&export)))
}

pub(super) const FILE_GET: About = About::new(Section::Accounts, "The archive of everything that is yours")
    .answers(&[Gives::media(200, &["application/zip"], "The archive")])
    .refuses(&[Code::NotFound, Code::StorageFull]);

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

fn view(export: &Export) -> ExportView {
    let is_ready = export.state == ExportState::Ready.as_str();
    ExportView {
        id: export.id.clone(),
        state: export.state.clone(),
        done: export.done,
        total: export.total,
        created_at: Time(export.created_at),
        bytes: is_ready.then_some(export.bytes),
        expires_at: is_ready.then_some(Time(export.expires_at)),
        download_url: is_ready.then_some(FILE),
    }
}
