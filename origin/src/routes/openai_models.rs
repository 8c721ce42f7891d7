//! `GET /v1/models`: what `model` of `/v1/audio/speech` may be.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::caller::Caller;
use crate::openai::MODELS;
use crate::openapi::{About, Section};

/// What `model` may be.
#[derive(Serialize, JsonSchema)]
pub(super) struct Models {
    /// `list`.
    object: &'static str,
    data: Vec<Model>,
}

/// The engine, under one of its names.
#[derive(Serialize, JsonSchema)]
struct Model {
    id: &'static str,
    /// `model`.
    object: &'static str,
    created: i64,
    owned_by: &'static str,
}

pub(super) const GET: About = About::new(Section::OpenAi, "Lists models");

/// The engine under its own name and under OpenAI's.
pub(super) async fn handler(State(app): State<Arc<App>>, _: Caller) -> Json<Models> {
    let names = std::iter::once(app.engine.name()).chain(MODELS);
    let models = names.map(|id| Model { id, object: "model", created: 0, owned_by: "cosygate" });
    Json(Models { object: "list", data: models.collect() })
}
