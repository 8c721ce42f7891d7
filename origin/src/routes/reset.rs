//! `POST /reset`: a new password against the secret of a reset.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse as _, Response};
use gate::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::caller::Visit;
use crate::guessing;
use crate::input::JsonBody;
use crate::invitations::hash;
use crate::openapi::{About, Gives, Section};
use crate::problem::Refusal;
use crate::revocation::{self, Withdrawal};
use crate::store::{Proof, RevocationRecord, User, Whose};

/// The body.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    token: String,
    password: String,
    /// The device token goes into a cookie in place of the answer.
    #[serde(default)]
    cookie: bool,
}

/// Whose password was set.
#[derive(Serialize, JsonSchema)]
pub(super) struct Known {
    username: String,
    /// By which the device is known at the next login; in a cookie, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_token: Option<String>,
}

pub(super) const POST: About = About::new(Section::Accounts, "Sets a new password by a link of an administrator")
    .answers(&[Gives::json::<Known>(200, "Set")]);

/// Sets it and withdraws every token of the user. `400 request_invalid` when the secret does not
/// hold, for whatever reason.
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    visit: Visit,
    JsonBody(body): JsonBody<Body>,
) -> Result<Response, Refusal> {
    let invalid = |reason: &str| Refusal::new(Code::RequestInvalid, reason);
    let gone = || invalid("token is used, replaced or older than an hour. Ask for another link.");
    let secret_hash = hash(&body.token);
    let reset = app.store.invitations().reset_by_secret(&secret_hash, app.clock.now_ms()).await?.ok_or_else(gone)?;
    let user = app.store.accounts().by_id(&reset.user_id).await?.ok_or_else(gone)?;
    let password = app.passwords.accept(&body.password, &user.username).map_err(|reason| invalid(&reason))?;
    let password_hash = app.passwords.hash(password).await?;
    let withdrawn = withdrawal(&app, &user.id, &user.id, "password reset")?;
    let audit = visit.audit(&app.clock, "password_reset", "ok").by(&user.id);
    let proof = Proof::Reset(&secret_hash);
    if !app.store.accounts().set_password(&user.id, proof, &password_hash, &withdrawn, &audit).await? {
        return Err(gone());
    }
    app.policy.hurry();
    known(&app, &User { password_hash, ..user }, body.cookie, visit.is_secure)
}

/// All tokens of a user.
pub(super) fn withdrawal(app: &App, user_id: &str, author: &str, reason: &str) -> Result<RevocationRecord, Refusal> {
    let withdrawal = Withdrawal { whose: Whose::User, subject: user_id, author, reason };
    revocation::record(withdrawal, &app.policy.now().document, app.clock.now_ms()).map_err(Refusal::internal)
}

/// The answer to somebody who has set a password: the device is known from now on.
pub(super) fn known(app: &App, user: &User, in_cookie: bool, is_secure: bool) -> Result<Response, Refusal> {
    let token = app.guard.device_token(user, app.clock.now_s());
    let username = user.username.clone();
    if !in_cookie {
        return Ok(Json(Known { username, device_token: Some(token) }).into_response());
    }
    let mut response = Json(Known { username, device_token: None }).into_response();
    response.headers_mut().insert(SET_COOKIE, guessing::device_cookie(&token, is_secure)?);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::test_app::{ADA, TestApp};

    async fn offer(app: &TestApp, id: &str) -> Value {
        let target = format!("/api/admin/users/{id}/reset");
        let reply = app.send(app.request("POST", &target, Some((ADA, "admin")), None)).await;
        assert_eq!(reply.status.as_u16(), 201, "{reply:?}");
        reply.json()
    }

    #[tokio::test]
    async fn a_reset_works_once_and_for_an_hour() {
        let app = TestApp::new().await;
        let id = app.register("bob").await;
        let set = async |token: &Value, password: &str| {
            app.post("/reset", json!({"token": token, "password": password})).await
        };
        let replaced = offer(&app, &id).await["token"].clone();
        let offered = offer(&app, &id).await;
        assert_eq!(offered["expires_at"], "2026-11-23T13:00:00Z");
        assert_eq!(offered["path"], format!("/#reset={}", offered["token"].as_str().unwrap()));
        let token = offered["token"].clone();
        let gone = set(&replaced, "another horse entirely").await;
        assert_eq!((gone.status.as_u16(), gone.code().as_str()), (400, "request_invalid"));
        // A password that is refused does not use it up.
        assert!(set(&token, "password1").await.json()["detail"].as_str().unwrap().starts_with("password"));
        assert_eq!(set(&token, "another horse entirely").await.status.as_u16(), 200);
        assert_eq!(set(&token, "yet another horse here").await.json()["detail"], gone.json()["detail"]);
        assert_eq!(app.login("bob", "another horse entirely").await.status.as_u16(), 200);
        assert_eq!(app.login("bob", "correct horse").await.status.as_u16(), 401);
        let told = app.app.store.control().revocations(app.app.clock.now_ms(), 10).await.unwrap();
        assert_eq!((told[0].subject.as_str(), told[0].reason.as_str()), (id.as_str(), "password reset"));

        let late = offer(&app, &id).await["token"].clone();
        app.app.clock.advance(3_600_000);
        assert_eq!(set(&late, "yet another horse here").await.json()["detail"], gone.json()["detail"]);
    }

    #[tokio::test]
    async fn whoever_resets_gets_in_while_others_guess() {
        let app = TestApp::new().await;
        let id = app.register("bob").await;
        for _ in 0..12 {
            app.login("bob", "wrong horse").await;
        }
        let token = offer(&app, &id).await["token"].clone();
        let body = json!({"token": token, "password": "another horse entirely", "cookie": true});
        let reply = app.post("/reset", body).await;
        let cookie = reply.header("set-cookie").split(';').next().unwrap().to_owned();
        assert_eq!(reply.json(), json!({"username": "bob"}));
        let body = json!({"username": "bob", "password": "another horse entirely"});
        assert_eq!(app.post("/login", body.clone()).await.status.as_u16(), 429);
        let mut known = app.request("POST", "/login", None, Some(&body));
        known.headers_mut().insert("cookie", format!("theme=dark; {cookie}").parse().unwrap());
        assert_eq!(app.send(known).await.status.as_u16(), 200);
    }
}
