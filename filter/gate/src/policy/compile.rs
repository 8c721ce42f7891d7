//! From what is written to what can be judged by; whatever cannot be meant is refused here.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Accounts, Cors, Document, Failure, Identity, Issuer, Limits, PolicyError, Revocation, refuse};
use super::{LimitBy, Role, Route};
use crate::cors::is_origin;
use crate::fetch::Source;
use crate::keys::KeySet;
use crate::limit::{Key, Rate};
use crate::route::{RouteTable, check_pattern};
use crate::status::Withdrawn;

/// A role, ready to judge by.
#[derive(Clone, Debug)]
pub struct CompiledRole {
    /// Its name; the only source of role names that are counted or logged.
    pub name: String,
    /// Requests per user.
    pub rate: Rate,
    /// The largest body, in bytes.
    pub body_bytes: u64,
    /// Requests of one user at the same time.
    pub in_flight: Option<u32>,
    /// Under which name a used-up quota is remembered; another one when the day's limits change.
    pub(crate) quota_scope: String,
}

/// An issuer, ready to judge by.
#[derive(Clone)]
pub struct CompiledIssuer {
    /// As written.
    pub settings: Issuer,
    /// Empty when the keys are not at hand yet.
    pub keys: KeySet,
    /// Where they are fetched from, if they are.
    pub source: Option<Source>,
    /// When they were fetched, in seconds since the epoch.
    pub fetched_at: Option<u64>,
    /// What all its users together may ask for.
    pub requests: Option<(Key, Rate)>,
}

/// The limits that belong to no role and no route.
#[derive(Clone, Copy, Debug)]
pub struct CompiledLimits {
    /// Of everybody together.
    pub edge: Option<(Key, Rate)>,
    /// Of tokens that do not hold, per address.
    pub bad_tokens: Option<Rate>,
    /// The largest body on public routes, in bytes.
    pub public_body_bytes: u64,
    /// Whether every answer says what is left.
    pub announce: bool,
    /// Proxies of ours before the edge.
    pub trusted_hops: u8,
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
    /// Limits of no role and no route.
    pub limits: CompiledLimits,
    /// Pages of other sites.
    pub cors: Option<Cors>,
    /// Tokens that the policy withdraws.
    pub revocation: Revocation,
    /// Tokens that were withdrawn beside that.
    pub withdrawn: Withdrawn,
    /// What happens when something that a decision needs is out of reach.
    pub failure: Failure,
    /// A policy that is judged beside this one and never enforced.
    pub shadow: Option<Box<Gate>>,
    /// Goes before the name of every count, so that the shadow counts apart.
    pub(crate) salt: &'static str,
}

impl Gate {
    /// Compiles a document. `secret` gives the value of a named environment variable.
    ///
    /// # Errors
    /// The first thing in the document that cannot be meant: see docs/POLICY.md.
    pub fn new(document: &Document, secret: &dyn Fn(&str) -> Option<String>) -> Result<Self, PolicyError> {
        let mut gate = Self::compile(document, secret, "")?;
        if let Some(shadow) = &document.shadow {
            let in_shadow = |error: PolicyError| refuse(format!("/shadow{}", error.at), error.message);
            if shadow.shadow.is_some() {
                return Err(refuse("/shadow/shadow", "a shadow has no shadow of its own"));
            }
            gate.shadow = Some(Box::new(Self::compile(shadow, secret, "shadow ").map_err(in_shadow)?));
        }
        Ok(gate)
    }

    fn compile(
        document: &Document,
        secret: &dyn Fn(&str) -> Option<String>,
        salt: &'static str,
    ) -> Result<Self, PolicyError> {
        let issuers = document
            .issuers
            .iter()
            .enumerate()
            .map(|(index, issuer)| compile_issuer(issuer, &format!("/issuers/{index}"), secret, salt))
            .collect::<Result<Vec<_>, _>>()?;
        check_issuers(&document.issuers, &document.roles)?;
        let roles =
            document.roles.iter().map(|(name, role)| compile_role(name, role, salt)).collect::<Result<Vec<_>, _>>()?;
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
        if !(60..=2_592_000).contains(&document.distribution.lifetime_s) {
            return Err(refuse("/distribution/lifetime_s", "must be 60 to 2592000 seconds"));
        }
        if document.keys.rotate_days.is_some_and(|days| !(1..=3650).contains(&days)) {
            return Err(refuse("/keys/rotate_days", "must be 1 to 3650 days"));
        }
        check_revocation(document)?;
        super::meaning::check(document)?;
        Ok(Self {
            rev: document.rev,
            issuers,
            roles,
            routes,
            identity: document.identity,
            limits: compile_limits(&document.limits, salt)?,
            cors: document.cors.as_ref().map(compile_cors).transpose()?,
            revocation: document.revocation.clone(),
            withdrawn: Withdrawn::default(),
            failure: document.failure,
            shadow: None,
            salt,
        })
    }

    /// The same policy with these tokens withdrawn, beside its own.
    #[must_use]
    pub fn withdrawing(self, withdrawn: Withdrawn) -> Self {
        Self { withdrawn, ..self }
    }

    /// The place of the issuer of exactly this name.
    pub fn issuer_index(&self, name: &str) -> Option<usize> {
        self.issuers.iter().position(|issuer| issuer.settings.issuer == name)
    }

    /// The index of the role of exactly this name.
    pub fn role_index(&self, name: &str) -> Option<usize> {
        self.roles.iter().position(|role| role.name == name)
    }
}

impl CompiledIssuer {
    /// Whether there are keys to verify with at `now` (seconds). Fetched ones may be too old.
    pub fn has_keys(&self, now: u64) -> bool {
        let too_old = match (&self.source, self.fetched_at) {
            (Some(source), Some(fetched_at)) => now.saturating_sub(fetched_at) > source.max_stale_s,
            (Some(_), None) => true,
            (None, _) => false,
        };
        !too_old && !self.keys.is_empty()
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

fn compile_limits(limits: &Limits, salt: &str) -> Result<CompiledLimits, PolicyError> {
    if limits.public_body_kb == 0 {
        return Err(refuse("/limits/public_body_kb", "must be at least 1"));
    }
    if limits.trusted_hops > 10 {
        return Err(refuse("/limits/trusted_hops", "must be at most 10"));
    }
    let edge = limits.edge.map(|rate| compile_rate(rate.per_minute, rate.burst, "/limits/edge")).transpose()?;
    let bad_tokens =
        limits.bad_tokens.map(|rate| compile_rate(rate.per_minute, rate.burst, "/limits/bad_tokens")).transpose()?;
    Ok(CompiledLimits {
        edge: edge.map(|rate| (Key::new(&format!("{salt}edge"), ""), rate)),
        bad_tokens,
        public_body_bytes: u64::from(limits.public_body_kb) * 1024,
        announce: limits.announce,
        trusted_hops: limits.trusted_hops,
    })
}

fn compile_cors(cors: &Cors) -> Result<Cors, PolicyError> {
    if let Some(index) = cors.origins.iter().position(|origin| !is_origin(origin)) {
        return Err(refuse(
            format!("/cors/origins/{index}"),
            "must be scheme, host and port as a browser sends them, for example https://app.example",
        ));
    }
    if cors.max_age_s > 86_400 {
        return Err(refuse("/cors/max_age_s", "must be at most 86400"));
    }
    Ok(cors.clone())
}

fn check_revocation(document: &Document) -> Result<(), PolicyError> {
    let known = |name: &String| document.issuers.iter().any(|issuer| issuer.issuer == *name);
    match document.revocation.issuers.keys().find(|name| !known(name)) {
        Some(name) => Err(refuse("/revocation/issuers", format!("there is no issuer `{name}`"))),
        None => Ok(()),
    }
}

fn compile_role(name: &str, role: &Role, salt: &str) -> Result<CompiledRole, PolicyError> {
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
    if !(1..=1000).contains(&role.weight) {
        return Err(refuse(format!("{at}/weight"), "must be 1 to 1000"));
    }
    if role.in_flight == Some(0) {
        return Err(refuse(format!("{at}/in_flight"), "must be at least 1; leave it out for no bound"));
    }
    if role.characters_per_request > role.characters_per_day {
        return Err(refuse(
            format!("{at}/characters_per_request"),
            "is more than characters_per_day, so it could never be used; lower it or raise the day's limit",
        ));
    }
    Ok(CompiledRole {
        name: name.to_owned(),
        rate: compile_rate(role.requests.per_minute, role.requests.burst, &format!("{at}/requests"))?,
        body_bytes: u64::from(role.body_kb) * 1024,
        in_flight: role.in_flight,
        quota_scope: format!(
            "{salt}quota {name} {} {} {:?}",
            role.characters_per_day, role.generations_per_day, role.audio_seconds_per_day
        ),
    })
}

fn compile_issuer(
    issuer: &Issuer,
    at: &str,
    secret: &dyn Fn(&str) -> Option<String>,
    salt: &str,
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
    let named = &issuer.keys;
    if named.jwks_path.is_none()
        && (named.cluster.is_some()
            || named.authority.is_some()
            || named.refresh_s.is_some()
            || named.max_stale_s.is_some())
    {
        return Err(refuse(format!("{at}/keys"), "`cluster` and what goes with it need a `jwks_path`"));
    }
    let mut source = None;
    let keys = match (&named.jwks, &named.jwks_path, &named.secret_env, named.from) {
        (Some(jwks), None, None, None) if symmetric == 0 => {
            KeySet::from_jwks(jwks).map_err(|reason| refuse(format!("{at}/keys/jwks"), reason))?
        }
        (None, Some(_), None, None) if symmetric == 0 => {
            source = Some(Source::new(named).map_err(|reason| refuse(format!("{at}/keys"), reason))?);
            KeySet::default()
        }
        (None, None, Some(name), None) if symmetric > 0 => {
            let value = secret(name)
                .ok_or_else(|| refuse(format!("{at}/keys/secret_env"), format!("the variable {name} is not set")))?;
            let value = URL_SAFE_NO_PAD.decode(value.trim()).map_err(|_| {
                refuse(format!("{at}/keys/secret_env"), format!("{name} is not base64url without padding"))
            })?;
            KeySet::of_secret(&value).map_err(|reason| refuse(format!("{at}/keys/secret_env"), reason))?
        }
        (None, None, None, Some(_)) if symmetric == 0 => KeySet::default(),
        _ => {
            return Err(refuse(
                format!("{at}/keys"),
                "give exactly one of `jwks`, `jwks_path`, `from` (public keys) and `secret_env` (HS256 to HS512)",
            ));
        }
    };
    for algorithm in &issuer.algorithms {
        if !keys.is_empty() && !keys.serves(*algorithm) {
            return Err(refuse(format!("{at}/keys"), format!("no key fits {algorithm:?}")));
        }
    }
    let requests = issuer
        .requests
        .map(|rate| compile_rate(rate.per_minute, rate.burst, &format!("{at}/requests")))
        .transpose()?
        .map(|rate| (Key::new(&format!("{salt}issuer"), &issuer.issuer), rate));
    Ok(CompiledIssuer { settings: issuer.clone(), keys, source, fetched_at: None, requests })
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
        if issuer.accounts == Accounts::FirstUse && issuer.user_prefix.is_none() {
            let message = "needs a `user_prefix`, or its users could pass for accounts of the origin";
            return Err(refuse(format!("/issuers/{index}/accounts"), message));
        }
        if let Some(name) = &issuer.users_of {
            let other = issuers.iter().find(|other| other.issuer == *name && other.users_of.is_none());
            if other.is_none_or(|other| other.user_prefix != issuer.user_prefix) {
                return Err(refuse(
                    format!("/issuers/{index}/users_of"),
                    "must name an issuer with the same `user_prefix`, or none, and with users of its own",
                ));
            }
        } else if !prefixes.insert(&issuer.user_prefix) {
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
    if route.websocket && !route.methods.iter().any(|method| method == "GET") {
        return Err(refuse(format!("{at}/websocket"), "a WebSocket begins with a GET; name it among the methods"));
    }
    if route.public && route.metered {
        return Err(refuse(format!("{at}/metered"), "a public route knows no user whose quota could be charged"));
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
