//! The golden table of the gate.
//!
//! Each file beside this crate holds one policy, some tokens and many cases: a request, and the
//! verdict it must get. The same table runs natively, in node and through the filter in Envoy; so
//! a case says nothing of hosts, and its times are relative to `now`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub mod reference;
pub mod sets;

use reference::Reference;

/// Every file of the table. A test compares the list with the folder.
pub const FILES: &[(&str, &str)] = &[
    ("claims.json", include_str!("../claims.json")),
    ("headers.json", include_str!("../headers.json")),
    ("issuers.json", include_str!("../issuers.json")),
    ("parity.json", include_str!("../parity.json")),
    ("revocation.json", include_str!("../revocation.json")),
    ("routes.json", include_str!("../routes.json")),
    ("sites.json", include_str!("../sites.json")),
    ("tokens.json", include_str!("../tokens.json")),
];

const KEYS: &str = include_str!("../keys.json");

/// One file: a policy and what follows from it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// What the file is about.
    pub about: String,
    /// The policy, `{"jwks": ["ed", …]}` standing for the public halves of the test keys.
    pub policy: Value,
    /// Tokens by name.
    #[serde(default)]
    tokens: BTreeMap<String, Recipe>,
    /// The cases.
    pub cases: Vec<Case>,
}

/// How to make a token. Whatever is absent is as a sound token of the file's first issuer has it.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Recipe {
    /// Name of the signing key.
    key: Option<String>,
    /// Algorithm to sign with, if it is not the one that `header.alg` names.
    sign_with: Option<String>,
    /// Members to set in the header; null removes.
    header: Map<String, Value>,
    /// Members to set in the claims; null removes. Times may be written `now+60` and `now-60`.
    claims: Map<String, Value>,
    /// The header as text, in place of `header`.
    raw_header: Option<String>,
    /// The claims as text, in place of `claims`; `NOW+60` stands for a time.
    raw_claims: Option<String>,
    /// The third part as text, in place of a signature.
    signature: Option<String>,
    /// Text to put before and after the token.
    before: String,
    after: String,
    /// The whole token as text.
    literal: Option<String>,
}

/// One request and its verdict.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// GET if absent.
    #[serde(default = "get")]
    pub method: String,
    /// Path and query; `{name}` stands for the token of that name, here and in a header's value.
    pub target: String,
    /// Pairs.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The verdict.
    pub expect: Expect,
    /// Hosts on which the case cannot be put, because they refuse the request before the gate
    /// sees it; each with the reason.
    #[serde(default)]
    pub not_in_envoy: Option<String>,
    /// What the reference library does with it, if one of its own tests is about the same.
    #[serde(default)]
    pub reference: Option<Reference>,
}

/// A verdict: it passes as somebody or anonymously, or it is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// The user id it passes as; absent for nobody.
    pub user: Option<String>,
    /// The role it passes with.
    pub role: Option<String>,
    /// The code it is refused with; absent if it passes.
    pub code: Option<String>,
    /// The cause in the operator's log, where the case pins it.
    pub cause: Option<String>,
    /// A part of the header `WWW-Authenticate` or `Allow`.
    pub challenge: Option<String>,
    /// It is a preflight that the edge answers itself, with yes.
    pub preflight: bool,
}

fn get() -> String {
    "GET".to_owned()
}

/// Reads every file, with tokens made for `now` (seconds since the epoch).
pub fn suites(now: u64) -> Vec<(&'static str, Suite)> {
    FILES.iter().map(|(name, text)| (*name, read(name, text, now))).collect()
}

/// The vectors of the sealed identity: what a ring of keys seals, bit for bit, and what another
/// opens or refuses.
pub fn seals() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../seals.json")).unwrap();
    file["vectors"].as_array().unwrap().clone()
}

/// The shared secret of the test keys, as its environment variable holds it.
pub fn secret() -> String {
    key("secret")["secret"].as_str().unwrap().to_owned()
}

fn read(name: &str, text: &str, now: u64) -> Suite {
    let mut suite: Suite = serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    for issuer in suite.policy["issuers"].as_array_mut().unwrap() {
        if let Some(names) = issuer["keys"]["jwks"].as_array().cloned() {
            let keys: Vec<Value> = names.iter().map(|name| public_key(name.as_str().unwrap())).collect();
            issuer["keys"]["jwks"] = json!({ "keys": keys });
        }
    }
    let issuer = &suite.policy["issuers"][0];
    let tokens: BTreeMap<String, String> = suite
        .tokens
        .iter()
        .map(|(name, recipe)| (name.clone(), mint(recipe, issuer, now)))
        .chain([("sound".to_owned(), mint(&Recipe::default(), issuer, now))])
        .collect();
    for case in &mut suite.cases {
        for value in case.headers.iter_mut().map(|(_, value)| value).chain([&mut case.target]) {
            for (name, token) in &tokens {
                *value = value.replace(&format!("{{{name}}}"), token);
            }
            assert!(!value.contains('{'), "{name}: {}: unknown token in {value}", case.name);
        }
    }
    suite
}

fn key(name: &str) -> Value {
    let keys: Value = serde_json::from_str(KEYS).unwrap();
    let found = keys["keys"].as_array().unwrap().iter().find(|key| key["name"] == name).cloned();
    found.unwrap_or_else(|| panic!("there is no test key {name}"))
}

fn mint(recipe: &Recipe, issuer: &Value, now: u64) -> String {
    if let Some(literal) = &recipe.literal {
        return literal.clone();
    }
    let algorithm = issuer["algorithms"][0].as_str().unwrap();
    let key_name = recipe.key.clone().unwrap_or_else(|| match issuer["keys"]["jwks"]["keys"][0]["kid"].as_str() {
        Some(kid) => kid.to_owned(),
        None => "secret".to_owned(),
    });
    let mut header = Map::new();
    header.insert("alg".to_owned(), json!(algorithm));
    header.insert("typ".to_owned(), json!("at+jwt"));
    header.insert("kid".to_owned(), json!(key_name));
    let mut claims = Map::new();
    for (name, value) in [
        ("iss", issuer["issuer"].clone()),
        ("aud", issuer["audiences"][0].clone()),
        ("sub", json!("alice")),
        ("role", json!("free")),
        ("scope", json!("speech")),
        ("iat", json!("now-10")),
        ("exp", json!("now+600")),
    ] {
        claims.insert(name.to_owned(), value);
    }
    merge(&mut header, &recipe.header, now);
    merge(&mut claims, &recipe.claims.clone(), now);
    let times = claims.clone();
    merge(&mut claims, &times, now);
    let encode = |raw: &Option<String>, members: &Map<String, Value>| {
        let text = match raw {
            Some(raw) => replace_times(raw, now),
            None => serde_json::to_string(members).unwrap(),
        };
        URL_SAFE_NO_PAD.encode(text)
    };
    let signed = format!("{}.{}", encode(&recipe.raw_header, &header), encode(&recipe.raw_claims, &claims));
    let signature = recipe.signature.clone().unwrap_or_else(|| {
        let with = recipe.sign_with.as_deref().or(header.get("alg").and_then(Value::as_str)).unwrap_or(algorithm);
        sign(&key_name, with, &signed)
    });
    format!("{}{signed}.{signature}{}", recipe.before, recipe.after)
}

/// Sets members; null removes one, `now+60` becomes a number.
fn merge(into: &mut Map<String, Value>, from: &Map<String, Value>, now: u64) {
    for (name, value) in from {
        let time = value.as_str().and_then(|text| text.strip_prefix("now")).and_then(|text| text.parse::<i64>().ok());
        match (value, time) {
            (Value::Null, _) => into.remove(name),
            (_, Some(offset)) => into.insert(name.clone(), json!(now.saturating_add_signed(offset))),
            _ => into.insert(name.clone(), value.clone()),
        };
    }
}

fn replace_times(text: &str, now: u64) -> String {
    let mut parts = text.split("NOW");
    let mut replaced = parts.next().unwrap().to_owned();
    for part in parts {
        let end = part.find(|letter: char| !letter.is_ascii_digit() && letter != '+' && letter != '-').unwrap();
        replaced += &now.saturating_add_signed(part[..end].parse().unwrap()).to_string();
        replaced += &part[end..];
    }
    replaced
}

/// The private half of a test key, to sign with.
pub fn private_key(name: &str) -> EncodingKey {
    let key = key(name);
    let der = |member: &str| STANDARD.decode(key[member].as_str().unwrap()).unwrap();
    match key["kind"].as_str().unwrap() {
        "Ed25519" => EncodingKey::from_ed_der(&der("pkcs8")),
        "RSA" => EncodingKey::from_rsa_der(&der("pkcs1")),
        "secret" => EncodingKey::from_secret(&URL_SAFE_NO_PAD.decode(key["secret"].as_str().unwrap()).unwrap()),
        _ => EncodingKey::from_ec_der(&der("pkcs8")),
    }
}

/// The public half of a test key, as a JWK (RFC 7517).
pub fn public_key(name: &str) -> Value {
    key(name)["jwk"].clone()
}

/// Signs as an issuer would. `HS256 with the public key` is the classic confusion: the bytes of
/// the public key as a shared secret.
pub(crate) fn sign(key_name: &str, algorithm: &str, signed: &str) -> String {
    if algorithm == "HS256 with the public key" {
        let jwk = public_key(key_name);
        let public = URL_SAFE_NO_PAD.decode(jwk["x"].as_str().or(jwk["n"].as_str()).unwrap()).unwrap();
        return crypto::sign(signed.as_bytes(), &EncodingKey::from_secret(&public), Algorithm::HS256).unwrap();
    }
    crypto::sign(signed.as_bytes(), &private_key(key_name), algorithm.parse().unwrap()).unwrap()
}
