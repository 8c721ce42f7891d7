//! What a policy needs when one of its issuers has the origin's keys. A policy for another
//! application has no such issuer, and nothing here concerns it.

use gate::Gate;
use gate::policy::{Document, Issuer, KeysFrom, PolicyError, Role, Route};
use gate::route::Found;

use crate::caller::ADMIN_ROLE;
use crate::issuer::{PAT_TYPE, SCOPE, TOKEN_TYPE};
use crate::second_factor::ENROL_ROLE;

/// Where only admins go.
const ADMIN: &str = "/api/admin/";
/// Where nobody goes from outside.
const RESERVED: &str = "/internal/";

/// Refuses the first thing that would lock everybody out of this server, or let them in too far.
/// The shadow is held to the same, for it is meant to come into force.
pub(super) fn check(document: &Document, gate: &Gate) -> Result<(), PolicyError> {
    check_one(document, gate)?;
    match (&document.shadow, &gate.shadow) {
        (Some(document), Some(gate)) => check_one(document, gate)
            .map_err(|error| PolicyError { at: format!("/shadow{}", error.at), message: error.message }),
        _ => Ok(()),
    }
}

fn check_one(document: &Document, gate: &Gate) -> Result<(), PolicyError> {
    let is_own = |issuer: &Issuer| issuer.keys.from == Some(KeysFrom::Origin);
    let is_of_pats = |issuer: &Issuer| issuer.keys.from == Some(KeysFrom::OriginPat);
    for (index, issuer) in document.issuers.iter().enumerate().filter(|(_, issuer)| is_own(issuer)) {
        check_issuer(issuer, &format!("/issuers/{index}"))?;
    }
    let names: Vec<&str> =
        document.issuers.iter().filter(|issuer| is_own(issuer)).map(|issuer| &*issuer.issuer).collect();
    let mut pats = document.issuers.iter().enumerate().filter(|(_, issuer)| is_of_pats(issuer));
    if let Some((index, issuer)) = pats.next() {
        check_pat_issuer(issuer, &names, &format!("/issuers/{index}"))?;
    }
    if let Some((index, _)) = pats.next() {
        return Err(refuse(format!("/issuers/{index}/keys/from"), "another issuer has these keys"));
    }
    // None of them has a prefix now, and no two issuers have the same: there is one, or none.
    let Some(issuer) = document.issuers.iter().find(|issuer| is_own(issuer)) else { return Ok(()) };
    if document.registration.open && document.registration.role == ADMIN_ROLE {
        return Err(refuse("/registration/role", "anybody who registers would be an admin; choose another role"));
    }
    check_login(gate, issuer)?;
    check_enrolment(document, gate)?;
    let ours_alone = document.issuers.iter().all(|issuer| is_own(issuer) || is_of_pats(issuer));
    for (index, route) in document.routes.iter().enumerate() {
        let at = format!("/routes/{index}");
        if reaches(document, route, RESERVED) {
            let message = "would lead to /internal/, which is reserved; use longer prefixes";
            return Err(refuse(format!("{at}/prefix"), message));
        }
        if reaches(document, route, ADMIN) {
            check_admin(route, &at)?;
        }
        let ungiven = |scope: &String| SCOPE.split(' ').all(|given| given != scope);
        if let Some(place) = route.scopes.iter().position(ungiven).filter(|_| ours_alone) {
            let message = format!("the tokens of this server have only `{SCOPE}`, so nobody could call this");
            return Err(refuse(format!("{at}/scopes/{place}"), message));
        }
    }
    Ok(())
}

fn check_issuer(issuer: &Issuer, at: &str) -> Result<(), PolicyError> {
    // Accounts here are known by their bare id; with a prefix, another issuer could be without one
    // and name them.
    if issuer.user_prefix.is_some() {
        let message = "the origin's own issuer has no prefix; give one to the other issuers";
        return Err(refuse(format!("{at}/user_prefix"), message));
    }
    if !issuer.types.iter().any(|accepted| accepted.eq_ignore_ascii_case(TOKEN_TYPE)) {
        let message = format!("the tokens of this server say `{TOKEN_TYPE}`; without it no login would be of use");
        return Err(refuse(format!("{at}/types"), message));
    }
    if issuer.types.iter().any(|accepted| accepted.eq_ignore_ascii_case(PAT_TYPE)) {
        let message = format!("`{PAT_TYPE}` is what personal access tokens say; they have an issuer of their own");
        return Err(refuse(format!("{at}/types"), message));
    }
    Ok(())
}

/// Personal access tokens are for the accounts of this server, and never pass for tokens of a login.
fn check_pat_issuer(issuer: &Issuer, own: &[&str], at: &str) -> Result<(), PolicyError> {
    if issuer.users_of.as_deref().is_none_or(|name| !own.contains(&name)) {
        let message = "its tokens are for accounts of this server; name the issuer with the keys `origin`";
        return Err(refuse(format!("{at}/users_of"), message));
    }
    match issuer.types.as_slice() {
        [only] if only.eq_ignore_ascii_case(PAT_TYPE) => Ok(()),
        _ => {
            Err(refuse(format!("{at}/types"), format!("personal access tokens say `{PAT_TYPE}`, and nothing else may")))
        }
    }
}

/// Whoever cannot show a token must come through to where one is given.
fn check_login(gate: &Gate, issuer: &Issuer) -> Result<(), PolicyError> {
    let name = &issuer.issuer;
    if let Found::Route(route) = gate.routes.find("/refresh", "POST")
        && !route.public
    {
        let message = "whoever refreshes has a token that is over; make POST /refresh public";
        return Err(refuse(format!("/routes/{}", route.index), message));
    }
    match gate.routes.find("/login", "POST") {
        Found::Route(route) if route.public => Ok(()),
        Found::Route(route) => Err(refuse(
            format!("/routes/{}", route.index),
            format!("who logs in has no token of `{name}` yet; make POST /login public"),
        )),
        _ => Err(refuse(
            "/routes",
            format!(
                "nobody could get a token of `{name}`; \
                 add {{\"path\": \"/login\", \"methods\": [\"POST\"], \"public\": true}}"
            ),
        )),
    }
}

/// Whoever lacks the second factor that the role needs must come through to where it is set up.
fn check_enrolment(document: &Document, gate: &Gate) -> Result<(), PolicyError> {
    let demands = |(_, role): &(&String, &Role)| role.second_factor;
    let Some((name, _)) = document.roles.iter().find(demands) else { return Ok(()) };
    let at = format!("/roles/{name}/second_factor");
    match document.roles.get(ENROL_ROLE) {
        None => {
            let message = format!("whoever has no second factor yet gets the role `{ENROL_ROLE}`; add it");
            return Err(refuse(at, message));
        }
        Some(role) if role.second_factor => {
            let message = format!("`{ENROL_ROLE}` is the role of those who have none yet");
            return Err(refuse(format!("/roles/{ENROL_ROLE}/second_factor"), message));
        }
        Some(_) => {}
    }
    for path in ["/api/me/totp", "/api/me/totp/confirm"] {
        let leads = match gate.routes.find(path, "POST") {
            Found::Route(route) => document.routes.get(route.index),
            _ => None,
        };
        if leads.is_none_or(|route| route.public || route.roles.iter().all(|role| role != ENROL_ROLE)) {
            let message = format!("nobody could set one up; let the role `{ENROL_ROLE}` call POST {path}");
            return Err(refuse(at, message));
        }
    }
    Ok(())
}

fn check_admin(route: &Route, at: &str) -> Result<(), PolicyError> {
    if route.public {
        return Err(refuse(at, format!("would open {ADMIN} to everybody; let only the role `{ADMIN_ROLE}` call")));
    }
    match route.roles.iter().position(|role| role != ADMIN_ROLE) {
        Some(place) => Err(refuse(
            format!("{at}/roles/{place}"),
            format!("would open {ADMIN} to more than the role `{ADMIN_ROLE}`; take it out or use longer prefixes"),
        )),
        None => Ok(()),
    }
}

/// Whether a route decides about any path under `area`: it lies there, or it is the longest prefix
/// that the whole of it lies under.
fn reaches(document: &Document, route: &Route, area: &str) -> bool {
    let inside = |pattern: &Option<String>| pattern.as_ref().is_some_and(|pattern| pattern.starts_with(area));
    let around = document.routes.iter().filter_map(|route| route.prefix.as_deref());
    let around = around.filter(|prefix| area.starts_with(prefix)).max_by_key(|prefix| prefix.len());
    inside(&route.path) || inside(&route.prefix) || (around.is_some() && route.prefix.as_deref() == around)
}

fn refuse(at: impl Into<String>, message: impl Into<String>) -> PolicyError {
    PolicyError { at: at.into(), message: message.into() }
}

#[cfg(test)]
mod tests;
