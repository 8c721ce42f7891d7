//! An origin that answers with what it received.

use std::net::SocketAddr;

use axum::Json;
use axum::Router;
use axum::extract::Request;
use serde_json::{Value, json};

/// Serves on a free loopback port until the test's runtime ends.
pub async fn start() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(echo);
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// `{"method", "target", "headers": [[name, value], …], "body_bytes"}`
pub(crate) async fn echo(request: Request) -> Json<Value> {
    let headers: Vec<Value> = request
        .headers()
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let (method, target) = (request.method().to_string(), request.uri().to_string());
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap_or_default();
    Json(json!({"method": method, "target": target, "headers": headers, "body_bytes": body.len()}))
}
