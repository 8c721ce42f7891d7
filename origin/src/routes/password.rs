//! `POST /api/me/password`: another password against the current one.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use gate::Code;
use schemars::JsonSchema;
use serde::Deserialize;

use super::reset::{Known, known, withdrawal};
use crate::app::App;
use crate::caller::Caller;
use crate::guessing;
use crate::input::JsonBody;
use crate::openapi::{About, Gives, Section};
use crate::problem::Refusal;
use crate::store::{Proof, User};

/// The body.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    current: String,
    new: String,
    /// The device token goes into a cookie in place of the answer.
    #[serde(default)]
    cookie: bool,
}

pub(super) const POST: About =
    About::new(Section::Accounts, "Changes your password; every token of yours is withdrawn")
        .answers(&[Gives::json::<Known>(200, "Changed")])
        .refuses(&[Code::NotFound]);

/// Sets it and withdraws every token of the caller, this one, too; the new password gets another.
/// `400 request_invalid` when the current one is wrong, `429 rate_limited` when too many were.
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    caller: Caller,
    JsonBody(body): JsonBody<Body>,
) -> Result<Response, Refusal> {
    let account = app.store.accounts().by_id(caller.user_id()).await?;
    if account.is_some_and(|user| user.password().is_none()) {
        let detail = "current: this account has no password. An administrator can offer a link that sets one.";
        return Err(Refusal::new(Code::RequestInvalid, detail));
    }
    let user = guessing::confirm(&app, &caller, "password_change", &body.current).await?;
    let invalid = |reason: String| Refusal::new(Code::RequestInvalid, reason);
    let new = app.passwords.accept(&body.new, &user.username).map_err(invalid)?;
    let hash = app.passwords.hash(new).await?;
    let withdrawn = withdrawal(&app, &user.id, &user.id, "password changed")?;
    let audit = caller.audit(&app.clock, "password_change", "ok");
    let proof = Proof::Password(&user.password_hash);
    if !app.store.accounts().set_password(&user.id, proof, &hash, &withdrawn, &audit).await? {
        return Err(invalid("The password was changed meanwhile.".to_owned()));
    }
    app.policy.hurry();
    known(&app, &User { password_hash: hash, ..user }, body.cookie, caller.visit().is_secure)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::test_app::TestApp;

    #[tokio::test]
    async fn the_current_password_sets_the_next() {
        let app = TestApp::new().await;
        let id = app.register("ada").await;
        let change = async |current: &str, new: &str| {
            let body = json!({"current": current, "new": new});
            app.send(app.request("POST", "/api/me/password", Some((&id, "free")), Some(&body))).await
        };
        let wrong = change("wrong horse", "another horse entirely").await;
        assert_eq!((wrong.status.as_u16(), wrong.code().as_str()), (400, "request_invalid"));
        assert_eq!(wrong.json()["detail"], "current password is wrong.");
        let weak = change("correct horse", "password1").await;
        assert!(weak.json()["detail"].as_str().unwrap().starts_with("password is too easy"), "{weak:?}");

        let before = app.login("ada", "correct horse").await.json();
        let changed = change("correct horse", "another horse entirely").await;
        assert_eq!(changed.status.as_u16(), 200, "{changed:?}");
        assert_eq!(changed.json()["username"], "ada");
        let told = app.app.store.control().revocations(app.app.clock.now_ms(), 10).await.unwrap();
        assert_eq!((told[0].subject.as_str(), told[0].reason.as_str()), (id.as_str(), "password changed"));
        assert_eq!(app.login("ada", "correct horse").await.status.as_u16(), 401);
        assert_eq!(app.login("ada", "another horse entirely").await.status.as_u16(), 200);
        // What was known by the old password is not known any more.
        assert_ne!(before["device_token"], changed.json()["device_token"]);
    }

    #[tokio::test]
    async fn a_stolen_token_does_not_let_one_guess() {
        let app = TestApp::new().await;
        let id = app.register("ada").await;
        let statuses = futures::future::join_all((0..20).map(async |n| {
            let body = json!({"current": format!("wrong horse {n}"), "new": "another horse entirely"});
            let reply = app.send(app.request("POST", "/api/me/password", Some((&id, "free")), Some(&body))).await;
            reply.status.as_u16()
        }));
        let statuses = statuses.await;
        assert_eq!(statuses.iter().filter(|status| **status == 400).count(), 8);
        assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 12);
        // Elsewhere nobody is kept out by that.
        assert_eq!(app.login("ada", "correct horse").await.status.as_u16(), 200);
    }
}
