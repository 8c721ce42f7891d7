//! `/api/admin/invitations`: who may register where not everybody may.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::NoContent;
use gate::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::caller::Admin;
use crate::clock::Time;
use crate::input::{JsonBody, ObjectId};
use crate::invitations::{Terms, invite};
use crate::openapi::{About, Created, Section};
use crate::problem::Refusal;
use crate::store::Invitation;

/// How many are listed.
const MAX_LISTED: i64 = 1000;

/// Invitations that still hold.
#[derive(Serialize, JsonSchema)]
pub(super) struct Invitations {
    invitations: Vec<InvitationView>,
}

/// An invitation without its secret.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Invitation")]
struct InvitationView {
    id: String,
    role: String,
    uses_left: i64,
    created_at: Time,
    expires_at: Time,
    author: String,
}

/// A new invitation with its secret.
#[derive(Serialize, JsonSchema)]
pub(super) struct NewInvitation {
    #[serde(flatten)]
    invitation_view: InvitationView,
    /// The secret. No other answer has it.
    invitation: String,
    /// To be appended to the address of the server.
    path: String,
}

pub(super) const GET: About = About::new(Section::Administration, "Lists invitations that still hold");

/// `GET`: those that still hold, without their secrets, the newest first.
pub(super) async fn get(State(app): State<Arc<App>>, _: Admin) -> Result<Json<Invitations>, Refusal> {
    let invitations = app.store.invitations().list(app.clock.now_ms(), MAX_LISTED).await?;
    Ok(Json(Invitations { invitations: invitations.into_iter().map(describe).collect() }))
}

/// The body of `POST`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    /// As which one registers; the policy's `registration` if absent.
    #[serde(default)]
    role: Option<String>,
    /// How many may register with it.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    uses: u32,
    /// How long it holds.
    #[serde(default = "week")]
    #[schemars(range(min = 1, max = 365))]
    days: u32,
}

pub(super) const POST: About = About::new(Section::Administration, "Invites somebody");

/// `POST`: makes one. Its secret is in this answer and nowhere else.
pub(super) async fn post(
    State(app): State<Arc<App>>,
    admin: Admin,
    JsonBody(body): JsonBody<Body>,
) -> Result<Created<NewInvitation>, Refusal> {
    let author = admin.caller().user_id();
    let terms = Terms { role: body.role.as_deref(), uses: body.uses, days: body.days, author };
    let invalid = |reason: String| Refusal::new(Code::RequestInvalid, format!("Nobody is invited: {reason}."));
    let (invitation, secret) = invite(terms, &app.policy.now().document, app.clock.now_ms()).map_err(invalid)?;
    let audit = admin.caller().audit(&app.clock, "invite", "ok").on(&invitation.id);
    app.store.invitations().add(&invitation, &audit).await?;
    let path = format!("/#invitation={secret}");
    Ok(Created(NewInvitation { invitation_view: describe(invitation), invitation: secret, path }))
}

pub(super) const DELETE: About = About::new(Section::Administration, "Takes an invitation back");

/// `DELETE`: takes one back; accounts that were made with it stay.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    admin: Admin,
    ObjectId(id): ObjectId,
) -> Result<NoContent, Refusal> {
    let audit = admin.caller().audit(&app.clock, "uninvite", "ok").on(&id);
    match app.store.invitations().withdraw(&id, &audit).await? {
        true => Ok(NoContent),
        false => Err(Refusal::not_found()),
    }
}

fn describe(invitation: Invitation) -> InvitationView {
    InvitationView {
        id: invitation.id,
        role: invitation.role,
        uses_left: invitation.uses_left,
        created_at: Time(invitation.created_at),
        expires_at: Time(invitation.expires_at),
        author: invitation.author,
    }
}

fn one() -> u32 {
    1
}

fn week() -> u32 {
    7
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::test_app::{ADA, Reply, TestApp};

    const TARGET: &str = "/api/admin/invitations";

    async fn by_invitation() -> TestApp {
        TestApp::with_policy(|policy| policy["registration"]["open"] = json!(false)).await
    }

    async fn as_admin(app: &TestApp, method: &str, target: &str, body: Option<&Value>) -> Reply {
        app.send(app.request(method, target, Some((ADA, "admin")), body)).await
    }

    async fn register(app: &TestApp, username: &str, invitation: &Value) -> Reply {
        let body = json!({"username": username, "password": "correct horse", "invitation": invitation});
        app.post("/register", body).await
    }

    #[tokio::test]
    async fn whoever_is_invited_registers_and_nobody_else() {
        let app = by_invitation().await;
        let uninvited = app.post("/register", json!({"username": "eve", "password": "correct horse"})).await;
        assert_eq!(uninvited.code(), "role_forbidden");
        assert_eq!(uninvited.json()["detail"], "Registration here is by invitation.");
        let made = as_admin(&app, "POST", TARGET, Some(&json!({"role": "premium", "uses": 2}))).await;
        assert_eq!(made.status.as_u16(), 201, "{made:?}");
        let made = made.json();
        assert_eq!((&made["uses_left"], &made["expires_at"]), (&json!(2), &json!("2026-11-30T12:00:00Z")));
        let secret = &made["invitation"];
        // A name that is taken does not use it up.
        assert_eq!(register(&app, "bob", secret).await.json()["role"], "premium");
        assert_eq!(register(&app, "BOB", secret).await.code(), "conflict");
        assert_eq!(register(&app, "carol", secret).await.status.as_u16(), 201);
        let used_up = register(&app, "dave", secret).await;
        assert_eq!(used_up.code(), "role_forbidden");
        let unknown = register(&app, "dave", &json!("no such secret")).await;
        assert_eq!(unknown.json()["detail"], used_up.json()["detail"]);
    }

    #[tokio::test]
    async fn invitations_end() {
        let app = by_invitation().await;
        let made = as_admin(&app, "POST", TARGET, Some(&json!({"days": 1}))).await.json();
        let listed = as_admin(&app, "GET", TARGET, None).await.json();
        assert_eq!(listed["invitations"][0]["id"], made["id"]);
        assert!(!listed.to_string().contains(made["invitation"].as_str().unwrap()));
        let one = format!("{TARGET}/{}", made["id"].as_str().unwrap());
        assert_eq!(as_admin(&app, "DELETE", &one, None).await.status.as_u16(), 204);
        assert_eq!(as_admin(&app, "DELETE", &one, None).await.code(), "not_found");
        assert_eq!(register(&app, "bob", &made["invitation"]).await.code(), "role_forbidden");

        let made = as_admin(&app, "POST", TARGET, Some(&json!({"days": 1}))).await.json();
        app.app.clock.advance(86_400_000);
        assert_eq!(register(&app, "bob", &made["invitation"]).await.code(), "role_forbidden");
        crate::upkeep::once(&app.app).await.unwrap();
        assert_eq!(as_admin(&app, "GET", TARGET, None).await.json()["invitations"], json!([]));
    }

    #[tokio::test]
    async fn who_may_invite_and_to_what() {
        let app = by_invitation().await;
        for wrong in [json!({"role": "king"}), json!({"uses": 0}), json!({"days": 1000}), json!({"uses": 5000})] {
            assert_eq!(as_admin(&app, "POST", TARGET, Some(&wrong)).await.code(), "request_invalid", "{wrong}");
        }
        let free = app.send(app.request("POST", TARGET, Some((ADA, "free")), Some(&json!({})))).await;
        assert_eq!(free.code(), "role_forbidden");
        let closed = TestApp::with_policy(|policy| {
            policy["registration"] = json!({"open": false, "invitations": false, "role": "free"});
        })
        .await;
        assert_eq!(as_admin(&closed, "POST", TARGET, Some(&json!({}))).await.code(), "request_invalid");
        assert_eq!(register(&closed, "bob", &json!("any")).await.json()["detail"], "Registration is closed here.");
    }
}
