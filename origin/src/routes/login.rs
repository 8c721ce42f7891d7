//! `POST /login`: a password against a token.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use gate::{Code, Problem};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::caller::Visit;
use crate::clock::new_id;
use crate::guessing::{self, Attempt};
use crate::input::JsonBody;
use crate::issuer::Grant;
use crate::problem::Refusal;
use crate::store::{IssuedToken, User, Whose};

/// How much longer than it holds a token is remembered, in seconds: clocks may differ.
const MARGIN_S: u64 = 60;

/// The body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    username: String,
    password: String,
    /// The token goes into a cookie in place of the answer.
    #[serde(default)]
    cookie: bool,
    /// By which the device is known again; the cookie of an earlier login counts as well.
    #[serde(default)]
    device_token: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_token: Option<String>,
    token_type: &'static str,
    expires_in: u64,
    user_id: String,
    username: String,
    role: String,
}

/// A wrong name and a wrong password answer alike, and take as long: `401 token_invalid`.
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    visit: Visit,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Body>,
) -> Result<Response, Refusal> {
    let device = body.device_token.or_else(|| guessing::device_in(&headers));
    let attempt = Attempt { username: &body.username, password: &body.password, device: device.as_deref() };
    let user = guessing::log_in(&app, &visit, attempt).await?;
    // Disabled in this very moment.
    let Some((user, now_ms)) = admitted(&app, user).await? else { return Err(guessing::wrong()) };
    let (token, expires_in) = grant(&app, &user, now_ms).await?;
    app.store.audit(&visit.audit(&app.clock, "login", "ok").by(&user.id)).await?;

    let device_token = app.guard.device_token(&user, app.clock.now_s());
    let cookie = body.cookie.then(|| cookie(&token, expires_in, visit.is_secure)).transpose()?;
    let device_cookie = body.cookie.then(|| guessing::device_cookie(&device_token, visit.is_secure)).transpose()?;
    let answer = Answer {
        token: cookie.is_none().then_some(token),
        device_token: cookie.is_none().then_some(device_token),
        token_type: "Bearer",
        expires_in,
        user_id: user.id,
        username: user.username,
        role: user.role,
    };
    let mut response = Json(answer).into_response();
    for cookie in [cookie, device_cookie].into_iter().flatten() {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// The user as the database knows them now, unless disabled, and the time of issue, in
/// milliseconds.
///
/// Tokens know whole seconds only, and what was issued in the second of a withdrawal is withdrawn,
/// too; who logs in then waits for the next one. The time is taken before the user is looked at
/// again, so whatever is changed about the account after that withdraws the token.
async fn admitted(app: &App, user: User) -> Result<Option<(User, i64)>, Refusal> {
    let control = app.store.control();
    let issuer = app.policy.now().own_issuer().map(|issuer| issuer.issuer.clone()).unwrap_or_default();
    let withdrawn = [
        control.withdrawn_before(Whose::User, &user.id).await?,
        control.withdrawn_before(Whose::Issuer, &issuer).await?,
    ];
    let holds_from_ms = withdrawn.into_iter().flatten().max().unwrap_or_default().saturating_mul(1000);
    let wait_ms = holds_from_ms.saturating_sub(app.clock.now_ms()).clamp(0, 1000);
    tokio::time::sleep(Duration::from_millis(u64::try_from(wait_ms).unwrap_or_default())).await;
    let now_ms = app.clock.now_ms().max(holds_from_ms);
    let user = app.store.accounts().by_id(&user.id).await?;
    Ok(user.filter(|user| user.disabled_at.is_none()).map(|user| (user, now_ms)))
}

/// A token and how long it holds, in seconds.
async fn grant(app: &App, user: &User, now_ms: i64) -> Result<(String, u64), Refusal> {
    let policy = app.policy.now();
    let unavailable = || Problem::new(Code::PolicyUnavailable, "Nobody can log in here at the moment.").retry_after(60);
    let issuer = policy.own_issuer().ok_or_else(|| Refusal::from(unavailable()).because("no issuer with our keys"))?;
    let lifetime_s = app.settings.token_lifetime_seconds.min(u64::from(issuer.max_lifetime_s));
    let (sid, jti) = (new_id(now_ms), new_id(now_ms));
    let holds_s = lifetime_s + u64::from(issuer.clock_skew_s) + MARGIN_S;
    let token = IssuedToken {
        jti: &jti,
        sid: &sid,
        issued_at: now_ms / 1000,
        expires_at: now_ms.saturating_add(i64::try_from(holds_s * 1000).unwrap_or(i64::MAX)),
    };
    let place = app.store.issued().add(token).await?;
    let grant = Grant {
        issuer: &issuer.issuer,
        audience: issuer.audiences.first().map(String::as_str).unwrap_or_default(),
        user,
        sid: &sid,
        jti: &jti,
        place,
        lifetime_s,
        now_ms,
    };
    Ok((app.policy.issuer().issue(&grant), lifetime_s))
}

/// The cookie (RFC 6265): out of reach of scripts, and never sent from another site.
pub(super) fn cookie(token: &str, max_age_s: u64, is_secure: bool) -> Result<HeaderValue, Refusal> {
    let secure = if is_secure { "; Secure" } else { "" };
    let name = gate::headers::COOKIE;
    let cookie = format!("{name}={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age={max_age_s}{secure}");
    cookie.parse().map_err(Refusal::internal)
}

#[cfg(test)]
mod tests {
    use gate::bundle::Standing;
    use gate::cache::TokenCache;
    use gate::headers::Seen;
    use gate::{Gate, Request, Verdict, judge};
    use serde_json::{Value, json};

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

        let document = app.app.policy.now().document.clone().with_origin_keys(&app.app.policy.issuer().jwks());
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
        assert_eq!(plain.json().get("token"), None::<&Value>);
        let cookie = plain.header("set-cookie");
        assert!(cookie.starts_with("cosygate=ey"), "{cookie}");
        assert!(cookie.ends_with("; HttpOnly; SameSite=Strict; Path=/; Max-Age=3600"), "{cookie}");

        let mut over_tls = app.request("POST", "/login", None, Some(&body));
        over_tls.headers_mut().insert("x-forwarded-proto", "https".parse().unwrap());
        assert!(app.send(over_tls).await.header("set-cookie").ends_with("; Secure"));

        let logout = app.send(app.request("POST", "/logout", None, None)).await;
        assert_eq!(logout.status.as_u16(), 204);
        assert_eq!(logout.header("set-cookie"), "cosygate=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0");
    }

    #[tokio::test]
    async fn without_an_issuer_of_ours_nobody_logs_in() {
        let app = TestApp::with_policy(|policy| {
            policy["issuers"][0]["keys"] = json!({"jwks": crate::issuer::Issuer::sample_jwks()});
        })
        .await;
        app.post("/register", json!({"username": "ada", "password": "correct horse"})).await;
        let reply = login(&app, "ada", "correct horse").await;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (503, "policy_unavailable"));
        assert!(!reply.header("retry-after").is_empty());
    }
}
