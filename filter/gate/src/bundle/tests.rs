use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};

use super::*;
use crate::policy::Document;

const NOW: u64 = 1_800_000_000;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn roots(seeds: &[u8]) -> KeySet {
    let jwk = |seed: &u8| {
        let x = URL_SAFE_NO_PAD.encode(key(*seed).verifying_key().as_bytes());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": seed.to_string(), "x": x})
    };
    KeySet::from_jwks(&json!({"keys": seeds.iter().map(jwk).collect::<Vec<_>>()})).unwrap()
}

fn claims() -> Value {
    let policy = json!({
        "rev": 5,
        "issuers": [],
        "roles": {"free": {
            "requests": {"per_minute": 1, "burst": 1}, "body_kb": 1, "jobs_running": 1, "characters_per_request": 1,
            "characters_per_day": 1, "generations_per_day": 1, "storage_mb": 1, "retention_days": 1,
        }},
        "routes": [],
    });
    json!({
        "iss": "cosygate", "aud": "edge:north", "iat": NOW, "exp": NOW + 60, "serial": 9, "jti": "9-1", "rev": 5,
        "policy": policy,
    })
}

fn signed(header: &Value, claims: &str, seed: u8) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(key(seed).sign(text.as_bytes()).to_bytes());
    format!("{text}.{signature}")
}

fn header(kid: &str) -> Value {
    json!({"alg": "EdDSA", "typ": TYPE, "kid": kid})
}

fn reason(text: &str) -> &'static str {
    open(text.as_bytes(), &roots(&[1, 2]), "north").unwrap_err().reason
}

#[test]
fn either_root_key_will_do_and_no_other() {
    for seed in [1, 2] {
        let text = signed(&header(&seed.to_string()), &claims().to_string(), seed);
        let bundle = open(text.as_bytes(), &roots(&[1, 2]), "north").unwrap();
        assert_eq!((bundle.version(), bundle.rev), (Version { serial: 9, iat: NOW }, 5));
        assert_eq!(Document::parse(bundle.policy.get().as_bytes()).unwrap().rev, 5);
    }
    assert_eq!(reason(&signed(&header("3"), &claims().to_string(), 3)), "signature");
    assert_eq!(reason(&signed(&header("1"), &claims().to_string(), 3)), "signature");
}

#[test]
fn whatever_is_wrong_with_it_it_is_refused() {
    let text = signed(&header("1"), &claims().to_string(), 1);
    for (place, byte) in text.bytes().enumerate().step_by(7) {
        let mut flipped = text.clone().into_bytes();
        flipped[place] = if byte == b'A' { b'B' } else { b'A' };
        assert!(open(&flipped, &roots(&[1]), "north").is_err(), "at {place}");
    }
    for cut in [0, 1, 20, text.len() / 2, text.len() - 1] {
        assert!(open(&text.as_bytes()[..cut], &roots(&[1]), "north").is_err(), "cut at {cut}");
    }
    assert_eq!(reason(&"a".repeat(MAX_BUNDLE_BYTES + 1)), "too large");
    assert_eq!(open(text.as_bytes(), &roots(&[1]), "south").unwrap_err().reason, "audience");
    let with = |member: &str, value: Value| {
        let mut claims = claims();
        claims[member] = value;
        signed(&header("1"), &claims.to_string(), 1)
    };
    assert_eq!(reason(&with("iss", json!("somebody"))), "audience");
    assert_eq!(reason(&with("serial", json!("9"))), "malformed");
    assert_eq!(reason(&with("more", json!(1))), "malformed");
    let doubled = claims().to_string().replacen('{', "{\"serial\":10,", 1);
    assert_eq!(reason(&signed(&header("1"), &doubled, 1)), "malformed");
    // A token that the same key signed is no bundle.
    let token = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "1"});
    assert_eq!(reason(&signed(&token, &claims().to_string(), 1)), "malformed");
}

#[test]
fn a_clock_may_be_off_by_as_much_as_a_seal_allows() {
    let sound = |clock_offset_s| Standing { clock_offset_s, ..Standing::default() }.is_clock_sound();
    assert!(sound(0) && sound(5) && sound(-5));
    assert!(!sound(6) && !sound(-6) && !sound(i64::MIN));
}

#[test]
fn only_what_is_newer_and_holds_is_taken() {
    let text = signed(&header("1"), &claims().to_string(), 1);
    let bundle = open(text.as_bytes(), &roots(&[1]), "north").unwrap();
    let at = |serial, iat| Version { serial, iat };
    let why = |newest, now| bundle.check(newest, now).map_err(|refused| refused.reason);
    assert_eq!(why(at(9, NOW), NOW), Ok(()));
    assert_eq!(why(at(8, NOW + 5), NOW + 59), Ok(()));
    assert_eq!(why(at(9, NOW), NOW + 60), Err("expired"));
    assert_eq!(why(at(10, 0), NOW), Err("older"));
    assert_eq!(why(at(9, NOW + 1), NOW), Err("older"));
}
