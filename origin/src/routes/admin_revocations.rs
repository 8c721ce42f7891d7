//! `/api/admin/revocations`: tokens that are withdrawn before their time.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gate::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::caller::Admin;
use crate::clock::Time;
use crate::input::JsonBody;
use crate::openapi::{About, Created, Section};
use crate::problem::Refusal;
use crate::revocation::{self, Withdrawal};
use crate::store::{RevocationRecord, Whose};

/// How many revocations are listed.
const MAX_LISTED: i64 = 10_000;

/// What is withdrawn, the newest first.
#[derive(Serialize, JsonSchema)]
pub(super) struct Revocations {
    revocations: Vec<Revocation>,
}

/// Tokens that are withdrawn.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WithdrawnTokens")]
pub(super) struct Revocation {
    kind: String,
    subject: String,
    /// What was issued until then does not hold.
    not_before: Time,
    /// From then on no such token would hold anyway.
    expires_at: Time,
    at: Time,
    author: String,
    reason: String,
}

pub(super) const GET: About = About::new(Section::Administration, "Lists what is withdrawn");

/// `GET`: what is withdrawn and may still be around, the newest first.
pub(super) async fn get(State(app): State<Arc<App>>, admin: Admin) -> Result<Json<Revocations>, Refusal> {
    let records = app.store.admin(&admin).revocations(app.clock.now_ms(), MAX_LISTED).await?;
    Ok(Json(Revocations { revocations: records.into_iter().map(describe).collect() }))
}

/// The body of `POST`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    /// `user`, `client`, `session`, `token`, `pat` or `issuer`.
    kind: String,
    /// Which one.
    #[schemars(length(min = 1, max = 512))]
    subject: String,
    /// Why.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    reason: String,
}

pub(super) const POST: About = About::new(Section::Administration, "Withdraws tokens before their time");

/// `POST`: withdraws everything that was issued until now to a `user`, a `client` or a `session` or
/// by an `issuer`, or one `token`.
pub(super) async fn post(
    State(app): State<Arc<App>>,
    admin: Admin,
    JsonBody(body): JsonBody<Body>,
) -> Result<Created<Revocation>, Refusal> {
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
    Ok(Created(describe(record)))
}

fn describe(record: RevocationRecord) -> Revocation {
    Revocation {
        kind: record.kind,
        subject: record.subject,
        not_before: Time(record.not_before.saturating_mul(1000)),
        expires_at: Time(record.expires_at),
        at: Time(record.at),
        author: record.author,
        reason: record.reason,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
