//! `/api/admin/policy`: the policy in force, another one in its place, and those before it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ETAG, HeaderName, IF_MATCH};
use gate::Code;
use gate::policy::Document;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::caller::Admin;
use crate::clock::Time;
use crate::input::{JsonText, Parameters};
use crate::openapi::{About, Header, Section};
use crate::policy::Publication;
use crate::problem::Refusal;
use crate::store::PolicyRecord;

/// How many revisions are listed.
const MAX_LISTED: i64 = 1000;
/// The longest reason, in bytes.
const MAX_REASON_BYTES: usize = 1000;

/// A revision of the policy.
#[derive(Serialize, JsonSchema)]
pub(super) struct Revision {
    rev: i64,
    sha256: String,
    published_at: Time,
    /// A user id, `cli:<name>` or `file`.
    author: String,
    reason: String,
}

/// Revisions, the newest first.
#[derive(Serialize, JsonSchema)]
pub(super) struct Revisions {
    revisions: Vec<Revision>,
}

/// The policy in force.
#[derive(Serialize, JsonSchema)]
pub(super) struct InForce {
    #[serde(flatten)]
    revision: Revision,
    /// Larger for a moment after another origin has published.
    newest_rev: Option<i64>,
    document: Document,
    /// What is wrong with the policy file, or what failed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
}

pub(super) const GET: About = About::new(Section::Administration, "The policy in force; its revision is the `ETag`");

/// `GET`: the policy in force, and what is wrong with a newer file, if anything. Its revision is
/// its `ETag`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    admin: Admin,
) -> Result<([(HeaderName, String); 1], Json<InForce>), Refusal> {
    let policy = app.policy.now();
    // Another origin may have recorded a newer one already.
    let newest = app.store.admin(&admin).policy().await?.map(|record| record.rev);
    let body = InForce {
        revision: describe(&policy.record),
        newest_rev: newest,
        document: policy.document.clone(),
        last_error: app.policy.last_error(),
    };
    Ok(([(ETAG, format!("\"{}\"", policy.record.rev))], Json(body)))
}

/// The query of `PUT`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    /// Why; stands in the history.
    #[serde(default)]
    #[schemars(length(max = MAX_REASON_BYTES))]
    reason: String,
}

pub(super) const PUT: About = About::new(Section::Administration, "Brings a policy into force")
    .refuses(&[Code::Conflict, Code::PreconditionFailed])
    .reads(&[Header {
        is_required: true,
        pattern: Some("^\"[0-9]{1,18}\"$"),
        ..Header::new("If-Match", "The revision that you have seen, as its `ETag` has it")
    }]);

/// `PUT`: brings a document into force. `If-Match` (RFC 9110, section 13.1.1) names the revision
/// that the author has seen, so that of two authors the second one has to look again: 412
/// `precondition_failed`. `409 conflict` where nothing but a file makes policy.
pub(super) async fn put(
    State(app): State<Arc<App>>,
    admin: Admin,
    Parameters(Why { reason }): Parameters<Why>,
    headers: HeaderMap,
    JsonText(document): JsonText,
) -> Result<Json<Revision>, Refusal> {
    if let Some(file) = app.policy.master_file() {
        let file = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(Refusal::new(Code::Conflict, format!("The policy comes from the file {file} alone.")));
    }
    if reason.len() > MAX_REASON_BYTES || reason.chars().any(char::is_control) {
        return Err(Refusal::new(Code::RequestInvalid, "The reason is one line of at most 1000 bytes."));
    }
    let after = headers.get(IF_MATCH).and_then(|tag| tag.to_str().ok()?.trim_matches('"').parse().ok());
    let after = after.ok_or_else(|| {
        Refusal::new(Code::RequestInvalid, "Send the header If-Match with the revision that you have seen.")
    })?;
    let publication = Publication { author: admin.caller().user_id(), reason: &reason, after: Some(after) };
    let audit = admin.caller().audit(&app.clock, "policy_change", "ok");
    Ok(Json(describe(&app.policy.publish(&document, publication, &audit).await?)))
}

pub(super) const HISTORY: About = About::new(Section::Administration, "Lists policies that were in force");

/// `GET /api/admin/policy/history`: who changed it, when and why; the newest first.
pub(super) async fn history(State(app): State<Arc<App>>, admin: Admin) -> Result<Json<Revisions>, Refusal> {
    let records = app.store.admin(&admin).policies(MAX_LISTED).await?;
    Ok(Json(Revisions { revisions: records.iter().map(describe).collect() }))
}

fn describe(record: &PolicyRecord) -> Revision {
    Revision {
        rev: record.rev,
        sha256: record.sha256.clone(),
        published_at: Time(record.published_at),
        author: record.author.clone(),
        reason: record.reason.clone(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;

    use serde_json::{Value, json};

    use super::*;
    use crate::policy::BUILT_IN;
    use crate::test_app::{ADA, Reply, TestApp};

    fn document(burst: u32) -> Value {
        let mut document: Value = serde_json::from_slice(BUILT_IN).unwrap();
        document["roles"]["free"]["requests"]["burst"] = json!(burst);
        document
    }

    async fn put(app: &TestApp, document: &Value, tag: Option<&str>) -> Reply {
        let target = "/api/admin/policy?reason=more%20room";
        let mut request: Request<Body> = app.request("PUT", target, Some((ADA, "admin")), Some(document));
        if let Some(tag) = tag {
            request.headers_mut().insert(IF_MATCH, tag.parse().unwrap());
        }
        app.send(request).await
    }

    #[tokio::test]
    async fn administrators_see_the_policy() {
        let app = TestApp::new().await;
        let reply = app.send(app.request("GET", "/api/admin/policy", Some((ADA, "admin")), None)).await;
        let body = reply.json();
        assert_eq!((reply.status.as_u16(), &body["rev"], reply.header("etag")), (200, &1.into(), "\"1\""), "{body}");
        assert_eq!((&body["published_at"], &body["author"]), (&json!("2026-11-23T12:00:00Z"), &json!("file")));
        assert_eq!(body["sha256"].as_str().map(str::len), Some(64));
        assert_eq!(body["document"]["issuers"][0]["keys"]["from"], "origin");
        assert_eq!(body.get("last_error"), None);
    }

    #[tokio::test]
    async fn of_two_authors_the_second_looks_again() {
        let app = TestApp::new().await;
        assert_eq!(put(&app, &document(40), None).await.code(), "request_invalid");
        let first = put(&app, &document(40), Some("\"1\"")).await;
        assert_eq!((first.status.as_u16(), &first.json()["rev"]), (200, &json!(2)), "{first:?}");
        assert_eq!((&first.json()["author"], &first.json()["reason"]), (&json!(ADA), &json!("more room")));
        assert_eq!(app.app.policy.now().document.roles["free"].requests.burst, 40);
        let second = put(&app, &document(50), Some("\"1\"")).await;
        assert_eq!((second.status.as_u16(), second.code().as_str()), (412, "precondition_failed"));
        assert_eq!(put(&app, &document(50), Some("\"2\"")).await.json()["rev"], 3);

        let history =
            app.send(app.request("GET", "/api/admin/policy/history", Some((ADA, "admin")), None)).await.json();
        let revs: Vec<_> = history["revisions"].as_array().unwrap().iter().map(|entry| entry["rev"].clone()).collect();
        assert_eq!(revs, [3, 2, 1]);
    }

    #[tokio::test]
    async fn what_is_wrong_is_said_and_changes_nothing() {
        let app = TestApp::new().await;
        let reply = put(&app, &document(0), Some("\"1\"")).await;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (400, "request_invalid"));
        assert!(reply.json()["detail"].as_str().unwrap().contains("/roles/free/requests/burst"), "{reply:?}");
        assert_eq!(app.app.policy.now().record.rev, 1);
        let free = app.request("PUT", "/api/admin/policy", Some((ADA, "free")), Some(&document(40)));
        assert_eq!(app.send(free).await.code(), "role_forbidden");
    }
}
