//! Public keys and shared secrets, refused at load when they are weak.

use std::rc::Rc;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::{JwtVerifier, rust_crypto};
use jsonwebtoken::{DecodingKey, DecodingKeyKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json;

/// A signature algorithm (RFC 7518, section 3.1; EdDSA: RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(missing_docs, reason = "the names are the registered ones")]
pub enum Algorithm {
    EdDSA,
    ES256,
    ES384,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    HS256,
    HS384,
    HS512,
}

impl Algorithm {
    const ALL: [Self; 12] = [
        Self::EdDSA,
        Self::ES256,
        Self::ES384,
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::HS256,
        Self::HS384,
        Self::HS512,
    ];
}

/// The material an algorithm needs; one key serves one kind only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Material {
    Ed25519,
    P256,
    P384,
    Rsa,
    Secret,
}

impl Algorithm {
    /// Reads the registered, case-sensitive name. `none` has no name here.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "EdDSA" => Self::EdDSA,
            "ES256" => Self::ES256,
            "ES384" => Self::ES384,
            "RS256" => Self::RS256,
            "RS384" => Self::RS384,
            "RS512" => Self::RS512,
            "PS256" => Self::PS256,
            "PS384" => Self::PS384,
            "PS512" => Self::PS512,
            "HS256" => Self::HS256,
            "HS384" => Self::HS384,
            "HS512" => Self::HS512,
            _ => return None,
        })
    }

    /// Whether signer and verifier share one secret.
    pub fn is_symmetric(self) -> bool {
        self.material() == Material::Secret
    }

    fn material(self) -> Material {
        match self {
            Self::EdDSA => Material::Ed25519,
            Self::ES256 => Material::P256,
            Self::ES384 => Material::P384,
            Self::RS256 | Self::RS384 | Self::RS512 | Self::PS256 | Self::PS384 | Self::PS512 => Material::Rsa,
            Self::HS256 | Self::HS384 | Self::HS512 => Material::Secret,
        }
    }

    fn in_library(self) -> jsonwebtoken::Algorithm {
        use jsonwebtoken::Algorithm as Library;
        match self {
            Self::EdDSA => Library::EdDSA,
            Self::ES256 => Library::ES256,
            Self::ES384 => Library::ES384,
            Self::RS256 => Library::RS256,
            Self::RS384 => Library::RS384,
            Self::RS512 => Library::RS512,
            Self::PS256 => Library::PS256,
            Self::PS384 => Library::PS384,
            Self::PS512 => Library::PS512,
            Self::HS256 => Library::HS256,
            Self::HS384 => Library::HS384,
            Self::HS512 => Library::HS512,
        }
    }
}

/// Makes what verifies with a key, or says that the key cannot be used.
pub type MakeVerifier =
    fn(&jsonwebtoken::Algorithm, &DecodingKey) -> jsonwebtoken::errors::Result<Box<dyn JwtVerifier>>;

static MAKE_VERIFIER: OnceLock<MakeVerifier> = OnceLock::new();

/// Sets what verifies signatures from now on: a host may do it faster than [`verify_portably`],
/// which it is without this. Only the first call counts.
pub fn verify_with(make: MakeVerifier) {
    // A second call changes nothing and says so; there is nothing to do about it.
    let _ = MAKE_VERIFIER.set(make);
}

/// A verifier in plain Rust.
///
/// # Errors
/// The key does not fit the algorithm, or its point is not on its curve.
pub fn verify_portably(
    algorithm: &jsonwebtoken::Algorithm,
    key: &DecodingKey,
) -> jsonwebtoken::errors::Result<Box<dyn JwtVerifier>> {
    (rust_crypto::DEFAULT_PROVIDER.verifier_factory)(algorithm, key)
}

/// One key, ready to verify with.
struct Key {
    id: Option<String>,
    /// For each algorithm that it serves; made once, with whatever of the work is the same for
    /// every signature.
    verifiers: Vec<(Algorithm, Box<dyn JwtVerifier>)>,
    /// Of an RSA key.
    modulus: Option<Vec<u8>>,
}

/// The keys of one issuer. A key id means something only within its issuer.
#[derive(Clone, Default)]
pub struct KeySet {
    keys: Rc<Vec<Key>>,
}

/// The most keys that one issuer may have.
pub const MAX_KEYS: usize = 32;
/// How many keys are tried for a token that names none.
const MAX_TRIES: usize = 4;
/// The shortest shared secret, in bytes (RFC 7518, section 3.2).
pub const MIN_SECRET_BYTES: usize = 32;

impl KeySet {
    /// A set of one shared secret.
    ///
    /// # Errors
    /// The secret has fewer than [`MIN_SECRET_BYTES`] bytes.
    pub fn of_secret(secret: &[u8]) -> Result<Self, String> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(format!("the shared secret has {} bytes; it needs at least {MIN_SECRET_BYTES}", secret.len()));
        }
        let key = Key::new(None, Material::Secret, None, &DecodingKey::from_secret(secret))?;
        Ok(Self { keys: Rc::new(vec![key]) })
    }

    /// Reads a JWK Set (RFC 7517, section 5). Keys for encryption (`use: enc`) are passed over;
    /// every other key must be sound, or the whole set is refused.
    ///
    /// # Errors
    /// Which key is refused and why: private or symmetric material, RSA outside 2048 to 4096 bits
    /// or with a small exponent, a point off its curve, a duplicate `kid`, no key at all, more
    /// than [`MAX_KEYS`].
    pub fn from_jwks(jwks: &Value) -> Result<Self, String> {
        Self::read(jwks, &|_| false)
    }

    /// Reads the text of a JWK Set that an issuer publishes, as [`Self::from_jwks`] does, except
    /// that keys of kinds that are not used here are passed over (RFC 7517, section 5): an issuer
    /// may have keys for others, too.
    ///
    /// # Errors
    /// As [`Self::from_jwks`], or the text is not one strict JSON object.
    pub fn from_published(text: &[u8]) -> Result<Self, String> {
        let jwks = json::object(text).map_err(|_| "not one strict JSON object")?;
        Self::read(&Value::Object(jwks), &|key| {
            let text = |name: &str| key.get(name).and_then(Value::as_str);
            let is_ours = match (text("kty"), text("crv")) {
                (Some("EC"), Some(curve)) => matches!(curve, "P-256" | "P-384"),
                (Some("OKP"), Some(curve)) => curve == "Ed25519",
                // A key without a kind or a curve is malformed, and a secret is no longer one.
                (kind, _) => matches!(kind, None | Some("RSA" | "EC" | "OKP" | "oct")),
            };
            // RSA-OAEP and the like are for encryption.
            !is_ours || text("alg").is_some_and(|name| name.starts_with("RSA") || name.starts_with("ECDH"))
        })
    }

    fn read(jwks: &Value, is_passed_over: &dyn Fn(&Value) -> bool) -> Result<Self, String> {
        let entries = jwks.get("keys").and_then(Value::as_array).ok_or("the JWK Set has no array `keys`")?;
        if entries.len() > MAX_KEYS {
            return Err(format!("the JWK Set has {} keys; at most {MAX_KEYS} are allowed", entries.len()));
        }
        let mut keys: Vec<Key> = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            if entry.get("use").and_then(Value::as_str).is_some_and(|purpose| purpose != "sig") || is_passed_over(entry)
            {
                continue;
            }
            let key = Key::from_jwk(entry).map_err(|reason| format!("keys/{index}: {reason}"))?;
            if key.id.is_some() && keys.iter().any(|other| other.id == key.id) {
                return Err(format!("keys/{index}: the kid stands twice"));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err("the JWK Set has no key to verify with".to_owned());
        }
        Ok(Self { keys: Rc::new(keys) })
    }

    /// Whether there is nothing to verify with.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether some key can serve the algorithm.
    pub fn serves(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|key| key.serves(algorithm))
    }

    /// Whether there is a key of this name. Without any name on either side there always is.
    pub fn knows(&self, key_id: Option<&str>) -> bool {
        key_id.is_none() || self.keys.iter().any(|key| key.id.is_none() || key.id.as_deref() == key_id)
    }

    /// Verifies a signature over `signed` with the key that `key_id` names, or, when the token
    /// names none, with the first few keys that fit the algorithm.
    ///
    /// The caller has already checked that the issuer allows the algorithm.
    pub fn verify(&self, algorithm: Algorithm, key_id: Option<&str>, signed: &str, signature: &Vec<u8>) -> bool {
        self.keys
            .iter()
            .filter(|key| match (&key.id, key_id) {
                (Some(id), Some(wanted)) => id == wanted,
                _ => true,
            })
            .filter(|key| key.has_room_for(signature))
            .filter_map(|key| key.verifier(algorithm))
            .take(MAX_TRIES)
            .any(|verifier| verifier.verify(signed.as_bytes(), signature).is_ok())
    }
}

impl Key {
    fn new(
        id: Option<String>,
        material: Material,
        only: Option<Algorithm>,
        decoding: &DecodingKey,
    ) -> Result<Self, &'static str> {
        let make = MAKE_VERIFIER.get().copied().unwrap_or(verify_portably);
        let serves =
            |algorithm: &Algorithm| algorithm.material() == material && only.is_none_or(|only| only == *algorithm);
        let verifiers = Algorithm::ALL
            .into_iter()
            .filter(serves)
            .map(|algorithm| Ok((algorithm, make(&algorithm.in_library(), decoding)?)))
            .collect::<jsonwebtoken::errors::Result<Vec<_>>>()
            // The only thing that is not checked before.
            .map_err(|_| "the point is not on its curve")?;
        let modulus = match decoding.kind() {
            DecodingKeyKind::RsaModulusExponent { n, .. } => Some(n.clone()),
            DecodingKeyKind::SecretOrDer(_) => None,
        };
        Ok(Self { id, verifiers, modulus })
    }

    /// An RSA signature is a number below the modulus (RFC 8017, section 5.2.2). `rust_crypto` does
    /// not ask with PSS, so the signature plus the modulus would be a second one.
    fn has_room_for(&self, signature: &[u8]) -> bool {
        self.modulus.as_deref().is_none_or(|modulus| signature.len() == modulus.len() && signature < modulus)
    }

    fn serves(&self, algorithm: Algorithm) -> bool {
        self.verifier(algorithm).is_some()
    }

    fn verifier(&self, algorithm: Algorithm) -> Option<&dyn JwtVerifier> {
        self.verifiers.iter().find(|(served, _)| *served == algorithm).map(|(_, verifier)| &**verifier)
    }

    fn from_jwk(jwk: &Value) -> Result<Self, String> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let bytes = |name: &str| -> Result<Vec<u8>, String> {
            let encoded = text(name).ok_or_else(|| format!("`{name}` is missing"))?;
            URL_SAFE_NO_PAD.decode(encoded).map_err(|_| format!("`{name}` is not base64url"))
        };
        for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            if jwk.get(private).is_some() {
                return Err("private or symmetric material does not belong among public keys".to_owned());
            }
        }
        let operations = jwk.get("key_ops").map(|operations| operations.as_array().cloned().unwrap_or_default());
        if operations.is_some_and(|operations| operations.iter().all(|operation| operation != "verify")) {
            return Err("`key_ops` does not name `verify`".to_owned());
        }
        let (material, decoding) = match (text("kty"), text("crv")) {
            (Some("OKP"), Some("Ed25519")) => {
                let x = bytes("x")?;
                if x.len() != 32 || is_small_order(&x) {
                    return Err("not a sound Ed25519 public key".to_owned());
                }
                (Material::Ed25519, DecodingKey::from_ed_components(text("x").unwrap_or_default()))
            }
            (Some("EC"), Some(curve @ ("P-256" | "P-384"))) => {
                let (material, size) = if curve == "P-256" { (Material::P256, 32) } else { (Material::P384, 48) };
                if bytes("x")?.len() != size || bytes("y")?.len() != size {
                    return Err(format!("the coordinates do not have {size} bytes"));
                }
                (
                    material,
                    DecodingKey::from_ec_components(text("x").unwrap_or_default(), text("y").unwrap_or_default()),
                )
            }
            (Some("RSA"), _) => {
                let (modulus, exponent) = (bytes("n")?, bytes("e")?);
                check_rsa(&modulus, &exponent)?;
                (Material::Rsa, Ok(DecodingKey::from_rsa_raw_components(&modulus, &exponent)))
            }
            _ => return Err("only OKP Ed25519, EC P-256 and P-384, and RSA keys are supported".to_owned()),
        };
        let decoding = decoding.map_err(|error| error.to_string())?;
        let only = match text("alg") {
            None => None,
            Some(name) => Some(
                Algorithm::from_name(name)
                    .filter(|algorithm| algorithm.material() == material)
                    .ok_or("`alg` does not fit the key")?,
            ),
        };
        let id = match jwk.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err("`kid` is not a string".to_owned()),
        };
        Ok(Self::new(id, material, only, &decoding)?)
    }
}

fn check_rsa(modulus: &[u8], exponent: &[u8]) -> Result<(), String> {
    let first = modulus.first().copied().unwrap_or_default();
    let bits = (modulus.len() * 8).saturating_sub(first.leading_zeros() as usize);
    if first == 0 || !(2048..=4096).contains(&bits) {
        return Err(format!("the RSA modulus has {bits} bits; 2048 to 4096 are allowed"));
    }
    if is_roca(modulus) {
        return Err("the RSA key comes from a generator whose keys can be factored (CVE-2017-15361)".to_owned());
    }
    let exponent = match exponent {
        [first, ..] if *first != 0 && exponent.len() <= 4 => {
            exponent.iter().fold(0_u32, |value, byte| (value << 8) | u32::from(*byte))
        }
        _ => 0,
    };
    if exponent < 65_537 || exponent.is_multiple_of(2) {
        return Err("the RSA exponent must be odd and at least 65537, in at most 4 bytes".to_owned());
    }
    Ok(())
}

/// Whether a modulus bears the mark of the flawed generator of CVE-2017-15361: modulo each of
/// these primes it is a power of 65537. A sound modulus is so by chance once in 2^27.
fn is_roca(modulus: &[u8]) -> bool {
    const PRIMES: [u64; 38] = [
        3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107,
        109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
    ];
    PRIMES.iter().all(|prime| {
        let rest = modulus.iter().fold(0, |rest, byte| (rest * 256 + u64::from(*byte)) % prime);
        std::iter::successors(Some(1), |power| Some(power * 65_537 % prime))
            .take(usize::try_from(*prime).unwrap_or_default())
            .any(|power| power == rest)
    })
}

/// The encodings of the points of small order on edwards25519, sign bit cleared, and of the two
/// non-canonical ones. A key among them verifies signatures that nobody made.
fn is_small_order(point: &[u8]) -> bool {
    const P: [u8; 32] = {
        let mut p = [0xff; 32];
        p[0] = 0xed;
        p[31] = 0x7f;
        p
    };
    const ORDER_EIGHT: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
            0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    let mut y = [0_u8; 32];
    for (to, from) in y.iter_mut().zip(point) {
        *to = *from;
    }
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    let small = |value: u8, base: [u8; 32]| {
        let mut expected = base;
        if let Some(first) = expected.first_mut() {
            *first = first.wrapping_add(value);
        }
        y == expected
    };
    let zero = [0_u8; 32];
    small(0, zero) || small(1, zero) || small(0xff, P) || small(0, P) || small(1, P) || ORDER_EIGHT.contains(&y)
}

#[cfg(test)]
mod tests;
