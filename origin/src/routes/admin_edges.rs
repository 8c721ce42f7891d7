//! `GET /api/admin/edges`: which edge judges by what.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::caller::Admin;
use crate::clock::Time;
use crate::openapi::{About, Section};
use crate::policy::LIVE_MS;
use crate::problem::Refusal;

/// How many edges are listed.
const MAX_LISTED: i64 = 10_000;

/// Who follows the control plane, and how closely.
#[derive(Serialize, JsonSchema)]
pub(super) struct Edges {
    /// Counts every change of the control plane.
    serial: i64,
    /// Of the policy.
    rev: i64,
    edges: Vec<FollowingEdge>,
}

/// An edge that asked not long ago.
#[derive(Serialize, JsonSchema)]
struct FollowingEdge {
    region: String,
    node: String,
    /// The oldest that any of its workers judges by.
    serial: i64,
    rev: i64,
    /// How many changes it lacks.
    behind: i64,
    /// What was wrong when it last asked.
    error: Option<String>,
    seen_at: Time,
}

pub(super) const GET: About = About::new(Section::Administration, "Lists edges and what they judge by");

/// For administrators: every edge that asked not long ago, how far behind the control plane it
/// is, counted in changes, and what it complains of.
pub(super) async fn handler(State(app): State<Arc<App>>, admin: Admin) -> Result<Json<Edges>, Refusal> {
    let since_ms = app.clock.now_ms().saturating_sub(LIVE_MS);
    let (progress, edges) = app.store.admin(&admin).edges(since_ms, MAX_LISTED).await?;
    let edges = edges.into_iter().map(|edge| FollowingEdge {
        behind: progress.serial.saturating_sub(edge.serial).max(0),
        region: edge.region,
        node: edge.node,
        serial: edge.serial,
        rev: edge.rev,
        error: Some(edge.error).filter(|error| !error.is_empty()),
        seen_at: Time(edge.seen_at),
    });
    Ok(Json(Edges { serial: progress.serial, rev: app.policy.now().record.rev, edges: edges.collect() }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::store::EdgeRecord;
    use crate::test_app::{ADA, NOW_MS, TestApp};

    #[tokio::test]
    async fn administrators_see_who_lags() {
        let app = TestApp::new().await;
        let serial = app.app.store.control().progress().await.unwrap().serial;
        for (node, serial, error, seen_at) in [
            ("a", serial, "", NOW_MS),
            ("b", serial - 1, "expired: at 5", NOW_MS),
            ("gone", 1, "", NOW_MS - LIVE_MS - 1),
        ] {
            let (region, node, error) = ("north".to_owned(), node.to_owned(), error.to_owned());
            app.app.store.control().report(&EdgeRecord { region, node, serial, rev: 1, error, seen_at }).await.unwrap();
        }
        let body = app.send(app.request("GET", "/api/admin/edges", Some((ADA, "admin")), None)).await.json();
        let shown: Vec<_> = body["edges"]
            .as_array()
            .unwrap()
            .iter()
            .map(|edge| (&edge["node"], &edge["behind"], &edge["error"]))
            .collect();
        assert_eq!(shown, [(&json!("a"), &json!(0), &Value::Null), (&json!("b"), &json!(1), &json!("expired: at 5"))]);
        assert_eq!(app.get(ADA, "/api/admin/edges").await.code(), "role_forbidden");
    }
}
