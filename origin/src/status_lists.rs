//! The status lists of this server's own tokens, as they are at one moment
//! (draft-ietf-oauth-status-list).

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use gate::status::{self, Claims, LIST_BYTES, LIST_TOKENS, MAX_LISTS, Packed};
use serde_json::{Value, json};

use crate::signing::SigningJwk;
use crate::store::{Store, StoreError, WithdrawnToken};

/// How long a copy of a list may be kept, in seconds.
pub const TTL_S: u64 = 15;
/// How long a list may be relied on, in seconds.
const LIFETIME_S: u64 = 300;
/// How many rows are read at a time.
const STEP: i64 = 10_000;

/// All lists that have a bit set.
#[derive(Clone, Debug, Default)]
pub struct StatusLists {
    /// The withdrawal that was read last: its serial and place.
    read_to: (i64, i64),
    lists: BTreeMap<u64, Arc<List>>,
}

#[derive(Clone, Debug)]
struct List {
    bits: Box<[u8]>,
    /// The serial at which a bit was set last.
    changed: i64,
    /// When the last of its withdrawn tokens has run out, milliseconds since the epoch.
    expires_at: i64,
    /// When the newest of its withdrawn tokens was issued, seconds since the epoch.
    newest: i64,
    packed: OnceLock<Packed>,
}

/// What a token says of its status (section 6.1 of the draft): `place` is its place over all lists of
/// an issuer.
pub fn claim(issuer: &str, place: i64) -> Value {
    let place = u64::try_from(place).unwrap_or_default();
    let (number, index) = (place / u64::from(LIST_TOKENS), place % u64::from(LIST_TOKENS));
    json!({"status_list": {"idx": index, "uri": status::uri(issuer, number)}})
}

impl StatusLists {
    /// The same lists with everything in them that was withdrawn since, and without those whose
    /// tokens have all run out.
    ///
    /// # Errors
    /// The database failed.
    pub async fn follow(&self, store: &Store, now_ms: i64) -> Result<Self, StoreError> {
        let mut next = self.clone();
        loop {
            let tokens = store.issued().withdrawn_after(next.read_to, now_ms, STEP).await?;
            let Some(last) = tokens.last() else { break };
            next.read_to = (last.withdrawn, last.place);
            tokens.iter().for_each(|token| next.set(token));
        }
        next.lists.retain(|_, list| list.expires_at > now_ms);
        Ok(next)
    }

    fn set(&mut self, token: &WithdrawnToken) {
        let place = u64::try_from(token.place).unwrap_or_default();
        let (number, index) = (place / u64::from(LIST_TOKENS), place % u64::from(LIST_TOKENS));
        let list = Arc::make_mut(self.lists.entry(number).or_default());
        if let Some(byte) = usize::try_from(index / 8).ok().and_then(|place| list.bits.get_mut(place)) {
            *byte |= 1 << (index % 8);
        }
        list.changed = list.changed.max(token.withdrawn);
        list.expires_at = list.expires_at.max(token.expires_at);
        list.newest = list.newest.max(token.issued_at);
        list.packed.take();
    }

    /// What a bundle says of them: each list by name, and the serial that it has to know of. The
    /// newest, if there are more than a bundle may name.
    pub fn named(&self, issuer: &str) -> BTreeMap<String, u64> {
        let newest = self.lists.iter().rev().take(MAX_LISTS);
        newest.map(|(number, list)| (status::uri(issuer, *number), unsigned(list.changed))).collect()
    }

    /// Before when every token of the issuer has to be withdrawn, because a bundle cannot name all
    /// lists; seconds since the epoch.
    pub fn unnamed_before(&self) -> Option<u64> {
        let unnamed = self.lists.values().rev().skip(MAX_LISTS);
        unnamed.map(|list| unsigned(list.newest) + 1).max()
    }

    /// Signs the list of this number as it is at `serial`. One that is not here has no bit set that
    /// matters.
    pub fn sign(&self, issuer: &str, number: u64, serial: i64, now_s: u64, key: &SigningJwk) -> String {
        let packed = match self.lists.get(&number) {
            Some(list) => list.packed.get_or_init(|| status::pack(&list.bits)).clone(),
            None => status::pack(&[0; LIST_BYTES]),
        };
        let claims = Claims {
            sub: status::uri(issuer, number),
            iat: now_s,
            exp: now_s + LIFETIME_S,
            ttl: TTL_S,
            serial: unsigned(serial),
            status_list: packed,
        };
        key.sign(status::TYPE, &claims)
    }
}

impl Default for List {
    fn default() -> Self {
        let bits = vec![0; LIST_BYTES].into_boxed_slice();
        Self { bits, changed: 0, expires_at: 0, newest: 0, packed: OnceLock::new() }
    }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(place: i64, withdrawn: i64) -> WithdrawnToken {
        WithdrawnToken { place, issued_at: 100 + place, expires_at: 1000, withdrawn }
    }

    #[test]
    fn a_list_is_named_by_the_last_change_of_it() {
        let mut lists = StatusLists::default();
        for token in [token(3, 7), token(65_535, 8), token(65_536, 9)] {
            lists.set(&token);
        }
        let named = lists.named("https://a.example");
        assert_eq!(named, [("https://a.example/status/0".into(), 8), ("https://a.example/status/1".into(), 9)].into());
        assert_eq!(lists.lists[&0].bits[0], 1 << 3);
        assert_eq!(lists.lists[&0].bits[LIST_BYTES - 1], 1 << 7);
        assert_eq!(lists.lists[&1].bits[0], 1);
        let claim = claim("https://a.example", 65_539);
        assert_eq!(claim, json!({"status_list": {"idx": 3, "uri": "https://a.example/status/1"}}));
    }

    #[test]
    fn what_cannot_be_named_is_withdrawn_whole() {
        let mut lists = StatusLists::default();
        let most = i64::try_from(MAX_LISTS).unwrap();
        for number in 0..most {
            lists.set(&token(number * i64::from(LIST_TOKENS), 1));
        }
        assert_eq!((lists.named("a").len(), lists.unnamed_before()), (MAX_LISTS, None));
        lists.set(&token(most * i64::from(LIST_TOKENS), 2));
        assert_eq!((lists.named("a").len(), lists.unnamed_before()), (MAX_LISTS, Some(101)));
        assert!(!lists.named("a").contains_key("a/status/0"));
    }
}
