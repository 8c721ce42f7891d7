//! Key sets as issuers publish them, sound and hostile.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::reference::Reference;
use crate::{public_key, sign};

/// A key set, and what becomes of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySet {
    /// What it shows.
    pub name: String,
    /// Its keys: the name of a test key; or an object whose `of` names one and whose other members
    /// are set in it, null removing; or any other value as it stands.
    #[serde(default)]
    keys: Option<Vec<Value>>,
    /// In place of keys, the whole text; `{pem}` stands for the public half of the key `ed`.
    #[serde(default)]
    text: Option<String>,
    /// The keys that it is good for, each alone, for all its algorithms, or with one of them.
    #[serde(default)]
    holds: Vec<String>,
    /// A part of the reason with which it is refused as a whole.
    #[serde(default)]
    pub refused: Option<String>,
    /// The same for a policy that it stands in, where that is stricter.
    #[serde(default)]
    pub in_policy: Option<String>,
    /// What the reference library does with it, if one of its own tests is about the same.
    #[serde(default)]
    pub reference: Option<Reference>,
}

/// Every key and algorithm that a set may be good for.
pub const PAIRS: [(&str, &str); 10] = [
    ("ed", "EdDSA"),
    ("ed-other", "EdDSA"),
    ("p256", "ES256"),
    ("p384", "ES384"),
    ("rsa", "RS256"),
    ("rsa", "RS384"),
    ("rsa", "RS512"),
    ("rsa", "PS256"),
    ("rsa", "PS384"),
    ("rsa", "PS512"),
];

impl KeySet {
    /// The text that the issuer sends.
    pub fn text(&self) -> String {
        match (&self.keys, &self.text) {
            (Some(keys), None) => json!({"keys": keys.iter().map(expand).collect::<Vec<_>>()}).to_string(),
            (None, Some(text)) => text.replace("{pem}", &pem()),
            _ => panic!("{}: give either keys or a text", self.name),
        }
    }

    /// Whether a signature of this key and algorithm holds by it.
    pub fn holds(&self, key: &str, algorithm: &str) -> bool {
        self.holds.iter().any(|held| held == key || *held == format!("{key} {algorithm}"))
    }
}

/// Reads the file beside this crate.
pub fn all() -> Vec<KeySet> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[expect(dead_code, reason = "for who reads the file")]
        about: String,
        sets: Vec<KeySet>,
    }
    let file: File = serde_json::from_str(include_str!("../key-sets.json")).unwrap();
    for set in &file.sets {
        let pairs =
            |held: &str| PAIRS.iter().any(|(key, algorithm)| held == *key || held == format!("{key} {algorithm}"));
        assert!(set.holds.iter().all(|held| pairs(held)), "{}: {:?}", set.name, set.holds);
        assert!(set.refused.is_none() != set.holds.is_empty(), "{}: either holds or is refused", set.name);
    }
    file.sets
}

/// Signs a text as the owner of a test key would; base64url.
pub fn signature(key: &str, algorithm: &str, signed: &str) -> String {
    sign(key, algorithm, signed)
}

fn expand(entry: &Value) -> Value {
    if let Some(name) = entry.as_str() {
        return public_key(name);
    }
    let Some(name) = entry["of"].as_str() else { return entry.clone() };
    let mut key: Map<String, Value> = public_key(name).as_object().unwrap().clone();
    for (member, value) in entry.as_object().unwrap().iter().filter(|(member, _)| *member != "of") {
        if value.is_null() {
            key.remove(member)
        } else {
            key.insert(member.clone(), value.clone())
        };
    }
    Value::Object(key)
}

/// The public key `ed` as SubjectPublicKeyInfo (RFC 8410, section 4).
fn pem() -> String {
    let point = URL_SAFE_NO_PAD.decode(public_key("ed")["x"].as_str().unwrap()).unwrap();
    let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let key = STANDARD.encode([&prefix[..], &point].concat());
    format!("-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n")
}
