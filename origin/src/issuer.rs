//! The issuer of this server's tokens: an Ed25519 key and what it signs.

use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::clock::new_id;
use crate::files;
use crate::store::User;

/// What tokens of a login may be used for.
pub(crate) const SCOPE: &str = "speech";
/// The `typ` of our tokens (RFC 9068, section 2.1).
pub(crate) const TOKEN_TYPE: &str = "at+jwt";

/// Signs tokens.
pub struct Issuer {
    key: SigningKey,
    key_id: String,
}

/// The private key as a JWK (RFC 8037, section 2).
#[derive(Serialize, Deserialize)]
struct PrivateJwk {
    kty: String,
    crv: String,
    x: String,
    d: String,
}

/// The claims of an access token (RFC 9068, section 2.2).
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    user_id: &'a str,
    role: &'a str,
    scope: &'a str,
    sid: String,
    jti: String,
    auth_time: u64,
    iat: u64,
    exp: u64,
}

/// For whom and how long a token is made.
pub struct Grant<'a> {
    /// `iss`.
    pub issuer: &'a str,
    /// `aud`.
    pub audience: &'a str,
    /// The user who just logged in.
    pub user: &'a User,
    /// How long it holds, in seconds.
    pub lifetime_s: u64,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
}

impl Issuer {
    /// Reads the key, or makes one at the first start.
    ///
    /// # Errors
    /// The disk's, or the file is no Ed25519 JWK.
    pub fn load_or_make(path: &Path) -> io::Result<Self> {
        let text = files::read_or_make_secret(path, || {
            let key = SigningKey::from_bytes(&rand::random());
            let jwk = PrivateJwk {
                kty: "OKP".to_owned(),
                crv: "Ed25519".to_owned(),
                x: URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes()),
                d: URL_SAFE_NO_PAD.encode(key.as_bytes()),
            };
            serde_json::to_string(&jwk).unwrap_or_default()
        })?;
        Self::from_jwk(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is no Ed25519 JWK"))
    }

    fn from_jwk(text: &str) -> Option<Self> {
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
        Self { key, key_id: URL_SAFE_NO_PAD.encode(Sha256::digest(canonical)) }
    }

    /// The public key as a JWK Set (RFC 7517, section 5).
    pub fn jwks(&self) -> Value {
        json!({"keys": [{
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "EdDSA",
            "use": "sig",
            "kid": self.key_id,
            "x": URL_SAFE_NO_PAD.encode(self.key.verifying_key().as_bytes()),
        }]})
    }

    /// A JWK Set to check policies with where the real keys are not at hand.
    pub fn sample_jwks() -> Value {
        Self::new(SigningKey::from_bytes(&[1; 32])).jwks()
    }

    /// Makes an access token (RFC 9068).
    pub fn issue(&self, grant: &Grant<'_>) -> String {
        let now_s = u64::try_from(grant.now_ms / 1000).unwrap_or_default();
        let claims = Claims {
            iss: grant.issuer,
            aud: grant.audience,
            sub: &grant.user.id,
            user_id: &grant.user.id,
            role: &grant.user.role,
            scope: SCOPE,
            sid: new_id(grant.now_ms),
            jti: new_id(grant.now_ms),
            auth_time: now_s,
            iat: now_s,
            exp: now_s + grant.lifetime_s,
        };
        let header = json!({"alg": "EdDSA", "typ": TOKEN_TYPE, "kid": self.key_id});
        let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(&claims).unwrap_or_default(), &mut token);
        let signature = self.key.sign(token.as_bytes()).to_bytes();
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_id_is_the_thumbprint_of_rfc_8037() {
        // RFC 8037, appendix A.1 to A.3.
        let jwk = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let issuer = Issuer::from_jwk(jwk).unwrap();
        assert_eq!(issuer.key_id, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert!(Issuer::from_jwk(&jwk.replace("11q", "12q")).is_none());
        assert!(Issuer::from_jwk("{}").is_none());
    }

    #[test]
    fn the_key_stays_over_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("issuer.jwk");
        let first = Issuer::load_or_make(&path).unwrap().jwks();
        assert_eq!(Issuer::load_or_make(&path).unwrap().jwks(), first);
        std::fs::write(&path, "rubbish").unwrap();
        assert!(Issuer::load_or_make(&path).is_err());
    }
}
