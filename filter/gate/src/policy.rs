//! The policy document and the tables that are compiled from it.
//!
//! One document drives the edge (issuers, routes, request rates) and the origin (quotas,
//! retention, registration). A field exists only if something obeys it; an unknown one is an
//! error, so a typing mistake can never quietly switch a limit off.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::keys::{Algorithm, KeySet};
use crate::limit::Rate;
use crate::route::{RouteTable, check_pattern};

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
    /// Who may make an account.
    #[serde(default)]
    pub registration: Registration,
    /// The header that tells the origin who is calling.
    #[serde(default)]
    pub identity: Identity,
}

/// One issuer of tokens, known by the exact text of `iss`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Issuer {
    /// Compared with `iss` byte for byte.
    pub issuer: String,
    /// At least one of these must stand in `aud`.
    pub audiences: Vec<String>,
    /// The only algorithms that are tried for this issuer. Symmetric and public-key algorithms
    /// never stand together.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys come from.
    pub keys: KeySource,
    /// Under which names it states its claims.
    #[serde(default)]
    pub claims: ClaimNames,
    /// Which of our roles a role of theirs is, in order of precedence: the first one that the
    /// token has counts. If absent, the token states one of our roles by its own name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<RoleMapping>,
    /// Claims that every token must have, whatever they say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
    /// Put before the subject to form the user id, so that one subject of two issuers is two
    /// users: `partner` makes `partner:42`. At most one issuer may go without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_prefix: Option<String>,
    /// How far clocks may differ, in seconds, at most 60.
    #[serde(default = "default_clock_skew_s")]
    pub clock_skew_s: u32,
    /// The longest accepted time from issue to expiry, in seconds.
    #[serde(default = "default_max_lifetime_s")]
    pub max_lifetime_s: u32,
    /// Accepted values of the header `typ` (RFC 9068, section 2.1).
    #[serde(default = "default_types")]
    pub types: Vec<String>,
}

/// Where an issuer's keys come from: exactly one of the three.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KeySource {
    /// The public keys themselves, as a JWK Set (RFC 7517).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
    /// The name of an environment variable with a shared secret of at least 32 bytes, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// `origin`: the keys of this cosygate. The control plane puts them in place of this word
    /// whenever it hands the policy to an edge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<KeysFrom>,
}

/// A place that the control plane knows to take keys from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum KeysFrom {
    /// The origin's own issuer.
    Origin,
}

/// One role of an issuer and what it is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RoleMapping {
    /// As the token states it.
    pub from: String,
    /// One of `roles`.
    pub to: String,
}

/// Under which names an issuer states its claims. A name that no claim has is read as a path with
/// dots between: `realm_access.roles`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClaimNames {
    /// Who.
    pub subject: String,
    /// The role: one string, or a list when `roles` says what to make of it.
    pub role: String,
    /// Scopes: one string with spaces between (RFC 9068, section 2.2.3) or an array.
    pub scopes: String,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self { subject: "sub".to_owned(), role: "role".to_owned(), scopes: "scope".to_owned() }
    }
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
    /// Generations at the same time.
    pub jobs_running: u32,
    /// Characters of one text.
    pub characters_per_request: u32,
    /// Characters of a day (UTC).
    pub characters_per_day: u32,
    /// Generations of a day (UTC).
    pub generations_per_day: u32,
    /// Audio kept at a time, in MiB.
    pub storage_mb: u32,
    /// Outputs older than this are removed.
    pub retention_days: u32,
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

/// Who may make an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Registration {
    /// Whether anybody may register.
    pub open: bool,
    /// The role of a new account.
    pub role: String,
}

impl Default for Registration {
    fn default() -> Self {
        Self { open: false, role: "free".to_owned() }
    }
}

/// The header that tells the origin who is calling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Identity {
    /// How long one header holds, in seconds; 1 to 30.
    pub lifetime_s: u32,
}

impl Default for Identity {
    fn default() -> Self {
        Self { lifetime_s: 30 }
    }
}

fn default_clock_skew_s() -> u32 {
    30
}

fn default_max_lifetime_s() -> u32 {
    7200
}

fn default_types() -> Vec<String> {
    vec!["at+jwt".to_owned(), "JWT".to_owned()]
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

    /// Puts the origin's own public keys in place of `"from": "origin"`.
    pub fn with_origin_keys(mut self, jwks: &Value) -> Self {
        for issuer in &mut self.issuers {
            if issuer.keys.from == Some(KeysFrom::Origin) {
                issuer.keys = KeySource { jwks: Some(jwks.clone()), ..KeySource::default() };
            }
        }
        self
    }
}

/// A role, ready to judge by.
#[derive(Clone, Debug)]
pub struct CompiledRole {
    /// Its name; the only source of role names that are counted or logged.
    pub name: String,
    /// Requests per user.
    pub rate: Rate,
    /// The largest body, in bytes.
    pub body_bytes: u64,
}

/// An issuer, ready to judge by.
#[derive(Clone)]
pub struct CompiledIssuer {
    /// As written.
    pub settings: Issuer,
    /// Empty when the keys are not at hand yet.
    pub keys: KeySet,
}

/// A policy that is ready to judge by.
#[derive(Clone)]
pub struct Gate {
    /// Revision of the policy.
    pub rev: u64,
    /// Issuers by exact name, few.
    pub issuers: Vec<CompiledIssuer>,
    /// Roles in the order of their names; routes refer to them by index.
    pub roles: Vec<CompiledRole>,
    /// The routes.
    pub routes: RouteTable,
    /// The sealed header.
    pub identity: Identity,
}

impl Gate {
    /// Compiles a document. `secret` gives the value of a named environment variable.
    ///
    /// # Errors
    /// The first thing in the document that cannot be meant: see docs/POLICY.md.
    pub fn new(document: &Document, secret: &dyn Fn(&str) -> Option<String>) -> Result<Self, PolicyError> {
        let issuers = document
            .issuers
            .iter()
            .enumerate()
            .map(|(index, issuer)| compile_issuer(issuer, &format!("/issuers/{index}"), secret))
            .collect::<Result<Vec<_>, _>>()?;
        check_issuers(&document.issuers, &document.roles)?;
        let roles = document.roles.iter().map(compile_role).collect::<Result<Vec<_>, _>>()?;
        if roles.is_empty() {
            return Err(refuse("/roles", "there is no role; nobody could call anything"));
        }
        let routes = RouteTable::new(&document.routes, &roles)?;
        if !document.roles.contains_key(&document.registration.role) {
            return Err(refuse("/registration/role", format!("there is no role `{}`", document.registration.role)));
        }
        if !(1..=30).contains(&document.identity.lifetime_s) {
            return Err(refuse("/identity/lifetime_s", "must be 1 to 30 seconds"));
        }
        Ok(Self { rev: document.rev, issuers, roles, routes, identity: document.identity })
    }

    /// The issuer of exactly this name.
    pub fn issuer(&self, name: &str) -> Option<&CompiledIssuer> {
        self.issuers.iter().find(|issuer| issuer.settings.issuer == name)
    }

    /// The index of the role of exactly this name.
    pub fn role_index(&self, name: &str) -> Option<usize> {
        self.roles.iter().position(|role| role.name == name)
    }
}

/// Whether a name can stand in headers, logs and metrics as it is: 1 to 64 of `a-z 0-9 _ -`.
pub fn is_plain_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-'))
}

pub(crate) fn compile_rate(per_minute: u32, burst: u32, at: &str) -> Result<Rate, PolicyError> {
    if !(1..=6_000_000).contains(&per_minute) {
        return Err(refuse(format!("{at}/per_minute"), "must be 1 to 6000000"));
    }
    if !(1..=100_000).contains(&burst) {
        return Err(refuse(format!("{at}/burst"), "must be 1 to 100000"));
    }
    Ok(Rate::new(per_minute, burst))
}

fn compile_role((name, role): (&String, &Role)) -> Result<CompiledRole, PolicyError> {
    let at = format!("/roles/{name}");
    if !is_plain_name(name) {
        return Err(refuse(at, "a role name has 1 to 64 of a-z, 0-9, _ and -"));
    }
    for (field, value) in [
        ("body_kb", role.body_kb),
        ("characters_per_request", role.characters_per_request),
        ("jobs_running", role.jobs_running),
        ("retention_days", role.retention_days),
    ] {
        if value == 0 {
            return Err(refuse(format!("{at}/{field}"), "must be at least 1"));
        }
    }
    if role.characters_per_request > role.characters_per_day {
        return Err(refuse(
            format!("{at}/characters_per_request"),
            "is more than characters_per_day, so it could never be used; lower it or raise the day's limit",
        ));
    }
    Ok(CompiledRole {
        name: name.clone(),
        rate: compile_rate(role.requests.per_minute, role.requests.burst, &format!("{at}/requests"))?,
        body_bytes: u64::from(role.body_kb) * 1024,
    })
}

fn compile_issuer(
    issuer: &Issuer,
    at: &str,
    secret: &dyn Fn(&str) -> Option<String>,
) -> Result<CompiledIssuer, PolicyError> {
    if issuer.issuer.is_empty() {
        return Err(refuse(format!("{at}/issuer"), "must be the exact `iss` of its tokens"));
    }
    if issuer.audiences.is_empty() || issuer.audiences.iter().any(String::is_empty) {
        return Err(refuse(format!("{at}/audiences"), "name at least one audience, or any service's token would do"));
    }
    if issuer.types.is_empty() {
        return Err(refuse(format!("{at}/types"), "name at least one accepted `typ`"));
    }
    if issuer.clock_skew_s > 60 {
        return Err(refuse(format!("{at}/clock_skew_s"), "must be at most 60 seconds"));
    }
    let symmetric = issuer.algorithms.iter().filter(|algorithm| algorithm.is_symmetric()).count();
    if issuer.algorithms.is_empty() || (symmetric != 0 && symmetric != issuer.algorithms.len()) {
        return Err(refuse(
            format!("{at}/algorithms"),
            "name at least one algorithm, and never HS256 to HS512 together with public-key algorithms",
        ));
    }
    let keys = match (&issuer.keys.jwks, &issuer.keys.secret_env, issuer.keys.from) {
        (Some(jwks), None, None) if symmetric == 0 => {
            KeySet::from_jwks(jwks).map_err(|reason| refuse(format!("{at}/keys/jwks"), reason))?
        }
        (None, Some(name), None) if symmetric > 0 => {
            let value = secret(name)
                .ok_or_else(|| refuse(format!("{at}/keys/secret_env"), format!("the variable {name} is not set")))?;
            let value = URL_SAFE_NO_PAD.decode(value.trim()).map_err(|_| {
                refuse(format!("{at}/keys/secret_env"), format!("{name} is not base64url without padding"))
            })?;
            KeySet::of_secret(&value).map_err(|reason| refuse(format!("{at}/keys/secret_env"), reason))?
        }
        (None, None, Some(KeysFrom::Origin)) if symmetric == 0 => KeySet::default(),
        _ => {
            return Err(refuse(
                format!("{at}/keys"),
                "give exactly one of `jwks`, `from` (public keys) and `secret_env` (HS256 to HS512)",
            ));
        }
    };
    for algorithm in &issuer.algorithms {
        if !keys.is_empty() && !keys.serves(*algorithm) {
            return Err(refuse(format!("{at}/keys"), format!("no key fits {algorithm:?}")));
        }
    }
    Ok(CompiledIssuer { settings: issuer.clone(), keys })
}

fn check_issuers(issuers: &[Issuer], roles: &BTreeMap<String, Role>) -> Result<(), PolicyError> {
    if issuers.is_empty() {
        return Err(refuse("/issuers", "there is no issuer; nobody could log in"));
    }
    let mut names = BTreeSet::new();
    let mut prefixes = BTreeSet::new();
    for (index, issuer) in issuers.iter().enumerate() {
        if !names.insert(&issuer.issuer) {
            return Err(refuse(format!("/issuers/{index}/issuer"), "stands twice"));
        }
        for (place, mapping) in issuer.roles.iter().enumerate() {
            if !roles.contains_key(&mapping.to) {
                return Err(refuse(
                    format!("/issuers/{index}/roles/{place}/to"),
                    format!("there is no role `{}`", mapping.to),
                ));
            }
        }
        if issuer.user_prefix.as_deref().is_some_and(|prefix| !is_plain_name(prefix)) {
            return Err(refuse(format!("/issuers/{index}/user_prefix"), "has 1 to 64 of a-z, 0-9, _ and -"));
        }
        if !prefixes.insert(&issuer.user_prefix) {
            return Err(refuse(
                format!("/issuers/{index}/user_prefix"),
                "another issuer has the same one, so one subject of both would be one user",
            ));
        }
    }
    Ok(())
}

pub(crate) fn check_route(route: &Route, roles: &[CompiledRole], at: &str) -> Result<(), PolicyError> {
    let pattern = match (&route.path, &route.prefix) {
        (Some(path), None) => path,
        (None, Some(prefix)) if prefix.ends_with('/') => prefix,
        (None, Some(_)) => {
            return Err(refuse(format!("{at}/prefix"), "must end in a slash, or /api would match /apiary"));
        }
        _ => return Err(refuse(at, "give exactly one of `path` and `prefix`")),
    };
    check_pattern(pattern).map_err(|reason| refuse(at, reason))?;
    if route.methods.is_empty() || route.methods.iter().any(|method| !is_method(method)) {
        return Err(refuse(format!("{at}/methods"), "name the methods in capitals, for example GET"));
    }
    if route.public != route.roles.is_empty() {
        return Err(refuse(at, "give either `\"public\": true` or the `roles` that may call"));
    }
    if route.public && (!route.scopes.is_empty() || route.fresh_login_s.is_some() || route.cost.is_some()) {
        return Err(refuse(at, "a public route reads no credential, so it has no scopes, fresh_login_s or cost"));
    }
    if route.public && route.limit.is_some_and(|limit| limit.by == LimitBy::User) {
        return Err(refuse(format!("{at}/limit/by"), "a public route knows no user; limit it by address"));
    }
    for (index, name) in route.roles.iter().enumerate() {
        let Some(role) = roles.iter().find(|role| role.name == *name) else {
            return Err(refuse(format!("{at}/roles/{index}"), format!("there is no role `{name}`")));
        };
        if route.cost.unwrap_or(1) > role.rate.burst() {
            return Err(refuse(
                format!("{at}/cost"),
                format!("is more than the burst of role `{name}`; no call would ever pass"),
            ));
        }
    }
    if route.cost.unwrap_or(1) > 1000 {
        return Err(refuse(format!("{at}/cost"), "must be at most 1000"));
    }
    Ok(())
}

fn is_method(method: &str) -> bool {
    matches!(method, "GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS")
}
