//! Project Wycheproof's vectors for JSON Web Signatures and Keys, natively and in node.
//!
//! The payloads are no claims, so this is about form, keys and signatures only. The end-to-end
//! tests put the same texts to the program, and to the edge as tokens.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "wycheproof/vectors.rs"]
mod vectors;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gate::keys::KeySet;
use gate::token;
use serde_json::{Value, json};
use wasm_bindgen_test::wasm_bindgen_test;

const KEYS: &str = include_str!("wycheproof/json_web_key_test.json");

fn load(key: &Value) -> Result<KeySet, String> {
    match key["k"].as_str() {
        Some(secret) => KeySet::of_secret(&URL_SAFE_NO_PAD.decode(secret).unwrap()),
        None => KeySet::from_jwks(&json!({ "keys": [key] })),
    }
}

fn accepts(keys: &Result<KeySet, String>, jws: &str) -> bool {
    match (keys, token::parse(jws)) {
        (Ok(keys), Ok(jws)) => keys.verify(jws.algorithm, jws.key_id.as_deref(), jws.signed, &jws.signature),
        _ => false,
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn signatures() {
    let (mut accepted, mut refused) = (0, 0);
    for group in vectors::groups() {
        let keys = load(&group.key);
        for vector in group.vectors {
            let got = accepts(&keys, &vector.text);
            assert_eq!(got, vector.holds, "{}: {}", vector.id, vector.comment);
            if got { accepted += 1 } else { refused += 1 }
        }
    }
    println!("{accepted} signatures of Wycheproof hold, {refused} do not");
    assert_eq!((accepted, refused), (42, vectors::COUNT - 42));
}

#[wasm_bindgen_test(unsupported = test)]
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
