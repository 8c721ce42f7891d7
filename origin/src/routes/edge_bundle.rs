//! `GET /internal/edge/bundle`: what an edge judges by, signed. No policy routes this path; only an
//! edge itself asks.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::app::App;
use crate::bundles::Signed;
use crate::caller::Edge;
use crate::input::Parameters;
use crate::problem::Refusal;
use crate::store::EdgeRecord;

/// The longest wait, in seconds, whatever is asked for.
const MAX_WAIT_S: u64 = 30;
/// How long another origin's change may take to come here.
const CATCH_UP: Duration = Duration::from_secs(1);
/// The longest name of an edge and the longest error, in bytes.
const MAX_TEXT_BYTES: usize = 256;

/// What an edge says of itself.
#[derive(Deserialize)]
pub(super) struct Report {
    node: String,
    serial: i64,
    rev: i64,
    #[serde(default)]
    error: String,
}

/// Answers at once if the edge has an older bundle, otherwise when there is a newer one or the
/// wait (RFC 7240, section 4.3) is over.
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    edge: Edge,
    Parameters(report): Parameters<Report>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let bounded = |text: String| text.chars().filter(|letter| !letter.is_control()).take(MAX_TEXT_BYTES).collect();
    let record = EdgeRecord {
        region: edge.region().to_owned(),
        node: bounded(report.node),
        serial: report.serial,
        rev: report.rev,
        error: bounded(report.error),
        seen_at: app.clock.now_ms(),
    };
    app.store.control().report(&record).await?;
    let known = |tag: &str| headers.get(IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == quoted(tag).as_bytes());
    let mut in_force = app.policy.in_force();
    let wait = tokio::time::sleep(wait(&headers));
    tokio::pin!(wait);
    let mut is_late = false;
    let tag = loop {
        in_force.mark_unchanged();
        let Signed { tag, text } = app.policy.bundle(edge.region(), &record.node);
        // To an edge that another origin has told more already this one listens first.
        if report.serial > serial_of(&tag) && !is_late {
            is_late = tokio::time::timeout(CATCH_UP, in_force.changed()).await.is_err();
            continue;
        }
        if !known(&tag) {
            let headers = [(CONTENT_TYPE, "application/jwt".to_owned()), (ETAG, quoted(&tag))];
            return Ok((headers, text.to_string()).into_response());
        }
        tokio::select! {
            changed = in_force.changed() => changed.map_err(Refusal::internal)?,
            () = app.stopping.cancelled() => break tag,
            () = &mut wait => break tag,
        }
    };
    Ok((StatusCode::NOT_MODIFIED, [(ETAG, quoted(&tag))]).into_response())
}

/// The serial that a tag begins with.
fn serial_of(tag: &str) -> i64 {
    tag.split('-').next().and_then(|serial| serial.parse().ok()).unwrap_or_default()
}

fn quoted(tag: &str) -> String {
    format!("\"{tag}\"")
}

fn wait(headers: &HeaderMap) -> Duration {
    let seconds = headers.get("prefer").and_then(|value| value.to_str().ok()?.strip_prefix("wait=")?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0).min(MAX_WAIT_S))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::http::StatusCode;
    use gate::bundle::open;
    use gate::identity::{AUDIENCE, CONTROL_AUDIENCE};
    use gate::keys::KeySet;

    use super::*;
    use crate::policy::{BUILT_IN, Publication};
    use crate::store::AuditEntry;
    use crate::test_app::{Reply, TestApp};

    async fn ask(app: &TestApp, query: &str, headers: &[(&'static str, &str)]) -> Reply {
        app.send(app.edge_request(&format!("/internal/edge/bundle?{query}"), CONTROL_AUDIENCE, headers)).await
    }

    #[tokio::test]
    async fn an_edge_gets_what_is_new_and_waits_for_what_is_not() {
        let app = TestApp::new().await;
        let first = ask(&app, "node=e1&serial=0&rev=0&error=", &[]).await;
        assert_eq!((first.status, first.header("content-type")), (StatusCode::OK, "application/jwt"));
        let roots = KeySet::from_jwks(&app.app.policy.roots()).unwrap();
        let bundle = open(&first.body, &roots, "local").unwrap();
        assert_eq!((bundle.rev, bundle.jti.as_str()), (1, first.header("etag").trim_matches('"')));

        let tag = first.header("etag").to_owned();
        assert_eq!(
            ask(&app, "node=e1&serial=1&rev=1", &[("if-none-match", &tag)]).await.status,
            StatusCode::NOT_MODIFIED
        );
        let began = Instant::now();
        let headers = [("if-none-match", tag.as_str()), ("prefer", "wait=20")];
        let waiting = ask(&app, "node=e1&serial=1&rev=1", &headers);
        let publish = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let document = String::from_utf8(BUILT_IN.to_vec()).unwrap().replace("\"burst\": 30", "\"burst\": 31");
            let publication = Publication { author: "cli:test", reason: "more", after: Some(1) };
            let audit = AuditEntry::of_system(app.app.clock.now_ms(), "policy_change");
            app.app.policy.publish(document.as_bytes(), publication, &audit).await.unwrap();
        };
        let (second, ()) = tokio::join!(waiting, publish);
        assert_eq!(open(&second.body, &roots, "local").unwrap().rev, 2);
        assert!(began.elapsed() < Duration::from_secs(10));

        let edges = app.app.store.control().edges(0, 10).await.unwrap();
        assert_eq!(edges.len(), 1);
        assert_eq!((edges[0].region.as_str(), edges[0].node.as_str(), edges[0].serial), ("local", "e1", 1));
    }

    #[tokio::test]
    async fn a_stop_ends_the_wait() {
        let app = TestApp::new().await;
        let tag = ask(&app, "node=e1&serial=0&rev=0", &[]).await.header("etag").to_owned();
        app.app.stopping.cancel();
        let reply = ask(&app, "node=e1&serial=1&rev=1", &[("if-none-match", &tag), ("prefer", "wait=20")]).await;
        assert_eq!(reply.status, StatusCode::NOT_MODIFIED);
    }

    #[tokio::test]
    async fn nobody_but_an_edge_may_ask() {
        let app = TestApp::new().await;
        let target = "/internal/edge/bundle?node=e1&serial=0&rev=0";
        assert_eq!(app.send(app.request("GET", target, None, None)).await.code(), "token_invalid");
        let admin = app.request("GET", target, Some((crate::test_app::ADA, "admin")), None);
        assert_eq!(app.send(admin).await.code(), "token_invalid");
        // What an edge seals on its own behalf opens no other door.
        for target in ["/api/admin/policy", "/api/me"] {
            assert_eq!(app.send(app.edge_request(target, CONTROL_AUDIENCE, &[])).await.code(), "token_invalid");
        }
        assert_eq!(app.send(app.edge_request(target, AUDIENCE, &[])).await.code(), "token_invalid");
        assert_eq!(ask(&app, "node=e1", &[]).await.code(), "request_invalid");
    }
}
