//! Token Status Lists (draft-ietf-oauth-status-list): one bit for each token that was issued, set
//! once it is withdrawn.
//!
//! A token names its list and its place there. A bundle names every list that has a bit set and
//! how new it has to be, and an edge fetches what it lacks of them. So a list that no bundle names
//! has no bit set.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::bundle::{Refused, signed_object};
use crate::keys::KeySet;
use crate::policy::Revocation;

/// How many tokens one list tells of.
pub const LIST_TOKENS: u32 = 65_536;
/// One bit for each.
pub const LIST_BYTES: usize = LIST_TOKENS as usize / 8;
/// How many lists a bundle may name.
pub const MAX_LISTS: usize = 64;
/// The largest signed list that is looked at, in bytes: one that cannot be compressed, encoded
/// twice.
pub const MAX_TEXT_BYTES: usize = 20 * 1024;
/// The `typ` of its header (section 5.1).
pub const TYPE: &str = "statuslist+jwt";
/// How hard to compress, of 10.
const EFFORT: u8 = 9;

/// What a signed list says (section 5.1).
#[derive(Clone, Debug, Serialize)]
pub struct Claims {
    /// Its own name; tokens and bundles refer to it.
    pub sub: String,
    /// When it was signed, seconds since the epoch.
    pub iat: u64,
    /// Until when it may be relied on, seconds since the epoch.
    pub exp: u64,
    /// How long a copy may be kept before it is fetched anew, in seconds.
    pub ttl: u64,
    /// Every withdrawal up to this serial of the control plane is in it.
    pub serial: u64,
    /// The bits.
    pub status_list: Packed,
}

/// The bits of a list, packed (section 4.2).
#[derive(Clone, Debug, Serialize)]
pub struct Packed {
    /// How many bits a token has: 1.
    pub bits: u8,
    /// Base64url of the bits, compressed with zlib (RFC 1950).
    pub lst: String,
}

/// Where the status of one token is told (section 6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The name of the list.
    pub uri: String,
    /// The place of the token in it.
    pub index: u64,
}

/// One list as an edge has it.
#[derive(Clone, Debug)]
pub struct List {
    serial: u64,
    bits: Arc<[u8]>,
}

/// Lists by name; few.
#[derive(Clone, Debug, Default)]
pub struct Lists(Vec<(String, List)>);

/// Tokens that were withdrawn, beside those of the policy.
#[derive(Clone, Debug, Default)]
pub struct Withdrawn {
    /// By name and time.
    pub named: Revocation,
    /// One by one.
    pub lists: Lists,
}

/// The name of one of an issuer's lists.
pub fn uri(issuer: &str, number: u64) -> String {
    format!("{issuer}/status/{number}")
}

/// Packs bits, the first token's in the lowest bit of the first byte (section 4.1).
pub fn pack(bits: &[u8]) -> Packed {
    Packed { bits: 1, lst: URL_SAFE_NO_PAD.encode(compress_to_vec_zlib(bits, EFFORT)) }
}

/// Reads the list of this name that one of the `roots` signed.
///
/// # Errors
/// Its size, form, signature or name.
pub fn open(text: &[u8], roots: &KeySet, uri: &str) -> Result<List, Refused> {
    let claims = signed_object(text, MAX_TEXT_BYTES, TYPE, roots)?.1;
    let refused = |detail: &str| Refused { reason: "list", detail: detail.to_owned() };
    if claims.get("sub").and_then(Value::as_str) != Some(uri) {
        return Err(refused("it is another one"));
    }
    let serial = claims.get("serial").and_then(Value::as_u64).ok_or_else(|| refused("its serial"))?;
    let bits = claims.get("status_list").and_then(unpack).ok_or_else(|| refused("its bits"))?;
    Ok(List { serial, bits: bits.into() })
}

fn unpack(list: &Value) -> Option<Vec<u8>> {
    let packed = list.get("lst")?.as_str().filter(|_| list.get("bits").and_then(Value::as_u64) == Some(1))?;
    // A few bytes can unpack to very many.
    let bits = decompress_to_vec_zlib_with_limit(&URL_SAFE_NO_PAD.decode(packed).ok()?, LIST_BYTES).ok()?;
    (bits.len() == LIST_BYTES).then_some(bits)
}

impl Reference {
    /// What a token says of its status; nothing, if it is not told by a list.
    ///
    /// # Errors
    /// It is told by a list, but not which one and where.
    pub(crate) fn read(claims: &Map<String, Value>, longest: usize) -> Result<Option<Self>, &'static str> {
        let Some(list) = claims.get("status").and_then(|status| status.get("status_list")) else { return Ok(None) };
        let uri = list.get("uri").and_then(Value::as_str).filter(|uri| (1..=longest).contains(&uri.len()));
        let index = list.get("idx").and_then(Value::as_u64);
        match (uri, index) {
            (Some(uri), Some(index)) => Ok(Some(Self { uri: uri.to_owned(), index })),
            _ => Err("the status is malformed"),
        }
    }
}

impl List {
    fn is_set(&self, index: u64) -> bool {
        let byte = usize::try_from(index / 8).ok().and_then(|place| self.bits.get(place));
        // A place beyond the end is no sound token's (section 8.3).
        byte.is_none_or(|byte| byte >> (index % 8) & 1 == 1)
    }
}

impl Lists {
    /// Whether a list is here and tells of everything up to a serial.
    pub fn has(&self, uri: &str, serial: u64) -> bool {
        self.get(uri).is_some_and(|list| list.serial >= serial)
    }

    fn get(&self, uri: &str) -> Option<&List> {
        self.0.iter().find(|(known, _)| known == uri).map(|(_, list)| list)
    }

    /// Adds a list, or replaces an older one.
    pub fn put(&mut self, uri: &str, list: List) {
        if !self.has(uri, list.serial) {
            self.0.retain(|(known, _)| known != uri);
            self.0.push((uri.to_owned(), list));
        }
    }

    /// Leaves only those that are named.
    pub fn keep(&mut self, named: &BTreeMap<String, u64>) {
        self.0.retain(|(uri, _)| named.contains_key(uri));
    }

    /// Whether a token was withdrawn.
    pub(crate) fn is_set(&self, reference: &Reference) -> bool {
        self.get(&reference.uri).is_some_and(|list| list.is_set(reference.index))
    }
}

#[cfg(test)]
mod tests;
