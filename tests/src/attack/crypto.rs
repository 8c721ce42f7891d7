//! Signatures and keys.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};

use super::mint::{self, ALGORITHMS, Algorithm, Mint, RS256, RSA, TWIN, decoded, part, signed, split};
use super::numbers::{
    ED25519_ORDER, P256_ORDER, P384_ORDER, add, ecdsa_der, hex, public_key_der, public_key_pem, subtract,
};
use super::{Case, Family, Goal, Site, with_token};

const CONFUSION: Family =
    Family { name: "public key as shared secret", through: "everybody who knows the public key can sign" };
const WEAK: Family = Family { name: "guessed shared secret", through: "the token is accepted" };
const MISMATCH: Family =
    Family { name: "`alg` that is not the key's or not the issuer's", through: "the token chooses how it is verified" };
const FOREIGN: Family =
    Family { name: "one issuer's key for another's name", through: "one issuer speaks for another" };
const CRIT: Family =
    Family { name: "`crit`, `b64`", through: "an extension that must be understood is passed over (RFC 7515, 4.1.11)" };
const FETCH: Family = Family {
    name: "`jku`, `x5u`, `kid`, `iss` that point somewhere",
    through: "a foreign signature holds, or the edge calls there",
};
const SIGNED_KID: Family = Family { name: "odd `kid`, sound signature", through: "a key that nobody named is used" };
const ECDSA: Family = Family { name: "ECDSA: DER, zero, order, length", through: "the signature is accepted" };
const RSA_FORMS: Family =
    Family { name: "RSA: PS as RS, length, zero, plus modulus", through: "the signature is accepted" };
const ED25519: Family = Family { name: "Ed25519: plus order, small points", through: "the signature is accepted" };

pub(super) fn cases(site: &Site, mint: &Mint, lure: SocketAddr) -> Vec<Case> {
    let mut cases = confusion(site);
    cases.extend(mismatch(site, mint));
    cases.extend(foreign(site, mint));
    cases.extend(crit(site, mint));
    cases.extend(fetch(site, mint, lure));
    cases.extend(kids(site, mint));
    cases.extend(ecdsa(site, mint));
    cases.extend(rsa(site, mint));
    cases.extend(ed25519(site, mint));
    cases
}

/// Header and claims of a sound token with another `alg`.
fn parts(algorithm: &Algorithm, stated: &str) -> String {
    let mut header = mint::header(algorithm);
    header.insert("alg".to_owned(), json!(stated));
    format!("{}.{}", part(json!(header).to_string()), part(json!(mint::claims(algorithm)).to_string()))
}

fn confusion(site: &Site) -> Vec<Case> {
    let mut cases = Vec::new();
    for algorithm in ALGORITHMS.iter().filter(|known| ["EdDSA", "ES256", "ES384", "RS256"].contains(&known.name)) {
        let jwk = cases::public_key(algorithm.key);
        let pem = public_key_pem(&jwk);
        let raw = decoded(jwk["x"].as_str().or(jwk["n"].as_str()).unwrap()).unwrap();
        let point = jwk["y"].as_str().map_or(raw.clone(), |y| [vec![4], raw.clone(), decoded(y).unwrap()].concat());
        let secrets = [
            ("the raw key", raw.clone()),
            ("the point", point),
            ("the raw key as text", part(&raw).into_bytes()),
            ("DER", public_key_der(&jwk)),
            ("DER in base64", STANDARD.encode(public_key_der(&jwk)).into_bytes()),
            ("PEM", pem.clone().into_bytes()),
            ("PEM without its last line break", pem.trim_end().as_bytes().to_vec()),
            ("PEM with CR LF", pem.replace('\n', "\r\n").into_bytes()),
            ("the JWK", jwk.to_string().into_bytes()),
            ("the JWK set", json!({"keys": [jwk]}).to_string().into_bytes()),
        ];
        for stated in ["HS256", "HS384", "HS512"] {
            for (what, secret) in &secrets {
                let token = signed(stated, &EncodingKey::from_secret(secret), &parts(algorithm, stated));
                cases.push(with_token(site, &CONFUSION, format!("{} {stated}: {what}", algorithm.key), token));
            }
        }
    }
    for algorithm in &ALGORITHMS[9..] {
        for secret in
            ["", "secret", "password", "changeit", "your-256-bit-secret", "\0", "null", "cosygate", algorithm.issuer]
        {
            let token =
                signed(algorithm.name, &EncodingKey::from_secret(secret.as_bytes()), &parts(algorithm, algorithm.name));
            cases.push(with_token(site, &WEAK, format!("{}: {secret:?}", algorithm.name), token));
        }
    }
    cases
}

fn mismatch(site: &Site, mint: &Mint) -> Vec<Case> {
    let mut cases = Vec::new();
    for victim in ALGORITHMS.iter().filter(|known| ["EdDSA", "ES256", "ES384", "RS256", "HS256"].contains(&known.name))
    {
        for other in &ALGORITHMS {
            // Says one algorithm and is signed with another, or says truly one that is not the issuer's.
            if other.name != victim.name {
                let token = mint.signed(other.name, other.key, &parts(victim, victim.name));
                cases.push(with_token(site, &MISMATCH, format!("says {}, is {}", victim.name, other.name), token));
            }
            if other.issuer != victim.issuer {
                let token = mint.signed(other.name, other.key, &parts(victim, other.name));
                cases.push(with_token(
                    site,
                    &MISMATCH,
                    format!("{} for the issuer of {}", other.name, victim.name),
                    token,
                ));
            }
        }
    }
    // The same key, an algorithm that this issuer does not use.
    let only_rs256 = Algorithm { issuer: RS256, ..ALGORITHMS[3] };
    for other in &ALGORITHMS[4..9] {
        let token = mint.signed(other.name, "rsa", &parts(&only_rs256, other.name));
        cases.push(with_token(site, &MISMATCH, format!("{} where only RS256 is", other.name), token));
    }
    let unknown = json!([
        "ES512", "ES256K", "Ed25519", "Ed448", "EdDSA ", "eddsa", "EDDSA", "es256", "rs256", "hs256", "HS1", "RS1",
        "RSA1_5", "ECDH-ES",
        "dir", "A128KW", "A256GCM", "ML-DSA-44", "SHA256", "HS256\u{0}", "RS256,none", "*", 256, {"name": "EdDSA"},
        ["EdDSA"], true
    ]);
    for algorithm in [&ALGORITHMS[0], &ALGORITHMS[3]] {
        for stated in unknown.as_array().unwrap() {
            let token = mint.token(algorithm, |header, _| drop(header.insert("alg".to_owned(), stated.clone())));
            cases.push(with_token(site, &MISMATCH, format!("{} says {stated}", algorithm.name), token));
        }
    }
    cases
}

fn foreign(site: &Site, mint: &Mint) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut put = |name: String, token: String| cases.push(with_token(site, &FOREIGN, name, token));
    for signer in &ALGORITHMS {
        for named in ALGORITHMS.iter().map(|known| known.issuer).chain([RS256, TWIN]) {
            // What the RSA issuers' one key signs with RS256 is sound for both.
            if named != signer.issuer && !(named == RS256 && signer.name == "RS256") {
                let token = mint.token(signer, |_, claims| drop(claims.insert("iss".to_owned(), json!(named))));
                put(format!("{} of {} for {named}", signer.name, signer.issuer), token);
            }
        }
    }
    for (key, named) in [("ed-other", ALGORITHMS[0].issuer), ("ed", TWIN)] {
        let algorithm = Algorithm { issuer: named, ..ALGORITHMS[0] };
        put(format!("{key} for {named}, same kid"), mint.signed("EdDSA", key, &parts(&algorithm, "EdDSA")));
    }
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

fn crit(site: &Site, mint: &Mint) -> Vec<Case> {
    let members = [
        ("crit", json!(["exp"])),
        ("crit", json!(["http://example.com/UNDEFINED"])),
        ("crit", json!(["b64"])),
        ("crit", json!(["alg"])),
        ("crit", json!(["bork", "bork"])),
        ("crit", json!(["urn:ietf:params:oauth:dpop"])),
        ("crit", json!([])),
        ("crit", json!("exp")),
        ("crit", json!({})),
        ("crit", Value::Null),
        ("crit", json!([null])),
        ("b64", json!(false)),
        ("b64", json!("false")),
    ];
    let mut cases = Vec::new();
    for algorithm in [&ALGORITHMS[0], &ALGORITHMS[1], &ALGORITHMS[3], &ALGORITHMS[9]] {
        for (name, value) in &members {
            let token = mint.token(algorithm, |header, _| drop(header.insert((*name).to_owned(), value.clone())));
            cases.push(with_token(site, &CRIT, format!("{}: {name} {value}", algorithm.name), token));
        }
        let both = |header: &mut mint::Members| {
            header.insert("crit".to_owned(), json!(["b64"]));
            header.insert("b64".to_owned(), json!(false));
        };
        let token = mint.token(algorithm, |header, _| both(header));
        cases.push(with_token(site, &CRIT, format!("{}: b64 as it should be", algorithm.name), token));
    }
    cases
}

/// Soundly signed, so these may pass. Nobody may be called for any of them.
fn fetch(site: &Site, mint: &Mint, lure: SocketAddr) -> Vec<Case> {
    let mut cases = Vec::new();
    for algorithm in [&ALGORITHMS[0], &ALGORITHMS[1], &ALGORITHMS[3], &ALGORITHMS[9]] {
        for (name, value) in [
            ("jku", json!(format!("http://{lure}/keys.json"))),
            ("jku", json!(format!("http://user@{lure}/keys.json#.example"))),
            ("x5u", json!(format!("http://{lure}/certificate.pem"))),
            ("kid", json!(format!("http://{lure}/key"))),
            ("iss", json!(format!("http://{lure}"))),
        ] {
            let sound = mint.token(algorithm, |header, _| drop(header.insert(name.to_owned(), value.clone())));
            let forged = mint::signed_by_attacker(split(&sound).0);
            // A shared secret has no name, so there is none that a token could miss.
            let passes = name != "kid" || algorithm.key == "secret";
            let case = with_token(site, &FETCH, format!("{}: {name} {value}", algorithm.name), &sound);
            if passes {
                cases.push(Case { goal: Goal::Fetch, code: None, ..case });
            } else {
                cases.push(case);
            }
            cases.push(with_token(
                site,
                &FETCH,
                format!("{}: {name} {value}, foreign signature", algorithm.name),
                forged,
            ));
        }
        let elsewhere =
            mint.token(algorithm, |_, claims| drop(claims.insert("iss".to_owned(), json!(format!("http://{lure}")))));
        cases.push(with_token(site, &FETCH, format!("{}: an issuer there", algorithm.name), elsewhere));
    }
    cases
}

fn kids(site: &Site, mint: &Mint) -> Vec<Case> {
    let algorithm = &ALGORITHMS[0];
    let kids = json!([
        "", "nobody", "../ed", "./ed", "ED", "ed ", " ed", "ed\u{0}", "ed\u{0}x", "ed.json", "ed'--", "ed-other",
        "p256", "*",
        7, 0, null, true, [], ["ed"], {}, {"kid": "ed"}
    ]);
    let mut cases: Vec<Case> = kids
        .as_array()
        .unwrap()
        .iter()
        .map(|kid| {
            let token = mint.token(algorithm, |header, _| drop(header.insert("kid".to_owned(), kid.clone())));
            with_token(site, &SIGNED_KID, kid.to_string(), token)
        })
        .collect();
    let long = mint.token(algorithm, |header, _| drop(header.insert("kid".to_owned(), json!("ed".repeat(2000)))));
    cases.push(with_token(site, &SIGNED_KID, "4000 letters", long));
    cases
}

fn ecdsa(site: &Site, mint: &Mint) -> Vec<Case> {
    let mut cases = Vec::new();
    for (algorithm, order) in [(&ALGORITHMS[1], hex(P256_ORDER)), (&ALGORITHMS[2], hex(P384_ORDER))] {
        let token = mint.sound(algorithm);
        let (parts, signature) = split(&token);
        let bytes = decoded(signature).unwrap();
        let size = order.len();
        let (r, s) = bytes.split_at(size);
        let (zero, one) = (vec![0; size], [vec![0; size - 1], vec![1]].concat());
        let minus_one = subtract(&order, &[1]);
        let forged: Vec<(&str, Vec<u8>)> = vec![
            ("DER", ecdsa_der(&bytes)),
            ("zeros", [&zero[..], &zero].concat()),
            ("r zero", [&zero[..], s].concat()),
            ("s zero", [r, &zero].concat()),
            ("r order", [&order[..], s].concat()),
            ("s order", [r, &order].concat()),
            ("both order", [&order[..], &order].concat()),
            ("r one, s one", [&one[..], &one].concat()),
            ("r order minus one", [&minus_one[..], s].concat()),
            ("s order minus one", [r, &minus_one].concat()),
            ("ones", vec![0xff; 2 * size]),
            ("swapped", [s, r].concat()),
            ("r twice", [r, r].concat()),
            ("a byte less", bytes[..bytes.len() - 1].to_vec()),
            ("a byte more", [&bytes[..], &[0]].concat()),
            ("a byte before", [&[0], &bytes[..]].concat()),
            ("a zero before each", [&[0], r, &[0], s].concat()),
            ("r only", r.to_vec()),
            ("twice", [&bytes[..], &bytes].concat()),
            ("as long as the other curve's", [&bytes[..], &vec![0; if size == 32 { 32 } else { 36 }]].concat()),
            ("a thousand bytes", vec![1; 1000]),
            ("DER of zeros", ecdsa_der(&[0; 64])),
            ("DER with a long length", [&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 2, 1, 1][..], &bytes].concat()),
        ];
        for (what, signature) in forged {
            let token = format!("{parts}.{}", part(signature));
            cases.push(with_token(site, &ECDSA, format!("{}: {what}", algorithm.name), token));
        }
    }
    cases
}

fn rsa(site: &Site, mint: &Mint) -> Vec<Case> {
    let mut cases = Vec::new();
    let modulus = decoded(cases::public_key("rsa")["n"].as_str().unwrap()).unwrap();
    for algorithm in ALGORITHMS.iter().filter(|known| known.issuer == RSA) {
        let fits = |token: &String| add(&decoded(split(token).1).unwrap(), &modulus).len() == modulus.len();
        let numbered = |number: u32| {
            mint.token(algorithm, |_, claims| drop(claims.insert("jti".to_owned(), json!(number.to_string()))))
        };
        // One signature in three is so small that there is room for the modulus beside it.
        let token = (0..1000).map(numbered).find(fits).unwrap();
        let (parts, signature) = split(&token);
        let bytes = decoded(signature).unwrap();
        let forged = [
            ("zero", vec![0; 256]),
            ("one", [vec![0; 255], vec![1]].concat()),
            ("modulus minus one", subtract(&modulus, &[1])),
            ("modulus", modulus.clone()),
            ("plus modulus", add(&bytes, &modulus)),
            ("minus", subtract(&modulus, &bytes)),
            ("a zero before", [&[0], &bytes[..]].concat()),
            ("a byte less", bytes[1..].to_vec()),
            ("the padding in clear", [&[0, 1][..], &[0xff; 202], &[0], &[0x30; 51]].concat()),
            ("four thousand bytes", vec![1; 4000]),
        ];
        for (what, signature) in forged {
            let token = format!("{parts}.{}", part(signature));
            cases.push(with_token(site, &RSA_FORMS, format!("{}: {what}", algorithm.name), token));
        }
        for other in ALGORITHMS.iter().filter(|known| known.issuer == RSA && known.name != algorithm.name) {
            let token = mint.signed(other.name, "rsa", parts);
            cases.push(with_token(site, &RSA_FORMS, format!("says {}, is {}", algorithm.name, other.name), token));
        }
    }
    cases
}

fn ed25519(site: &Site, mint: &Mint) -> Vec<Case> {
    let token = mint.sound(&ALGORITHMS[0]);
    let (parts, signature) = split(&token);
    let bytes = decoded(signature).unwrap();
    let (r, s) = bytes.split_at(32);
    let backwards = |bytes: &[u8]| -> Vec<u8> { bytes.iter().rev().copied().collect() };
    let order = hex(ED25519_ORDER);
    let identity = [vec![1], vec![0; 31]].concat();
    let prime = [vec![0xed], vec![0xff; 30], vec![0x7f]].concat();
    let mut forged = vec![
        ("s zero", [r, &[0; 32]].concat()),
        ("s order", [r, &backwards(&order)].concat()),
        ("r identity, s zero", [&identity[..], &[0; 32]].concat()),
        ("r not canonical", [&prime[..], &[0; 32]].concat()),
        ("r small, s sound", [&[0; 32], s].concat()),
        ("ones", vec![0xff; 64]),
        ("swapped", [s, r].concat()),
        ("the sign of r", [&r[..31], &[r[31] ^ 0x80], s].concat()),
        ("the top bit of s", [r, &s[..31], &[s[31] | 0x80]].concat()),
        ("63 bytes", bytes[..63].to_vec()),
        ("114 bytes, as Ed448", [&bytes[..], &[0; 50]].concat()),
    ];
    for _ in 0..3 {
        let last = forged
            .iter()
            .rev()
            .find(|(what, _)| *what == "s plus order")
            .map_or(s.to_vec(), |(_, last)| last[32..].to_vec());
        let sum = backwards(&add(&backwards(&last), &order));
        forged.push(("s plus order", [r, &sum[..32]].concat()));
    }
    let case = |(what, signature)| with_token(site, &ED25519, what, format!("{parts}.{}", part(signature)));
    forged.into_iter().map(case).collect()
}
