use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

const NOW: u64 = 1_700_000_000;

fn ring(text: &str) -> KeyRing {
    KeyRing::parse(text).unwrap()
}

fn secret(byte: u8) -> String {
    URL_SAFE_NO_PAD.encode([byte; 32])
}

fn sealed() -> Sealed<'static> {
    Sealed {
        iss: "edge:local".into(),
        aud: AUDIENCE.into(),
        sub: Some("01J".into()),
        sub_iss: Some("https://issuer".into()),
        role: Some("free".into()),
        scope: None,
        sid: None,
        auth_time: Some(NOW),
        jti: "a-1".into(),
        iat: NOW,
        exp: NOW + 30,
        htm: "GET".into(),
        htu: "/api/me?x=1".into(),
        rev: 7,
    }
}

#[test]
fn opens_only_for_the_request_it_was_made_for() {
    let current = ring(&format!("k2:{},k1:{}", secret(2), secret(1)));
    let token = current.seal(&sealed()).unwrap();
    assert_eq!(current.open(&token, "GET", "/api/me?x=1", NOW).unwrap(), sealed());
    let refused = |token: &str, method, target, now| current.open(token, method, target, now).unwrap_err().0;
    assert_eq!(refused(&token, "POST", "/api/me?x=1", NOW), "made for another request");
    assert_eq!(refused(&token, "GET", "/api/me", NOW), "made for another request");
    assert_eq!(refused(&token, "GET", "/api/me?x=1", NOW + 35), "expired");
    assert_eq!(refused(&token, "GET", "/api/me?x=1", NOW - 60), "times are wrong");
    assert_eq!(refused("a.b", "GET", "/", NOW), "not three parts");
    let previous = ring(&format!("k1:{}", secret(1))).seal(&sealed()).unwrap();
    assert!(current.open(&previous, "GET", "/api/me?x=1", NOW).is_ok());
    let retired = ring(&format!("k0:{}", secret(1))).seal(&sealed()).unwrap();
    assert_eq!(refused(&retired, "GET", "/api/me?x=1", NOW), "unknown key");
    let forged = ring(&format!("k2:{}", secret(9))).seal(&sealed()).unwrap();
    assert_eq!(refused(&forged, "GET", "/api/me?x=1", NOW), "wrong signature");
    let elsewhere = current.seal(&Sealed { aud: "other".into(), ..sealed() }).unwrap();
    assert_eq!(refused(&elsewhere, "GET", "/api/me?x=1", NOW), "for another audience");
    let endless = current.seal(&Sealed { exp: NOW + 3600, ..sealed() }).unwrap();
    assert_eq!(refused(&endless, "GET", "/api/me?x=1", NOW), "times are wrong");
}

#[test]
fn every_flipped_character_is_noticed() {
    let ring = ring(&format!("k:{}", secret(3)));
    let token = ring.seal(&sealed()).unwrap();
    for place in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(ring.open(&changed, "GET", "/api/me?x=1", NOW).is_err(), "at {place}");
    }
}

#[test]
fn weak_rings_are_refused() {
    for text in ["", "k", "k:", "k:AAAA", ":AAAA", "k y:AAAA", "k:ed25519:AAAA", "k:rsa:AAAA"] {
        assert!(KeyRing::parse(text).is_err(), "{text}");
    }
    assert!(KeyRing::parse(&format!("k:{0},k:{0}", secret(1))).is_err());
}

#[test]
fn an_origin_with_the_public_key_opens_and_cannot_seal() {
    let edge = ring(&format!("e1:ed25519:{}", secret(7)));
    let public = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key();
    let origin = ring(&format!("e1:ed25519-public:{},k1:{}", URL_SAFE_NO_PAD.encode(public), secret(1)));
    let token = edge.seal(&sealed()).unwrap();
    assert_eq!(origin.open(&token, "GET", "/api/me?x=1", NOW).unwrap(), sealed());
    assert!(edge.open(&token, "GET", "/api/me?x=1", NOW).is_ok());
    assert!(origin.seal(&sealed()).is_none());
    // The public key as a shared secret, under the id of the real one.
    let confused = ring(&format!("e1:{}", URL_SAFE_NO_PAD.encode(public))).seal(&sealed()).unwrap();
    assert_eq!(origin.open(&confused, "GET", "/api/me?x=1", NOW).unwrap_err().0, "not a sealed identity");
    let forged = ring(&format!("e1:ed25519:{}", secret(8))).seal(&sealed()).unwrap();
    assert_eq!(origin.open(&forged, "GET", "/api/me?x=1", NOW).unwrap_err().0, "wrong signature");
}
