//! Bundles as a control plane makes them, and as nobody should.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use gate::bundle::TYPE;
use gate::status;
use serde_json::{Value, json};

/// A root key.
pub struct Root(SigningKey);

impl Root {
    /// Another key for every number.
    pub fn new(number: u8) -> Self {
        Self(SigningKey::from_bytes(&[number; 32]))
    }

    /// The public half as a JWK.
    pub fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.0.verifying_key().as_bytes());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": format!("root-{}", self.0.as_bytes()[0]), "x": x})
    }

    /// Signs claims as a bundle.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as(TYPE, claims)
    }

    /// Signs a status list as it is at a serial.
    pub fn sign_list(&self, uri: &str, serial: u64, bits: &[u8]) -> String {
        let packed = status::pack(bits);
        self.sign_as(
            status::TYPE,
            &json!({"sub": uri, "iat": now(), "exp": now() + 300, "ttl": 15, "serial": serial, "status_list": packed}),
        )
    }

    fn sign_as(&self, kind: &str, claims: &Value) -> String {
        let header = json!({"alg": "EdDSA", "typ": kind, "kid": self.jwk()["kid"]});
        let mut text = URL_SAFE_NO_PAD.encode(header.to_string());
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut text);
        let signature = self.0.sign(text.as_bytes()).to_bytes();
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        text
    }
}

/// Seconds since the epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What a bundle of this serial says to the edges of the tests, for an hour.
pub fn claims(serial: u64, policy: &Value) -> Value {
    json!({
        "iss": "cosygate", "aud": "edge:test", "iat": now(), "exp": now() + 3600, "serial": serial,
        "jti": format!("{serial}-{}", now()), "rev": policy["rev"], "policy": policy,
    })
}

/// The configuration of an edge that follows, with these roots and a seed, if any.
pub fn following(roots: &[&Root], seed: Option<&str>) -> String {
    let roots: Vec<Value> = roots.iter().map(|root| root.jwk()).collect();
    let control = json!({"cluster": "origin", "authority": "control", "roots": {"keys": roots}});
    let mut configuration = json!({"region": "test", "control": control});
    if let Some(seed) = seed {
        configuration["seed"] = json!(seed);
    }
    configuration.to_string()
}
