//! The policy document and the tables that are compiled from it.
//!
//! One document drives the edge (issuers, routes, request rates) and the origin (quotas,
//! retention, registration). A field exists only if something obeys it; an unknown one is an
//! error, so a typing mistake can never quietly switch a limit off.

/// From what is written to what can be judged by.
mod compile;
/// Who may issue tokens, and what they look like.
mod issuer;
/// What is well formed and still cannot be meant.
mod meaning;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::compile::{CompiledIssuer, CompiledLimits, CompiledRole, Gate, is_plain_name};
pub(crate) use self::compile::{check_route, compile_rate};
pub use self::issuer::{Accounts, ClaimNames, Issuer, KeySource, KeysFrom, OriginKeys, RoleMapping};

/// The largest document that is read, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

/// The policy as it is written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Document {
    /// Link to the schema, for editors.
    #[serde(rename = "$schema", default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Revision. The control plane numbers what it publishes; what an author writes is a hint.
    #[serde(default)]
    pub rev: u64,
    /// Who may issue tokens.
    pub issuers: Vec<Issuer>,
    /// What each role may do, by name.
    pub roles: BTreeMap<String, Role>,
    /// Which paths exist and who reaches them. Everything else is refused.
    pub routes: Vec<Route>,
    /// Limits that belong to no role and no route.
    #[serde(default)]
    pub limits: Limits,
    /// Pages of which other sites may call from a browser.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// Who may make an account.
    #[serde(default)]
    pub registration: Registration,
    /// The header that tells the origin who is calling.
    #[serde(default)]
    pub identity: Identity,
    /// Tokens that were withdrawn before their time.
    #[serde(default, skip_serializing_if = "Revocation::is_empty")]
    pub revocation: Revocation,
    /// What happens when something that a decision needs is out of reach.
    #[serde(default)]
    pub failure: Failure,
    /// How the policy reaches the edges.
    #[serde(default)]
    pub distribution: Distribution,
    /// When the origin's own keys change.
    #[serde(default)]
    pub keys: KeySchedule,
    /// A second policy. It is judged beside this one, differences are counted and logged, and
    /// nothing of it is ever enforced. It holds no third.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Box<Document>>,
}

/// What a role may do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Role {
    /// Requests through the edge, per user.
    pub requests: RequestRate,
    /// The largest request body, in KiB.
    pub body_kb: u32,
    /// Requests of one user that may be under way at the same time; no bound if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u32>,
    /// Generations at the same time.
    pub jobs_running: u32,
    /// Generations that may wait for their turn beside those; 5 if absent.
    #[serde(default = "default_jobs_queued")]
    pub jobs_queued: u32,
    /// Share of the engine when several wait: a user of weight 2 gets twice as much as one of
    /// weight 1; 1 to 1000, 1 if absent.
    #[serde(default = "default_weight")]
    pub weight: u32,
    /// Characters of one text.
    pub characters_per_request: u32,
    /// Characters of a day. Days begin at midnight where the user is.
    pub characters_per_day: u32,
    /// Generations of a day.
    pub generations_per_day: u32,
    /// Seconds of audio of a day; no bound if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_seconds_per_day: Option<u32>,
    /// Audio kept at a time, in MiB.
    pub storage_mb: u32,
    /// Outputs older than this are removed.
    pub retention_days: u32,
    /// Voices that a user may have made of recordings; none if absent.
    #[serde(default)]
    pub voices: u32,
    /// Logins at our own server need a second factor. Whoever has none gets the role `enrol`, to
    /// set one up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub second_factor: bool,
    /// Links to outputs that hold at a time; none if absent.
    #[serde(default)]
    pub share_links: u32,
}

fn default_jobs_queued() -> u32 {
    5
}

fn default_weight() -> u32 {
    1
}

/// A steady rate with room for a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RequestRate {
    /// How many requests a minute in the long run; 1 to 6 000 000.
    pub per_minute: u32,
    /// How many at once after a pause; 1 to 100 000.
    pub burst: u32,
}

/// One path or prefix. The most specific pattern alone decides: an exact path before a prefix, a
/// longer prefix before a shorter one.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Route {
    /// The exact path. Exactly one of `path` and `prefix` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The start of the path, ending in a slash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The methods that exist here. GET brings HEAD with it.
    pub methods: Vec<String>,
    /// Anybody may call; no credential is read, none is forwarded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
    /// The roles that may call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Scopes that the token must have, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// How much of the role's request rate one call uses; 0 to 1000, 1 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<u32>,
    /// A limit of this route's own, beside the role's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<RouteLimit>,
    /// The login must be at most this old, in seconds (RFC 9470).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh_login_s: Option<u32>,
    /// The largest request body, in KiB, in place of the role's or of `public_body_kb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_kb: Option<u32>,
    /// The connection may become a WebSocket (RFC 6455). Other upgrades never pass.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub websocket: bool,
    /// The origin charges calls to the day's quota, and says when it is used up; until then the
    /// edge refuses by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub metered: bool,
}

/// A limit of one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RouteLimit {
    /// Whose calls are counted together.
    pub by: LimitBy,
    /// As in a role's `requests`.
    pub per_minute: u32,
    /// As in a role's `requests`.
    pub burst: u32,
}

/// Whose calls a limit counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum LimitBy {
    /// One client address; IPv6 by /64.
    Address,
    /// One user.
    User,
}

/// Limits that belong to no role and no route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Limits {
    /// What one edge lets through, from all users together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge: Option<RequestRate>,
    /// Tokens that do not hold, of one address (IPv6 by /64). When they are used up, the address
    /// is answered with 429 before any further unknown token is looked at; tokens that the edge
    /// knows already still pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bad_tokens: Option<RequestRate>,
    /// The largest request body on public routes, in KiB.
    pub public_body_kb: u32,
    /// Whether every answer says what is left of the nearest limit (`RateLimit`). A refusal always
    /// does.
    pub announce: bool,
    /// How many proxies of ours stand before the edge. Each of them adds the address it saw to
    /// `x-forwarded-for`; with 0, the client is whoever connects.
    pub trusted_hops: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self { edge: None, bad_tokens: None, public_body_kb: 64, announce: true, trusted_hops: 0 }
    }
}

/// Pages of which other sites may call from a browser (Fetch, section 3.2). They send the token in
/// the header `Authorization`; cookies never count across sites.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cors {
    /// Scheme, host and port, for example `https://app.example`; no pattern, no `*`.
    pub origins: Vec<String>,
    /// How long a browser may remember the answer, in seconds; at most 86 400.
    #[serde(default = "default_cors_max_age_s")]
    pub max_age_s: u32,
}

/// Tokens that were withdrawn before their time. The latest of all moments that concern a token
/// counts; a token issued before it, or without the time of its issue, is refused.
///
/// Each list maps a name to a moment, in seconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Revocation {
    /// By `iss`: everything of an issuer.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub issuers: BTreeMap<String, u64>,
    /// By user id, with the issuer's prefix.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, u64>,
    /// By `client_id` (RFC 9068, section 2.2) or `azp`: everything that a program was given.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub clients: BTreeMap<String, u64>,
    /// By `sid`: one login.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sessions: BTreeMap<String, u64>,
    /// By `jti`: one token.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tokens: BTreeMap<String, u64>,
}

impl Revocation {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What happens when something that a decision needs is out of reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Failure {
    /// When a limit cannot be counted: its place is taken by others who are active, or too many
    /// workers write at once.
    pub limits: FailureMode,
    /// When an edge has not heard of the control plane for so long that its policy has run out.
    pub policy: FailureMode,
    /// When an edge has just been started and has not heard yet which tokens were withdrawn.
    pub revocation: FailureMode,
}

/// How the policy reaches the edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Distribution {
    /// How long an edge may judge by what it has when the control plane is out of reach, in
    /// seconds; 60 to 2 592 000.
    pub lifetime_s: u32,
}

impl Default for Distribution {
    fn default() -> Self {
        Self { lifetime_s: 86_400 }
    }
}

/// When the origin's own keys change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KeySchedule {
    /// A new key signs tokens every so many days, 1 to 3650; only when somebody asks for it if
    /// absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotate_days: Option<u32>,
}

/// To refuse or to let pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum FailureMode {
    /// Refuse with 503 and `Retry-After`.
    #[default]
    Deny,
    /// Let pass uncounted.
    Allow,
}

/// Who may make an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Registration {
    /// Whether anybody may register.
    pub open: bool,
    /// Whether somebody with an invitation may.
    #[serde(default)]
    pub invitations: bool,
    /// The role of a new account.
    pub role: String,
}

impl Default for Registration {
    fn default() -> Self {
        Self { open: false, invitations: false, role: "free".to_owned() }
    }
}

/// The header that tells the origin who is calling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Identity {
    /// How long one header holds, in seconds; 1 to 30.
    pub lifetime_s: u32,
    /// Whether the header is sealed at all. Only a service that reads the plain headers, and that
    /// nobody can reach but through the edge, does without; the origin of cosygate does not.
    pub sealed: bool,
}

impl Default for Identity {
    fn default() -> Self {
        Self { lifetime_s: 30, sealed: true }
    }
}

fn default_cors_max_age_s() -> u32 {
    600
}

/// Why a policy is refused: where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct PolicyError {
    /// A JSON pointer (RFC 6901) into the document, or empty when it cannot be read at all.
    pub at: String,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at.is_empty() {
            self.message.fmt(formatter)
        } else {
            write!(formatter, "{}: {}", self.at, self.message)
        }
    }
}

fn refuse(at: impl Into<String>, message: impl Into<String>) -> PolicyError {
    PolicyError { at: at.into(), message: message.into() }
}

impl Document {
    /// Reads a document. Meaning is checked by [`Gate::new`].
    ///
    /// # Errors
    /// Too large, not JSON, duplicate or unknown members, a member of the wrong type.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        if bytes.len() > MAX_DOCUMENT_BYTES {
            return Err(refuse("", format!("the policy is larger than {MAX_DOCUMENT_BYTES} bytes")));
        }
        crate::json::object(bytes).map_err(|error| refuse("", error.to_string()))?;
        serde_json::from_slice(bytes).map_err(|error| refuse("", error.to_string()))
    }

    /// Puts the origin's own public keys in place of the words that mean them.
    pub fn with_origin_keys(mut self, keys: &OriginKeys) -> Self {
        for issuer in &mut self.issuers {
            if let Some(from) = issuer.keys.from {
                issuer.keys = KeySource { jwks: Some(keys.of(from).clone()), ..KeySource::default() };
            }
        }
        self.shadow = self.shadow.map(|shadow| Box::new(shadow.with_origin_keys(keys)));
        self
    }
}
