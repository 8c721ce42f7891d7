//! Refresh tokens (RFC 6749, section 1.5): `<login>.<secret and mark>`, one text to clients.
//!
//! ```text
//! secret     32 random bytes; each successor is HMAC-SHA256(the one before, a nonce)
//! mark       16 bytes of HMAC-SHA256(family, secret): this login once gave it out
//! ```
//!
//! The database keeps the hash of the secret, so it opens nothing. Whoever presents a secret again
//! can be given the same successor again, because nonce and secret make it. By the mark, an old
//! token is told from one that somebody made up who knows the id of a login.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::clock::is_id;
use crate::hash::sha256_hex;

const SECRET_BYTES: usize = 32;
const MARK_BYTES: usize = 16;

/// The key that marks the refresh tokens of one login.
pub(super) type Family = [u8; 32];
/// What makes a successor.
pub(super) type Nonce = [u8; 16];

/// A refresh token, not yet known to hold. There is no `Debug`: it is a secret.
#[derive(Clone)]
pub(super) struct RefreshToken {
    login: String,
    secret: [u8; SECRET_BYTES],
    mark: [u8; MARK_BYTES],
}

impl RefreshToken {
    /// The first one of a login.
    pub(super) fn first(login: &str, family: &Family) -> Self {
        Self::new(login, rand::random(), family)
    }

    fn new(login: &str, secret: [u8; SECRET_BYTES], family: &Family) -> Self {
        Self { login: login.to_owned(), secret, mark: mark(family, &secret) }
    }

    /// Reads one; none if it has another form.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (login, rest) = text.split_once('.').filter(|(login, _)| is_id(login))?;
        let bytes: [u8; SECRET_BYTES + MARK_BYTES] = URL_SAFE_NO_PAD.decode(rest).ok()?.try_into().ok()?;
        let (secret, mark) = bytes.split_first_chunk()?;
        Some(Self { login: login.to_owned(), secret: *secret, mark: mark.try_into().ok()? })
    }

    /// The login that it says it belongs to.
    pub(super) fn login(&self) -> &str {
        &self.login
    }

    /// Whether the login with this family gave it out, now or ever.
    pub(super) fn is_of(&self, family: &Family) -> bool {
        self.mark.ct_eq(&mark(family, &self.secret)).into()
    }

    /// The hash of the secret, as it is kept.
    pub(super) fn hash(&self) -> String {
        sha256_hex(&[&self.secret])
    }

    /// Whether the secret has this hash.
    pub(super) fn has_hash(&self, hash: &str) -> bool {
        self.hash().as_bytes().ct_eq(hash.as_bytes()).into()
    }

    /// The one that follows: always the same for the same nonce.
    pub(super) fn successor(&self, nonce: &Nonce, family: &Family) -> Self {
        Self::new(&self.login, hmac(&self.secret, nonce), family)
    }

    /// As it is handed out.
    pub(super) fn text(&self) -> String {
        format!("{}.{}", self.login, URL_SAFE_NO_PAD.encode([&self.secret[..], &self.mark].concat()))
    }
}

fn mark(family: &Family, secret: &[u8]) -> [u8; MARK_BYTES] {
    let mut mark = [0; MARK_BYTES];
    mark.iter_mut().zip(hmac(family, secret)).for_each(|(to, from)| *to = from);
    mark
}

fn hmac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    // A key that is shorter than a block is filled up with zeros (RFC 2104, section 2).
    let mut block = [0; 64];
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    let mut mac = <Hmac<Sha256> as Mac>::new(&block.into());
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Reads what [`hex`](crate::hash::hex) wrote.
pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16)?.try_into().ok()).collect();
    let bytes: Vec<u8> =
        digits?.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    (text.len() == 2 * N).then_some(bytes)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::new_id;
    use crate::hash::hex;

    #[test]
    fn a_successor_follows_from_what_was_presented_and_the_nonce() {
        let (login, family) = (new_id(5), [7; 32]);
        let first = RefreshToken::first(&login, &family);
        let read = RefreshToken::parse(&first.text()).unwrap();
        assert_eq!((read.login(), read.text()), (login.as_str(), first.text()));
        assert!(read.is_of(&family) && !read.is_of(&[8; 32]) && read.has_hash(&first.hash()));
        let second = read.successor(&[1; 16], &family);
        assert_eq!(second.text(), first.successor(&[1; 16], &family).text());
        assert_ne!(second.text(), first.successor(&[2; 16], &family).text());
        assert!(second.is_of(&family) && !second.has_hash(&first.hash()));
        assert_ne!(RefreshToken::first(&login, &family).text(), first.text());
    }

    #[test]
    fn what_has_another_form_is_no_refresh_token() {
        let sound = RefreshToken::first(&new_id(5), &[7; 32]).text();
        for wrong in
            ["", ".", "a.b", "a.b.c", &sound[..90], &format!("{sound}A"), &sound.to_lowercase(), &format!(" {sound}")]
        {
            assert!(RefreshToken::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn the_mac_is_hmac_sha256() {
        // RFC 4231, test case 1, whose key of 20 bytes is filled up with zeros like any other.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        assert_eq!(hex(&hmac(&key, b"Hi There")), expected);
        assert_eq!(unhex::<32>(expected).map(|bytes| hex(&bytes)).as_deref(), Some(expected));
        assert_eq!((unhex::<1>("0"), unhex::<1>("0g"), unhex::<1>("0010"), unhex::<1>("é")), (None, None, None, None));
    }
}
