//! How each member of a policy is spoken of.

use serde_json::Value;

use crate::clock::rfc3339;

/// The end of the year 9999, in seconds since the epoch: no later moment has a common spelling.
const LAST_MOMENT: i64 = 253_402_300_799;

/// How one member is spoken of.
pub(super) enum Words<'a> {
    /// `label old → new unit`, with a word for what is absent.
    Value { label: &'a str, unit: &'a str, absent: &'a str },
    /// Yes or no: a phrase for each.
    Switch { on: &'a str, off: &'a str },
}

const fn value(label: &'static str, unit: &'static str) -> Words<'static> {
    or("none", label, unit)
}

/// A member that may be absent, and what that means.
const fn or(absent: &'static str, label: &'static str, unit: &'static str) -> Words<'static> {
    Words::Value { label, unit, absent }
}

/// Words by JSON pointer.
type Table = &'static [(&'static str, Words<'static>)];

pub(super) const ISSUER: Table = &[
    ("/audiences", value("audiences", "")),
    ("/algorithms", value("algorithms", "")),
    ("/keys/from", or("elsewhere", "keys from", "")),
    ("/keys/jwks_path", or("nowhere", "keys fetched from", "")),
    ("/keys/cluster", value("cluster of its keys", "")),
    ("/keys/authority", or("the cluster's name", "host of its keys", "")),
    ("/keys/refresh_s", or("300", "keys fetched again after", "seconds")),
    ("/keys/max_stale_s", or("86400", "keys used for at most", "seconds")),
    ("/keys/secret_env", or("nowhere", "secret in the variable", "")),
    ("/claims/subject", value("claim of the subject", "")),
    ("/claims/role", value("claim of the role", "")),
    ("/claims/scopes", value("claim of the scopes", "")),
    ("/roles", or("by their own names", "roles", "")),
    ("/required", value("required claims", "")),
    ("/user_prefix", value("prefix of its users", "")),
    ("/users_of", or("its own", "users", "")),
    ("/accounts", value("accounts of its users", "")),
    ("/clock_skew_s", value("clocks may differ by", "seconds")),
    ("/max_lifetime_s", value("tokens may hold for", "seconds")),
    ("/types", value("types of tokens", "")),
    ("/requests/per_minute", or("no bound", "requests of all users together", "per minute")),
    ("/requests/burst", or("no bound", "burst of all users together", "")),
];

pub(super) const ROLE: Table = &[
    ("/requests/per_minute", value("requests", "per minute")),
    ("/requests/burst", value("burst", "")),
    ("/body_kb", value("request body", "KiB")),
    ("/in_flight", or("no bound", "requests at the same time", "")),
    ("/jobs_running", value("generations at the same time", "")),
    ("/jobs_queued", value("generations that may wait", "")),
    ("/weight", value("share of the engine", "")),
    ("/characters_per_request", value("characters of one text", "")),
    ("/characters_per_day", value("characters", "per day")),
    ("/generations_per_day", value("generations", "per day")),
    ("/audio_seconds_per_day", or("no bound", "audio", "seconds per day")),
    ("/storage_mb", value("storage", "MiB")),
    ("/retention_days", value("outputs kept for", "days")),
    ("/voices", or("0", "voices of their own", "")),
    (
        "/second_factor",
        Words::Switch { on: "a second factor is demanded", off: "no second factor is demanded any more" },
    ),
    ("/share_links", or("0", "links to outputs", "")),
];

pub(super) const ROUTE: Table = &[
    ("/scopes", value("scopes", "")),
    ("/cost", or("1", "cost", "")),
    ("/limit/per_minute", or("no limit", "limit", "per minute")),
    ("/limit/burst", or("no limit", "burst", "")),
    ("/limit/by", or("no limit", "calls counted by", "")),
    ("/fresh_login_s", or("any", "age of the login", "seconds")),
    ("/body_kb", or("as elsewhere", "request body", "KiB")),
    (
        "/websocket",
        Words::Switch {
            on: "connections may become WebSockets",
            off: "connections may not become WebSockets any more",
        },
    ),
    (
        "/metered",
        Words::Switch { on: "calls are charged to the day's quota", off: "calls are not charged to the day's quota" },
    ),
];

pub(super) const DOCUMENT: Table = &[
    ("/rev", value("revision", "")),
    ("/registration/open", Words::Switch { on: "registration opened", off: "registration closed" }),
    (
        "/registration/invitations",
        Words::Switch { on: "registration by invitation opened", off: "registration by invitation closed" },
    ),
    ("/registration/role", value("role of a new account", "")),
    (
        "/identity/sealed",
        Words::Switch {
            on: "the header of the caller is sealed",
            off: "the header of the caller is not sealed any more",
        },
    ),
];

impl Words<'_> {
    /// Says what became of the member; nothing if what was absent is now written out.
    pub(super) fn phrase(&self, old: &Value, new: &Value) -> Option<String> {
        match self {
            Self::Switch { on, off } => Some(if *new == Value::Bool(true) { *on } else { *off }.to_owned()),
            Self::Value { label, unit, absent } => {
                let text = |value: &Value| if is_absent(value) { (*absent).to_owned() } else { shown(value) };
                let (mut before, mut after) = (text(old), text(new));
                if before == after {
                    if is_absent(old) || is_absent(new) {
                        return None;
                    }
                    (before, after) = (old.to_string(), new.to_string());
                }
                let space = if unit.is_empty() { "" } else { " " };
                Some(if is_absent(new) {
                    format!("{label} {before}{space}{unit} → {after}")
                } else {
                    format!("{label} {before} → {after}{space}{unit}")
                })
            }
        }
    }
}

fn is_absent(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// A value as a person would write it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => plain(text),
        Value::Array(list) => list.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Object(members) => match (members.get("from"), members.get("to")) {
            (Some(Value::String(from)), Some(Value::String(to))) => format!("{} is {}", plain(from), plain(to)),
            _ => value.to_string(),
        },
        other => other.to_string(),
    }
}

/// A text as it is, or in quotation marks if parts of it could not be seen for what they are.
pub(super) fn plain(text: &str) -> String {
    let quoted = format!("{text:?}");
    if text.is_empty() || quoted.len() != text.len() + 2 { quoted } else { text.to_owned() }
}

/// A moment in seconds since the epoch, as a date if it has one.
pub(super) fn moment(value: &Value) -> String {
    match value.as_i64().filter(|second| (0..=LAST_MOMENT).contains(second)) {
        Some(second) => rfc3339(second * 1000),
        None => format!("second {value}"),
    }
}
