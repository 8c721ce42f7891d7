//! `GET /v1/models`: what `model` of `/v1/audio/speech` may be.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::app::App;
use crate::caller::Caller;
use crate::openai::MODELS;

/// The engine under its own name and under OpenAI's.
pub(super) async fn handler(State(app): State<Arc<App>>, _: Caller) -> Json<Value> {
    let names = std::iter::once(app.engine.name()).chain(MODELS);
    let models = names.map(|id| json!({"id": id, "object": "model", "created": 0, "owned_by": "cosygate"}));
    Json(json!({"object": "list", "data": models.collect::<Vec<_>>()}))
}
