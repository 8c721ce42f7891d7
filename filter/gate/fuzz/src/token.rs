use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use gate::cache::TokenCache;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Map, Value, json};

use crate::door::{self, Asked};
use crate::percent_decoded;
use crate::table::{NOW, Table, bearer, cookie, tables};

/// Reads base64url with every freedom that the gate must not take.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

static SIGNERS: LazyLock<BTreeMap<&str, EncodingKey>> =
    LazyLock::new(|| ["ed", "ed-other", "secret"].map(|name| (name, cases::private_key(name))).into());

thread_local! {
    /// One for each table. They stay as they are, because whoever is recognised is known to them.
    static WARM: RefCell<Vec<TokenCache>> = RefCell::new(tables().iter().map(Table::warm_cache).collect());
}

/// Takes text for a token; an object, too, for the claims of one that is then signed.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    has_one_spelling(text);
    for (table, place) in tables().iter().zip(0..) {
        for asked in [bearer(text), cookie(text)] {
            only_issued_tokens_count(table, place, &asked, text);
        }
    }
    if let Ok(Value::Object(claims)) = serde_json::from_slice(bytes) {
        claims_are_read_as_written(text, &claims);
    }
}

/// What is read of a token, written again, is the token.
fn has_one_spelling(text: &str) {
    let Ok(jws) = gate::token::parse(text) else { return };
    assert_eq!(format!("{}.{}", jws.signed, URL_SAFE_NO_PAD.encode(&jws.signature)), text);
    for part in text.split('.') {
        let decoded = LENIENT.decode(part).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.encode(decoded), part, "two spellings of one part");
    }
    let (header, payload) = jws.signed.split_once('.').unwrap();
    assert_eq!(URL_SAFE_NO_PAD.encode(&jws.payload), payload);
    let header: Map<String, Value> = serde_json::from_slice(&LENIENT.decode(header).unwrap()).unwrap();
    assert_eq!(header["alg"], json!(jws.algorithm));
    assert_eq!(header.get("kid"), jws.key_id.clone().map(Value::String).as_ref());
    if let Ok(claims) = jws.claims() {
        let read: Map<String, Value> = serde_json::from_slice(&jws.payload).unwrap();
        assert_eq!(claims, read);
    }
}

/// Nobody holds the keys but the table, so nothing else can be signed. (The one exception, the
/// other form of an ECDSA signature, takes arithmetic that mutations do not do.)
fn only_issued_tokens_count(table: &Table, place: usize, asked: &Asked, text: &str) {
    let cold = door::judge_afresh(&table.gate, asked, NOW);
    assert!(cold.user.is_none() || table.has_issued(text), "{}: a forged token: {cold:?}", table.name);
    assert!(!cold.passes || cold.user.is_some(), "{}: nobody passes: {cold:?}", table.name);
    let warm = WARM.with_borrow_mut(|caches| door::judge(&table.gate, &mut caches[place], asked, NOW));
    assert_eq!(cold, warm, "{}: the cache changes a verdict", table.name);
}

/// Signs claims as their issuer would; what is then recognised must be what they say.
fn claims_are_read_as_written(text: &str, claims: &Map<String, Value>) {
    let (key, algorithm, kind, prefix) = match claims.get("iss").and_then(Value::as_str) {
        Some("https://issuer.example") => ("ed", Algorithm::EdDSA, "at+jwt", ""),
        Some("https://groups.example") => ("ed", Algorithm::EdDSA, "at+jwt", "groups:"),
        Some("https://realm.example") => ("ed-other", Algorithm::EdDSA, "JWT", "realm:"),
        _ => ("secret", Algorithm::HS256, "at+jwt", "hs:"),
    };
    let header = json!({"alg": algorithm, "typ": kind}).to_string();
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(text));
    let signature = crypto::sign(signed.as_bytes(), &SIGNERS[key], algorithm).unwrap();
    let table = tables().iter().find(|table| table.name == "issuers.json").unwrap();
    let outcome = door::judge_afresh(&table.gate, &bearer(&format!("{signed}.{signature}")), NOW);
    let Some(user) = &outcome.user else {
        assert!(!outcome.passes);
        return;
    };
    let time = |name: &str| claims.get(name).map(|value| value.as_u64().expect("a time is an integer"));
    let (skew, longest) = (30, 7200);
    let expires = time("exp").expect("exp is never absent");
    assert!(time("iat").is_none_or(|issued| issued <= NOW + skew), "issued in the future");
    assert!(expires.saturating_sub(time("iat").unwrap_or(NOW)) <= longest, "lives too long");
    let audiences = match &claims["aud"] {
        Value::Array(several) => several.clone(),
        single => vec![single.clone()],
    };
    assert!(audiences.contains(&json!("cosygate")), "for another audience");
    let subject = claims[if prefix == "realm:" { "uid" } else { "sub" }].as_str().expect("a subject is text");
    let encoded = user.strip_prefix(prefix).expect("the user id starts with the issuer's prefix");
    assert!(encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.%".contains(&byte)), "{user}");
    assert_eq!(percent_decoded(encoded), subject.as_bytes(), "one user id for two subjects");
    if outcome.passes {
        assert!(NOW < expires.saturating_add(skew), "expired");
        assert!(time("nbf").is_none_or(|from| from <= NOW + skew), "not yet valid");
        assert!(["free", "premium", "admin"].contains(&outcome.role.as_deref().unwrap_or_default()), "{outcome:?}");
    }
}
