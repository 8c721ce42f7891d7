//! The sealed header with which the edge tells the origin who is calling.
//!
//! `x-cosygate-identity` is a compact JWS (RFC 7515) under a key that only edge and origin hold.
//! It is bound to one method and one target, lives for seconds and has an id of its own, so a
//! copy of it is of no use anywhere else. Requests on public routes carry one too, without a
//! subject: it proves that they came through the edge.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::keys::MIN_SECRET_BYTES;

/// The header's name.
pub const HEADER: &str = "x-cosygate-identity";
/// Its audience.
pub const AUDIENCE: &str = "origin";
/// How far the clocks of edge and origin may differ, in seconds.
pub const CLOCK_SKEW_S: u64 = 5;

/// The `typ` of its protected header.
const TYPE: &str = "cosygate-identity+jwt";
const MAX_SEALED_BYTES: usize = 16 * 1024;

/// What the edge vouches for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed<'a> {
    /// `edge:<region>`.
    pub iss: Cow<'a, str>,
    /// Always [`AUDIENCE`].
    pub aud: Cow<'a, str>,
    /// The user id; absent on public routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<Cow<'a, str>>,
    /// The issuer of the user's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_iss: Option<Cow<'a, str>>,
    /// The user's role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Cow<'a, str>>,
    /// The token's scopes, with spaces between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Cow<'a, str>>,
    /// The login that the token belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<Cow<'a, str>>,
    /// When the user last proved who they are, seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<u64>,
    /// One-time id.
    pub jti: Cow<'a, str>,
    /// Issued at, seconds since the epoch.
    pub iat: u64,
    /// Expires at, seconds since the epoch.
    pub exp: u64,
    /// The request's method.
    pub htm: Cow<'a, str>,
    /// The request's path and query.
    pub htu: Cow<'a, str>,
    /// The revision of the policy that let the request pass.
    pub rev: u64,
}

/// One key with its key schedule worked out.
#[derive(Clone)]
struct SealKey {
    id: String,
    mac: Hmac<Sha256>,
    /// The first part of whatever it seals, with its dot.
    header: String,
    /// `mac` with `header` already taken in: it is the same for every request.
    started: Hmac<Sha256>,
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

impl KeyRing {
    /// Reads `id:secret` pairs, the current key first, the previous one after a comma. Secrets are
    /// base64url without padding, at least 32 bytes.
    ///
    /// # Errors
    /// What is wrong, without any part of a secret.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut keys: Vec<SealKey> = Vec::new();
        for pair in text.trim().split(',') {
            let (id, secret) = pair.split_once(':').ok_or("an identity key has the form id:secret")?;
            if id.is_empty() || id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
                return Err("the id of an identity key has 1 to 64 letters, digits and dashes");
            }
            if keys.iter().any(|key| key.id == id) {
                return Err("an identity key's id stands twice");
            }
            let secret = URL_SAFE_NO_PAD.decode(secret).map_err(|_| "an identity key is not base64url")?;
            if secret.len() < MIN_SECRET_BYTES {
                return Err("an identity key has fewer than 32 bytes");
            }
            let mac: Hmac<Sha256> = Hmac::new_from_slice(&secret).map_err(|_| "an identity key cannot be used")?;
            let header = format!("{{\"alg\":\"HS256\",\"typ\":\"{TYPE}\",\"kid\":\"{id}\"}}");
            let header = format!("{}.", URL_SAFE_NO_PAD.encode(header));
            let started = mac.clone().chain_update(&header);
            keys.push(SealKey { id: id.to_owned(), mac, header, started });
        }
        if keys.len() > 4 {
            return Err("there are more than four identity keys");
        }
        Ok(Self { keys })
    }

    /// Seals with the current key (HS256).
    pub fn seal(&self, sealed: &Sealed<'_>) -> Option<String> {
        let key = self.keys.first()?;
        let mut token = String::with_capacity(1024);
        token.push_str(&key.header);
        URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(sealed).ok()?, &mut token);
        let mac = key.started.clone().chain_update(token.get(key.header.len()..)?);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(mac.finalize().into_bytes(), &mut token);
        Some(token)
    }

    /// Opens a sealed header that came with `method` and `target` (path and query) at `now`
    /// (seconds). Whether its id was seen before is the caller's to remember.
    ///
    /// # Errors
    /// The cause: form, key, signature, audience, time, method or target.
    pub fn open(&self, token: &str, method: &str, target: &str, now: u64) -> Result<Sealed<'static>, OpenError> {
        if token.len() > MAX_SEALED_BYTES {
            return Err(OpenError("too long"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(OpenError("not three parts"))?;
        let (header, payload) = signed.split_once('.').ok_or(OpenError("not three parts"))?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| OpenError("not base64url"));
        let header = crate::json::object(&decode(header)?).map_err(|_| OpenError("header is not JSON"))?;
        let member = |name: &str| header.get(name).and_then(serde_json::Value::as_str);
        if member("alg") != Some("HS256") || member("typ") != Some(TYPE) || header.len() != 3 {
            return Err(OpenError("not a sealed identity"));
        }
        let key = self.keys.iter().find(|key| member("kid") == Some(&key.id)).ok_or(OpenError("unknown key"))?;
        let mut mac = key.mac.clone();
        mac.update(signed.as_bytes());
        // Constant time, by the library.
        mac.verify_slice(&decode(signature)?).map_err(|_| OpenError("wrong signature"))?;
        let sealed: Sealed =
            serde_json::from_slice(&decode(payload)?).map_err(|_| OpenError("claims are malformed"))?;
        if sealed.aud != AUDIENCE || !sealed.iss.starts_with("edge:") {
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn ring(text: &str) -> KeyRing {
        KeyRing::parse(text).unwrap()
    }

    fn secret(byte: u8) -> String {
        URL_SAFE_NO_PAD.encode([byte; 32])
    }

    fn sealed() -> Sealed<'static> {
        Sealed {
            iss: "edge:local".into(),
            aud: AUDIENCE.into(),
            sub: Some("01J".into()),
            sub_iss: Some("https://issuer".into()),
            role: Some("free".into()),
            scope: None,
            sid: None,
            auth_time: Some(NOW),
            jti: "a-1".into(),
            iat: NOW,
            exp: NOW + 30,
            htm: "GET".into(),
            htu: "/api/me?x=1".into(),
            rev: 7,
        }
    }

    #[test]
    fn opens_only_for_the_request_it_was_made_for() {
        let current = ring(&format!("k2:{},k1:{}", secret(2), secret(1)));
        let token = current.seal(&sealed()).unwrap();
        assert_eq!(current.open(&token, "GET", "/api/me?x=1", NOW).unwrap(), sealed());
        let refused = |token: &str, method, target, now| current.open(token, method, target, now).unwrap_err().0;
        assert_eq!(refused(&token, "POST", "/api/me?x=1", NOW), "made for another request");
        assert_eq!(refused(&token, "GET", "/api/me", NOW), "made for another request");
        assert_eq!(refused(&token, "GET", "/api/me?x=1", NOW + 35), "expired");
        assert_eq!(refused(&token, "GET", "/api/me?x=1", NOW - 60), "times are wrong");
        assert_eq!(refused("a.b", "GET", "/", NOW), "not three parts");
        let previous = ring(&format!("k1:{}", secret(1))).seal(&sealed()).unwrap();
        assert!(current.open(&previous, "GET", "/api/me?x=1", NOW).is_ok());
        let retired = ring(&format!("k0:{}", secret(1))).seal(&sealed()).unwrap();
        assert_eq!(refused(&retired, "GET", "/api/me?x=1", NOW), "unknown key");
        let forged = ring(&format!("k2:{}", secret(9))).seal(&sealed()).unwrap();
        assert_eq!(refused(&forged, "GET", "/api/me?x=1", NOW), "wrong signature");
        let elsewhere = current.seal(&Sealed { aud: "other".into(), ..sealed() }).unwrap();
        assert_eq!(refused(&elsewhere, "GET", "/api/me?x=1", NOW), "for another audience");
        let endless = current.seal(&Sealed { exp: NOW + 3600, ..sealed() }).unwrap();
        assert_eq!(refused(&endless, "GET", "/api/me?x=1", NOW), "times are wrong");
    }

    #[test]
    fn every_flipped_character_is_noticed() {
        let ring = ring(&format!("k:{}", secret(3)));
        let token = ring.seal(&sealed()).unwrap();
        for place in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(ring.open(&changed, "GET", "/api/me?x=1", NOW).is_err(), "at {place}");
        }
    }

    #[test]
    fn weak_rings_are_refused() {
        for text in ["", "k", "k:", "k:AAAA", ":AAAA", "k y:AAAA"] {
            assert!(KeyRing::parse(text).is_err(), "{text}");
        }
        assert!(KeyRing::parse(&format!("k:{0},k:{0}", secret(1))).is_err());
    }
}
