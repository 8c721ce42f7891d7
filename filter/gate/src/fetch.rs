//! When to fetch an issuer's keys, and who does it.
//!
//! All workers of an edge share one [`Board`] for each place that keys come from. Whoever finds a
//! fetch due writes a lease on it; the one whose write succeeds fetches. Everything here is a pure
//! function of the board's bytes and the time, in seconds since the epoch.

use crate::policy::KeySource;
use crate::words;

/// An unknown key id makes the edge look again at most this often, in seconds. In between, the
/// keys at hand are taken for all there are.
pub const MIN_INTERVAL_S: u64 = 10;
/// How long one fetch may take, in seconds.
pub const TIMEOUT_S: u64 = 3;
/// The largest answer that is looked at, in bytes.
pub const MAX_BYTES: usize = 256 * 1024;
/// The longest pause after failures, in seconds.
const MAX_PAUSE_S: u64 = 60;

/// Where and how often an issuer's keys are fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Envoy's name of the cluster.
    pub cluster: String,
    /// The host that is asked for.
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// Fetched again after this, in seconds.
    pub refresh_s: u64,
    /// Not used any more after this, in seconds.
    pub max_stale_s: u64,
}

impl Source {
    /// Reads a key source that names a place to fetch from.
    ///
    /// # Errors
    /// What cannot be meant.
    pub fn new(keys: &KeySource) -> Result<Self, &'static str> {
        let path = keys.jwks_path.clone().unwrap_or_default();
        let cluster = keys.cluster.clone().filter(|name| !name.is_empty()).ok_or("name the `cluster` to ask")?;
        let plain = |text: &str| text.len() <= 1024 && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !path.starts_with('/') || !plain(&path) {
            return Err("`jwks_path` must be a path, for example /.well-known/jwks.json");
        }
        let authority = keys.authority.clone().unwrap_or_else(|| cluster.clone());
        if !plain(&authority) || !plain(&cluster) {
            return Err("`cluster` and `authority` are names of visible ASCII");
        }
        let refresh_s = u64::from(keys.refresh_s.unwrap_or(300));
        let max_stale_s = u64::from(keys.max_stale_s.unwrap_or(86_400));
        if !(MIN_INTERVAL_S..=86_400).contains(&refresh_s) || max_stale_s < refresh_s {
            return Err("`refresh_s` must be 10 to 86400 and `max_stale_s` not less");
        }
        Ok(Self { cluster, authority, path, refresh_s, max_stale_s })
    }

    /// One text for one place, under which workers share what they know of it.
    pub fn place(&self) -> String {
        format!("{} {} {}", self.cluster, self.authority, self.path)
    }
}

/// What the workers of an edge know of one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Board {
    /// When the keys in force were fetched, or confirmed to be the same; 0 if never.
    pub fetched_at: u64,
    /// When somebody last began to fetch; 0 if never.
    pub began_at: u64,
    /// Until when that one may take; 0 if nobody is at it.
    pub lease_until: u64,
    /// Failures in a row.
    pub failures: u64,
    /// When a token last named a key that is not there; 0 if never.
    pub missed_at: u64,
}

impl Board {
    /// Reads a board; bytes that nobody wrote are an empty one.
    pub fn read(cell: &[u8]) -> Self {
        let [fetched_at, began_at, lease_until, failures, missed_at] = words::read(cell).unwrap_or_default();
        Self { fetched_at, began_at, lease_until, failures, missed_at }
    }

    /// Its bytes.
    pub fn write(&self) -> Vec<u8> {
        words::write(&[self.fetched_at, self.began_at, self.lease_until, self.failures, self.missed_at])
    }

    /// The board with a lease on it, if a fetch is due.
    pub fn take_up(self, source: &Source, now: u64) -> Option<Self> {
        // Whatever lies in the future was written by a clock that has stepped back since.
        let since = |moment: u64| if moment > now { u64::MAX } else { now - moment };
        if self.lease_until > now && self.lease_until <= now + 2 * TIMEOUT_S {
            return None;
        }
        let pause = if self.failures > 0 { (1 << self.failures.min(6)).min(MAX_PAUSE_S) } else { 0 };
        let missed = self.missed_at > self.began_at && since(self.began_at) >= MIN_INTERVAL_S;
        let due =
            if self.failures > 0 { since(self.began_at) >= pause } else { since(self.fetched_at) >= source.refresh_s };
        (due || missed).then_some(Self { began_at: now, lease_until: now + TIMEOUT_S + 1, ..self })
    }

    /// The board after the keys have come.
    pub fn succeeded(self, now: u64) -> Self {
        Self { fetched_at: now, lease_until: 0, failures: 0, ..self }
    }

    /// The board after they have not.
    pub fn failed(self) -> Self {
        Self { lease_until: 0, failures: self.failures.saturating_add(1), ..self }
    }

    /// The board after a token named a key that is not there; `None` if that changes nothing.
    pub fn missed(self, now: u64) -> Option<Self> {
        let can_matter = self.missed_at <= self.began_at && now >= self.began_at.saturating_add(MIN_INTERVAL_S);
        can_matter.then_some(Self { missed_at: now, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn source() -> Source {
        let keys =
            KeySource { jwks_path: Some("/keys".to_owned()), cluster: Some("idp".to_owned()), ..KeySource::default() };
        Source::new(&keys).unwrap()
    }

    #[test]
    fn one_fetches_and_again_before_the_keys_are_old() {
        let board = Board::default();
        let taken = board.take_up(&source(), NOW).unwrap();
        assert_eq!(Board::read(&taken.write()), taken);
        assert!(taken.take_up(&source(), NOW + 1).is_none(), "somebody is at it");
        assert!(taken.take_up(&source(), NOW + TIMEOUT_S + 1).is_some(), "who died is replaced");
        let fetched = taken.succeeded(NOW + 1);
        assert!(fetched.take_up(&source(), NOW + 300).is_none());
        assert!(fetched.take_up(&source(), NOW + 301).is_some());
    }

    #[test]
    fn failures_make_the_pause_longer_up_to_a_minute() {
        let mut board = Board::default();
        let mut now = NOW;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let began = now;
            while board.take_up(&source(), now).is_none() {
                now += 1;
            }
            pauses.push(now - began);
            board = board.take_up(&source(), now).unwrap().failed();
        }
        assert_eq!(pauses, [0, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn a_flood_of_unknown_keys_makes_one_fetch_in_ten_seconds() {
        let mut board = Board::default().take_up(&source(), NOW).unwrap().succeeded(NOW);
        let mut fetches = 0;
        for second in 0..100 {
            board = board.missed(NOW + second).unwrap_or(board);
            if let Some(taken) = board.take_up(&source(), NOW + second) {
                board = taken.succeeded(NOW + second);
                fetches += 1;
            }
        }
        assert_eq!(fetches, 9);
    }

    #[test]
    fn a_clock_that_steps_back_does_not_stop_fetching() {
        let board = Board::default().take_up(&source(), NOW).unwrap().succeeded(NOW);
        assert!(board.take_up(&source(), NOW - 100_000).is_some());
    }

    #[test]
    fn sources_that_cannot_be_meant_are_refused() {
        let keys = |path: &str, cluster: &str, refresh| KeySource {
            jwks_path: Some(path.to_owned()),
            cluster: Some(cluster.to_owned()),
            refresh_s: Some(refresh),
            ..KeySource::default()
        };
        assert!(Source::new(&keys("/keys", "idp", 10)).is_ok());
        for refused in [
            keys("keys", "idp", 300),
            keys("https://evil.example/keys", "idp", 300),
            keys("/keys\r\nx: y", "idp", 300),
            keys("/keys", "", 300),
            keys("/keys", "idp", 1),
            keys("/keys", "idp", 100_000),
        ] {
            assert!(Source::new(&refused).is_err(), "{refused:?}");
        }
    }
}
