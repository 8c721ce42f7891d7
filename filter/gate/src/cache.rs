//! A bounded memory of tokens that were already verified.
//!
//! Only signatures and fixed claims are remembered; time is checked on every request, and the
//! memory belongs to one compiled policy, so a change of keys, issuers or rules starts it anew.

use std::rc::Rc;

use crate::claims::Verified;

/// How many tokens are remembered.
pub const PLACES: usize = 1024;

/// A token and what it said.
type Place = Option<(Box<[u8]>, Rc<Verified>)>;

/// Verified tokens of one policy. Each token has one place, given by its last bytes, which belong
/// to the signature and are spread evenly; a newcomer takes the place over.
pub struct TokenCache {
    places: Vec<Place>,
    /// How often a token was known.
    pub hits: u64,
    /// How often one was not.
    pub misses: u64,
}

impl Default for TokenCache {
    fn default() -> Self {
        Self { places: vec![None; PLACES], hits: 0, misses: 0 }
    }
}

impl TokenCache {
    /// Finds a token; the whole of it must be equal.
    pub fn get(&mut self, token: &[u8]) -> Option<Rc<Verified>> {
        match self.places.get(place(token)) {
            Some(Some((known, verified))) if is_equal(known, token) => {
                self.hits += 1;
                Some(Rc::clone(verified))
            }
            _ => {
                self.misses += 1;
                None
            }
        }
    }

    /// Forgets a token.
    pub fn drop(&mut self, token: &[u8]) {
        if let Some(entry) = self
            .places
            .get_mut(place(token))
            .filter(|entry| entry.as_ref().is_some_and(|(known, _)| is_equal(known, token)))
        {
            *entry = None;
        }
    }

    /// Forgets all tokens that `keep` does not keep.
    pub fn retain(&mut self, keep: impl Fn(&Verified) -> bool) {
        for entry in &mut self.places {
            *entry = entry.take().filter(|(_, verified)| keep(verified));
        }
    }

    /// Remembers a token whose signature was verified.
    pub fn put(&mut self, token: &[u8], verified: Rc<Verified>) {
        if let Some(entry) = self.places.get_mut(place(token)) {
            *entry = Some((token.into(), verified));
        }
    }
}

/// FNV-1a over the last bytes. Only verified tokens are put in, so nobody can aim at a place
/// without holding many valid tokens, and then only wins a second verification.
fn place(token: &[u8]) -> usize {
    let hash = token
        .iter()
        .rev()
        .take(12)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    usize::try_from((hash >> 20) % PLACES as u64).unwrap_or_default()
}

/// Whether two texts are equal, a word at a time: wasm has no `memcmp` of its own. It need not take
/// the same time for all: who holds a token that begins like another has that part already.
fn is_equal(known: &[u8], token: &[u8]) -> bool {
    let ((known, rest), (token, other_rest)) = (known.as_chunks::<8>(), token.as_chunks::<8>());
    let word = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes);
    known.len() == token.len()
        && rest == other_rest
        && known.iter().zip(token).all(|(ours, theirs)| word(ours) == word(theirs))
}
