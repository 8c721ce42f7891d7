//! `POST /register`: makes an account, where the policy lets anybody do so.

use std::sync::Arc;

use axum::extract::State;
use gate::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::accounts::fold_username;
use crate::app::App;
use crate::caller::Visit;
use crate::clock::new_id;
use crate::input::JsonBody;
use crate::invitations::hash;
use crate::openapi::{About, Created, Section};
use crate::problem::Refusal;
use crate::store::{StoreError, User};

/// The body.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    username: String,
    password: String,
    /// The secret of an invitation.
    #[serde(default)]
    invitation: Option<String>,
}

/// A new account.
#[derive(Serialize, JsonSchema)]
pub(super) struct Registered {
    user_id: String,
    username: String,
    role: String,
}

pub(super) const POST: About =
    About::new(Section::Accounts, "Makes an account").refuses(&[Code::Conflict, Code::RoleForbidden]);

/// `409 conflict` when the name is taken or looks like one that is, `403 role_forbidden` when
/// registration is closed or the invitation does not hold.
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    visit: Visit,
    JsonBody(body): JsonBody<Body>,
) -> Result<Created<Registered>, Refusal> {
    let policy = app.policy.now();
    let registration = &policy.document.registration;
    let invitation = match &body.invitation {
        Some(secret) if registration.open || registration.invitations => {
            let invitation = app.store.invitations().by_secret(&hash(secret), app.clock.now_ms()).await?;
            Some(invitation.ok_or_else(not_invited)?)
        }
        _ => None,
    };
    let Some(role) = invitation.as_ref().map(|it| &it.role).or(registration.open.then_some(&registration.role)) else {
        let closed = match registration.invitations {
            true => "Registration here is by invitation.",
            false => "Registration is closed here.",
        };
        return Err(Refusal::new(Code::RoleForbidden, closed));
    };
    // The policy may have changed since somebody was invited.
    policy.role(role)?;
    let invalid = |reason: &str| Refusal::new(Code::RequestInvalid, reason);
    let username = fold_username(&body.username).map_err(invalid)?;
    let password = app.passwords.accept(&body.password, &username).map_err(|reason| invalid(&reason))?;
    let taken = || Refusal::new(Code::Conflict, "This username is taken, or looks like one that is.");
    if app.store.accounts().is_taken(&username).await? {
        return Err(taken());
    }
    let password_hash = app.passwords.hash(password).await?;
    let now_ms = app.clock.now_ms();
    let user =
        User { id: new_id(now_ms), username, password_hash, role: role.clone(), created_at: now_ms, disabled_at: None };
    let audit = visit.audit(&app.clock, "register", "ok").by(&user.id);
    let accounts = app.store.accounts();
    let added = match &invitation {
        Some(invitation) => accounts.add_invited(&user, &invitation.id, &audit.on(&invitation.id)).await,
        None => accounts.add(&user, &audit).await.map(|()| true),
    };
    match added {
        Err(StoreError::Conflict) => return Err(taken()),
        Ok(false) => return Err(not_invited()),
        other => other?,
    };
    Ok(Created(Registered { user_id: user.id, username: user.username, role: user.role }))
}

fn not_invited() -> Refusal {
    Refusal::new(Code::RoleForbidden, "This invitation does not hold any more.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::test_app::TestApp;

    #[tokio::test]
    async fn a_name_is_taken_once() {
        let app = TestApp::new().await;
        let reply = app.post("/register", json!({"username": "Ada", "password": "correct horse"})).await;
        assert_eq!(reply.status.as_u16(), 201);
        assert_eq!((&reply.json()["username"], &reply.json()["role"]), (&json!("ada"), &json!("free")));
        for taken in ["ada", "ADA", "ａｄａ"] {
            let reply = app.post("/register", json!({"username": taken, "password": "correct horse"})).await;
            assert_eq!((reply.status.as_u16(), reply.code().as_str()), (409, "conflict"));
        }
    }

    #[tokio::test]
    async fn bad_names_and_passwords_are_explained() {
        let app = TestApp::new().await;
        for (username, password, reason) in
            [("ab", "correct horse", "username"), ("a b c", "correct horse", "username"), ("ada", "short", "password")]
        {
            let reply = app.post("/register", json!({"username": username, "password": password})).await;
            assert_eq!(reply.code(), "request_invalid");
            assert!(reply.json()["detail"].as_str().unwrap().starts_with(reason));
        }
    }

    #[tokio::test]
    async fn the_policy_can_close_it() {
        let app = TestApp::with_policy(|policy| policy["registration"]["open"] = json!(false)).await;
        let reply = app.post("/register", json!({"username": "ada", "password": "correct horse"})).await;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (403, "role_forbidden"));
    }
}
