//! From what is written to what can be judged by; whatever cannot be meant is refused here.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Document, Identity, Issuer, KeysFrom, LimitBy, PolicyError, Role, Route, refuse};
use crate::keys::KeySet;
use crate::limit::Rate;
use crate::route::{RouteTable, check_pattern};

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
