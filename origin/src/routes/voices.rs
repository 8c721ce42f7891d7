//! `GET /api/voices`: what the engine can sound like.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::app::App;
use crate::caller::Caller;

/// The first voice is the default.
pub(super) async fn handler(State(app): State<Arc<App>>, _: Caller) -> Json<Value> {
    Json(json!({
        "engine": app.engine.name(),
        "notice": app.engine.notice(),
        "voices": app.engine.voices(),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::test_app::{ADA, TestApp};

    #[tokio::test]
    async fn the_engine_is_described() {
        let app = TestApp::new().await;
        let body = app.get(ADA, "/api/voices").await.json();
        assert_eq!((&body["engine"], &body["notice"]), (&"fake".into(), &Value::Null));
        assert_eq!(body["voices"][0]["id"], "first");
    }
}
