//! `/api/admin/policy`: the policy in force, another one in its place, and those before it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ETAG, HeaderName, IF_MATCH};
use gate::Code;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::caller::Admin;
use crate::clock::rfc3339;
use crate::input::{JsonText, Parameters};
use crate::policy::Publication;
use crate::problem::Refusal;
use crate::store::PolicyRecord;

/// How many revisions are listed.
const MAX_LISTED: i64 = 1000;
/// The longest reason, in bytes.
const MAX_REASON_BYTES: usize = 1000;

/// `GET`: the policy in force, and what is wrong with a newer file, if anything. Its revision is
/// its `ETag`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    admin: Admin,
) -> Result<([(HeaderName, String); 1], Json<Value>), Refusal> {
    let policy = app.policy.now();
    // Another origin may have recorded a newer one already.
    let newest = app.store.admin(&admin).policy().await?.map(|record| record.rev);
    let mut body = describe(&policy.record);
    if let Some(members) = body.as_object_mut() {
        members.insert("newest_rev".to_owned(), newest.into());
        members.insert("document".to_owned(), json!(policy.document));
        if let Some(error) = app.policy.last_error() {
            members.insert("last_error".to_owned(), error.into());
        }
    }
    Ok(([(ETAG, format!("\"{}\"", policy.record.rev))], Json(body)))
}

/// The query of `PUT`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    #[serde(default)]
    reason: String,
}

/// `PUT`: brings a document into force. `If-Match` (RFC 9110, section 13.1.1) names the revision
/// that the author has seen, so that of two authors the second one has to look again: 412
/// `precondition_failed`. `409 conflict` where nothing but a file makes policy.
pub(super) async fn put(
    State(app): State<Arc<App>>,
    admin: Admin,
    Parameters(Why { reason }): Parameters<Why>,
    headers: HeaderMap,
    JsonText(document): JsonText,
) -> Result<Json<Value>, Refusal> {
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

/// `GET /api/admin/policy/history`: who changed it, when and why; the newest first.
pub(super) async fn history(State(app): State<Arc<App>>, admin: Admin) -> Result<Json<Value>, Refusal> {
    let records = app.store.admin(&admin).policies(MAX_LISTED).await?;
    Ok(Json(json!({ "revisions": records.iter().map(describe).collect::<Vec<_>>() })))
}

fn describe(record: &PolicyRecord) -> Value {
    json!({
        "rev": record.rev,
        "sha256": record.sha256,
        "published_at": rfc3339(record.published_at),
        "author": record.author,
        "reason": record.reason,
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;

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
