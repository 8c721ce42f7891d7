use serde_json::json;

use super::*;

const X: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn refused(key: Value) -> String {
    KeySet::from_jwks(&json!({ "keys": [key] })).err().expect("must be refused")
}

fn rsa(modulus_bytes: usize, first: u8, exponent: &[u8]) -> Value {
    let mut modulus = vec![0xab_u8; modulus_bytes];
    modulus[0] = first;
    json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(modulus), "e": URL_SAFE_NO_PAD.encode(exponent)})
}

#[test]
fn weak_rsa_keys_are_refused() {
    let good = [1, 0, 1];
    assert!(KeySet::from_jwks(&json!({"keys": [rsa(256, 0x80, &good)]})).is_ok());
    assert!(KeySet::from_jwks(&json!({"keys": [rsa(512, 0xff, &good)]})).is_ok());
    for key in
        [rsa(128, 0x80, &good), rsa(256, 0x7f, &good), rsa(513, 1, &good), rsa(1024, 0x80, &good), rsa(257, 0, &good)]
    {
        assert!(refused(key).contains("bits"));
    }
    for exponent in [&[1][..], &[3], &[17], &[1, 0, 0], &[0, 1, 0, 1], &[1, 0, 0, 0, 1], &[]] {
        assert!(refused(rsa(256, 0x80, exponent)).contains("exponent"), "{exponent:?}");
    }
}

#[test]
fn unsound_points_are_refused() {
    for y in [0_u8, 1] {
        let mut point = [0_u8; 32];
        point[0] = y;
        for sign in [0, 0x80] {
            point[31] = sign;
            let x = URL_SAFE_NO_PAD.encode(point);
            assert!(refused(json!({"kty": "OKP", "crv": "Ed25519", "x": x})).contains("Ed25519"));
        }
    }
    for short in ["", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        assert!(refused(json!({"kty": "OKP", "crv": "Ed25519", "x": short})).contains("sound"));
    }
    assert!(refused(json!({"kty": "EC", "crv": "P-256", "x": X, "y": X})).contains("curve"));
    assert!(refused(json!({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": X})).contains("32 bytes"));
    assert!(refused(json!({"kty": "EC", "crv": "P-384", "x": X, "y": X})).contains("48 bytes"));
}

#[test]
fn other_material_is_refused() {
    for key in [
        json!({"kty": "oct", "k": X}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": X, "d": X}),
        json!({"kty": "RSA", "n": X, "e": "AQAB", "p": X}),
        json!({"kty": "OKP", "crv": "X25519", "x": X}),
        json!({"kty": "EC", "crv": "secp256k1", "x": X, "y": X}),
        json!({"kty": "OKP", "crv": "Ed25519"}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": 7}),
        json!({}),
        json!("key"),
    ] {
        refused(key);
    }
    for jwks in [json!({}), json!({"keys": {}}), json!({"keys": []}), json!([])] {
        assert!(KeySet::from_jwks(&jwks).is_err(), "{jwks}");
    }
    let many: Vec<Value> = (0..40).map(|_| rsa(256, 0x80, &[1, 0, 1])).collect();
    assert!(KeySet::from_jwks(&json!({ "keys": many })).is_err());
    let mut twice = rsa(256, 0x80, &[1, 0, 1]);
    twice["kid"] = json!("a");
    assert!(KeySet::from_jwks(&json!({"keys": [twice.clone(), twice]})).err().unwrap().contains("twice"));
    let mut misused = rsa(256, 0x80, &[1, 0, 1]);
    misused["alg"] = json!("ES256");
    assert!(refused(misused).contains("alg"));
}

#[test]
fn published_keys_of_other_kinds_are_passed_over() {
    let published = |keys: &[Value]| KeySet::from_published(json!({ "keys": keys }).to_string().as_bytes());
    let good = rsa(256, 0x80, &[1, 0, 1]);
    for other in [
        json!({"kty": "AKP", "alg": "ML-DSA-65", "pub": X}),
        json!({"kty": "OKP", "crv": "X25519", "x": X}),
        json!({"kty": "EC", "crv": "P-521", "x": X, "y": X}),
        json!({"kty": "RSA", "alg": "RSA-OAEP", "n": X, "e": "AQAB"}),
    ] {
        assert!(published(&[good.clone(), other.clone()]).is_ok(), "{other}");
        assert!(published(&[other]).err().unwrap().contains("no key"));
    }
    for flawed in [json!({"kty": "oct", "k": X}), json!({"kty": 7}), json!({"kty": "OKP", "x": X}), json!("key")] {
        assert!(published(&[good.clone(), flawed.clone()]).is_err(), "{flawed}");
    }
}

#[test]
fn secrets_have_a_least_length() {
    assert!(KeySet::of_secret(&[7; 31]).is_err());
    assert!(KeySet::of_secret(&[7; 32]).is_ok());
}
