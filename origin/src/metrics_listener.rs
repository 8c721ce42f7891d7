//! What operators and probes read, on a listener of its own: `/metrics`, `/healthz`, `/readyz`.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

use crate::app::{App, AppError};

const SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
const PATIENCE: Duration = Duration::from_secs(2);
const UPKEEP: Duration = Duration::from_secs(5);

/// The routes.
///
/// # Errors
/// Another recorder of metrics is installed.
pub fn router(app: Arc<App>) -> Result<Router, AppError> {
    let handle = install()?;
    Ok(Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(async move || handle.render()))
        .with_state(app))
}

/// Ready means: the database answers, there is a policy (always, once started), and the server is
/// not on its way out.
async fn readyz(State(app): State<Arc<App>>) -> (StatusCode, &'static str) {
    if app.stopping.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    match tokio::time::timeout(PATIENCE, app.store.ping()).await {
        Ok(Ok(())) => (StatusCode::OK, "ready\n"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n"),
    }
}

/// Starts counting; the process has one recorder, and whoever comes first installs it. What is
/// counted before is lost.
///
/// # Errors
/// Another recorder is installed.
pub fn install() -> Result<PrometheusHandle, AppError> {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let builder = PrometheusBuilder::new().set_buckets(&SECONDS);
    let handle = builder
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| AppError::Other(format!("metrics: {error}")))?;
    Ok(HANDLE.get_or_init(|| handle).clone())
}

/// Sorts recorded times into their buckets until `stop`; they would pile up while nobody reads
/// them.
pub async fn keep(handle: PrometheusHandle, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(UPKEEP)).await.is_some() {
        handle.run_upkeep();
    }
}
