//! Logging in with a provider of OpenID Connect that other people wrote, and tokens of another issuer.

use std::collections::HashMap;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, Response, StatusCode, Url};
use serde_json::{Value, json};
use tests::attack::mint::signed;
use tests::process::{Program, artefact, free_port, workspace};
use tests::scripted::eventually;
use tests::world::{User, World};

const REDIRECT: &str = "http://localhost:10000/login/oidc";

/// The provider.
struct Provider {
    program: Program,
    url: String,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Provider {
    async fn start() -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let mut command = Command::new(artefact("SERVICES_PYTHON", ".tools/services/bin/python"));
        command.args(["-m", "oidc_provider_mock", "--require-nonce", "--port", &port.to_string()]);
        let program = Program::start(&mut command, &folder.path().join("provider.log"));
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let mut provider = Self { program, url: format!("http://127.0.0.1:{port}"), client, _folder: folder };
        let metadata = format!("{}/.well-known/openid-configuration", provider.url);
        let end = Instant::now() + Duration::from_secs(30);
        while provider.client.get(&metadata).send().await.is_err() {
            assert!(provider.program.is_running() && Instant::now() < end, "{}", provider.program.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        provider
    }

    /// What it says of somebody from now on.
    async fn says(&self, subject: &str, claims: Value) {
        let url = format!("{}/users/{subject}", self.url);
        let answer = self.client.put(url).json(&claims).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    }

    /// Somebody logs in there; where their browser is sent back to.
    async fn log_in(&self, question: &str, subject: &str) -> Url {
        let answer = self.client.post(question).form(&[("sub", subject)]).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FOUND, "{}", answer.text().await.unwrap());
        let back = Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
        assert!(back.as_str().starts_with(REDIRECT), "{back}");
        back
    }

    fn settings(&self, id: &str, more: &str) -> String {
        format!(
            "[[oidc]]\nid = \"{id}\"\nname = \"{id}\"\nissuer = \"{}\"\nclient_id = \"cosygate\"\n\
             client_secret = \"{id}'s secret\"\n{more}\n",
            self.url
        )
    }
}

/// A browser on its way: where it is sent, and what it keeps.
struct Way {
    question: String,
    cookie: String,
}

impl Way {
    fn of(question: &str, answer: &Response) -> Self {
        Self { question: question.to_owned(), cookie: kept(answer, "cosygate-oidc").unwrap() }
    }
}

/// `name=value` of a cookie that an answer sets.
fn kept(answer: &Response, name: &str) -> Option<String> {
    let cookies = answer.headers().get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    let mut pairs = cookies.map(|cookie| cookie.split(';').next().unwrap());
    pairs
        .find(|pair| pair.split_once('=').is_some_and(|(other, value)| other == name && !value.is_empty()))
        .map(str::to_owned)
}

fn word(answer: &Response) -> String {
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    answer.headers()["location"].to_str().unwrap().to_owned()
}

async fn begin(world: &World, id: &str) -> Way {
    let answer = world.get(&format!("/login/oidc/{id}")).await;
    assert_eq!(answer.status(), StatusCode::FOUND);
    Way::of(answer.headers()["location"].to_str().unwrap(), &answer)
}

/// Back from the provider, through the edge.
async fn back(world: &World, cookie: &str, back: &Url) -> Response {
    let target = format!("{}?{}", back.path(), back.query().unwrap_or_default());
    world.request(Method::GET, &target).header("cookie", cookie).send().await.unwrap()
}

async fn log_in(world: &World, provider: &Provider, id: &str, subject: &str) -> Response {
    let way = begin(world, id).await;
    let url = provider.log_in(&way.question, subject).await;
    back(world, &way.cookie, &url).await
}

/// Who a browser is after it was logged in.
async fn who(world: &World, answer: &Response) -> Value {
    assert_eq!(word(answer), "/", "{answer:?}");
    let cookie = kept(answer, "cosygate").expect("logged in");
    let me = world.request(Method::GET, "/api/me").header("cookie", cookie).send().await.unwrap();
    assert_eq!(me.status(), StatusCode::OK);
    me.json().await.unwrap()
}

fn with(url: &Url, name: &str, value: &str) -> Url {
    let mut pairs: HashMap<String, String> = url.query_pairs().into_owned().collect();
    pairs.insert(name.to_owned(), value.to_owned());
    let mut url = url.clone();
    url.query_pairs_mut().clear().extend_pairs(pairs);
    url
}

async fn audited(world: &World, admin: &User, action: &str) -> usize {
    let page = format!("/api/admin/audit?action={action}&limit=100");
    world.get_as(admin, &page).await.json::<Value>().await.unwrap()["entries"].as_array().unwrap().len()
}

#[tokio::test]
async fn people_come_in_with_a_provider() {
    let provider = Provider::start().await;
    let toml = provider.settings(
        "mock",
        "sign_up = \"open\"\nroles = {mapping = [{from = \"paid\", to = \"premium\"}], default = \"free\"}",
    );
    let world = World::with_file(|_| {}, &[], &toml).await;
    let listed: Value = world.get("/login/oidc").await.json().await.unwrap();
    assert_eq!(listed, json!({"providers": [{"id": "mock", "name": "mock"}]}));
    provider.says("1", json!({"preferred_username": "Ada", "roles": ["paid"]})).await;
    let first = log_in(&world, &provider, "mock", "1").await;
    let ada = who(&world, &first).await;
    assert_eq!((&ada["username"], &ada["role"]), (&json!("ada"), &json!("premium")));
    let second = log_in(&world, &provider, "mock", "1").await;
    assert_eq!(who(&world, &second).await["user_id"], ada["user_id"]);
    // Another one of the same name.
    provider.says("2", json!({"preferred_username": "ada"})).await;
    let other = log_in(&world, &provider, "mock", "2").await;
    let other = who(&world, &other).await;
    assert_eq!((&other["username"], &other["role"]), (&json!("ada-2"), &json!("free")));

    // The provider takes the role back: the next login states another one, and what stated the old is withdrawn.
    provider.says("1", json!({"preferred_username": "ada", "roles": []})).await;
    let third = log_in(&world, &provider, "mock", "1").await;
    assert_eq!(who(&world, &third).await["role"], "free");
    let old = kept(&first, "cosygate").unwrap();
    eventually("the token of the old role is refused", async || {
        let me = world.request(Method::GET, "/api/me").header("cookie", &old).send().await.unwrap();
        me.status() == StatusCode::UNAUTHORIZED
    })
    .await;
    // And the login goes on with the new one.
    let refresh = kept(&first, "cosygate-refresh").unwrap();
    let fresh =
        world.request(Method::POST, "/refresh").header("cookie", refresh).header("sec-fetch-site", "same-origin");
    let fresh = fresh.send().await.unwrap();
    assert_eq!(fresh.json::<Value>().await.unwrap()["role"], "free");

    let admin = world.admin().await;
    assert_eq!((audited(&world, &admin, "register").await, audited(&world, &admin, "user_role").await), (2, 1));
    // Neither code nor state stands in a log.
    let logs = format!("{}{}", world.edge.envoy.log(), world.origin.log());
    assert!(
        logs.contains("/login/oidc/mock/callback") && !logs.contains("code=") && !logs.contains("state="),
        "{logs}"
    );
}

#[tokio::test]
async fn answers_that_do_not_fit_let_nobody_in() {
    let (mut provider, other) = (Provider::start().await, Provider::start().await);
    let toml = provider.settings("mock", "sign_up = \"open\"") + &other.settings("other", "sign_up = \"open\"");
    let world = World::with_file(
        |policy| {
            for route in policy["routes"].as_array_mut().unwrap() {
                if route["prefix"] == "/login/oidc/" {
                    route["limit"] = json!({"by": "address", "per_minute": 1000, "burst": 1000});
                }
            }
        },
        &[],
        &toml,
    )
    .await;
    let way = begin(&world, "mock").await;
    let url = provider.log_in(&way.question, "1").await;
    for (cookie, url, expected) in [
        (way.cookie.as_str(), with(&url, "state", "another"), "expired"),
        ("", url.clone(), "expired"),
        // The code of one provider at the place of another.
        (way.cookie.as_str(), Url::parse(&url.as_str().replace("/mock/", "/other/")).unwrap(), "expired"),
        // An answer that says it is somebody else's (RFC 9207).
        (way.cookie.as_str(), with(&url, "iss", &other.url), "failed"),
    ] {
        assert_eq!(word(&back(&world, cookie, &url).await), format!("/#login={expected}"), "{url}");
    }
    let good = back(&world, &way.cookie, &url).await;
    who(&world, &good).await;
    assert_eq!(word(&back(&world, &way.cookie, &url).await), "/#login=expired", "replayed");

    // A code of the other provider that comes with a good state of this one.
    let (here, there) = (begin(&world, "mock").await, begin(&world, "other").await);
    let (url, stolen) = (provider.log_in(&here.question, "1").await, other.log_in(&there.question, "1").await);
    let code = stolen.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    assert_eq!(word(&back(&world, &here.cookie, &with(&url, "code", &code)).await), "/#login=failed");

    // The answer to another question than ours.
    let way = begin(&world, "mock").await;
    let question = with(&Url::parse(&way.question).unwrap(), "nonce", "another");
    let url = provider.log_in(question.as_str(), "1").await;
    assert_eq!(word(&back(&world, &way.cookie, &url).await), "/#login=failed");

    // Whoever says no there.
    let way = begin(&world, "mock").await;
    let denied = provider.client.post(&way.question).form(&[("action", "deny")]).send().await.unwrap();
    let url = Url::parse(denied.headers()["location"].to_str().unwrap()).unwrap();
    let state =
        Url::parse(&way.question).unwrap().query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    assert_eq!(word(&back(&world, &way.cookie, &with(&url, "state", &state)).await), "/#login=cancelled");

    // Gone in between: nobody is wrong, and it is worth coming back.
    let way = begin(&world, "mock").await;
    let url = provider.log_in(&way.question, "1").await;
    provider.program.kill();
    let down = back(&world, &way.cookie, &url).await;
    assert_eq!(
        (down.status(), &down.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"5".parse().unwrap())
    );
    assert_eq!(down.json::<Value>().await.unwrap()["code"], "overloaded");
}

#[tokio::test]
async fn a_provider_is_linked_to_an_account() {
    let provider = Provider::start().await;
    let world = World::with_file(|_| {}, &[], &provider.settings("mock", "")).await;
    let bob = world.user("bob").await;
    provider.says("7", json!({"preferred_username": "bob", "email": "bob@example.com"})).await;
    let closed = log_in(&world, &provider, "mock", "7").await;
    assert_eq!(word(&closed), "/#login=closed", "the same name is not the same person");
    let answer = world.post_as(&bob, "/api/me/identities/mock", json!({})).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let cookie = kept(&answer, "cosygate-oidc").unwrap();
    let question = answer.json::<Value>().await.unwrap()["url"].as_str().unwrap().to_owned();
    let url = provider.log_in(&question, "7").await;
    assert_eq!(word(&back(&world, &cookie, &url).await), "/#login=linked");
    let in_again = log_in(&world, &provider, "mock", "7").await;
    assert_eq!(who(&world, &in_again).await["user_id"], bob.id);
    let listed: Value = world.get_as(&bob, "/api/me/identities").await.json().await.unwrap();
    let one = format!("/api/me/identities/{}", listed["identities"][0]["id"].as_str().unwrap());
    assert_eq!(world.delete_as(&bob, &one).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(word(&log_in(&world, &provider, "mock", "7").await), "/#login=closed");
}

#[tokio::test]
async fn users_of_another_issuer_get_accounts() {
    const ISSUER: &str = "https://partner.example";
    let world = World::with(
        |policy| {
            policy["roles"]["free"]["in_flight"] = json!(64);
            policy["issuers"].as_array_mut().unwrap().push(json!({
                "issuer": ISSUER, "audiences": ["cosygate"], "algorithms": ["EdDSA"], "user_prefix": "partner",
                "keys": {"jwks": {"keys": [cases::public_key("ed")]}}, "accounts": "first_use",
            }));
        },
        &[],
    )
    .await;
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let token = |subject: &str, issued: u64| {
        let part = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let claims = json!({"iss": ISSUER, "aud": "cosygate", "sub": subject, "iat": issued, "exp": issued + 600, "role": "free"});
        let parts = format!("{}.{}", part(json!({"alg": "EdDSA", "typ": "JWT", "kid": "ed"})), part(claims));
        signed("EdDSA", &cases::private_key("ed"), &parts)
    };
    let call = async |token: String| world.request(Method::GET, "/api/me").bearer_auth(token).send().await.unwrap();
    let all = futures::future::join_all((0..20).map(|_| call(token("a@b", now())))).await;
    assert!(all.iter().all(|answer| answer.status() == StatusCode::OK), "{all:?}");
    let admin = world.admin().await;
    let users: Value = world.get_as(&admin, "/api/admin/users?search=partner").await.json().await.unwrap();
    assert_eq!(users["users"].as_array().unwrap().len(), 1);
    assert_eq!(users["users"][0]["user_id"], "partner:a%40b");
    assert_eq!(audited(&world, &admin, "first_use").await, 1);
    let one = "/api/admin/users/partner:a~40b";
    let patch = world.request(Method::PATCH, one).bearer_auth(&admin.token).json(&json!({"disabled": true}));
    assert_eq!(patch.send().await.unwrap().status(), StatusCode::OK);
    // Also those that the issuer gives out from now on.
    eventually("refused", async || call(token("a@b", now() + 5)).await.status() == StatusCode::UNAUTHORIZED).await;
    assert_eq!(call(token("another", now())).await.status(), StatusCode::OK);
    let listed = world.cosygate(&["user", "show", "partner:a%40b"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("disabled"), "{listed:?}");
}

#[tokio::test]
async fn the_issuer_says_what_it_is() {
    let world = World::start().await;
    let metadata: Value = world.get("/.well-known/oauth-authorization-server").await.json().await.unwrap();
    assert_eq!((&metadata["issuer"], &metadata["grant_types_supported"]), (&json!("cosygate"), &json!([])));
    assert_eq!(metadata["jwks_uri"], "http://localhost:10000/.well-known/jwks.json");
}

#[tokio::test]
async fn a_certificate_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let script = workspace().join("tests/services/provider_over_tls.py");
    let mut command = Command::new(artefact("SERVICES_PYTHON", ".tools/services/bin/python"));
    command.arg(script).arg(folder.path());
    let mut provider = Program::start(&mut command, &folder.path().join("provider.log"));
    let end = Instant::now() + Duration::from_secs(30);
    let port = loop {
        if let Ok(port) = std::fs::read_to_string(folder.path().join("port")) {
            break port;
        }
        assert!(provider.is_running() && Instant::now() < end, "{}", provider.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let toml = format!(
        "[[oidc]]\nid = \"tls\"\nname = \"TLS\"\nissuer = \"https://localhost:{port}\"\nclient_id = \"cosygate\"\n"
    );
    let ca = folder.path().join("ca.pem");
    let trusting = World::with_file(|_| {}, &[("SSL_CERT_FILE", ca.to_str().unwrap())], &toml).await;
    let answer = trusting.get("/login/oidc/tls").await;
    assert_eq!(answer.status(), StatusCode::FOUND, "{}", trusting.origin.log());
    let begins = format!("https://localhost:{port}/authorize?");
    assert!(answer.headers()["location"].to_str().unwrap().starts_with(&begins), "{answer:?}");
    // Whom the machine does not trust.
    let other = World::with_file(|_| {}, &[], &toml).await;
    assert_eq!(other.get("/login/oidc/tls").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(other.origin.log().contains("invalid peer certificate"), "{}", other.origin.log());
}
