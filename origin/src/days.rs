//! Days begin at midnight where the user is.

use chrono::{DateTime, Days, Duration, NaiveTime, TimeZone as _};
use chrono_tz::Tz;

use crate::app::App;
use crate::caller::Caller;
use crate::store::{StoreError, Usage};

/// How long usage and books are kept, in days.
pub const KEPT_DAYS: u32 = 400;

/// A moment of some user's day.
#[derive(Clone, Copy, Debug)]
pub struct Day {
    now: DateTime<Tz>,
}

/// A day as far as it is used up, without what is still under way.
#[derive(Clone, Copy, Debug)]
pub struct Today {
    /// Which.
    pub day: Day,
    /// How far.
    pub usage: Usage,
}

impl Today {
    /// The caller's.
    ///
    /// # Errors
    /// The database failed.
    pub async fn of(app: &App, caller: &Caller) -> Result<Self, StoreError> {
        let now_ms = app.clock.now_ms();
        let (zone, days) = app.store.of(caller).used_since(&Day::earliest(now_ms)).await?;
        let day = Day::in_zone(zone.as_deref(), now_ms);
        let used = days.into_iter().find(|(name, _)| *name == day.name());
        Ok(Self { day, usage: used.map(|(_, usage)| usage).unwrap_or_default() })
    }
}

impl Day {
    /// The name of the earliest day that it may be anywhere at this moment, in milliseconds since the epoch.
    pub fn earliest(now_ms: i64) -> String {
        Self::at(Tz::UTC, now_ms).first_of(2)
    }

    /// The day of a moment where the time zone has this IANA name; with none, or one that is not
    /// known any more, in UTC.
    pub fn in_zone(name: Option<&str>, now_ms: i64) -> Self {
        Self::at(name.and_then(zone).unwrap_or(Tz::UTC), now_ms)
    }

    /// The day of a moment, in milliseconds since the epoch.
    pub fn at(zone: Tz, now_ms: i64) -> Self {
        Self { now: DateTime::from_timestamp_millis(now_ms).unwrap_or_default().with_timezone(&zone) }
    }

    /// For example `2026-11-23`.
    pub fn name(&self) -> String {
        self.now.date_naive().to_string()
    }

    /// The first of the last `days` days, this one included.
    pub fn first_of(&self, days: u32) -> String {
        let today = self.now.date_naive();
        today.checked_sub_days(Days::new(u64::from(days.saturating_sub(1)))).unwrap_or(today).to_string()
    }

    /// The time zone, an IANA name.
    pub fn zone(&self) -> &'static str {
        self.now.timezone().name()
    }

    /// The next midnight, in milliseconds since the epoch. Where a clock change skips midnight, the
    /// day begins at the first moment it has.
    pub fn ends_ms(&self) -> i64 {
        let tomorrow = self.now.date_naive().succ_opt().unwrap_or_default().and_time(NaiveTime::MIN);
        let quarters = (0..=96).filter_map(|quarter| {
            let local = tomorrow + Duration::minutes(15 * quarter);
            self.now.timezone().from_local_datetime(&local).earliest()
        });
        let first = quarters.map(|moment| moment.timestamp_millis()).next();
        first.unwrap_or_else(|| self.now.timestamp_millis() + 86_400_000)
    }

    /// Until then, in whole seconds, at least 1.
    pub fn seconds_left(&self) -> u32 {
        u32::try_from((self.ends_ms() - self.now.timestamp_millis()) / 1000 + 1).unwrap_or(1)
    }
}

/// A time zone by its IANA name, for example `Asia/Shanghai`.
pub fn zone(name: &str) -> Option<Tz> {
    name.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::rfc3339;
    use crate::test_app::NOW_MS;

    fn ends(name: &str, at: &str) -> (String, String) {
        let day = Day::at(zone(name).unwrap(), DateTime::parse_from_rfc3339(at).unwrap().timestamp_millis());
        (day.name(), rfc3339(day.ends_ms()))
    }

    #[test]
    fn midnight_is_where_the_user_is() {
        let of = |day: &str, end: &str| (day.to_owned(), end.to_owned());
        assert_eq!(ends("UTC", "2026-11-23T12:00:00Z"), of("2026-11-23", "2026-11-24T00:00:00Z"));
        assert_eq!(ends("Asia/Shanghai", "2026-11-23T17:00:00Z"), of("2026-11-24", "2026-11-24T16:00:00Z"));
        assert_eq!(ends("America/New_York", "2026-11-23T04:59:59Z"), of("2026-11-22", "2026-11-23T05:00:00Z"));
        // A day of 25 hours, one of 23, and one that has no midnight.
        assert_eq!(ends("Europe/Berlin", "2026-10-24T22:00:00Z"), of("2026-10-25", "2026-10-25T23:00:00Z"));
        assert_eq!(ends("Europe/Berlin", "2026-03-28T23:00:00Z"), of("2026-03-29", "2026-03-29T22:00:00Z"));
        assert_eq!(ends("Africa/Cairo", "2026-04-23T12:00:00Z"), of("2026-04-23", "2026-04-23T22:00:00Z"));
        assert!(zone("Atlantis/Capital").is_none());
    }

    #[test]
    fn history_counts_days_backwards() {
        let day = Day::at(Tz::UTC, NOW_MS);
        assert_eq!((day.first_of(1), day.first_of(30)), ("2026-11-23".to_owned(), "2026-10-25".to_owned()));
        assert_eq!(day.seconds_left(), 43_201);
    }
}
