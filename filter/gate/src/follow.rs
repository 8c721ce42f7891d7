//! How the workers of an edge follow the control plane together.
//!
//! One of them leads: it asks for bundles, and puts each that holds into one of two slots, then
//! turns the pointer to it. All look at the pointer, and note in a roll which bundle they judge
//! by. Lease, pointer and roll are a few bytes that all share; everything here is a pure function
//! of them and the time, in milliseconds since the epoch.

use crate::bundle::Version;
use crate::words;

/// How long a leader leads without a sign of life.
pub const LEASE_MS: u64 = 1500;
/// How long a worker stands in the roll without a sign of life.
pub const ROLL_MS: u64 = 2000;
/// How long the control plane may hold an answer back, in seconds, if there is nothing new.
pub const WAIT_S: u64 = 15;
/// How long one question may take, in seconds.
pub const TIMEOUT_S: u64 = WAIT_S + 5;
/// The longest pause after failures.
const MAX_PAUSE_MS: u64 = 2000;

/// Whether `worker` leads from now on, and the lease to write if so. `cell` is the lease as it is.
pub fn lead(cell: &[u8], worker: u32, now_ms: u64) -> Option<Vec<u8>> {
    let [owner, until] = words::read(cell).unwrap_or_default();
    // A lease that ends later than any lease could was written by a clock that has stepped back since.
    let is_held = until > now_ms && until <= now_ms + 2 * LEASE_MS;
    let is_mine = owner == u64::from(worker);
    (is_mine || !is_held).then(|| words::write(&[u64::from(worker), now_ms + LEASE_MS]))
}

/// Which bundle is in force, and in which slot it lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pointer {
    /// Which bundle.
    pub version: Version,
    /// Where it lies: 0 or 1.
    pub slot: u64,
}

impl Pointer {
    /// Reads a pointer; bytes that nobody wrote point to nothing.
    pub fn read(cell: &[u8]) -> Self {
        let [serial, iat, slot] = words::read(cell).unwrap_or_default();
        Self { version: Version { serial, iat }, slot: slot & 1 }
    }

    /// The pointer to a newer bundle, in the other slot: whoever reads the one in force reads on.
    pub fn next(self, version: Version) -> Self {
        Self { version, slot: 1 - self.slot }
    }

    /// Its bytes.
    pub fn write(self) -> Vec<u8> {
        words::write(&[self.version.serial, self.version.iat, self.slot])
    }
}

/// The roll with `worker` in it, judging by `version`; those who gave no sign of life are gone.
pub fn enrol(cell: &[u8], worker: u32, version: Version, now_ms: u64) -> Vec<u8> {
    let mut roll = entries(cell);
    roll.retain(|entry| entry[0] != u64::from(worker) && is_alive(entry, now_ms));
    roll.push([u64::from(worker), version.serial, version.iat, now_ms]);
    roll.iter().flat_map(|entry| words::write(entry)).collect()
}

/// The oldest bundle that any worker still judges by.
pub fn oldest(cell: &[u8], now_ms: u64) -> Option<Version> {
    let alive = entries(cell).into_iter().filter(|entry| is_alive(entry, now_ms));
    alive.map(|[_, serial, iat, _]| Version { serial, iat }).min()
}

/// How long to wait after `failures` in a row; `random` spreads edges that failed together.
pub fn pause_ms(failures: u32, random: u64) -> u64 {
    if failures == 0 {
        return 0;
    }
    let pause = (250_u64 << failures.min(5)).min(MAX_PAUSE_MS);
    pause / 2 + random % (pause / 2)
}

/// Whether a moment that was at most a pause away when it was set is still to come. A clock that
/// has stepped back since makes nobody wait for longer.
pub fn is_ahead(until_ms: u64, now_ms: u64) -> bool {
    until_ms > now_ms && until_ms - now_ms <= MAX_PAUSE_MS
}

/// How far this clock is ahead of the one that wrote `date` into the answer to a question of
/// `asked`, which came at `answered`; negative if it is behind. All in seconds. The answer may have
/// been written at any moment in between, so only what lies outside tells anything.
pub fn clock_offset_s(asked: u64, answered: u64, date: u64) -> i64 {
    let (first, last) = (asked.min(answered), asked.max(answered));
    let seconds = |ahead: u64| i64::try_from(ahead).unwrap_or(i64::MAX);
    if date < first { seconds(first - date) } else { -seconds(date.saturating_sub(last)) }
}

/// Reads how far the clock is off, as [`write_clock`] wrote it; 0 if nobody did.
pub fn read_clock(cell: &[u8]) -> i64 {
    words::read::<1>(cell).map_or(0, |[offset_s]| offset_s.cast_signed())
}

/// Writes how far the clock is off, in seconds.
pub fn write_clock(offset_s: i64) -> Vec<u8> {
    words::write(&[offset_s.cast_unsigned()])
}

fn is_alive(entry: &[u64; 4], now_ms: u64) -> bool {
    entry[3].abs_diff(now_ms) <= ROLL_MS
}

fn entries(cell: &[u8]) -> Vec<[u64; 4]> {
    cell.chunks_exact(32).filter_map(words::read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    #[test]
    fn one_leads_until_it_falls_silent() {
        let lease = lead(&[], 1, NOW).unwrap();
        assert_eq!(lead(&lease, 2, NOW + LEASE_MS - 1), None);
        let renewed = lead(&lease, 1, NOW + 1000).unwrap();
        assert_eq!(lead(&renewed, 2, NOW + LEASE_MS), None);
        assert!(lead(&renewed, 2, NOW + 1000 + LEASE_MS).is_some());
        // The clock stepped back by an hour: nobody waits that long.
        assert!(lead(&renewed, 2, NOW - 3_600_000).is_some());
        assert!(lead(b"rubbish", 2, NOW).is_some());
    }

    #[test]
    fn no_pause_grows_when_the_clock_steps_back() {
        assert!(is_ahead(NOW + 1, NOW) && is_ahead(NOW + MAX_PAUSE_MS, NOW));
        assert!(!is_ahead(NOW, NOW) && !is_ahead(NOW - 1, NOW));
        assert!(!is_ahead(NOW + 300_000, NOW));
    }

    #[test]
    fn bundles_take_turns_in_two_slots() {
        let version = |serial| Version { serial, iat: 7 };
        let first = Pointer::read(&[]).next(version(1));
        let second = Pointer::read(&first.write()).next(version(2));
        assert_eq!((first.slot, second.slot, second.next(version(3)).slot), (1, 0, 1));
        assert_eq!(Pointer::read(&second.write()), second);
        assert_eq!(Pointer::read(b"rubbish"), Pointer::default());
    }

    #[test]
    fn the_roll_knows_who_lags() {
        let version = |serial| Version { serial, iat: 7 };
        let roll = enrol(&enrol(&[], 1, version(3), NOW), 2, version(4), NOW + 10);
        assert_eq!(oldest(&roll, NOW + 10), Some(version(3)));
        let roll = enrol(&roll, 1, version(4), NOW + 20);
        assert_eq!((oldest(&roll, NOW + 20), roll.len()), (Some(version(4)), 64));
        // A worker that fell over is not waited for.
        let roll = enrol(&enrol(&[], 1, version(3), NOW), 2, version(4), NOW + ROLL_MS + 1);
        assert_eq!(oldest(&roll, NOW + ROLL_MS + 1), Some(version(4)));
        assert_eq!(oldest(&[], NOW), None);
    }

    #[test]
    fn a_clock_is_wrong_when_no_moment_of_the_question_fits() {
        assert_eq!(clock_offset_s(100, 115, 100), 0);
        assert_eq!(clock_offset_s(100, 115, 107), 0);
        assert_eq!(clock_offset_s(100, 115, 115), 0);
        assert_eq!(clock_offset_s(400, 401, 100), 300);
        assert_eq!(clock_offset_s(100, 101, 401), -300);
        // It was set right, or wrong, while the answer was waited for.
        assert_eq!(clock_offset_s(400, 115, 115), 0);
        assert_eq!(clock_offset_s(100, 415, 115), 0);
        assert_eq!(clock_offset_s(0, 0, u64::MAX), -i64::MAX);
        for offset_s in [0, 300, -300] {
            assert_eq!(read_clock(&write_clock(offset_s)), offset_s);
        }
        assert_eq!(read_clock(b"rubbish"), 0);
    }

    #[test]
    fn pauses_grow_and_differ() {
        assert_eq!(pause_ms(0, 9), 0);
        assert!((250..500).contains(&pause_ms(1, 1_234_567)));
        assert!((0..1000).all(|random| (1000..2000).contains(&pause_ms(40, random * 7919))));
        assert_ne!(pause_ms(3, 1), pause_ms(3, 2));
    }
}
