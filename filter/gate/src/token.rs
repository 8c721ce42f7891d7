//! The compact serialisation of a signed token (RFC 7515, section 7.1), read strictly.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::json;
use crate::keys::Algorithm;

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// The longest `kid` that is looked up, in bytes.
const MAX_KID_BYTES: usize = 256;

/// A signed text taken apart; nothing about it is verified yet.
#[derive(Debug)]
pub struct Jws<'a> {
    /// The `alg` of the header. It only selects among the algorithms that the issuer allows.
    pub algorithm: Algorithm,
    /// The `kid` of the header.
    pub key_id: Option<String>,
    /// The `typ` of the header, lower-case, without the prefix `application/`.
    pub kind: Option<String>,
    /// What was signed: the first two parts with the dot between them.
    pub signed: &'a str,
    /// The second part, decoded.
    pub payload: Vec<u8>,
    /// The third part, decoded.
    pub signature: Vec<u8>,
}

/// Takes a compact token apart.
///
/// Refused before any cryptography: more or fewer than two dots (so encrypted tokens too),
/// padding, whitespace, the other alphabet or non-canonical trailing bits in base64url
/// (RFC 4648, section 3.5), duplicate members, an unknown or missing `alg`, `crit` (no extension
/// is understood here, RFC 7515, section 4.1.11), `b64`, `enc` and `zip`. `jku`, `jwk`, `x5u` and
/// `x5c` are never looked at.
///
/// # Errors
/// The cause in two or three words, for the log.
pub fn parse(token: &str) -> Result<Jws<'_>, &'static str> {
    parse_up_to(token, MAX_TOKEN_BYTES)
}

/// The same for a signed text of up to `most` bytes that is no token.
///
/// # Errors
/// As for a token.
pub fn parse_up_to(token: &str, most: usize) -> Result<Jws<'_>, &'static str> {
    if token.len() > most {
        return Err("token too long");
    }
    let (signed, signature) = token.rsplit_once('.').ok_or("not three parts")?;
    let (header, payload) = signed.split_once('.').ok_or("not three parts")?;
    if payload.contains('.') {
        return Err("not three parts");
    }
    let header = decode(header).ok_or("header is not base64url")?;
    let header = json::object(&header).map_err(|_| "header is not strict JSON")?;
    for unsupported in ["crit", "b64", "enc", "zip"] {
        if header.contains_key(unsupported) {
            return Err("header asks for an extension");
        }
    }
    let algorithm = match header.get("alg") {
        Some(Value::String(name)) => Algorithm::from_name(name).ok_or("alg is not supported")?,
        _ => return Err("alg is missing"),
    };
    let key_id = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) if kid.len() <= MAX_KID_BYTES => Some(kid.clone()),
        Some(_) => return Err("kid is not a short string"),
    };
    let kind = match header.get("typ") {
        None => None,
        Some(Value::String(kind)) => {
            let kind = kind.to_ascii_lowercase();
            Some(kind.strip_prefix("application/").map_or(kind.clone(), str::to_owned))
        }
        Some(_) => return Err("typ is not a string"),
    };
    let signature = decode(signature).filter(|bytes| !bytes.is_empty()).ok_or("signature is not base64url")?;
    let payload = decode(payload).ok_or("payload is not base64url")?;
    Ok(Jws { algorithm, key_id, kind, signed, payload, signature })
}

impl Jws<'_> {
    /// The payload as claims (RFC 7519, section 4), unverified.
    ///
    /// # Errors
    /// It is not one strict JSON object.
    pub fn claims(&self) -> Result<Map<String, Value>, &'static str> {
        json::object(&self.payload).map_err(|_| "payload is not strict JSON")
    }
}

fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}
