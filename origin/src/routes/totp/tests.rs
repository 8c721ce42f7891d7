use axum::body::Body;
use axum::http::Request;
use gate::identity::Sealed;
use serde_json::{Value, json};
use totp_rs::{Builder, Secret, Totp};

use crate::test_app::{Reply, TestApp};

const STEP_MS: i64 = 30_000;

/// Somebody with an account, who is logged in.
pub(in crate::routes) struct Person<'a> {
    pub(in crate::routes) app: &'a TestApp,
    pub(in crate::routes) id: String,
    pub(in crate::routes) login: String,
}

impl<'a> Person<'a> {
    pub(in crate::routes) async fn new(app: &'a TestApp, name: &str) -> Self {
        let id = app.register(name).await;
        let reply = app.login(name, "correct horse").await.json();
        let login = reply["refresh_token"].as_str().unwrap().split('.').next().unwrap().to_owned();
        Self { app, id, login }
    }

    fn request(&self, method: &str, target: &str, body: &Value) -> Request<Body> {
        let user = Some((self.id.as_str(), "free"));
        let sealed = Sealed { sid: Some(self.login.clone().into()), ..self.app.sealed(method, target, user) };
        let mut request = self.app.request(method, target, user, Some(body));
        let seal = self.app.ring.seal(&sealed).unwrap();
        request.headers_mut().insert(gate::identity::HEADER, seal.parse().unwrap());
        request
    }

    pub(in crate::routes) async fn call(&self, method: &str, target: &str, body: Value) -> Reply {
        self.app.send(self.request(method, target, &body)).await
    }

    /// Sets a second factor up; what makes its codes, and the recovery codes.
    pub(in crate::routes) async fn enrol(&self) -> (Totp, Vec<String>) {
        let offered = self.call("POST", "/api/me/totp", json!({"password": "correct horse"})).await;
        assert_eq!(offered.status.as_u16(), 201, "{offered:?}");
        let secret = Secret::try_from_base32(offered.json()["secret"].as_str().unwrap()).unwrap();
        let totp = Builder::new().with_secret(secret).build().unwrap();
        let confirmed = self.call("POST", "/api/me/totp/confirm", json!({"totp": code(self.app, &totp)})).await;
        assert_eq!(confirmed.status.as_u16(), 200, "{confirmed:?}");
        let codes = serde_json::from_value(confirmed.json()["recovery_codes"].clone()).unwrap();
        (totp, codes)
    }
}

/// The code of this moment.
pub(in crate::routes) fn code(app: &TestApp, totp: &Totp) -> String {
    totp.generate(app.app.clock.now_s()).to_string()
}

pub(in crate::routes) async fn login(app: &TestApp, password: &str, more: Value) -> (u16, String) {
    let mut body = json!({"username": "ada", "password": password});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let reply = app.post("/login", body).await;
    let code = if reply.status.is_success() { reply.json()["role"].as_str().unwrap().to_owned() } else { reply.code() };
    (reply.status.as_u16(), code)
}

pub(in crate::routes) fn told(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_login_asks_for_a_code_and_takes_it_once() {
    let app = TestApp::new().await;
    let ada = Person::new(&app, "ada").await;
    let offered = ada.call("POST", "/api/me/totp", json!({"password": "correct horse"})).await.json();
    assert!(offered["otpauth_url"].as_str().unwrap().starts_with("otpauth://totp/cosygate:ada?secret="), "{offered}");
    assert!(offered["qr_svg"].as_str().unwrap().contains("<svg "));
    // What was only offered counts for nothing.
    assert_eq!(login(&app, "correct horse", json!({})).await, told(200, "free"));

    let (totp, _) = ada.enrol().await;
    let refused = app.login("ada", "correct horse").await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (401, "step_up_required"));
    let challenge = refused.header("www-authenticate");
    assert!(challenge.contains("insufficient_user_authentication") && challenge.contains("acr_values=\"mfa\""));
    // The one that confirmed it was used.
    let used = json!({"totp": code(&app, &totp)});
    assert_eq!(login(&app, "correct horse", used.clone()).await, told(401, "step_up_required"));
    app.app.clock.advance(STEP_MS);
    let next = json!({"totp": code(&app, &totp)});
    // Whoever does not know the password learns nothing, with a good code neither.
    for more in [json!({}), next.clone(), json!({"totp": "000000"})] {
        assert_eq!(login(&app, "wrong horse", more).await, told(401, "token_invalid"));
    }
    assert_eq!(login(&app, "correct horse", next.clone()).await, told(200, "free"));
    assert_eq!(login(&app, "correct horse", next).await, told(401, "step_up_required"));
    // Nor does an older one hold that was never used.
    assert_eq!(login(&app, "correct horse", used).await, told(401, "step_up_required"));
    assert_eq!(app.app.store.audited("second_factor", "token_invalid").await.len(), 3);
}

#[tokio::test]
async fn one_code_lets_one_in_however_many_come_at_once() {
    let app = TestApp::new().await;
    let ada = Person::new(&app, "ada").await;
    let (totp, codes) = ada.enrol().await;
    app.app.clock.advance(STEP_MS);
    for given in [json!({"totp": code(&app, &totp)}), json!({"recovery_code": codes[0]})] {
        let all = futures::future::join_all((0..4).map(|_| login(&app, "correct horse", given.clone()))).await;
        assert_eq!(all.iter().filter(|(status, _)| *status == 200).count(), 1, "{all:?}");
    }
}

#[tokio::test]
async fn a_recovery_code_works_once() {
    let app = TestApp::new().await;
    let ada = Person::new(&app, "ada").await;
    let (_, codes) = ada.enrol().await;
    assert_eq!(codes.len(), 10);
    let typed = json!({"recovery_code": codes[3].to_uppercase().replace('-', " ")});
    assert_eq!(login(&app, "correct horse", typed.clone()).await, told(200, "free"));
    assert_eq!(login(&app, "correct horse", typed).await, told(401, "step_up_required"));
    let me = app.get(&ada.id, "/api/me").await.json();
    assert_eq!(me["second_factor"]["recovery_codes"], 9);
    assert_eq!(app.app.store.audited("recovery_code", "ok").await.len(), 1);
    // Neither the secret nor a code is written down as it is.
    let file = std::fs::read(app.app.settings.database_file()).unwrap();
    assert!(codes.iter().all(|code| !file.windows(code.len()).any(|part| part == code.as_bytes())));
}

#[tokio::test]
async fn codes_cannot_be_tried_out() {
    let app = TestApp::new().await;
    let ada = Person::new(&app, "ada").await;
    let (totp, codes) = ada.enrol().await;
    app.app.clock.advance(STEP_MS);
    let right = code(&app, &totp);
    let mut wrong =
        (0..1_000_000).map(|n| format!("{n:06}")).filter(|code| totp.check(code, app.app.clock.now_s()).is_none());
    for _ in 0..5 {
        let given = json!({"totp": wrong.next().unwrap()});
        assert_eq!(login(&app, "correct horse", given).await, told(401, "step_up_required"));
    }
    // From now on not even the right one is looked at, wherever it is sent.
    assert_eq!(login(&app, "correct horse", json!({"totp": right})).await, told(429, "rate_limited"));
    for (method, target, body) in [
        ("POST", "/api/me/step-up", json!({"totp": right})),
        ("DELETE", "/api/me/totp", json!({"password": "correct horse", "totp": right})),
        ("POST", "/api/me/totp/confirm", json!({"totp": right})),
    ] {
        assert_eq!(ada.call(method, target, body).await.code(), "rate_limited", "{method} {target}");
    }
    // The owner gets in meanwhile.
    assert_eq!(login(&app, "correct horse", json!({"recovery_code": codes[0]})).await, told(200, "free"));
    app.app.clock.advance(3_600_000);
    assert_eq!(login(&app, "correct horse", json!({"totp": code(&app, &totp)})).await, told(200, "free"));
}

#[tokio::test]
async fn setting_it_up_takes_the_password_and_removing_it_a_code_as_well() {
    let app = TestApp::new().await;
    let ada = Person::new(&app, "ada").await;
    let offer = async |password: &str| ada.call("POST", "/api/me/totp", json!({"password": password})).await;
    assert_eq!(offer("wrong horse").await.code(), "request_invalid");
    assert_eq!(ada.call("POST", "/api/me/totp/confirm", json!({"totp": "000000"})).await.code(), "conflict");
    let remove = async |more: Value| {
        let mut body = json!({"password": "correct horse"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ada.call("DELETE", "/api/me/totp", body).await
    };
    assert_eq!(remove(json!({})).await.code(), "not_found");
    let (totp, codes) = ada.enrol().await;
    assert_eq!(offer("correct horse").await.code(), "conflict");
    let confirm = json!({"totp": code(&app, &totp)});
    assert_eq!(ada.call("POST", "/api/me/totp/confirm", confirm).await.code(), "conflict");
    app.app.clock.advance(STEP_MS);
    assert_eq!(remove(json!({})).await.code(), "request_invalid");
    let right = code(&app, &totp);
    let wrong = if right == "000000" { "000001" } else { "000000" };
    assert_eq!(remove(json!({ "totp": wrong })).await.code(), "request_invalid");
    assert_eq!(remove(json!({"password": "wrong horse", "totp": right})).await.code(), "request_invalid");
    assert_eq!(remove(json!({ "totp": right })).await.status.as_u16(), 204);
    assert_eq!(login(&app, "correct horse", json!({})).await, told(200, "free"));
    // The recovery codes went with it.
    let (_, fresh) = ada.enrol().await;
    assert_eq!(login(&app, "correct horse", json!({"recovery_code": codes[0]})).await, told(401, "step_up_required"));
    assert_eq!(login(&app, "correct horse", json!({"recovery_code": fresh[0]})).await, told(200, "free"));
    // A personal access token is no login.
    let other =
        app.request("POST", "/api/me/totp", Some((&ada.id, "free")), Some(&json!({"password": "correct horse"})));
    assert_eq!(app.send(other).await.code(), "role_forbidden");
}

#[tokio::test]
async fn a_role_that_needs_one_can_only_set_it_up_without() {
    let app = TestApp::with_policy(|policy| policy["roles"]["free"]["second_factor"] = json!(true)).await;
    let ada = Person::new(&app, "ada").await;
    let begun = app.login("ada", "correct horse").await.json();
    assert_eq!(begun["role"], "enrol");
    let refresh = async |token: &Value| app.post("/refresh", json!({"refresh_token": token})).await.json();
    let again = refresh(&begun["refresh_token"]).await;
    assert_eq!(again["role"], "enrol");
    let body = json!({"name": "laptop"});
    assert_eq!(ada.call("POST", "/api/tokens", body.clone()).await.code(), "role_forbidden");
    ada.enrol().await;
    assert_eq!(refresh(&again["refresh_token"]).await["role"], "free");
    assert_eq!(ada.call("POST", "/api/tokens", body).await.status.as_u16(), 201);
}

#[tokio::test]
async fn stepping_up_makes_the_login_recent() {
    let app = TestApp::new().await;
    let ada = Person::new(&app, "ada").await;
    let step_up = async |body: Value| ada.call("POST", "/api/me/step-up", body).await;
    let auth_time = |reply: &Reply| {
        use base64::Engine as _;
        let json = reply.json();
        let claims = json["token"].as_str().unwrap().split('.').nth(1).unwrap().to_owned();
        let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        (claims["sid"].as_str().unwrap().to_owned(), claims["auth_time"].as_u64().unwrap())
    };
    app.app.clock.advance(3_600_000);
    for (body, detail) in
        [(json!({}), "password is missing."), (json!({"password": "wrong horse"}), "current password is wrong.")]
    {
        let refused = step_up(body).await;
        assert_eq!((refused.code().as_str(), &refused.json()["detail"]), ("request_invalid", &json!(detail)));
    }
    let fresh = step_up(json!({"password": "correct horse"})).await;
    assert_eq!(fresh.status.as_u16(), 200, "{fresh:?}");
    assert_eq!(auth_time(&fresh), (ada.login.clone(), app.app.clock.now_s()));
    assert_eq!(fresh.json().get("refresh_token"), None);
    let in_cookie = step_up(json!({"password": "correct horse", "cookie": true})).await;
    assert_eq!(in_cookie.cookies().len(), 1);
    assert!(in_cookie.cookies()[0].starts_with("cosygate=ey") && in_cookie.json().get("token").is_none());

    // With a second factor the password alone is not enough.
    let (totp, codes) = ada.enrol().await;
    app.app.clock.advance(3_600_000);
    assert_eq!(step_up(json!({"password": "correct horse"})).await.code(), "request_invalid");
    assert_eq!(auth_time(&step_up(json!({"totp": code(&app, &totp)})).await).1, app.app.clock.now_s());
    assert_eq!(step_up(json!({"recovery_code": codes[0]})).await.status.as_u16(), 200);
    // A login that has ended does not come back.
    let gone = app.send(ada.app.request_in(&ada.login, "DELETE", &format!("/api/logins/{}", ada.login), &ada.id)).await;
    assert_eq!(gone.status.as_u16(), 204);
    assert_eq!(step_up(json!({"recovery_code": codes[1]})).await.code(), "token_revoked");
}
