use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::json;

use super::*;

const NAME: &str = "https://cosygate.example/status/7";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn roots() -> KeySet {
    let x = URL_SAFE_NO_PAD.encode(key(1).verifying_key().as_bytes());
    KeySet::from_jwks(&json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": x}]})).unwrap()
}

fn claims(packed: Packed) -> Claims {
    Claims { sub: NAME.to_owned(), iat: 1, exp: 2, ttl: 3, serial: 9, status_list: packed }
}

fn signed(kind: &str, claims: &Claims, seed: u8) -> String {
    let header = json!({"alg": "EdDSA", "typ": kind, "kid": "1"}).to_string();
    let payload = serde_json::to_vec(claims).unwrap();
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = URL_SAFE_NO_PAD.encode(key(seed).sign(text.as_bytes()).to_bytes());
    format!("{text}.{signature}")
}

fn with(places: &[usize]) -> Vec<u8> {
    let mut bits = vec![0; LIST_BYTES];
    for place in places {
        bits[place / 8] |= 1 << (place % 8);
    }
    bits
}

fn opened(packed: Packed) -> Result<List, &'static str> {
    open(signed(TYPE, &claims(packed), 1).as_bytes(), &roots(), NAME).map_err(|refused| refused.reason)
}

#[test]
fn bits_lie_as_the_draft_says() {
    // The example of section 4.1, and what zlib makes of it in section 4.2.
    let bytes = [0xb9, 0xa3];
    let list = List { serial: 1, bits: bytes.into() };
    let set: Vec<u64> = (0..16).filter(|place| list.is_set(*place)).collect();
    assert_eq!(set, [0, 3, 4, 5, 7, 8, 9, 13, 15]);
    let unpacked = decompress_to_vec_zlib_with_limit(&URL_SAFE_NO_PAD.decode("eNrbuRgAAhcBXQ").unwrap(), 2).unwrap();
    assert_eq!(unpacked, bytes);
    assert_eq!(pack(&bytes).lst, "eNrbuRgAAhcBXQ");
}

#[test]
fn what_is_set_is_withdrawn_and_nothing_else() {
    let mut lists = Lists::default();
    let at = |index| Reference { uri: NAME.to_owned(), index };
    assert!(!lists.is_set(&at(3)), "a list that nobody names has no bit set");
    lists.put(NAME, opened(pack(&with(&[0, 3, 65_535]))).unwrap());
    let set: Vec<u64> = (0..u64::from(LIST_TOKENS)).filter(|place| lists.is_set(&at(*place))).collect();
    assert_eq!(set, [0, 3, 65_535]);
    assert!(lists.is_set(&at(65_536)) && lists.is_set(&at(u64::MAX)), "there is no such place");
    assert!(!lists.is_set(&Reference { uri: "https://cosygate.example/status/8".to_owned(), index: 3 }));

    assert!(lists.has(NAME, 9) && !lists.has(NAME, 10));
    lists.put(NAME, List { serial: 8, bits: vec![0; LIST_BYTES].into() });
    assert!(lists.is_set(&at(3)), "an older list replaces nothing");
    lists.keep(&BTreeMap::from([("another".to_owned(), 1)]));
    assert!(!lists.has(NAME, 0));
}

#[test]
fn a_list_of_every_size_fits() {
    // Bits that cannot be compressed.
    let mut state = 1_u64;
    let random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    let bits: Vec<u8> = std::iter::repeat_with(random).take(LIST_BYTES).collect();
    assert_eq!(*opened(pack(&bits)).unwrap().bits, *bits);
    assert!(signed(TYPE, &claims(pack(&bits)), 1).len() <= MAX_TEXT_BYTES);
    assert!(pack(&with(&[])).lst.len() < 100);
}

#[test]
fn whatever_is_wrong_with_a_list_it_is_refused() {
    let text = |kind, seed| signed(kind, &claims(pack(&with(&[3]))), seed);
    let why = |text: &str, name| open(text.as_bytes(), &roots(), name).map_err(|refused| refused.reason).err();
    assert_eq!(why(&text(TYPE, 1), NAME), None);
    assert_eq!(why(&text(TYPE, 2), NAME), Some("signature"));
    assert_eq!(why(&text("at+jwt", 1), NAME), Some("malformed"));
    assert_eq!(why(&text(TYPE, 1), "https://cosygate.example/status/8"), Some("list"));
    assert_eq!(why(&"a".repeat(MAX_TEXT_BYTES + 1), NAME), Some("too large"));
    // Too few, too many, very many, two bits for each, and rubbish.
    assert_eq!(opened(pack(&[0; LIST_BYTES - 1])).unwrap_err(), "list");
    assert_eq!(opened(pack(&[0; LIST_BYTES + 1])).unwrap_err(), "list");
    assert_eq!(opened(pack(&vec![0; 10_000_000])).unwrap_err(), "list");
    assert_eq!(opened(Packed { bits: 2, ..pack(&with(&[])) }).unwrap_err(), "list");
    for lst in ["", "AAAA", "eNrbuRgAAhcBX", "!"] {
        assert_eq!(opened(Packed { bits: 1, lst: lst.to_owned() }).unwrap_err(), "list", "{lst}");
    }
}

#[test]
fn a_status_that_is_malformed_is_not_absent() {
    let read = |status: Value| {
        let claims = json!({"status": status});
        Reference::read(claims.as_object().unwrap(), 20)
    };
    let sound = json!({"status_list": {"idx": 4, "uri": "a/status/1"}});
    assert_eq!(read(sound).unwrap(), Some(Reference { uri: "a/status/1".to_owned(), index: 4 }));
    for other in [json!({}), json!("valid"), json!(null), json!({"status_assertion": {}})] {
        assert_eq!(read(other), Ok(None));
    }
    let long = "a".repeat(21);
    for malformed in [
        json!({"status_list": null}),
        json!({"status_list": {"idx": 4}}),
        json!({"status_list": {"uri": "a"}}),
        json!({"status_list": {"idx": -1, "uri": "a"}}),
        json!({"status_list": {"idx": 1.5, "uri": "a"}}),
        json!({"status_list": {"idx": "4", "uri": "a"}}),
        json!({"status_list": {"idx": 4, "uri": ""}}),
        json!({"status_list": {"idx": 4, "uri": long}}),
    ] {
        assert!(read(malformed.clone()).is_err(), "{malformed}");
    }
}
