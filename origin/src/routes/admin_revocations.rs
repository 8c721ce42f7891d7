//! `/api/admin/revocations`: tokens that are withdrawn before their time.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use gate::Code;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::caller::Admin;
use crate::clock::rfc3339;
use crate::input::JsonBody;
use crate::problem::Refusal;
use crate::revocation::{self, Withdrawal};
use crate::store::{RevocationRecord, Whose};

/// How many revocations are listed.
const MAX_LISTED: i64 = 10_000;

/// `GET`: what is withdrawn and may still be around, the newest first.
pub(super) async fn get(State(app): State<Arc<App>>, admin: Admin) -> Result<Json<Value>, Refusal> {
    let records = app.store.admin(&admin).revocations(app.clock.now_ms(), MAX_LISTED).await?;
    Ok(Json(json!({ "revocations": records.iter().map(describe).collect::<Vec<_>>() })))
}

/// The body of `POST`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    kind: String,
    subject: String,
    #[serde(default)]
    reason: String,
}

/// `POST`: withdraws everything that was issued until now to a `user`, a `client` or a `session` or
/// by an `issuer`, or one `token`.
pub(super) async fn post(
    State(app): State<Arc<App>>,
    admin: Admin,
    JsonBody(body): JsonBody<Body>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let invalid = |reason: String| Refusal::new(Code::RequestInvalid, format!("Nothing is withdrawn: {reason}."));
    let whose = Whose::from_name(&body.kind);
    let whose = whose.ok_or_else(|| invalid("the kind is user, client, session, token or issuer".to_owned()))?;
    let author = admin.caller().user_id();
    let withdrawal = Withdrawal { whose, subject: &body.subject, author, reason: &body.reason };
    let policy = app.policy.now();
    let record = revocation::record(withdrawal, &policy.document, app.clock.now_ms()).map_err(invalid)?;
    let audit = revocation::named(admin.caller().audit(&app.clock, "revoke", "ok"), &record);
    app.store.admin(&admin).revoke(&record, &audit).await?;
    app.policy.hurry();
    Ok((StatusCode::CREATED, Json(describe(&record))))
}

fn describe(record: &RevocationRecord) -> Value {
    json!({
        "kind": record.kind,
        "subject": record.subject,
        "not_before": rfc3339(record.not_before.saturating_mul(1000)),
        "expires_at": rfc3339(record.expires_at),
        "at": rfc3339(record.at),
        "author": record.author,
        "reason": record.reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_app::{ADA, BOB, TestApp};

    #[tokio::test]
    async fn administrators_withdraw_tokens() {
        let app = TestApp::new().await;
        let target = "/api/admin/revocations";
        let admin = Some((ADA, "admin"));
        let body = json!({"kind": "user", "subject": BOB, "reason": "laptop stolen"});
        let reply = app.send(app.request("POST", target, admin, Some(&body))).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["author"]), (201, &json!(ADA)), "{reply:?}");
        assert_eq!(reply.json()["not_before"], "2026-11-23T12:00:01Z");
        let listed = app.send(app.request("GET", target, admin, None)).await.json();
        assert_eq!(listed["revocations"][0]["subject"], BOB);
        for wrong in [json!({"kind": "cat", "subject": BOB}), json!({"kind": "user", "subject": ""})] {
            let reply = app.send(app.request("POST", target, admin, Some(&wrong))).await;
            assert_eq!(reply.code(), "request_invalid", "{reply:?}");
        }
        assert_eq!(app.get(ADA, target).await.code(), "role_forbidden");
    }
}
