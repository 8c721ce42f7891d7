//! Project Wycheproof's vectors for JSON Web Signatures and Keys.
//!
//! The payloads are no claims, so this is about form, keys and signatures only. The end-to-end
//! tests send the same texts to the edge as tokens.
#![cfg(not(target_arch = "wasm32"))]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gate::keys::KeySet;
use gate::token;
use serde_json::{Value, json};

const SIGNATURES: &str = include_str!("wycheproof/json_web_signature_test.json");
const KEYS: &str = include_str!("wycheproof/json_web_key_test.json");

/// Marked valid although their HMAC does not match the text.
const MISMARKED: [u64; 2] = [372, 373];

/// Marked invalid although their text is, byte for byte, that of case 357, which is valid.
const TWINS_OF_VALID: [u64; 2] = [367, 370];

/// The key is bound to PS256 by its `alg`, and the text is signed with PS384; we hold keys to
/// what they say.
const STRICTER: [u64; 2] = [346, 350];

/// The public half as an issuer would publish it.
fn load(key: &Value) -> Result<KeySet, String> {
    if let Some(secret) = key["k"].as_str() {
        return KeySet::of_secret(&URL_SAFE_NO_PAD.decode(secret).unwrap());
    }
    let mut public = key.clone();
    for private in ["d", "p", "q", "dp", "dq", "qi"] {
        public.as_object_mut().unwrap().remove(private);
    }
    KeySet::from_jwks(&json!({ "keys": [public] }))
}

fn accepts(keys: &Result<KeySet, String>, jws: &str) -> bool {
    match (keys, token::parse(jws)) {
        (Ok(keys), Ok(jws)) => keys.verify(jws.algorithm, jws.key_id.as_deref(), jws.signed, &jws.signature),
        _ => false,
    }
}

#[test]
fn signatures() {
    let vectors: Value = serde_json::from_str(SIGNATURES).unwrap();
    let (mut accepted, mut refused, mut unsupported) = (0, 0, 0);
    for group in vectors["testGroups"].as_array().unwrap() {
        let key = if group["public"].is_object() { &group["public"] } else { &group["private"] };
        let keys = load(key);
        for test in group["tests"].as_array().unwrap() {
            let id = test["tcId"].as_u64().unwrap();
            // Some texts are in the JSON serialisation, which is refused like any other non-token.
            let text = test["jws"].as_str().map_or_else(|| test["jws"].to_string(), str::to_owned);
            let valid = (test["result"] == "valid" && !MISMARKED.contains(&id)) || TWINS_OF_VALID.contains(&id);
            let got = accepts(&keys, &text);
            assert!(valid || !got, "{id}: {} must be refused", test["comment"]);
            match (valid, got) {
                (true, false) => {
                    assert!(keys.is_err() || STRICTER.contains(&id), "{id}: {} must be accepted", test["comment"]);
                    unsupported += 1;
                }
                (true, true) => accepted += 1,
                (false, _) => refused += 1,
            }
        }
    }
    println!("accepted {accepted} valid, refused {refused}, {unsupported} with keys that are not supported");
    assert_eq!(accepted + refused + unsupported, 401);
    assert!(accepted >= 40, "{accepted}");
}

#[test]
fn key_sets() {
    let vectors: Value = serde_json::from_str(KEYS).unwrap();
    let mut count = 0;
    for group in vectors["testGroups"].as_array().unwrap() {
        let set = if group["public"].is_object() { &group["public"] } else { &group["private"] };
        for test in group["tests"].as_array().unwrap() {
            count += 1;
            // As published: whatever private or symmetric is in a set refuses the whole of it.
            let keys = KeySet::from_jwks(set);
            let jws = test["jws"].as_str().unwrap_or_default();
            if test["result"] == "invalid" {
                assert!(!accepts(&keys, jws), "{}: {} must be refused", test["tcId"], test["comment"]);
            }
        }
    }
    assert_eq!(count, 26);
}
