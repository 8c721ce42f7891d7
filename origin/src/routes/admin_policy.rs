//! `GET /api/admin/policy`: the policy in force, and what is wrong with a newer file, if anything.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::app::App;
use crate::caller::Admin;
use crate::clock::rfc3339;
use crate::problem::Refusal;

/// For administrators.
pub(super) async fn handler(State(app): State<Arc<App>>, admin: Admin) -> Result<Json<Value>, Refusal> {
    let policy = app.policy.now();
    // Another origin may have recorded a newer one already.
    let newest = app.store.admin(&admin).policy().await?.map(|record| record.rev);
    let mut body = json!({
        "rev": policy.record.rev,
        "newest_rev": newest,
        "sha256": policy.record.sha256,
        "published_at": rfc3339(policy.record.published_at),
        "document": policy.document,
    });
    if let (Some(error), Some(members)) = (app.policy.last_error(), body.as_object_mut()) {
        members.insert("last_error".to_owned(), error.into());
    }
    Ok(Json(body))
}

#[cfg(test)]
mod tests {
    use crate::test_app::{ADA, TestApp};

    #[tokio::test]
    async fn administrators_see_the_policy() {
        let app = TestApp::new().await;
        let reply = app.send(app.request("GET", "/api/admin/policy", Some((ADA, "admin")), None)).await;
        let body = reply.json();
        assert_eq!((reply.status.as_u16(), &body["rev"]), (200, &1.into()), "{body}");
        assert_eq!(body["published_at"], "2026-11-23T12:00:00Z");
        assert_eq!(body["sha256"].as_str().map(str::len), Some(64));
        assert_eq!(body["document"]["issuers"][0]["keys"]["from"], "origin");
        assert_eq!(body.get("last_error"), None);
    }
}
