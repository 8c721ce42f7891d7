//! Ed25519 keys, and the JSON Web Signatures made with them (RFC 7515, RFC 8037).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A private key and its name.
pub struct SigningJwk {
    key: SigningKey,
    id: String,
}

/// The private key as a JWK (RFC 8037, section 2).
#[derive(Serialize, Deserialize)]
struct PrivateJwk {
    kty: String,
    crv: String,
    x: String,
    d: String,
}

impl SigningJwk {
    /// A new one.
    pub fn generate() -> Self {
        Self::new(SigningKey::from_bytes(&rand::random()))
    }

    /// The same key for every test and sample.
    pub fn sample() -> Self {
        Self::new(SigningKey::from_bytes(&[1; 32]))
    }

    /// Reads a private JWK; none if it is not a whole Ed25519 key.
    pub fn from_jwk(text: &str) -> Option<Self> {
        let jwk: PrivateJwk = serde_json::from_str(text).ok()?;
        let seed: [u8; 32] = URL_SAFE_NO_PAD.decode(jwk.d).ok()?.try_into().ok()?;
        let key = SigningKey::from_bytes(&seed);
        let is_whole = jwk.kty == "OKP"
            && jwk.crv == "Ed25519"
            && URL_SAFE_NO_PAD.decode(jwk.x).ok()?.as_slice() == key.verifying_key().as_bytes();
        is_whole.then(|| Self::new(key))
    }

    fn new(key: SigningKey) -> Self {
        let x = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
        // RFC 7638, section 3: the required members in lexical order, without whitespace.
        let canonical = format!("{{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"{x}\"}}");
        Self { key, id: URL_SAFE_NO_PAD.encode(Sha256::digest(canonical)) }
    }

    /// The whole key as a JWK.
    pub fn private(&self) -> String {
        let jwk = PrivateJwk {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            x: URL_SAFE_NO_PAD.encode(self.key.verifying_key().as_bytes()),
            d: URL_SAFE_NO_PAD.encode(self.key.as_bytes()),
        };
        serde_json::to_string(&jwk).unwrap_or_default()
    }

    /// Its name: the thumbprint of the public half (RFC 7638).
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public half as a JWK (RFC 7517, section 4).
    pub fn public(&self) -> Value {
        json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "EdDSA",
            "use": "sig",
            "kid": self.id,
            "x": URL_SAFE_NO_PAD.encode(self.key.verifying_key().as_bytes()),
        })
    }

    /// Signs claims as a compact JWS of this type.
    pub fn sign(&self, kind: &str, claims: &impl Serialize) -> String {
        let header = json!({"alg": "EdDSA", "typ": kind, "kid": self.id});
        let mut text = URL_SAFE_NO_PAD.encode(header.to_string());
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims).unwrap_or_default(), &mut text);
        let signature = self.key.sign(text.as_bytes()).to_bytes();
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        text
    }
}

/// The claims of a compact JWS of this type that one of these public keys signed; none if it does
/// not hold. The key is the one that the header names.
pub fn verify(jws: &str, kind: &str, keys: &[Value]) -> Option<Value> {
    let (signed, signature) = jws.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    if header.get("alg")? != "EdDSA" || header.get("typ")? != kind {
        return None;
    }
    let key = keys.iter().find(|key| key.get("kid") == header.get("kid"))?;
    let x: [u8; 32] = URL_SAFE_NO_PAD.decode(key.get("x")?.as_str()?).ok()?.try_into().ok()?;
    let signature = Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    VerifyingKey::from_bytes(&x).ok()?.verify_strict(signed.as_bytes(), &signature).ok()?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_id_is_the_thumbprint_of_rfc_8037() {
        // RFC 8037, appendix A.1 to A.3.
        let jwk = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let key = SigningJwk::from_jwk(jwk).unwrap();
        assert_eq!(key.id, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert!(SigningJwk::from_jwk(&jwk.replace("11q", "12q")).is_none());
        assert!(SigningJwk::from_jwk("{}").is_none());
    }

    #[test]
    fn what_was_signed_holds_and_nothing_else() {
        let (key, other) = (SigningJwk::sample(), SigningJwk::generate());
        let jws = key.sign("test+jwt", &json!({"seq": 1}));
        let keys = [other.public(), key.public()];
        assert_eq!(verify(&jws, "test+jwt", &keys), Some(json!({"seq": 1})));
        assert_eq!(verify(&jws, "other+jwt", &keys), None);
        assert_eq!(verify(&jws, "test+jwt", &[other.public()]), None);
        let forged = other.sign("test+jwt", &json!({"seq": 1}));
        let (body, _) = jws.rsplit_once('.').unwrap();
        let (_, signature) = forged.rsplit_once('.').unwrap();
        assert_eq!(verify(&format!("{body}.{signature}"), "test+jwt", &keys), None);
    }

    #[test]
    fn a_key_is_the_same_after_it_was_written() {
        let key = SigningJwk::generate();
        assert_eq!(SigningJwk::from_jwk(&key.private()).unwrap().public(), key.public());
        assert_ne!(SigningJwk::generate().id(), key.id());
    }
}
