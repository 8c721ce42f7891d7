//! The only place that knows what time it is, and how times and ids are written.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

/// A clock: the system's, or one that tests move by hand.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands still until it is moved.
    pub fn standing(at_ms: i64) -> Self {
        Self(Some(Arc::new(AtomicI64::new(at_ms))))
    }

    /// Moves a standing clock; the system's clock stays as it is.
    pub fn advance(&self, by_ms: i64) {
        if let Some(at) = &self.0 {
            at.fetch_add(by_ms, Ordering::SeqCst);
        }
    }

    /// Milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Some(at) => at.load(Ordering::SeqCst),
            None => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            }
        }
    }

    /// Seconds since the epoch.
    pub fn now_s(&self) -> u64 {
        u64::try_from(self.now_ms() / 1000).unwrap_or_default()
    }
}

/// A new ULID: 26 characters that sort by time.
pub fn new_id(now_ms: i64) -> String {
    ulid::Ulid::from_parts(u64::try_from(now_ms).unwrap_or_default(), rand::random::<u128>()).to_string()
}

/// The ids that [`new_id`] makes, as a regular expression.
pub const ID_PATTERN: &str = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$";

/// Whether a text has the form of an id that [`new_id`] makes.
pub fn is_id(text: &str) -> bool {
    text.len() == ulid::ULID_LEN
        && !text.bytes().any(|byte| byte.is_ascii_lowercase())
        && ulid::Ulid::from_string(text).is_ok()
}

/// RFC 3339 in UTC with milliseconds, if any: `2026-11-23T05:04:03.210Z`.
pub fn rfc3339(ms: i64) -> String {
    date(ms).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// A time in an answer: milliseconds since the epoch, written as [`rfc3339`] has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub i64);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&rfc3339(self.0))
    }
}

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

/// Milliseconds since the epoch of a moment as RFC 3339 writes it, with any offset.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text).ok().map(|moment| moment.timestamp_millis())
}

/// A moment as HTTP writes it (RFC 9110, section 5.6.7): `Mon, 23 Nov 2026 12:00:00 GMT`.
pub fn http_date(ms: i64) -> String {
    date(ms).format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Seconds since the epoch of a moment as HTTP writes it; the two obsolete forms are passed over.
pub fn parse_http_date(text: &str) -> Option<i64> {
    chrono::NaiveDateTime::parse_from_str(text, "%a, %d %b %Y %H:%M:%S GMT").ok().map(|date| date.and_utc().timestamp())
}

fn date(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        let noon = 1_795_435_200_123;
        assert_eq!(rfc3339(noon), "2026-11-23T12:00:00.123Z");
        assert_eq!(parse_rfc3339("2026-11-23T13:00:00.123+01:00"), Some(noon));
        assert_eq!(parse_rfc3339("2026-11-23"), None);
    }

    #[test]
    fn ids_sort_by_time() {
        let (first, second) = (new_id(1_000), new_id(2_000));
        assert!(first < second && is_id(&first));
        for wrong in ["", "1", &first.to_lowercase(), &format!("{first}0"), "01ARZ3NDEKTSV4RRFFQ69G5FAU/"] {
            assert!(!is_id(wrong), "{wrong}");
        }
    }
}
