/// What becomes of people.
mod arrival;
/// A provider.
mod idp;

use std::collections::HashMap;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac as _;
use serde_json::{Value, json};
use url::Url;

use self::idp::{Forge, Idp, SECRET};
use super::OidcSettings;
use crate::second_factor;
use crate::signing::SigningJwk;
use crate::store::{AuditFilter, Confirmed, User};
use crate::test_app::{NOW_MS, Reply, TestApp, caller};

const NOW_S: u64 = NOW_MS.unsigned_abs() / 1000;

struct World {
    app: TestApp,
    idp: Idp,
}

/// A browser on its way to the provider.
struct Way {
    question: HashMap<String, String>,
    cookie: String,
}

impl World {
    async fn new(settings: Value) -> Self {
        let idp = Idp::start(NOW_S).await;
        let mut all = json!({
            "id": "work", "name": "Work", "issuer": idp.url, "client_id": "cosygate", "client_secret": SECRET,
            "sign_up": "open",
        });
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let mut app = TestApp::new().await;
        let mut other = all.clone();
        other["id"] = json!("other");
        let settings: Vec<OidcSettings> = [all, other].map(|all| serde_json::from_value(all).unwrap()).into();
        app.set_providers(settings);
        Self { app, idp }
    }

    async fn begin(&self) -> Way {
        let reply = self.app.send(self.app.request("GET", "/login/oidc/work", None, None)).await;
        assert_eq!(reply.status.as_u16(), 302, "{reply:?}");
        Way::of(reply.header("location"), reply.cookies()[0])
    }

    async fn back(&self, cookie: &str, query: &[(&str, &str)]) -> Reply {
        self.back_to("work", cookie, query).await
    }

    async fn back_to(&self, provider: &str, cookie: &str, query: &[(&str, &str)]) -> Reply {
        let mut target = Url::parse(&format!("http://h/login/oidc/{provider}/callback")).unwrap();
        target.query_pairs_mut().extend_pairs(query);
        let target = format!("{}?{}", target.path(), target.query().unwrap_or_default());
        let mut request = self.app.request("GET", &target, None, None);
        request.headers_mut().insert("cookie", format!("theme=dark; {cookie}").parse().unwrap());
        self.app.send(request).await
    }

    /// Logs in there, and comes back.
    async fn go(&self, way: &Way) -> Reply {
        let code = self.idp.code(&way.question);
        self.back(&way.cookie, &[("state", &way.question["state"]), ("code", &code)]).await
    }

    async fn log_in(&self) -> Reply {
        let way = self.begin().await;
        self.go(&way).await
    }

    /// The word that the page is told.
    async fn word(&self) -> String {
        word(&self.log_in().await)
    }

    async fn user(&self, name: &str) -> User {
        self.app.app.store.accounts().by_username(name).await.unwrap().unwrap()
    }

    /// A login with a password: the user's id, and the login's.
    async fn member(&self, name: &str) -> (String, String) {
        let user_id = self.app.register(name).await;
        self.app.login(name, "correct horse").await;
        let logins = self.app.app.store.logins().of_user(&user_id).await.unwrap();
        (user_id, logins[0].id.clone())
    }

    async fn send_in(&self, (user_id, login): &(String, String), method: &str, target: &str) -> Reply {
        self.app.send(self.app.request_in(login, method, target, user_id)).await
    }

    async fn way_of(&self, member: &(String, String), target: &str) -> Way {
        let reply = self.send_in(member, "POST", target).await;
        assert_eq!(reply.status.as_u16(), 200, "{reply:?}");
        Way::of(reply.json()["url"].as_str().unwrap(), reply.cookies()[0])
    }

    /// Sets one up, and returns the recovery codes.
    async fn second_factor(&self, user_id: &str) -> Vec<String> {
        let (app, permit) = (&self.app.app, caller(user_id, "free"));
        let user = app.store.accounts().by_id(user_id).await.unwrap().unwrap();
        let (offer, audit) = (second_factor::offer(app, &user).unwrap(), permit.audit(&app.clock, "test", "ok"));
        assert!(app.store.of(&permit).offer_second_factor(&offer.sealed, &audit).await.unwrap());
        let (codes, hashes) = second_factor::recovery_codes();
        let confirmed = app.store.of(&permit).confirm_second_factor(&offer.sealed, 0, &hashes, &audit).await.unwrap();
        assert!(matches!(confirmed, Confirmed::Yes { codes: true }));
        codes
    }

    async fn audited(&self, action: &str) -> Vec<String> {
        let filter = AuditFilter { action: Some(action.to_owned()), ..Default::default() };
        let rows = self.app.app.store.trail().after(&filter, 0, 100).await.unwrap();
        rows.iter().map(|row| row.row.result.clone()).collect()
    }
}

impl Way {
    fn of(address: &str, cookie: &str) -> Self {
        let url = Url::parse(address).unwrap();
        assert_eq!(url.path(), "/authorize");
        Self {
            question: url.query_pairs().into_owned().collect(),
            cookie: cookie.split(';').next().unwrap().to_owned(),
        }
    }
}

/// Where the browser ends up, which is always the page.
fn word(reply: &Reply) -> String {
    assert_eq!(reply.status.as_u16(), 303, "{reply:?}");
    assert!(reply.cookies().iter().all(|cookie| !cookie.starts_with("cosygate=")), "{reply:?}");
    reply.header("location").strip_prefix("/#login=").unwrap().to_owned()
}

fn is_in(reply: &Reply) -> bool {
    reply.header("location") == "/" && reply.cookies().iter().any(|cookie| cookie.starts_with("cosygate=ey"))
}

#[tokio::test]
async fn the_question_is_bound_to_the_browser() {
    let world = World::new(json!({})).await;
    let listed = world.app.send(world.app.request("GET", "/login/oidc", None, None)).await;
    assert_eq!(listed.json()["providers"][0], json!({"id": "work", "name": "Work"}));
    let mut secure = world.app.request("GET", "/login/oidc/work", None, None);
    secure.headers_mut().insert("x-forwarded-proto", "https".parse().unwrap());
    let secure = world.app.send(secure).await;
    let cookie = secure.cookies()[0].to_owned();
    assert!(cookie.starts_with("__Host-cosygate-oidc="), "{cookie}");
    assert!(cookie.ends_with("; HttpOnly; SameSite=Lax; Path=/; Max-Age=600; Secure"), "{cookie}");
    let (one, two) = (world.begin().await, world.begin().await);
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "cosygate"),
        ("redirect_uri", "http://localhost:10000/login/oidc/work/callback"),
        ("scope", "openid profile"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(one.question[name], value);
    }
    for secret in ["state", "nonce", "code_challenge"] {
        assert!(one.question[secret].len() >= 43 && one.question[secret] != two.question[secret]);
        assert!(!one.cookie.contains(&one.question[secret]));
    }
    let unknown = world.app.send(world.app.request("GET", "/login/oidc/nobody", None, None)).await;
    assert_eq!(unknown.code(), "not_found");
    assert_eq!(world.idp.script().asked["metadata"], 1, "remembered");
}

#[tokio::test]
async fn the_first_login_makes_an_account_and_the_second_finds_it() {
    let world = World::new(json!({})).await;
    let first = world.log_in().await;
    assert!(is_in(&first), "{first:?}");
    let cookies = first.cookies();
    assert!(cookies[0].ends_with("; HttpOnly; SameSite=Strict; Path=/; Max-Age=3600"), "{cookies:?}");
    assert!(cookies[1].starts_with("cosygate-refresh=01"), "{cookies:?}");
    assert!(cookies[2].starts_with("cosygate-oidc=; ") && cookies[2].contains("Max-Age=0"), "{cookies:?}");
    let ada = world.user("ada").await;
    assert_eq!((ada.password(), ada.role.as_str()), (None, "free"));
    assert!(is_in(&world.log_in().await));
    assert_eq!(world.app.app.store.logins().of_user(&ada.id).await.unwrap().len(), 2);
    assert_eq!(world.audited("register").await, ["ok"]);
    assert_eq!(world.audited("login").await, ["ok", "ok"]);
    // Nobody comes in with a password that there is not.
    for password in ["", "correct horse"] {
        assert_eq!(world.app.login("ada", password).await.code(), "token_invalid");
    }
}

#[tokio::test]
async fn names_that_are_taken_get_a_number() {
    let world = World::new(json!({})).await;
    world.app.register("ada").await;
    for (subject, name) in [("1", "ADA"), ("2", "adа"), ("3", "ada@example.org"), ("4", "no name at all")] {
        world.idp.script().claims = json!({"sub": subject, "preferred_username": name});
        assert!(is_in(&world.log_in().await), "{name}");
    }
    let users = world.app.app.store.accounts().list("", "", 100).await.unwrap();
    let names: Vec<&str> = users.iter().map(|user| user.username.as_str()).collect();
    assert_eq!(names, ["ada", "ada-2", "ada-3", "work", "work-2"]);
}

#[tokio::test]
async fn one_account_although_the_same_one_comes_many_times_at_once() {
    let world = World::new(json!({})).await;
    let ways = futures::future::join_all((0..10).map(|_| world.begin())).await;
    let replies = futures::future::join_all(ways.iter().map(|way| world.go(way))).await;
    assert!(replies.iter().all(is_in), "{replies:?}");
    assert_eq!(world.app.app.store.accounts().list("", "", 100).await.unwrap().len(), 1);
}

#[tokio::test]
async fn answers_that_fit_no_question_are_refused() {
    let world = World::new(json!({})).await;
    let (way, other) = (world.begin().await, world.begin().await);
    let code = world.idp.code(&way.question);
    let state = way.question["state"].as_str();
    for (cookie, query) in [
        ("", vec![("state", state), ("code", &code)]),
        ("cosygate-oidc=made-up", vec![("state", state), ("code", &code)]),
        (&other.cookie, vec![("state", state), ("code", &code)]),
        (&way.cookie, vec![("code", &code)]),
        (&way.cookie, vec![("state", "wrong"), ("code", &code)]),
        (&way.cookie, vec![("state", state), ("state", state), ("code", &code)]),
    ] {
        assert_eq!(word(&world.back(cookie, &query).await), "expired", "{query:?}");
    }
    let two = format!("{}; {}", way.cookie, other.cookie);
    assert_eq!(word(&world.back(&two, &[("state", state), ("code", &code)]).await), "expired");
    // The other provider is another one, although it has the same issuer.
    let elsewhere = world.back_to("other", &way.cookie, &[("state", state), ("code", &code)]).await;
    assert_eq!(word(&elsewhere), "expired");
    assert_eq!(world.idp.script().asked.get("token"), None, "nobody was asked");
    // What was refused has used nothing up; what got through has.
    assert!(is_in(&world.back(&way.cookie, &[("state", state), ("code", &code)]).await));
    assert_eq!(word(&world.back(&way.cookie, &[("state", state), ("code", &code)]).await), "expired");

    world.app.app.clock.advance(10 * 60 * 1000);
    assert_eq!(word(&world.go(&other).await), "expired");
    while world.app.app.store.identities().forget(world.app.app.clock.now_ms()).await.unwrap() > 0 {}
}

#[tokio::test]
async fn codes_are_bound_to_their_question() {
    let world = World::new(json!({})).await;
    let (way, other) = (world.begin().await, world.begin().await);
    // Stolen from another browser: the provider finds that the verifier is not its own.
    let code = world.idp.code(&other.question);
    let reply = world.back(&way.cookie, &[("state", &way.question["state"]), ("code", &code)]).await;
    assert_eq!(word(&reply), "failed");
    assert_eq!(
        word(&world.back(&other.cookie, &[("state", &other.question["state"]), ("code", "made up")]).await),
        "failed"
    );
    assert_eq!(world.audited("login").await, ["token_invalid", "token_invalid"]);
}

#[tokio::test]
async fn the_provider_may_say_no() {
    let world = World::new(json!({})).await;
    for (error, expected) in [
        ("access_denied", "cancelled"),
        ("server_error", "unavailable"),
        ("login_required", "failed"),
        ("//evil.example", "failed"),
    ] {
        let way = world.begin().await;
        let reply = world.back(&way.cookie, &[("state", &way.question["state"]), ("error", error)]).await;
        assert_eq!(word(&reply), expected);
    }
    let way = world.begin().await;
    assert_eq!(word(&world.back(&way.cookie, &[("state", &way.question["state"])]).await), "failed");
}

#[tokio::test]
async fn answers_say_from_whom_they_are() {
    let world = World::new(json!({})).await;
    let with_issuer = async |issuer: Option<&str>| {
        let way = world.begin().await;
        let code = world.idp.code(&way.question);
        let mut query = vec![("state", way.question["state"].as_str()), ("code", &code)];
        query.extend(issuer.map(|issuer| ("iss", issuer)));
        world.back(&way.cookie, &query).await
    };
    assert!(is_in(&with_issuer(Some(&world.idp.url)).await));
    assert!(is_in(&with_issuer(None).await));
    assert_eq!(word(&with_issuer(Some("https://evil.example")).await), "failed");
    world.idp.script().metadata = json!({"authorization_response_iss_parameter_supported": true});
    world.app.app.clock.advance(61 * 60 * 1000);
    assert_eq!(word(&with_issuer(None).await), "failed");
}

#[tokio::test]
async fn id_tokens_that_do_not_hold_let_nobody_in() {
    let world = World::new(json!({})).await;
    for claims in [
        json!({"aud": "another"}),
        json!({"aud": []}),
        json!({"aud": ["cosygate", "another"], "azp": "cosygate"}),
        json!({"azp": "another"}),
        json!({"iss": "https://evil.example"}),
        json!({"nonce": "another"}),
        json!({"nonce": null}),
        json!({"exp": NOW_S - 31}),
        json!({"exp": null}),
        json!({"iat": NOW_S + 60}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": "x".repeat(256)}),
        json!({"sub": 42}),
    ] {
        world.idp.script().claims = claims.clone();
        assert_eq!(world.word().await, "failed", "{claims}");
    }
    world.idp.script().claims = json!({});
    let signers: [(&str, Forge); 5] = [
        ("alg none", |claims| unsigned(claims, &json!({"alg": "none"}), b"")),
        ("no signature", |claims| unsigned(claims, &json!({"alg": "EdDSA"}), b"")),
        ("the client's secret as a key", |claims| {
            let signed = unsigned(claims, &json!({"alg": "HS256"}), b"");
            let signed = signed.trim_end_matches('.');
            let mut mac = <hmac::Hmac<sha2::Sha256> as hmac::Mac>::new_from_slice(SECRET.as_bytes()).unwrap();
            mac.update(signed.as_bytes());
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
        }),
        ("not a token", |_| "a.b".to_owned()),
        ("crit", |claims| unsigned(claims, &json!({"alg": "EdDSA", "crit": ["exp"]}), &[7; 64])),
    ];
    for (what, forge) in signers {
        world.idp.script().forge = Some(forge);
        assert_eq!(world.word().await, "failed", "{what}");
    }
    world.idp.script().forge = None;
    assert!(world.app.app.store.accounts().list("", "", 10).await.unwrap().is_empty());
}

fn unsigned(claims: &Value, header: &Value, signature: &[u8]) -> String {
    let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}.{}", part(header), part(claims), URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn a_changed_token_has_no_signature() {
    let world = World::new(json!({})).await;
    world.idp.script().forge = Some(|claims| {
        // Signed by the key that the sample publishes, and changed after that.
        let token = SigningJwk::sample().sign("JWT", claims);
        let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
        let mut claims = claims.clone();
        claims["sub"] = json!("somebody else");
        parts[1] = URL_SAFE_NO_PAD.encode(claims.to_string());
        parts.join(".")
    });
    world.idp.script().keys = vec![SigningJwk::sample()];
    assert_eq!(world.word().await, "failed");
    // The same key, and nothing changed.
    world.idp.script().forge = Some(|claims| SigningJwk::sample().sign("JWT", claims));
    assert!(is_in(&world.log_in().await));
}

#[tokio::test]
async fn keys_are_asked_for_again_when_one_is_new_and_no_more_often() {
    let world = World::new(json!({})).await;
    assert!(is_in(&world.log_in().await));
    let asked = |what| world.idp.script().asked[what];
    assert_eq!((asked("metadata"), asked("keys")), (1, 1));
    // A key that is not published, right after keys were asked for.
    world.idp.script().signs = SigningJwk::generate();
    assert_eq!(world.word().await, "failed");
    assert_eq!(asked("keys"), 1);
    world.app.app.clock.advance(10_000);
    for _ in 0..5 {
        assert_eq!(world.word().await, "failed");
    }
    assert_eq!(asked("keys"), 2);
    // The provider has another key now.
    let key = SigningJwk::generate();
    world.idp.script().signs = SigningJwk::from_jwk(&key.private()).unwrap();
    world.idp.script().keys = vec![key];
    world.app.app.clock.advance(10_000);
    assert!(is_in(&world.log_in().await));
    assert_eq!((asked("metadata"), asked("keys")), (1, 3));
}

#[tokio::test]
async fn a_provider_that_is_down_is_no_wrong_login() {
    let world = World::new(json!({})).await;
    let begin = async || world.app.send(world.app.request("GET", "/login/oidc/work", None, None)).await;
    world.idp.script().down = Some(StatusCode::BAD_GATEWAY);
    for _ in 0..3 {
        let reply = begin().await;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (503, "overloaded"));
        assert_eq!(reply.header("retry-after"), "5");
        assert_eq!(reply.json()["detail"], "Work does not answer at the moment. Try again in 5 seconds.");
    }
    assert_eq!(world.idp.script().asked["metadata"], 1, "left alone for a moment");
    let mut browser = world.app.request("GET", "/login/oidc/work", None, None);
    browser.headers_mut().insert("accept", "text/html,*/*;q=0.8".parse().unwrap());
    assert_eq!(word(&world.app.send(browser).await), "unavailable");
    world.idp.script().down = None;
    world.app.app.clock.advance(5000);
    let way = world.begin().await;
    // Down between the question and the answer.
    world.idp.script().down = Some(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.go(&way).await.status.as_u16(), 503);
    assert_eq!(world.audited("login").await, Vec::<String>::new());
    // What is known is used for a while.
    world.app.app.clock.advance(2 * 60 * 60 * 1000);
    world.begin().await;
    world.app.app.clock.advance(24 * 60 * 60 * 1000);
    assert_eq!(begin().await.status.as_u16(), 503);
}

#[tokio::test]
async fn metadata_that_cannot_be_used_is_none() {
    for (metadata, padding) in [
        (json!({"issuer": "https://evil.example"}), 0),
        (json!({"token_endpoint": "http://evil.example/token"}), 0),
        (json!({"authorization_endpoint": "http://evil.example/authorize"}), 0),
        (json!({"jwks_uri": "http://169.254.169.254/keys"}), 0),
        (json!({"token_endpoint": null}), 0),
        (json!({"authorization_endpoint": null}), 0),
        (json!({}), 300 * 1024),
    ] {
        let world = World::new(json!({})).await;
        world.idp.script().metadata = metadata.clone();
        world.idp.script().padding = padding;
        let reply = world.app.send(world.app.request("GET", "/login/oidc/work", None, None)).await;
        assert_eq!(reply.code(), "overloaded", "{metadata}");
    }
}
