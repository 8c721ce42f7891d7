//! Requests under way, per user, as leases that end by themselves.
//!
//! A user's entry in a slot names the worker that holds the leases, how many, and until when. A
//! worker renews its entries while requests are under way and gives each back at its end; one
//! that dies renews nothing, and [`LEASE_S`] later its entries count no more. The slots are those
//! of [`crate::limit`], under another name.

use crate::limit::{Key, WAYS};

/// How long a lease lasts that nobody renews, in seconds.
pub const LEASE_S: u64 = 60;
/// How old a lease may become before its worker renews it, in seconds.
pub const RENEW_S: u64 = 20;

const ENTRY_BYTES: usize = 24;

#[derive(Clone, Copy, Default)]
struct Entry {
    tag: u64,
    worker: u32,
    count: u32,
    until_s: u64,
}

/// What became of a request for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Granted.
    Granted,
    /// The user has as many requests under way as allowed.
    Full,
    /// The slot belongs to others who are active.
    Crowded,
}

/// Takes a lease for `worker`, if the user's leases at all workers are fewer than `limit`. Returns
/// the slot's new content if it changed. `now_s` is in seconds since the epoch.
pub fn take(cell: &[u8], key: Key, worker: u32, limit: u32, now_s: u64) -> (Taken, Option<Vec<u8>>) {
    let mut entries = read(cell);
    let alive = |entry: &Entry| entry.count > 0 && entry.until_s > now_s && entry.until_s <= now_s + 2 * LEASE_S;
    let held = entries.iter().filter(|entry| entry.tag == key.tag && alive(entry)).map(|entry| entry.count);
    if held.fold(0, u32::saturating_add) >= limit {
        return (Taken::Full, None);
    }
    let ours = |entry: &Entry| entry.tag == key.tag && entry.worker == worker;
    let place = entries
        .iter()
        .position(|entry| ours(entry) && alive(entry))
        .or_else(|| entries.iter().position(|entry| !alive(entry)));
    let Some(entry) = place.and_then(|place| entries.get_mut(place)) else { return (Taken::Crowded, None) };
    let count = if ours(entry) && alive(entry) { entry.count + 1 } else { 1 };
    *entry = Entry { tag: key.tag, worker, count, until_s: now_s + LEASE_S };
    (Taken::Granted, Some(write(&entries)))
}

/// Sets how many leases `worker` holds for a user, and renews them. Returns the slot's new content,
/// or `None` if the worker has no entry any more.
pub fn hold(cell: &[u8], key: Key, worker: u32, count: u32, now_s: u64) -> Option<Vec<u8>> {
    let mut entries = read(cell);
    let entry = entries.iter_mut().find(|entry| entry.tag == key.tag && entry.worker == worker)?;
    *entry = Entry { count, until_s: now_s + LEASE_S, ..*entry };
    Some(write(&entries))
}

fn read(cell: &[u8]) -> [Entry; WAYS] {
    let mut entries = [Entry::default(); WAYS];
    if cell.len() == WAYS * ENTRY_BYTES {
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
        let half = |bytes: &[u8]| u32::try_from(word(bytes)).unwrap_or_default();
        for (entry, bytes) in entries.iter_mut().zip(cell.chunks_exact(ENTRY_BYTES)) {
            let part = |from: usize, size: usize| bytes.get(from..from + size).unwrap_or_default();
            *entry = Entry {
                tag: word(part(0, 8)),
                worker: half(part(8, 4)),
                count: half(part(12, 4)),
                until_s: word(part(16, 8)),
            };
        }
    }
    entries
}

fn write(entries: &[Entry; WAYS]) -> Vec<u8> {
    let mut cell = Vec::with_capacity(WAYS * ENTRY_BYTES);
    for entry in entries {
        cell.extend(entry.tag.to_le_bytes());
        cell.extend(entry.worker.to_le_bytes());
        cell.extend(entry.count.to_le_bytes());
        cell.extend(entry.until_s.to_le_bytes());
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn taken(cell: &mut Vec<u8>, user: &str, worker: u32, now: u64) -> Taken {
        let (taken, next) = take(cell, Key { slot: 0, ..Key::new("flight", user) }, worker, 3, now);
        if let Some(next) = next {
            *cell = next;
        }
        taken
    }

    #[test]
    fn a_user_has_so_many_under_way_at_all_workers_together() {
        let mut cell = Vec::new();
        let key = Key::new("flight", "ada");
        assert_eq!(taken(&mut cell, "ada", 1, NOW), Taken::Granted);
        assert_eq!(taken(&mut cell, "ada", 2, NOW), Taken::Granted);
        assert_eq!(taken(&mut cell, "ada", 1, NOW), Taken::Granted);
        assert_eq!(taken(&mut cell, "ada", 2, NOW), Taken::Full);
        assert_eq!(taken(&mut cell, "bob", 2, NOW), Taken::Granted, "another user's are his own");
        cell = hold(&cell, key, 1, 1, NOW).unwrap();
        assert_eq!(taken(&mut cell, "ada", 2, NOW), Taken::Granted);
        assert_eq!(taken(&mut cell, "ada", 1, NOW), Taken::Full);
        assert!(hold(&cell, key, 9, 1, NOW).is_none());
    }

    #[test]
    fn what_a_dead_worker_held_ends_by_itself() {
        let mut cell = Vec::new();
        for _ in 0..3 {
            assert_eq!(taken(&mut cell, "ada", 1, NOW), Taken::Granted);
        }
        assert_eq!(taken(&mut cell, "ada", 2, NOW + LEASE_S - 1), Taken::Full);
        assert_eq!(taken(&mut cell, "ada", 2, NOW + LEASE_S), Taken::Granted);
        assert_eq!(
            taken(&mut cell, "ada", 2, NOW - 10_000),
            Taken::Granted,
            "nor does a clock that steps back hold it"
        );
    }

    #[test]
    fn newcomers_take_no_active_place() {
        let mut cell = Vec::new();
        for user in 0..WAYS {
            assert_eq!(taken(&mut cell, &user.to_string(), 1, NOW), Taken::Granted);
        }
        assert_eq!(taken(&mut cell, "newcomer", 1, NOW), Taken::Crowded);
        assert_eq!(taken(&mut cell, "0", 1, NOW), Taken::Granted);
        cell = hold(&cell, Key::new("flight", "1"), 1, 0, NOW).unwrap();
        assert_eq!(taken(&mut cell, "newcomer", 1, NOW), Taken::Granted);
    }
}
