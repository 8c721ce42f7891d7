//! Links to outputs for people without an account: their secrets, and the passes of those who
//! have opened one.
//!
//! ```text
//! POST /api/outputs/{id}/share ─► /s/<secret>          only the secret's hash is kept
//! GET  /s/<secret>             ─► page, or a question for the password ─► pass: unlocked
//! GET  /s/<secret>/audio       ─► counted once ─► bytes, and a pass: counted
//! ```
//!
//! A player asks for a file in many parts. The pass, a cookie for this link alone, lets it do so
//! for an hour at the price of one download. It ends with the link.

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::hash::{keyed, sha256_hex};
use crate::keys::Master;
use crate::problem::Refusal;

/// The cookie that holds a pass.
const COOKIE_NAME: &str = "cosygate_share";
/// How long a pass holds, in seconds.
const PASS_S: u64 = 3600;
const SECRET_BYTES: usize = 32;
/// A secret in base64url.
const SECRET_TEXT: usize = 43;
/// A pass in base64url: its kind, its end, its proof.
const PASS_TEXT: usize = 55;

/// The part of a link that nobody can guess: 256 random bits in base64url.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// A new one.
    pub fn new() -> Self {
        Self(URL_SAFE_NO_PAD.encode(rand::random::<[u8; SECRET_BYTES]>()))
    }

    /// What stands in a path, if it has the form of a secret.
    pub fn parse(text: &str) -> Option<Self> {
        let has_form = text.len() == SECRET_TEXT && URL_SAFE_NO_PAD.decode(text).is_ok();
        has_form.then(|| Self(text.to_owned()))
    }

    /// What is kept of it. It is random, so a plain hash tells nothing of it.
    pub fn hash(&self) -> String {
        sha256_hex(&[self.0.as_bytes()])
    }

    /// Where the link leads, without host.
    pub fn path(&self) -> String {
        format!("/s/{}", self.0)
    }
}

impl Default for Secret {
    fn default() -> Self {
        Self::new()
    }
}

/// What somebody has done with a link already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pass {
    /// Given the password.
    Unlocked = 0,
    /// Begun a download that was counted.
    Counted = 1,
}

/// Makes and reads passes; all origins have the same key.
pub struct Passes {
    key: [u8; 32],
}

impl Passes {
    /// With a key that follows from the master key.
    pub fn new(master: &Master) -> Self {
        Self { key: master.derive("passes of shared links") }
    }

    /// The cookie (RFC 6265) of a pass for this link.
    ///
    /// # Errors
    /// Never, in truth: all of it is base64url.
    pub fn cookie(
        &self,
        pass: Pass,
        link: &str,
        secret: &Secret,
        now_s: u64,
        is_secure: bool,
    ) -> Result<HeaderValue, Refusal> {
        let end = now_s.saturating_add(PASS_S).to_be_bytes();
        let proof = self.proof(pass, link, end).finalize().into_bytes();
        let value = URL_SAFE_NO_PAD.encode([&[pass as u8][..], &end, &proof].concat());
        let (path, secure) = (secret.path(), if is_secure { "; Secure" } else { "" });
        let cookie = format!("{COOKIE_NAME}={value}; HttpOnly; SameSite=Lax; Path={path}; Max-Age={PASS_S}{secure}");
        cookie.parse().map_err(Refusal::internal)
    }

    /// The best pass for this link that the request shows.
    pub fn shown(&self, headers: &HeaderMap, link: &str, now_s: u64) -> Option<Pass> {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.filter(|(name, _)| *name == COOKIE_NAME).filter_map(|(_, value)| self.read(value, link, now_s)).max()
    }

    fn read(&self, value: &str, link: &str, now_s: u64) -> Option<Pass> {
        let bytes = URL_SAFE_NO_PAD.decode(Some(value).filter(|value| value.len() == PASS_TEXT)?).ok()?;
        let (kind, rest) = bytes.split_first()?;
        let (end, proof) = rest.split_first_chunk::<8>()?;
        let pass = [Pass::Unlocked, Pass::Counted].into_iter().find(|pass| *pass as u8 == *kind)?;
        self.proof(pass, link, *end).verify_slice(proof).ok()?;
        (u64::from_be_bytes(*end) > now_s).then_some(pass)
    }

    fn proof(&self, pass: Pass, link: &str, end: [u8; 8]) -> Hmac<Sha256> {
        keyed(&self.key, "pass", &[&[pass as u8], &end, link.as_bytes()])
    }
}
