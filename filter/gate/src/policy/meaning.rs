//! What is well formed and still cannot be meant: parts that contradict each other, and parts that
//! nothing could ever reach. Form is checked where each part is compiled.

use super::{Document, PolicyError, Route, refuse};

/// No route leads here from outside, whatever stands behind the edge.
const RESERVED: &str = "/internal/";

/// Refuses the first thing that could never do what it says.
pub(super) fn check(document: &Document) -> Result<(), PolicyError> {
    for (name, role) in &document.roles {
        if role.in_flight.is_some_and(|most| role.jobs_running > most) {
            return Err(refuse(
                format!("/roles/{name}/jobs_running"),
                "is more than in_flight, which every generation under way counts against; lower it or raise in_flight",
            ));
        }
    }
    for (index, issuer) in document.issuers.iter().enumerate() {
        let at = format!("/issuers/{index}");
        if issuer.max_lifetime_s == 0 {
            return Err(refuse(format!("{at}/max_lifetime_s"), "must be at least 1, or no token would pass"));
        }
        if let Some(place) = repeated(&issuer.roles, |one, other| one.from == other.from) {
            let message = "an earlier line already says what this one is; it would never count";
            return Err(refuse(format!("{at}/roles/{place}/from"), message));
        }
    }
    document.routes.iter().enumerate().try_for_each(|(index, route)| check_route(document, index, route))
}

fn check_route(document: &Document, index: usize, route: &Route) -> Result<(), PolicyError> {
    let at = format!("/routes/{index}");
    let named = [("path", &route.path), ("prefix", &route.prefix)];
    let reserved = |pattern: &String| pattern.starts_with(RESERVED);
    if let Some((member, _)) = named.iter().find(|(_, pattern)| pattern.as_ref().is_some_and(reserved)) {
        return Err(refuse(format!("{at}/{member}"), "/internal/ is reserved and never routed; choose another path"));
    }
    if let Some(place) = repeated(&route.methods, PartialEq::eq) {
        return Err(refuse(format!("{at}/methods/{place}"), "stands twice"));
    }
    if route.body_kb == Some(0) {
        return Err(refuse(format!("{at}/body_kb"), "must be at least 1; leave it out for the role's"));
    }
    if route.fresh_login_s == Some(0) {
        return Err(refuse(format!("{at}/fresh_login_s"), "must be at least 1, or no login would be recent enough"));
    }
    // An issuer without a list states our roles by their own names, so it may give any.
    let gives = |role: &String| {
        document.issuers.iter().any(|issuer| issuer.roles.is_empty() || issuer.roles.iter().any(|one| one.to == *role))
    };
    if !route.public && !route.roles.iter().any(gives) {
        let message = "no issuer gives any of these roles, so nobody could call this; add one to an issuer's `roles`";
        return Err(refuse(format!("{at}/roles"), message));
    }
    Ok(())
}

/// The place of the first entry that equals an earlier one.
fn repeated<T>(entries: &[T], same: impl Fn(&T, &T) -> bool) -> Option<usize> {
    (1..entries.len()).find(|&place| {
        let (earlier, rest) = entries.split_at(place);
        rest.first().is_some_and(|entry| earlier.iter().any(|other| same(entry, other)))
    })
}

#[cfg(test)]
mod tests;
