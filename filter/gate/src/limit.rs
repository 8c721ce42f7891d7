//! Rate limits: the generic cell rate algorithm over a fixed number of slots.
//!
//! GCRA keeps one number per key, the theoretical arrival time (TAT): with a period `T` per
//! request and a burst of `B`, a request of cost `c` passes at time `t` if
//! `max(TAT, t) + c*T - t <= B*T`, and then becomes the new TAT. There is no window whose edge
//! lets twice the burst through.
//!
//! Shared data in Envoy never forgets a key, so there is no key per user: a user falls into one
//! of [`SLOTS`] slots, and each slot holds up to [`WAYS`] users. A newcomer takes the place of an
//! idle one only; a slot full of active ones turns the newcomer away instead of resetting anybody.

use sha2::{Digest, Sha256};

/// How many slots there are. With [`WAYS`] of 16 bytes each, all of them take 2 MiB.
pub const SLOTS: u32 = 16_384;
/// How many keys share a slot.
pub const WAYS: usize = 8;

const ENTRY_BYTES: usize = 16;

/// A steady rate with room for a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_minute: u32,
    burst: u32,
}

impl Rate {
    /// `per_minute` in the long run, `burst` after a pause; both at least 1.
    pub fn new(per_minute: u32, burst: u32) -> Self {
        Self { per_minute: per_minute.max(1), burst: burst.max(1) }
    }

    /// Requests a minute in the long run.
    pub fn per_minute(self) -> u32 {
        self.per_minute
    }

    /// Requests at once after a pause.
    pub fn burst(self) -> u32 {
        self.burst
    }

    /// Microseconds between two requests at the steady rate.
    fn period_us(self) -> u64 {
        (60_000_000 / u64::from(self.per_minute)).max(1)
    }

    /// Seconds until a used-up burst is whole again, at least 1.
    pub fn window_s(self) -> u64 {
        seconds(self.period_us() * u64::from(self.burst))
    }
}

/// Where the count of one user, address or route stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Which slot.
    pub slot: u32,
    tag: u64,
}

impl Key {
    /// The place for a scope (which limit) and a subject (whose).
    pub fn new(scope: &str, subject: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update((scope.len() as u64).to_le_bytes());
        hash.update(scope);
        hash.update(subject);
        let digest = hash.finalize();
        let word =
            |from: usize| digest.iter().skip(from).take(8).fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
        let slot = u32::try_from(word(8) % u64::from(SLOTS)).unwrap_or_default();
        // Zero marks an empty entry.
        Self { slot, tag: word(0).max(1) }
    }
}

/// What a request takes from a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge<'a> {
    /// Whose.
    pub key: Key,
    /// Of which rate.
    pub rate: Rate,
    /// How much.
    pub cost: u32,
    /// The name in the headers `RateLimit` and `RateLimit-Policy`: a role or `address`.
    pub name: &'a str,
}

/// What became of a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// Taken.
    Taken {
        /// Requests that would pass right now.
        remaining: u32,
        /// Seconds until the burst is whole again.
        reset_s: u64,
    },
    /// Not taken; it will pass after this many seconds, at least 1.
    Exceeded {
        /// Seconds to wait.
        retry_after_s: u64,
    },
    /// Every place in the slot belongs to somebody active; one is free after this many seconds.
    Crowded {
        /// Seconds to wait.
        retry_after_s: u64,
    },
}

/// Takes a charge from a slot. Returns the slot's new content if it changed.
///
/// `cell` is what the slot held, empty if nothing; `now_us` is in microseconds since the epoch.
/// A cell of a length that this function never writes counts as empty.
pub fn spend(cell: &[u8], charge: &Charge<'_>, now_us: u64) -> (Spent, Option<Vec<u8>>) {
    let mut entries = read(cell);
    let period = charge.rate.period_us();
    let capacity = period.saturating_mul(u64::from(charge.rate.burst));
    let cost = period.saturating_mul(u64::from(charge.cost));
    let place = match entries.iter().position(|(tag, _)| *tag == charge.key.tag) {
        Some(place) => place,
        None => match entries.iter().position(|(tag, arrival)| *tag == 0 || *arrival <= now_us) {
            Some(place) => place,
            None => {
                let soonest = entries.iter().map(|(_, arrival)| *arrival).min().unwrap_or(now_us);
                return (Spent::Crowded { retry_after_s: seconds(soonest.saturating_sub(now_us)) }, None);
            }
        },
    };
    let Some(entry) = entries.get_mut(place) else { return (Spent::Crowded { retry_after_s: 1 }, None) };
    let backlog = if entry.0 == charge.key.tag { entry.1.saturating_sub(now_us) } else { 0 };
    // Nobody owes more than a whole burst of the rate in force: a rate that was raised meanwhile
    // holds at once, and a clock that stepped back locks nobody out.
    let owed = backlog.min(capacity);
    let wanted = owed.saturating_add(cost);
    if wanted > capacity {
        let exceeded = Spent::Exceeded { retry_after_s: seconds(wanted - capacity) };
        if owed == backlog {
            return (exceeded, None);
        }
        *entry = (charge.key.tag, now_us.saturating_add(owed));
        return (exceeded, Some(write(&entries)));
    }
    *entry = (charge.key.tag, now_us.saturating_add(wanted));
    let remaining = u32::try_from((capacity - wanted) / period).unwrap_or(u32::MAX);
    (Spent::Taken { remaining, reset_s: seconds(wanted) }, Some(write(&entries)))
}

/// The values of `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers).
pub fn headers(charge: &Charge<'_>, remaining: u32, reset_s: u64) -> [(&'static str, String); 2] {
    [
        ("ratelimit-policy", format!("\"{}\";q={};w={}", charge.name, charge.rate.burst, charge.rate.window_s())),
        ("ratelimit", format!("\"{}\";r={remaining};t={reset_s}", charge.name)),
    ]
}

fn seconds(microseconds: u64) -> u64 {
    microseconds.div_ceil(1_000_000).max(1)
}

fn read(cell: &[u8]) -> [(u64, u64); WAYS] {
    let mut entries = [(0, 0); WAYS];
    if cell.len() == WAYS * ENTRY_BYTES {
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
        for (entry, bytes) in entries.iter_mut().zip(cell.chunks_exact(ENTRY_BYTES)) {
            let (tag, arrival) = bytes.split_at(ENTRY_BYTES / 2);
            *entry = (word(tag), word(arrival));
        }
    }
    entries
}

fn write(entries: &[(u64, u64); WAYS]) -> Vec<u8> {
    entries.iter().flat_map(|(tag, arrival)| [tag.to_le_bytes(), arrival.to_le_bytes()]).flatten().collect()
}

#[cfg(test)]
mod tests;
