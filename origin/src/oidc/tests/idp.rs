//! A provider that does what a test tells it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

use crate::signing::SigningJwk;

/// The secret of the client `cosygate`.
pub(super) const SECRET: &str = "a secret of the client";

/// Makes of claims what passes for a token.
pub(super) type Forge = fn(&Value) -> String;

/// What it does, and what was asked of it.
pub(super) struct Script {
    /// What it publishes.
    pub(super) keys: Vec<SigningJwk>,
    /// What it signs with.
    pub(super) signs: SigningJwk,
    /// What it says in the next ID tokens beside what it must; null takes something out.
    pub(super) claims: Value,
    /// What it signs instead of a token, given the claims.
    pub(super) forge: Option<Forge>,
    /// Beside or in place of what the metadata must have.
    pub(super) metadata: Value,
    /// What it says of whoever has an access token.
    pub(super) userinfo: Value,
    /// What every answer is, if it is down.
    pub(super) down: Option<StatusCode>,
    /// Added to the metadata, to make it long.
    pub(super) padding: usize,
    /// Codes that were given out and not used: the nonce and the challenge of their questions.
    codes: HashMap<String, (String, String)>,
    /// How often each document was asked for.
    pub(super) asked: HashMap<&'static str, usize>,
}

#[derive(Clone)]
pub(super) struct Idp {
    pub(super) url: String,
    script: Arc<Mutex<Script>>,
    now_s: u64,
}

impl Idp {
    /// Listens on a free loopback port until the test's runtime ends. Its clock stands.
    pub(super) async fn start(now_s: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let key = SigningJwk::generate();
        let script = Script {
            signs: SigningJwk::from_jwk(&key.private()).unwrap(),
            keys: vec![key],
            claims: json!({}),
            forge: None,
            metadata: json!({}),
            userinfo: Value::Null,
            down: None,
            padding: 0,
            codes: HashMap::new(),
            asked: HashMap::new(),
        };
        let idp = Self { url, script: Arc::new(Mutex::new(script)), now_s };
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .route("/userinfo", get(userinfo))
            .with_state(idp.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        idp
    }

    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// Somebody has logged in there: a code for the question of this address.
    pub(super) fn code(&self, question: &HashMap<String, String>) -> String {
        let code = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
        let bound = (question["nonce"].clone(), question["code_challenge"].clone());
        self.script().codes.insert(code.clone(), bound);
        code
    }

    fn ask(&self, what: &'static str) -> Result<MutexGuard<'_, Script>, StatusCode> {
        let mut script = self.script();
        *script.asked.entry(what).or_default() += 1;
        match script.down {
            Some(status) => Err(status),
            None => Ok(script),
        }
    }
}

/// The members of `over` in place of those of `base`; null takes one out.
fn merged(base: Value, over: &Value) -> Value {
    let mut members: Map<String, Value> = base.as_object().unwrap().clone();
    for (name, value) in over.as_object().unwrap() {
        match value {
            Value::Null => drop(members.remove(name)),
            value => drop(members.insert(name.clone(), value.clone())),
        }
    }
    Value::Object(members)
}

async fn metadata(State(idp): State<Idp>) -> Response {
    let script = match idp.ask("metadata") {
        Ok(script) => script,
        Err(status) => return status.into_response(),
    };
    let url = &idp.url;
    let base = json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA", "RS256", "HS256", "none"],
        "x": "x".repeat(script.padding),
    });
    Json(merged(base, &script.metadata)).into_response()
}

async fn keys(State(idp): State<Idp>) -> Response {
    match idp.ask("keys") {
        Ok(script) => {
            Json(json!({"keys": script.keys.iter().map(SigningJwk::public).collect::<Vec<_>>()})).into_response()
        }
        Err(status) => status.into_response(),
    }
}

async fn userinfo(State(idp): State<Idp>, headers: HeaderMap) -> Response {
    match idp.ask("userinfo") {
        Ok(_) if headers["authorization"] != "Bearer an access token" => StatusCode::UNAUTHORIZED.into_response(),
        Ok(script) => Json(script.userinfo.clone()).into_response(),
        Err(status) => status.into_response(),
    }
}

async fn token(State(idp): State<Idp>, headers: HeaderMap, Form(form): Form<HashMap<String, String>>) -> Response {
    let mut script = match idp.ask("token") {
        Ok(script) => script,
        Err(status) => return status.into_response(),
    };
    let refuse = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    // RFC 6749, section 2.3.1: form-encoded, then Basic.
    let secret = SECRET.replace(' ', "+");
    let expected = format!("Basic {}", STANDARD.encode(format!("cosygate:{secret}")));
    if headers.get("authorization").is_none_or(|given| given.to_str().unwrap() != expected) {
        return refuse("invalid_client");
    }
    let Some((nonce, challenge)) = form.get("code").and_then(|code| script.codes.remove(code)) else {
        return refuse("invalid_grant");
    };
    let made = form.get("code_verifier").map(|verifier| URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)));
    if made.as_ref() != Some(&challenge) || form["redirect_uri"] != "http://localhost:10000/login/oidc/work/callback" {
        return refuse("invalid_grant");
    }
    let base = json!({
        "iss": idp.url, "sub": "42", "aud": "cosygate", "nonce": nonce, "iat": idp.now_s, "exp": idp.now_s + 300,
        "auth_time": idp.now_s, "preferred_username": "ada",
    });
    let claims = merged(base, &script.claims);
    let id_token = match script.forge {
        Some(forge) => forge(&claims),
        None => script.signs.sign("JWT", &claims),
    };
    Json(json!({"access_token": "an access token", "token_type": "Bearer", "id_token": id_token})).into_response()
}
