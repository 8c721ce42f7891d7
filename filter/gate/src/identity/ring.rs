//! The keys, and what is done with them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::{AUDIENCE, CLOCK_SKEW_S, Lasting, Passing, Sealed};
use crate::keys::MIN_SECRET_BYTES;

/// The `typ` of the protected header.
const TYPE: &str = "cosygate-identity+jwt";
const MAX_SEALED_BYTES: usize = 16 * 1024;
/// The most keys of one ring.
const MAX_KEYS: usize = 4;

/// What a key can do.
#[derive(Clone)]
enum Material {
    /// HS256: whoever opens could also seal.
    Shared {
        mac: Hmac<Sha256>,
        /// `mac` with the header already taken in: it is the same for every request.
        started: Hmac<Sha256>,
    },
    /// EdDSA: the edge holds the private half, the origin the public one.
    Private(Box<SigningKey>),
    Public(VerifyingKey),
}

#[derive(Clone)]
struct SealKey {
    id: String,
    material: Material,
    /// The first part of whatever it seals, with its dot.
    header: String,
}

/// The keys of one region, the current one first.
#[derive(Clone)]
pub struct KeyRing {
    keys: Vec<SealKey>,
}

/// Why a sealed header does not hold; for the log, never for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub &'static str);

/// A seal as far as it is the same for every request of one token, worked out once.
#[derive(Clone)]
pub struct Begun {
    text: String,
    mac: Option<Hmac<Sha256>>,
}

impl fmt::Debug for Begun {
    /// Says nothing: it holds what a key was worked into.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Begun")
    }
}

impl KeyRing {
    /// Reads keys with commas between, the current one first, then the previous one. Each is
    /// `id:secret` for HS256, `id:ed25519:seed` for an edge that seals with EdDSA, or
    /// `id:ed25519-public:key` for an origin that opens what such an edge sealed. Secrets, seeds
    /// (RFC 8032, section 5.1.5) and keys are base64url without padding, 32 bytes; a secret may
    /// be longer.
    ///
    /// # Errors
    /// What is wrong, without any part of a secret.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut keys: Vec<SealKey> = Vec::new();
        for entry in text.trim().split(',') {
            let (id, material) = entry.split_once(':').ok_or("an identity key has the form id:secret")?;
            if id.is_empty() || id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
                return Err("the id of an identity key has 1 to 64 letters, digits and dashes");
            }
            if keys.iter().any(|key| key.id == id) {
                return Err("an identity key's id stands twice");
            }
            keys.push(SealKey::new(id, material)?);
        }
        if keys.len() > MAX_KEYS {
            return Err("there are more than four identity keys");
        }
        Ok(Self { keys })
    }

    /// The names of the keys, the one that seals first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    /// Seals with the current key. `None` if it is a public one, which cannot.
    pub fn seal(&self, sealed: &Sealed<'_>) -> Option<String> {
        self.finish(&self.begin(&sealed.lasting())?, &sealed.passing())
    }

    /// Works out what [`Self::finish`] needs for every request of one token.
    pub fn begin(&self, lasting: &Lasting<'_>) -> Option<Begun> {
        let key = self.keys.first()?;
        let mut claims = serde_json::to_vec(lasting).ok()?;
        // The object goes on, and base64url of three whole bytes each can be continued.
        claims.pop();
        claims.push(b',');
        while claims.len() % 3 != 0 {
            claims.push(b' ');
        }
        let mut text = key.header.clone();
        URL_SAFE_NO_PAD.encode_string(claims, &mut text);
        let mac = match &key.material {
            Material::Shared { started, .. } => Some(started.clone().chain_update(text.get(key.header.len()..)?)),
            Material::Private(_) => None,
            Material::Public(_) => return None,
        };
        Some(Begun { text, mac })
    }

    /// Seals one request.
    pub fn finish(&self, begun: &Begun, passing: &Passing<'_>) -> Option<String> {
        let claims = serde_json::to_vec(passing).ok()?;
        let mut token = String::with_capacity(begun.text.len() + claims.len() * 4 / 3 + 96);
        token.push_str(&begun.text);
        URL_SAFE_NO_PAD.encode_string(claims.get(1..)?, &mut token);
        match (&begun.mac, &self.keys.first()?.material) {
            (Some(mac), _) => {
                let mac = mac.clone().chain_update(token.get(begun.text.len()..)?).finalize().into_bytes();
                token.push('.');
                URL_SAFE_NO_PAD.encode_string(mac, &mut token);
            }
            (None, Material::Private(key)) => {
                let signature = key.sign(token.as_bytes()).to_bytes();
                token.push('.');
                URL_SAFE_NO_PAD.encode_string(signature, &mut token);
            }
            (None, _) => return None,
        }
        Some(token)
    }

    /// Opens the sealed header of a request that an edge handed on.
    ///
    /// # Errors
    /// As [`Self::open_for`].
    pub fn open(&self, token: &str, method: &str, target: &str, now: u64) -> Result<Sealed<'static>, OpenError> {
        self.open_for(AUDIENCE, token, method, target, now)
    }

    /// Opens a sealed header of `audience` that came with `method` and `target` (path and query) at `now`
    /// (seconds). Whether its id was seen before is the caller's to remember.
    ///
    /// # Errors
    /// The cause: form, key, signature, audience, time, method or target.
    pub fn open_for(
        &self,
        audience: &str,
        token: &str,
        method: &str,
        target: &str,
        now: u64,
    ) -> Result<Sealed<'static>, OpenError> {
        if token.len() > MAX_SEALED_BYTES {
            return Err(OpenError("too long"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(OpenError("not three parts"))?;
        let (header, payload) = signed.split_once('.').ok_or(OpenError("not three parts"))?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| OpenError("not base64url"));
        let header = crate::json::object(&decode(header)?).map_err(|_| OpenError("header is not JSON"))?;
        let member = |name: &str| header.get(name).and_then(serde_json::Value::as_str);
        if member("typ") != Some(TYPE) || header.len() != 3 {
            return Err(OpenError("not a sealed identity"));
        }
        let key = self.keys.iter().find(|key| member("kid") == Some(&key.id)).ok_or(OpenError("unknown key"))?;
        // The key says which algorithm; the header only has to agree.
        if member("alg") != Some(key.material.algorithm()) {
            return Err(OpenError("not a sealed identity"));
        }
        if !key.material.verifies(signed, &decode(signature)?) {
            return Err(OpenError("wrong signature"));
        }
        let sealed: Sealed<'_> =
            serde_json::from_slice(&decode(payload)?).map_err(|_| OpenError("claims are malformed"))?;
        if sealed.aud != audience || !sealed.iss.starts_with("edge:") {
            return Err(OpenError("for another audience"));
        }
        if now >= sealed.exp.saturating_add(CLOCK_SKEW_S) {
            return Err(OpenError("expired"));
        }
        if sealed.iat > now.saturating_add(CLOCK_SKEW_S) || sealed.exp.saturating_sub(sealed.iat) > 30 {
            return Err(OpenError("times are wrong"));
        }
        if sealed.htm != method || sealed.htu != target {
            return Err(OpenError("made for another request"));
        }
        Ok(sealed)
    }
}

impl SealKey {
    fn new(id: &str, material: &str) -> Result<Self, &'static str> {
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| "an identity key is not base64url");
        let exactly = |text: &str| -> Result<[u8; 32], &'static str> {
            bytes(text)?.try_into().map_err(|_| "an Ed25519 identity key does not have 32 bytes")
        };
        let header = |algorithm: &str| {
            let header = format!("{{\"alg\":\"{algorithm}\",\"typ\":\"{TYPE}\",\"kid\":\"{id}\"}}");
            format!("{}.", URL_SAFE_NO_PAD.encode(header))
        };
        let material = match material.split_once(':') {
            Some(("ed25519", seed)) => Material::Private(Box::new(SigningKey::from_bytes(&exactly(seed)?))),
            Some(("ed25519-public", key)) => {
                let key = VerifyingKey::from_bytes(&exactly(key)?).ok().filter(|key| !key.is_weak());
                Material::Public(key.ok_or("an Ed25519 identity key is not sound")?)
            }
            Some(_) => return Err("an identity key is of a kind that is not known"),
            None => {
                let secret = bytes(material)?;
                if secret.len() < MIN_SECRET_BYTES {
                    return Err("an identity key has fewer than 32 bytes");
                }
                let mac: Hmac<Sha256> = Hmac::new_from_slice(&secret).map_err(|_| "an identity key cannot be used")?;
                Material::Shared { started: mac.clone().chain_update(header("HS256")), mac }
            }
        };
        Ok(Self { id: id.to_owned(), header: header(material.algorithm()), material })
    }
}

impl Material {
    fn algorithm(&self) -> &'static str {
        match self {
            Self::Shared { .. } => "HS256",
            Self::Private(_) | Self::Public(_) => "EdDSA",
        }
    }

    fn verifies(&self, signed: &str, signature: &[u8]) -> bool {
        let ed25519 = |key: &VerifyingKey| {
            Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(signed.as_bytes(), &signature).is_ok())
        };
        match self {
            // Constant time, by the library.
            Self::Shared { mac, .. } => mac.clone().chain_update(signed).verify_slice(signature).is_ok(),
            Self::Private(key) => ed25519(&key.verifying_key()),
            Self::Public(key) => ed25519(key),
        }
    }
}
