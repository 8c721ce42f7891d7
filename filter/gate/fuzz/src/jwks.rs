use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gate::keys::{Algorithm, KeySet, MAX_KEYS};
use serde_json::Value;

const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::EdDSA,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// What no public key may say of itself.
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "k"];

/// Takes JSON for a JWK Set.
pub fn check(bytes: &[u8]) {
    let Ok(jwks) = serde_json::from_slice::<Value>(bytes) else { return };
    let Ok(keys) = KeySet::from_jwks(&jwks) else { return };
    let entries = jwks["keys"].as_array().unwrap();
    assert!(entries.len() <= MAX_KEYS);
    assert!(!keys.is_empty());
    assert!(KeySet::from_jwks(&jwks).is_ok(), "once accepted, then refused");
    assert!(ALGORITHMS.iter().any(|algorithm| keys.serves(*algorithm)), "nothing can be verified");
    for secret in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        assert!(!keys.serves(secret), "a public key as a shared secret");
    }
    let used: Vec<&Value> =
        entries.iter().filter(|key| key["use"].as_str().is_none_or(|purpose| purpose == "sig")).collect();
    let named: Vec<&str> = used.iter().filter_map(|key| key.get("kid")).map(|kid| kid.as_str().unwrap()).collect();
    assert_eq!(named.iter().collect::<BTreeSet<_>>().len(), named.len(), "two keys of one name");
    assert!(used.iter().all(|key| PRIVATE.iter().all(|member| key.get(member).is_none())), "private material");
    for key in used {
        nobody_can_sign_without_the_private_half(&keys, key);
    }
}

/// Signatures that hold for keys of small order, and for implementations that forget to look at
/// zeros and ones.
fn nobody_can_sign_without_the_private_half(keys: &KeySet, key: &Value) {
    let modulus = key["n"].as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).map_or(0, |bytes| bytes.len());
    let sizes = if modulus > 0 { vec![modulus] } else { vec![64, 96] };
    for size in sizes {
        let zeros = vec![0; size];
        let mut first = zeros.clone();
        first[0] = 1;
        let mut last = zeros.clone();
        last[size - 1] = 1;
        let mut halves = last.clone();
        halves[size / 2 - 1] = 1;
        let mut highest = zeros.clone();
        highest[..size / 2].fill(0xff);
        for forged in [zeros, first, last, halves, highest] {
            for algorithm in ALGORITHMS.into_iter().filter(|algorithm| keys.serves(*algorithm)) {
                // A point of small order holds for one text in as many as its order, of which eight is the highest.
                let texts = if algorithm == Algorithm::EdDSA { 0..16 } else { 0..1 };
                for text in texts.map(|number| format!("e30.{number}")) {
                    let holds = keys.verify(algorithm, key["kid"].as_str(), &text, &forged);
                    assert!(!holds, "{algorithm:?}: {forged:?} holds for {text}");
                }
            }
        }
    }
}
