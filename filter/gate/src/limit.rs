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
//!
//! A limit that many requests hit at once would make every worker wait for every other. So who
//! takes from a fast limit also draws a little of its future, [`Ahead`], at most [`HOLD_US`] of
//! it, and spends that without asking again. What is drawn and not spent melts away at the rate at
//! which the limit fills up, so nobody ever gets more than the limit allows, and slow limits, of
//! fewer than 1200 a minute, stay exact to the request.

use sha2::{Digest, Sha256};

/// How many slots there are. With [`WAYS`] of 16 bytes each, all of them take 2 MiB.
pub const SLOTS: u32 = 16_384;
/// How many keys share a slot.
pub const WAYS: usize = 8;

/// The most of a limit's future that one worker draws in advance, in microseconds.
pub const HOLD_US: u64 = 50_000;

/// No quota is used up for longer than this, in seconds: a day in whatever time zone.
const LONGEST_QUOTA_S: u64 = 48 * 3600;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Which slot.
    pub slot: u32,
    /// Whose entry within the slot; never zero.
    pub(crate) tag: u64,
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

/// Who shares a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A user in a role.
    Role,
    /// A user on a route.
    User,
    /// An address.
    Address,
    /// All users of an issuer.
    Issuer,
    /// Everybody.
    Edge,
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
    /// Who shares it.
    pub whose: Whose,
    /// The name in the headers `RateLimit` and `RateLimit-Policy`: a role, or for example
    /// `address`.
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
        /// What was drawn besides, for the requests that follow.
        ahead: Option<Ahead>,
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

/// A piece of a limit's future that one worker has drawn: from one theoretical arrival time to
/// another.
///
/// A request of cost `c` spends `c*T` of it, never a part that lies in the past: that much has
/// filled up again in the shared count. So at any time `t` what is held and what is shared
/// together allow at most `B` requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    from_us: u64,
    until_us: u64,
}

impl Ahead {
    /// Spends a charge of the same key and rate; whether there was enough.
    pub fn spend(&mut self, charge: &Charge<'_>, now_us: u64) -> bool {
        let from = self.from_us.max(now_us);
        let until = from.saturating_add(charge.cost_us());
        // A clock that stepped back makes the piece worthless rather than long-lived.
        let fits = until <= self.until_us && self.until_us <= now_us.saturating_add(charge.capacity_us());
        if fits {
            self.from_us = until;
        }
        fits
    }
}

impl Charge<'_> {
    fn cost_us(&self) -> u64 {
        self.rate.period_us().saturating_mul(u64::from(self.cost))
    }

    fn capacity_us(&self) -> u64 {
        self.rate.period_us().saturating_mul(u64::from(self.rate.burst))
    }
}

/// Takes a charge from a slot. Returns the slot's new content if it changed.
///
/// `cell` is what the slot held, empty if nothing; `now_us` is in microseconds since the epoch.
/// A cell of a length that this function never writes counts as empty.
pub fn spend(cell: &[u8], charge: &Charge<'_>, now_us: u64) -> (Spent, Option<Vec<u8>>) {
    let mut entries = read(cell);
    let capacity = charge.capacity_us();
    let Some(entry) = place(&mut entries, charge.key, now_us) else {
        let soonest = entries.iter().map(|(_, arrival)| *arrival).min().unwrap_or(now_us);
        return (Spent::Crowded { retry_after_s: seconds(soonest.saturating_sub(now_us)) }, None);
    };
    let backlog = if entry.0 == charge.key.tag { entry.1.saturating_sub(now_us) } else { 0 };
    // Nobody owes more than a whole burst of the rate in force: a rate that was raised meanwhile
    // holds at once, and a clock that stepped back locks nobody out.
    let owed = backlog.min(capacity);
    let wanted = owed.saturating_add(charge.cost_us());
    if wanted > capacity {
        let exceeded = Spent::Exceeded { retry_after_s: seconds(wanted - capacity) };
        if owed == backlog {
            return (exceeded, None);
        }
        *entry = (charge.key.tag, now_us.saturating_add(owed));
        return (exceeded, Some(write(&entries)));
    }
    let period = charge.rate.period_us();
    let held = ((capacity - wanted) / 4).min(HOLD_US) / period * period;
    let from_us = now_us.saturating_add(wanted);
    let until_us = from_us.saturating_add(held);
    *entry = (charge.key.tag, until_us);
    let remaining = u32::try_from((capacity - wanted) / period).unwrap_or(u32::MAX);
    let ahead = (held > 0).then_some(Ahead { from_us, until_us });
    (Spent::Taken { remaining, reset_s: seconds(wanted), ahead }, Some(write(&entries)))
}

/// Gives a charge back that was taken for a request which then did not pass. Returns the slot's
/// new content if it changed.
pub fn refund(cell: &[u8], charge: &Charge<'_>, now_us: u64) -> Option<Vec<u8>> {
    let mut entries = read(cell);
    let entry = entries.iter_mut().find(|(tag, _)| *tag == charge.key.tag)?;
    entry.1 = entry.1.saturating_sub(charge.cost_us()).max(now_us);
    Some(write(&entries))
}

/// Remembers until when something is used up; `None` if the slot is full of others.
pub fn remember(cell: &[u8], key: Key, until_us: u64, now_us: u64) -> Option<Vec<u8>> {
    let mut entries = read(cell);
    *place(&mut entries, key, now_us)? = (key.tag, until_us);
    Some(write(&entries))
}

/// Seconds for which something remembered stays used up; `None` if it is not.
pub fn used_up_for(cell: &[u8], key: Key, now_us: u64) -> Option<u64> {
    let (_, until) = read(cell).into_iter().find(|(tag, until)| *tag == key.tag && *until > now_us)?;
    Some(seconds(until - now_us))
}

/// Reads what the origin says of a quota, for example `r=0;t=3600;rev=7`: nothing is left for 3600
/// seconds, by the policy of revision 7. Returns until when it is used up, in microseconds since
/// the epoch; `None` if something is left, if the origin judged by another policy than `rev`, or
/// if the text is not of this form.
pub fn used_up_until(text: &[u8], rev: u64, now_us: u64) -> Option<u64> {
    let mut numbers = std::str::from_utf8(text).ok()?.split(';');
    let mut number = |name: &str| numbers.next()?.strip_prefix(name)?.parse::<u64>().ok();
    let (remaining, reset_s, by) = (number("r=")?, number("t=")?, number("rev=")?);
    (remaining == 0 && by == rev && reset_s <= LONGEST_QUOTA_S).then(|| now_us.saturating_add(reset_s * 1_000_000))
}

/// The entry of a key, or one that is free or idle.
fn place(entries: &mut [(u64, u64); WAYS], key: Key, now_us: u64) -> Option<&mut (u64, u64)> {
    let found = entries.iter().position(|(tag, _)| *tag == key.tag);
    let found = found.or_else(|| entries.iter().position(|(tag, arrival)| *tag == 0 || *arrival <= now_us));
    entries.get_mut(found?)
}

/// The value of `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers, section 3).
pub fn policy_header(charge: &Charge<'_>) -> String {
    format!("\"{}\";q={};w={}", charge.name, charge.rate.burst, charge.rate.window_s())
}

/// The value of `RateLimit` (the same, section 4).
pub fn state_header(charge: &Charge<'_>, remaining: u32, reset_s: u64) -> String {
    format!("\"{}\";r={remaining};t={reset_s}", charge.name)
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
