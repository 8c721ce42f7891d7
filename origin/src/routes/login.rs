//! `POST /login`: a password, and a second factor where there is one, against a token.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::USER_AGENT;
use axum::response::Response;
use gate::Code;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use webauthn_rs::prelude::PublicKeyCredential;

use crate::app::App;
use crate::caller::Visit;
use crate::guessing::{self, Attempt};
use crate::input::JsonBody;
use crate::logins::{self, Granted};
use crate::openapi::{About, Gives, Section};
use crate::passkeys::Asked;
use crate::problem::Refusal;
use crate::second_factor::{self, Given, Proof};

/// The body.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    username: String,
    password: String,
    /// The tokens go into cookies in place of the answer.
    #[serde(default)]
    cookie: bool,
    /// By which the device is known again; the cookie of an earlier login counts as well.
    #[serde(default)]
    device_token: Option<String>,
    /// A code of the second factor.
    #[serde(default)]
    totp: Option<String>,
    /// In place of a code.
    #[serde(default)]
    recovery_code: Option<String>,
    /// Or what a passkey signed of the question in the answer before.
    #[serde(default)]
    #[schemars(with = "Option<Map<String, Value>>")]
    passkey: Option<PublicKeyCredential>,
}

pub(super) const POST: About = About::new(Section::Accounts, "Logs in")
    .answers(&[Gives::json::<Granted>(200, "Logged in")])
    .refuses(&[Code::TokenInvalid, Code::StepUpRequired]);

/// A wrong name and a wrong password answer alike, and take as long: `401 token_invalid`. That
/// there is a second factor is told only after a right password: `401 step_up_required`.
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    visit: Visit,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Body>,
) -> Result<Response, Refusal> {
    let device = body.device_token.or_else(|| guessing::device_in(&headers));
    let attempt = Attempt { username: &body.username, password: &body.password, device: device.as_deref() };
    let user = guessing::log_in(&app, &visit, attempt).await?;
    let (totp, recovery_code) = (body.totp.as_deref(), body.recovery_code.as_deref());
    let given = Given { totp, recovery_code, passkey: body.passkey.as_ref() };
    let audit = |result| visit.audit(&app.clock, "second_factor", result);
    let proof = second_factor::prove(&app, &user.id, Asked::AtLogin, given, &audit).await?;
    if matches!(proof, Proof::Missing | Proof::Wrong) {
        return Err(second_factor::demand(&app, &user.id, proof).await?);
    }
    // Disabled in this very moment.
    let Some((user, now_ms)) = logins::admitted(&app, &user.id).await? else { return Err(guessing::wrong()) };
    let device_token = app.guard.device_token(&user, app.clock.now_s());
    let user_agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let session = logins::begin(&app, &visit, user_agent, user, now_ms).await?;
    session.on(device_token).into_response(body.cookie, visit.is_secure)
}

#[cfg(test)]
mod tests {
    use gate::bundle::Standing;
    use gate::cache::TokenCache;
    use gate::headers::Seen;
    use gate::{Gate, Request, Verdict, judge};
    use serde_json::json;

    use crate::test_app::{Reply, TestApp};

    async fn registered() -> TestApp {
        let app = TestApp::new().await;
        app.post("/register", json!({"username": "ada", "password": "correct horse"})).await;
        app
    }

    async fn login(app: &TestApp, username: &str, password: &str) -> Reply {
        app.post("/login", json!({"username": username, "password": password})).await
    }

    #[tokio::test]
    async fn the_edge_accepts_the_token() {
        let app = registered().await;
        let reply = login(&app, "ADA", "correct horse").await;
        assert_eq!(reply.status.as_u16(), 200, "{reply:?}");
        assert_eq!(reply.header("cache-control"), "no-store");
        let body = reply.json();
        assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(3600)));

        let document = app.app.policy.now().document.clone().with_origin_keys(&app.app.policy.issuer().keys());
        let gate = Gate::new(&document, &|_| None).unwrap();
        let header = format!("Bearer {}", body["token"].as_str().unwrap());
        let headers =
            [(":method", &b"POST"[..]), (":path", &b"/api/generate"[..]), ("authorization", header.as_bytes())];
        let request = Request {
            seen: &Seen::new(&headers),
            address: &String::new,
            used_up: &|_| None,
            standing: Standing::default(),
        };
        let now = app.app.clock.now_s();
        let Verdict::Pass(pass) = judge(&gate, &mut TokenCache::default(), request, now) else {
            panic!("the token is refused")
        };
        let caller = pass.caller.unwrap();
        assert_eq!((caller.user_id.as_str(), caller.role.as_str()), (body["user_id"].as_str().unwrap(), "free"));
        assert!(matches!(judge(&gate, &mut TokenCache::default(), request, now + 3700), Verdict::Refuse { .. }));
    }

    #[tokio::test]
    async fn wrong_names_and_wrong_passwords_answer_alike() {
        let app = registered().await;
        let replies = [
            login(&app, "ada", "wrong horse").await,
            login(&app, "nobody", "correct horse").await,
            login(&app, "not a name", "correct horse").await,
            login(&app, "ada", "").await,
        ];
        for reply in replies {
            assert_eq!((reply.status.as_u16(), reply.code().as_str()), (401, "token_invalid"));
            assert!(reply.header("www-authenticate").starts_with("Bearer "));
            assert_eq!(reply.json()["detail"], "Wrong username or password.");
        }
    }

    #[tokio::test]
    async fn a_cookie_takes_the_place_of_the_token() {
        let app = registered().await;
        let body = json!({"username": "ada", "password": "correct horse", "cookie": true});
        let plain = app.post("/login", body.clone()).await;
        assert_eq!((plain.json().get("token"), plain.json().get("refresh_token")), (None, None));
        let cookies = plain.cookies();
        assert!(cookies[0].starts_with("cosygate=ey"), "{cookies:?}");
        assert!(cookies[0].ends_with("; HttpOnly; SameSite=Strict; Path=/; Max-Age=3600"), "{cookies:?}");
        assert!(cookies[1].starts_with("cosygate-refresh=01"), "{cookies:?}");
        assert!(cookies[1].ends_with("; HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000"), "{cookies:?}");

        let mut over_tls = app.request("POST", "/login", None, Some(&body));
        over_tls.headers_mut().insert("x-forwarded-proto", "https".parse().unwrap());
        let over_tls = app.send(over_tls).await;
        let cookies = over_tls.cookies();
        assert!(cookies[0].starts_with("__Host-cosygate=ey") && cookies[0].ends_with("; Secure"), "{cookies:?}");
        assert!(
            cookies[1].starts_with("__Host-cosygate-refresh=01") && cookies[1].ends_with("; Secure"),
            "{cookies:?}"
        );
    }

    #[tokio::test]
    async fn without_an_issuer_of_ours_nobody_logs_in() {
        let app = TestApp::with_policy(|policy| {
            policy["issuers"][0]["keys"] = json!({"jwks": crate::issuer::Issuer::sample_keys().logins});
            policy["issuers"].as_array_mut().unwrap().truncate(1);
        })
        .await;
        app.post("/register", json!({"username": "ada", "password": "correct horse"})).await;
        let reply = login(&app, "ada", "correct horse").await;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (503, "policy_unavailable"));
        assert!(!reply.header("retry-after").is_empty());
    }
}
