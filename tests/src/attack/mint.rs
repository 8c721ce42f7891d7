//! Tokens, sound and forged, for the issuers of [`super::edges`].

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, crypto};
use serde_json::{Map, Value, json};

/// An algorithm, an issuer that allows it, and the test key it signs with.
#[derive(Clone, Copy, Debug)]
pub struct Algorithm {
    /// The registered name.
    pub name: &'static str,
    /// The issuer.
    pub issuer: &'static str,
    /// The test key, which is the `kid`, too.
    pub key: &'static str,
}

const fn algorithm(name: &'static str, issuer: &'static str, key: &'static str) -> Algorithm {
    Algorithm { name, issuer, key }
}

/// Every algorithm that a policy can allow.
pub const ALGORITHMS: [Algorithm; 12] = [
    algorithm("EdDSA", ED, "ed"),
    algorithm("ES256", EC, "p256"),
    algorithm("ES384", EC, "p384"),
    algorithm("RS256", RSA, "rsa"),
    algorithm("RS384", RSA, "rsa"),
    algorithm("RS512", RSA, "rsa"),
    algorithm("PS256", RSA, "rsa"),
    algorithm("PS384", RSA, "rsa"),
    algorithm("PS512", RSA, "rsa"),
    algorithm("HS256", HS, "secret"),
    algorithm("HS384", HS, "secret"),
    algorithm("HS512", HS, "secret"),
];

/// Issues with EdDSA; its users have no prefix.
pub const ED: &str = "https://ed.example";
/// Issues with ES256 and ES384.
pub const EC: &str = "https://ec.example";
/// Issues with every RSA algorithm.
pub const RSA: &str = "https://rsa.example";
/// Issues with RS256 only, with the same key.
pub const RS256: &str = "https://rs256.example";
/// Issues with a shared secret.
pub const HS: &str = "https://hs.example";
/// Issues with EdDSA and a key of its own, which has the `kid` of the first issuer's.
pub const TWIN: &str = "https://twin.example";

/// Everybody's audience.
pub const AUDIENCE: &str = "cosygate";
/// The user of every token that does not say otherwise.
pub const SUBJECT: &str = "alice";

/// The attacker's own key, Ed25519, PKCS#8; nobody trusts it.
const ATTACKER: &str = "MC4CAQAwBQYDK2VwBCIEINKFQUVXgEUpBqIDMcutXvr0XKizitM0OAFmg7ZFSQUa";
/// Its public half.
pub const ATTACKER_X: &str = "jmaltYFJEgxPZ3hgVAlSTvPxU2-AVMX4A_xETu62b9Y";
/// A certificate for it, signed by itself.
pub const ATTACKER_CERTIFICATE: &str = concat!(
    "MIIBPDCB76ADAgECAhRTsqShl34u6gbMV2mPjo/WadkZ7zAFBgMrZXAwEzERMA8GA1UEAwwIYXR0YWNrZXIwIBcNMjYxMTIzMDgyOTIwWhgPMjEy",
    "NjEwMzAwODI5MjBaMBMxETAPBgNVBAMMCGF0dGFja2VyMCowBQYDK2VwAyEAjmaltYFJEgxPZ3hgVAlSTvPxU2+AVMX4A/xETu62b9ajUzBRMB0G",
    "A1UdDgQWBBTGL+PNQNau7EplQxWSxwjxbBON8DAfBgNVHSMEGDAWgBTGL+PNQNau7EplQxWSxwjxbBON8DAPBgNVHRMBAf8EBTADAQH/MAUGAytl",
    "cANBAMM44uLDkc5PfIXv9e9PdcYIySrstDBJxNMvbcMfIgw1hNKNmBXD6iTZih0RRbmYWS+x8HhT7pzcG08pOfTW9w0="
);

/// Members of a header or of claims.
pub type Members = Map<String, Value>;

/// Signs as the issuers do.
pub struct Mint {
    keys: BTreeMap<&'static str, EncodingKey>,
}

impl Default for Mint {
    fn default() -> Self {
        let names = ["ed", "ed-other", "p256", "p384", "rsa", "secret"];
        Self { keys: names.into_iter().map(|name| (name, cases::private_key(name))).collect() }
    }
}

impl Mint {
    /// A token of a user with the role `free` that holds for ten minutes.
    pub fn sound(&self, algorithm: &Algorithm) -> String {
        self.token(algorithm, |_, _| {})
    }

    /// The same with changes, signed after them.
    pub fn token(&self, algorithm: &Algorithm, change: impl FnOnce(&mut Members, &mut Members)) -> String {
        let (mut header, mut claims) = (header(algorithm), claims(algorithm));
        change(&mut header, &mut claims);
        self.text(algorithm, Value::Object(header).to_string(), Value::Object(claims).to_string())
    }

    /// A token of these two texts, whatever they are.
    pub fn text(&self, algorithm: &Algorithm, header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
        self.signed(algorithm.name, algorithm.key, &format!("{}.{}", part(header), part(claims)))
    }

    /// Signs the first two parts with a test key.
    pub fn signed(&self, algorithm: &str, key: &str, parts: &str) -> String {
        signed(algorithm, &self.keys[key], parts)
    }
}

/// Signs the first two parts.
pub fn signed(algorithm: &str, key: &EncodingKey, parts: &str) -> String {
    let signature = crypto::sign(parts.as_bytes(), key, algorithm.parse().unwrap()).unwrap();
    format!("{parts}.{signature}")
}

/// Signs the first two parts with a key that nobody trusts.
pub fn signed_by_attacker(parts: &str) -> String {
    signed("EdDSA", &EncodingKey::from_ed_der(&STANDARD.decode(ATTACKER).unwrap()), parts)
}

/// The header of a sound token.
pub fn header(algorithm: &Algorithm) -> Members {
    members(json!({"alg": algorithm.name, "typ": "at+jwt", "kid": algorithm.key}))
}

/// The claims of a sound token.
pub fn claims(algorithm: &Algorithm) -> Members {
    let now = now();
    members(json!({
        "iss": algorithm.issuer, "aud": AUDIENCE, "sub": SUBJECT, "role": "free", "scope": "speech",
        "iat": now - 10, "exp": now + 600, "auth_time": now - 10,
    }))
}

/// The members of a JSON object.
pub fn members(object: Value) -> Members {
    match object {
        Value::Object(members) => members,
        other => panic!("not an object: {other}"),
    }
}

/// One part of a token.
pub fn part(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// One part of a token, read.
///
/// # Errors
/// It is not base64url.
pub fn decoded(part: &str) -> Result<Vec<u8>, base64::DecodeError> {
    URL_SAFE_NO_PAD.decode(part)
}

/// Header and claims with the dot between them, and the signature.
pub fn split(token: &str) -> (&str, &str) {
    token.rsplit_once('.').unwrap()
}

/// Seconds since the epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}
