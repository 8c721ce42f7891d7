use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use serde_json::{Value, json};

use super::*;
use crate::store::{AuditEntry, Change, Store};
use crate::test_app::{NOW_MS, Reply, TestApp};

async fn registered() -> TestApp {
    let app = TestApp::new().await;
    app.post("/register", json!({"username": "ada", "password": "correct horse"})).await;
    app
}

async fn login(app: &TestApp) -> Value {
    let reply = app.post("/login", json!({"username": "ada", "password": "correct horse"})).await;
    assert_eq!(reply.status.as_u16(), 200, "{reply:?}");
    reply.json()
}

async fn refreshed(app: &TestApp, token: &str) -> Reply {
    app.post("/refresh", json!({"refresh_token": token})).await
}

fn text(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap_or_else(|| panic!("no {name}: {body}")).to_owned()
}

/// The refresh token of an answer.
async fn next(app: &TestApp, token: &str) -> String {
    let reply = refreshed(app, token).await;
    assert_eq!(reply.status.as_u16(), 200, "{reply:?}");
    text(&reply.json(), "refresh_token")
}

async fn is_refused(app: &TestApp, token: &str) {
    let reply = refreshed(app, token).await;
    assert_eq!((reply.status.as_u16(), reply.code().as_str()), (401, "token_invalid"), "{token}");
    assert_eq!(reply.json()["detail"], "The refresh token is not valid. Log in again.");
}

fn claims(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

async fn kept(app: &TestApp, token: &str) -> Login {
    app.app.store.logins().by_id(token.split_once('.').unwrap().0).await.unwrap().unwrap()
}

/// How it ended, and whether its access tokens are withdrawn.
async fn end_of(app: &TestApp, token: &str) -> (Option<String>, bool) {
    let login = kept(app, token).await;
    let withdrawn = app.app.store.control().withdrawn_before(Whose::Session, &login.id).await.unwrap();
    (login.ended_why, withdrawn.is_some())
}

#[tokio::test]
async fn a_refresh_goes_on_with_the_login_and_looks_at_the_role_again() {
    let app = registered().await;
    let first = login(&app).await;
    assert_eq!(first["refresh_expires_in"], 2_592_000);
    app.app.clock.advance(1_800_000);
    let now_ms = app.app.clock.now_ms();
    let withdrawal = withdrawal(&app.app, "nobody's", &text(&first, "user_id"), Ended::Revoked).unwrap();
    let withdrawal = RevocationRecord { kind: "user".to_owned(), subject: text(&first, "user_id"), ..withdrawal };
    let audit = AuditEntry::of_system(now_ms, "user_role");
    let accounts = app.app.store.accounts();
    accounts.change(&text(&first, "user_id"), Change::Role("premium"), &withdrawal, &audit).await.unwrap();
    let second = refreshed(&app, &text(&first, "refresh_token")).await.json();
    assert_eq!((&second["role"], &second["refresh_expires_in"]), (&json!("premium"), &json!(2_592_000 - 1_801)));
    let (before, after) = (claims(&text(&first, "token")), claims(&text(&second, "token")));
    for same in ["sid", "auth_time", "sub", "iss", "aud", "scope"] {
        assert_eq!(before[same], after[same], "{same}");
    }
    assert_eq!((&before["role"], &after["role"]), (&json!("free"), &json!("premium")));
    // What states the old role is withdrawn, what states the new one is not.
    assert!(before["iat"].as_i64().unwrap() < withdrawal.not_before);
    assert_eq!(after["iat"], withdrawal.not_before);
    assert_ne!(before["jti"], after["jti"]);
}

#[tokio::test]
async fn a_token_used_twice_ends_the_login_and_everything_of_it() {
    let app = registered().await;
    let mut tokens = Vec::new();
    for _ in 0..100 {
        tokens.push(text(&login(&app).await, "refresh_token"));
    }
    for (number, first) in tokens.iter().enumerate() {
        let mut newest = next(&app, first).await;
        // The one just before, after the grace, and any older one at any time.
        match number % 2 {
            0 => app.app.clock.advance(GRACE_MS + 1),
            _ => newest = next(&app, &newest).await,
        }
        is_refused(&app, first).await;
        assert_eq!(end_of(&app, first).await, (Some("refresh_reused".to_owned()), true));
        is_refused(&app, &newest).await;
    }
}

#[tokio::test]
async fn twenty_at_once_leave_one_branch() {
    let app = registered().await;
    for _ in 0..100 {
        let first = text(&login(&app).await, "refresh_token");
        let all = join_all((0..20).map(|_| next(&app, &first))).await;
        assert!(all.iter().all(|token| *token == all[0] && *token != first));
        let second = next(&app, &all[0]).await;
        assert_ne!(second, all[0]);
    }
}

/// For every database there is; see the contract of the store.
pub(crate) async fn a_lost_answer_is_given_again(store: Store) {
    let app = TestApp::over(Some(store), |_| {}).await;
    app.post("/register", json!({"username": "ada", "password": "correct horse"})).await;
    let first = text(&login(&app).await, "refresh_token");
    let second = next(&app, &first).await;
    app.app.clock.advance(GRACE_MS);
    assert_eq!(next(&app, &first).await, second, "lost, and given again");
    let all = join_all((0..20).map(|_| next(&app, &second))).await;
    assert!(all.iter().all(|token| *token == all[0]));
    is_refused(&app, &first).await;
    assert_eq!(end_of(&app, &first).await, (Some("refresh_reused".to_owned()), true));
    is_refused(&app, &all[0]).await;
}

#[tokio::test]
async fn what_was_never_given_out_ends_nothing() {
    let app = registered().await;
    let token = text(&login(&app).await, "refresh_token");
    let id = token.split_once('.').unwrap().0;
    let made_up = [
        RefreshToken::first(id, &[0; 32]).text(),
        RefreshToken::first(&new_id(NOW_MS), &[0; 32]).text(),
        id.to_owned(),
        "x".to_owned(),
        String::new(),
    ];
    for made_up in &made_up {
        is_refused(&app, made_up).await;
        app.post("/logout", json!({"refresh_token": made_up})).await;
    }
    assert_eq!(end_of(&app, &token).await, (None, false));
    next(&app, &token).await;
    assert_eq!(app.post("/refresh", json!({})).await.code(), "token_missing");
}

#[tokio::test]
async fn the_database_alone_opens_nothing() {
    let app = registered().await;
    let first = text(&login(&app).await, "refresh_token");
    let second = next(&app, &first).await;
    let login = kept(&app, &first).await;
    let (family, nonce) = (unhex(&login.family).unwrap(), unhex(login.nonce.as_deref().unwrap()).unwrap());
    for kept in [&login.secret, login.previous.as_ref().unwrap(), &login.family] {
        let forged = RefreshToken::parse(&format!("{}.{}", login.id, URL_SAFE_NO_PAD.encode([0; 48]))).unwrap();
        assert!(!forged.is_of(&family) && !second.contains(kept.as_str()));
    }
    assert!(kept(&app, &first).await.secret == RefreshToken::parse(&second).unwrap().hash());
    let successor = RefreshToken::parse(&first).unwrap().successor(&nonce, &family);
    assert_eq!(successor.text(), second, "only with what was presented");
}

#[tokio::test]
async fn nobody_comes_back_who_is_kept_out() {
    let app = registered().await;
    let tokens = [login(&app).await, login(&app).await, login(&app).await, login(&app).await];
    let [a, b, c, d] = tokens.each_ref().map(|body| text(body, "refresh_token"));
    let (user_id, now_ms) = (text(&tokens[0], "user_id"), app.app.clock.now_ms());
    let audit = AuditEntry::of_system(now_ms, "test");
    let record = |whose: Whose, subject: &str| {
        let withdrawal = Withdrawal { whose, subject, author: "cli:test", reason: "" };
        revocation::record(withdrawal, &app.app.policy.now().document, now_ms).unwrap()
    };
    let sid = a.split_once('.').unwrap().0;
    app.app.store.control().revoke(&record(Whose::Session, sid), &audit).await.unwrap();
    is_refused(&app, &a).await;
    assert_eq!(kept(&app, &a).await.ended_why.as_deref(), Some("revoked"));
    next(&app, &b).await;
    assert_eq!(app.post("/logout", json!({"refresh_token": b})).await.status.as_u16(), 204);
    is_refused(&app, &b).await;
    assert_eq!(end_of(&app, &b).await, (Some("logout".to_owned()), true));
    let withdrawn = record(Whose::User, &user_id);
    app.app.store.accounts().change(&user_id, Change::Disabled(Some(now_ms)), &withdrawn, &audit).await.unwrap();
    is_refused(&app, &c).await;
    assert_eq!(kept(&app, &c).await.ended_why.as_deref(), Some("disabled"));
    app.app.store.accounts().change(&user_id, Change::Disabled(None), &withdrawn, &audit).await.unwrap();
    is_refused(&app, &d).await;
    // A withdrawal ends what was begun before it and nothing else.
    let e = text(&login(&app).await, "refresh_token");
    let e = next(&app, &e).await;
    app.app.store.control().revoke(&record(Whose::Issuer, "cosygate"), &audit).await.unwrap();
    next(&app, &e).await;
    app.app.clock.advance(2_592_001_000);
    is_refused(&app, &e).await;
    upkeep(&app).await;
    assert!(app.app.store.logins().of_user(&user_id).await.unwrap().is_empty());
}

async fn upkeep(app: &TestApp) {
    crate::upkeep::once(&app.app).await.unwrap();
}

#[tokio::test]
async fn a_document_that_withdraws_ends_refreshes_for_good() {
    let app = registered().await;
    let body = login(&app).await;
    let user_id = text(&body, "user_id");
    let mut document = serde_json::to_value(&app.app.policy.now().document).unwrap();
    document["revocation"] = json!({"users": {user_id: NOW_MS / 1000 + 1}});
    let document = Document::parse(document.to_string().as_bytes()).unwrap();
    let token = text(&body, "refresh_token");
    let login = kept(&app, &token).await;
    assert!(is_withdrawn(&login, &document));
    assert!(!is_withdrawn(&Login { created_at: NOW_MS + 1000, ..login }, &document));
}

#[tokio::test]
async fn cookies_are_refreshed_into_cookies_from_our_own_page_alone() {
    let app = registered().await;
    let body = json!({"username": "ada", "password": "correct horse", "cookie": true});
    let reply = app.post("/login", body).await;
    let cookie = reply.cookies()[1].split(';').next().unwrap().to_owned();
    let refresh = |cookie: &str, site: &str| {
        let mut request: Request<Body> = app.request("POST", "/refresh", None, None);
        request.headers_mut().insert("cookie", format!("theme=dark; {cookie}").parse().unwrap());
        request.headers_mut().insert("sec-fetch-site", site.parse().unwrap());
        app.send(request)
    };
    assert_eq!(refresh(&cookie, "same-site").await.code(), "csrf_refused");
    let reply = refresh(&cookie, "same-origin").await;
    assert_eq!((reply.status.as_u16(), reply.json().get("refresh_token")), (200, None), "{reply:?}");
    assert!(reply.cookies()[0].starts_with("cosygate=ey") && reply.cookies()[1].starts_with("cosygate-refresh=01"));
    assert_ne!(reply.cookies()[1].split(';').next().unwrap(), cookie);
    // Over TLS the plain name is nothing.
    assert_eq!(refresh(&format!("__Host-{cookie}"), "same-origin").await.code(), "token_missing");
    assert_eq!(refresh(&format!("{cookie}; {cookie}"), "same-origin").await.code(), "token_invalid");
    let mut both = app.request("POST", "/refresh", None, Some(&json!({"refresh_token": "x"})));
    both.headers_mut().insert("cookie", cookie.parse().unwrap());
    both.headers_mut().insert("sec-fetch-site", "same-origin".parse().unwrap());
    assert_eq!(app.send(both).await.json()["detail"], "Send one refresh token, not two.");
    let reply = refresh("cosygate-refresh=x", "same-origin").await;
    assert_eq!(reply.code(), "token_invalid");
    assert!(reply.cookies().iter().all(|cookie| cookie.ends_with("Path=/; Max-Age=0")) && reply.cookies().len() == 2);
}

#[tokio::test]
async fn the_oldest_of_too_many_gives_way() {
    let app = registered().await;
    let mut tokens = Vec::new();
    for _ in 0..=MOST {
        app.app.clock.advance(1000);
        tokens.push(text(&login(&app).await, "refresh_token"));
    }
    assert_eq!(kept(&app, &tokens[0]).await.ended_why.as_deref(), Some("displaced"));
    is_refused(&app, &tokens[0]).await;
    next(&app, &tokens[1]).await;
}

#[tokio::test]
async fn uses_are_noted_to_the_minute() {
    let app = registered().await;
    let body = login(&app).await;
    let (token, user_id) = (text(&body, "refresh_token"), text(&body, "user_id"));
    let id = kept(&app, &token).await.id;
    app.app.clock.advance(90_500);
    app.send(app.request_in(&id, "GET", "/api/me", &user_id)).await;
    assert_eq!(kept(&app, &token).await.seen_at, NOW_MS);
    upkeep(&app).await;
    assert_eq!(kept(&app, &token).await.seen_at, NOW_MS + 60_000);
}
