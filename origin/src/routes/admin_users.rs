//! `/api/admin/users`: accounts, their roles, and who is kept out.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gate::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reset::withdrawal;
use crate::app::App;
use crate::caller::Admin;
use crate::clock::Time;
use crate::input::{JsonBody, Parameters, UserId};
use crate::invitations::offer_reset;
use crate::openapi::{About, Created, Section};
use crate::problem::Refusal;
use crate::store::{Change, Changed, User};

/// How many accounts a page has.
const MAX_PAGE: u32 = 200;

/// The query of `GET /api/admin/users`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// A part of the name, or a whole id.
    #[serde(default)]
    search: String,
    /// The `next` of the page before.
    #[serde(default)]
    after: String,
    #[serde(default = "fifty")]
    #[schemars(range(min = 1, max = MAX_PAGE))]
    limit: u32,
}

/// A page of accounts, by name.
#[derive(Serialize, JsonSchema)]
pub(super) struct Users {
    users: Vec<Account>,
    /// The `after` of the next page.
    next: Option<String>,
}

/// An account.
#[derive(Serialize, JsonSchema)]
pub(super) struct Account {
    user_id: String,
    username: String,
    role: String,
    created_at: Time,
    disabled_at: Option<Time>,
}

pub(super) const LIST: About = About::new(Section::Administration, "Lists accounts");

/// `GET`: accounts by name. `search` is a part of the name or a whole id; `after` is the `next` of
/// the page before.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    _: Admin,
    Parameters(query): Parameters<Query>,
) -> Result<Json<Users>, Refusal> {
    if !(1..=MAX_PAGE).contains(&query.limit) {
        return Err(Refusal::new(Code::RequestInvalid, format!("limit must be 1 to {MAX_PAGE}.")));
    }
    let users = app.store.accounts().list(&query.search, &query.after, i64::from(query.limit)).await?;
    let is_full = users.len() >= query.limit as usize;
    let next = users.last().filter(|_| is_full).map(|user| user.username.clone());
    Ok(Json(Users { users: users.into_iter().map(describe).collect(), next }))
}

pub(super) const GET: About = About::new(Section::Administration, "An account");

/// `GET` of one.
pub(super) async fn get(State(app): State<Arc<App>>, _: Admin, UserId(id): UserId) -> Result<Json<Account>, Refusal> {
    Ok(Json(describe(find(&app, &id).await?)))
}

/// The body of `PATCH`: one of both, or both.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    /// One of the policy's.
    #[serde(default)]
    role: Option<String>,
    /// Nobody can log in any more.
    #[serde(default)]
    disabled: Option<bool>,
}

pub(super) const PATCH: About =
    About::new(Section::Administration, "Changes the role of an account, or shuts it").refuses(&[Code::Conflict]);

/// `PATCH`: another role, or kept out, or let in again. All tokens of the user are withdrawn.
/// `409 conflict` when nobody who can log in would administer any more.
pub(super) async fn patch(
    State(app): State<Arc<App>>,
    admin: Admin,
    UserId(id): UserId,
    JsonBody(body): JsonBody<Body>,
) -> Result<Json<Account>, Refusal> {
    let user = find(&app, &id).await?;
    if let Some(role) = &body.role {
        let known = app.policy.now().document.roles.contains_key(role);
        if !known {
            return Err(Refusal::new(Code::RequestInvalid, "role: the policy has none of this name."));
        }
        if user.is_of_another_issuer() {
            return Err(Refusal::new(Code::Conflict, "The role of this user stands in the tokens of another issuer."));
        }
        if *role != user.role {
            change(&app, &admin, &id, Change::Role(role)).await?;
        }
    }
    if let Some(disabled) = body.disabled.filter(|disabled| *disabled != user.disabled_at.is_some()) {
        change(&app, &admin, &id, Change::Disabled(disabled.then_some(app.clock.now_ms()))).await?;
    }
    Ok(Json(describe(find(&app, &id).await?)))
}

async fn change(app: &App, admin: &Admin, id: &str, change: Change<'_>) -> Result<(), Refusal> {
    let withdrawn = withdrawal(app, id, admin.caller().user_id(), change.reason())?;
    let audit = admin.caller().audit(&app.clock, change.action(), "ok").on_user(id);
    match app.store.accounts().change(id, change, &withdrawn, &audit).await? {
        Changed::Done => app.policy.hurry(),
        Changed::NoUser => return Err(Refusal::not_found()),
        Changed::LastAdmin => return Err(Refusal::new(Code::Conflict, "This is the last admin who can log in.")),
    }
    Ok(())
}

/// By which a user sets a new password.
#[derive(Serialize, JsonSchema)]
pub(super) struct ResetOffer {
    user_id: String,
    /// The secret. No other answer has it.
    token: String,
    /// To be appended to the address of the server.
    path: String,
    expires_at: Time,
}

pub(super) const RESET: About =
    About::new(Section::Administration, "Offers a user to set a new password").refuses(&[Code::Conflict]);

/// `POST …/reset`: offers the user to set a new password. The secret is in this answer and nowhere
/// else; it holds for an hour.
pub(super) async fn reset(
    State(app): State<Arc<App>>,
    admin: Admin,
    UserId(id): UserId,
) -> Result<Created<ResetOffer>, Refusal> {
    let user = find(&app, &id).await?;
    if user.is_of_another_issuer() {
        return Err(Refusal::new(Code::Conflict, "This user logs in elsewhere and has no password here."));
    }
    let (reset, secret) = offer_reset(&user.id, app.clock.now_ms());
    let audit = admin.caller().audit(&app.clock, "reset_offer", "ok").on_user(&user.id);
    app.store.invitations().offer_reset(&reset, &audit).await?;
    let path = format!("/#reset={secret}");
    Ok(Created(ResetOffer { user_id: user.id, token: secret, path, expires_at: Time(reset.expires_at) }))
}

async fn find(app: &App, id: &str) -> Result<User, Refusal> {
    app.store.accounts().by_id(id).await?.ok_or_else(Refusal::not_found)
}

fn describe(user: User) -> Account {
    Account {
        user_id: user.id,
        username: user.username,
        role: user.role,
        created_at: Time(user.created_at),
        disabled_at: user.disabled_at.map(Time),
    }
}

fn fifty() -> u32 {
    50
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::clock::new_id;
    use crate::test_app::{ADA, NOW_MS, Reply, TestApp};

    async fn as_admin(app: &TestApp, method: &str, target: &str, body: Option<Value>) -> Reply {
        app.send(app.request(method, target, Some((ADA, "admin")), body.as_ref())).await
    }

    #[tokio::test]
    async fn accounts_come_in_pages_and_are_found() {
        let app = TestApp::new().await;
        let mut ids = Vec::new();
        for name in ["bob", "carol", "张伟"] {
            ids.push(app.register(name).await);
        }
        let names = |reply: &Reply| {
            reply.json()["users"].as_array().unwrap().iter().map(|user| user["username"].clone()).collect::<Vec<_>>()
        };
        let first = as_admin(&app, "GET", "/api/admin/users?limit=2", None).await;
        assert_eq!((names(&first), &first.json()["next"]), (vec![json!("bob"), json!("carol")], &json!("carol")));
        let second = as_admin(&app, "GET", "/api/admin/users?limit=2&after=carol", None).await;
        assert_eq!((names(&second), &second.json()["next"]), (vec![json!("张伟")], &Value::Null));
        for (search, found) in [("aro", 1), ("%25", 0), ("%E5%BC%A0", 1), (ids[0].as_str(), 1), ("_", 0), ("zz", 0)] {
            let reply = as_admin(&app, "GET", &format!("/api/admin/users?search={search}"), None).await;
            assert_eq!(names(&reply).len(), found, "{search}");
        }
        assert_eq!(as_admin(&app, "GET", "/api/admin/users?limit=0", None).await.code(), "request_invalid");
        let one = as_admin(&app, "GET", &format!("/api/admin/users/{}", ids[0]), None).await;
        assert_eq!((&one.json()["username"], &one.json()["disabled_at"]), (&json!("bob"), &Value::Null));
        assert!(!String::from_utf8_lossy(&one.body).contains("argon2"));
        let unknown = as_admin(&app, "GET", &format!("/api/admin/users/{}", new_id(NOW_MS)), None).await;
        assert_eq!(unknown.code(), "not_found");
        assert_eq!(app.get(ADA, "/api/admin/users").await.code(), "role_forbidden");
    }

    #[tokio::test]
    async fn roles_change_and_users_are_kept_out() {
        let app = TestApp::new().await;
        let id = app.register("bob").await;
        let one = format!("/api/admin/users/{id}");
        let patch = async |body: Value| as_admin(&app, "PATCH", &one, Some(body)).await;
        assert_eq!(patch(json!({"role": "premium"})).await.json()["role"], "premium");
        assert_eq!(patch(json!({"role": "king"})).await.code(), "request_invalid");
        assert_eq!(patch(json!({"disabled": true})).await.json()["disabled_at"], "2026-11-23T12:00:00Z");
        assert_eq!(app.login("bob", "correct horse").await.status.as_u16(), 401);
        let told = app.app.store.control().revocations(NOW_MS, 10).await.unwrap();
        assert_eq!((told[0].subject.as_str(), told[0].author.as_str()), (id.as_str(), ADA));
        assert_eq!(patch(json!({"disabled": false})).await.json()["disabled_at"], Value::Null);
        assert_eq!(app.login("bob", "correct horse").await.json()["role"], "premium");
    }

    #[tokio::test]
    async fn the_last_admin_stays() {
        let app = TestApp::new().await;
        let (bob, carol) = (app.register("bob").await, app.register("carol").await);
        let patch =
            async |id: &str, body: Value| as_admin(&app, "PATCH", &format!("/api/admin/users/{id}"), Some(body)).await;
        for id in [&bob, &carol] {
            assert_eq!(patch(id, json!({"role": "admin"})).await.status.as_u16(), 200);
        }
        assert_eq!(patch(&carol, json!({"disabled": true})).await.status.as_u16(), 200);
        assert_eq!(patch(&bob, json!({"role": "free"})).await.code(), "conflict");
        assert_eq!(patch(&bob, json!({"disabled": true})).await.code(), "conflict");
        assert_eq!(patch(&carol, json!({"disabled": false})).await.status.as_u16(), 200);
        assert_eq!(patch(&bob, json!({"role": "free"})).await.status.as_u16(), 200);
    }
}
