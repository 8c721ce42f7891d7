//! The judgement itself.

use std::borrow::Cow;
use std::rc::Rc;

use crate::cache::TokenCache;
use crate::claims::{self, Verified, invalid};
use crate::headers::{self, Headers};
use crate::identity::{AUDIENCE, Sealed};
use crate::limit::{Charge, Key, Rate};
use crate::policy::{Gate, LimitBy};
use crate::problem::{Code, Problem};
use crate::route::{CompiledRoute, Found, canonical_path};
use crate::token;

/// A request as the edge sees it.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The target: path and query.
    pub target: &'a str,
    /// The host and port that the client asked for.
    pub authority: &'a str,
    /// All headers.
    pub headers: &'a Headers<'a>,
    /// Gives the client's address without port, as far as trusted hops tell. Asked for only where
    /// a limit counts by address.
    pub address: &'a dyn Fn() -> String,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// It ends here.
    Refuse {
        /// What the client is told.
        problem: Problem,
        /// Who it was, as far as that was proved; for the log.
        caller: Option<Rc<Verified>>,
    },
    /// It goes on to the origin once its charges are paid.
    Pass(Pass<'a>),
}

/// Leave to go on.
#[derive(Debug)]
pub struct Pass<'a> {
    /// The route that was judged.
    pub route: &'a CompiledRoute,
    /// Who is calling; `None` on public routes.
    pub caller: Option<Rc<Verified>>,
    /// What has to be paid first, in this order.
    pub charges: Vec<Charge<'a>>,
}

/// Judges one request at `now` (seconds since the epoch).
///
/// Everything that is not explicitly allowed is refused. `cache` only spares a second
/// verification of the same token; it never changes a verdict.
pub fn judge<'a>(gate: &'a Gate, cache: &mut TokenCache, request: Request<'_>, now: u64) -> Verdict<'a> {
    let mut caller = None;
    match try_judge(gate, cache, request, now, &mut caller) {
        Ok(pass) => Verdict::Pass(pass),
        Err(problem) => Verdict::Refuse { problem, caller },
    }
}

fn try_judge<'a>(
    gate: &'a Gate,
    cache: &mut TokenCache,
    request: Request<'_>,
    now: u64,
    caller: &mut Option<Rc<Verified>>,
) -> Result<Pass<'a>, Problem> {
    let path = canonical_path(request.target)
        .ok_or_else(|| Problem::new(Code::RequestInvalid, "The path is not in its canonical form."))?;
    let route = match gate.routes.find(path, request.method) {
        Found::Route(route) => route,
        Found::OtherMethods(allow) => {
            let mut problem = Problem::new(Code::MethodNotAllowed, format!("This path answers to {allow}."));
            problem.allow = Some(allow);
            return Err(problem);
        }
        Found::Nothing => return Err(Problem::new(Code::NotFound, "There is nothing here.")),
    };
    let mut charges = Vec::new();
    if route.public {
        // No credential is read, but a page of another site may not act in the user's browser.
        if headers::single(request.headers, "sec-fetch-site") == Some("cross-site") {
            headers::check_same_origin(request.headers, request.method, request.authority)?;
        }
        charges.extend(route_charge(route, request.address, None));
        return Ok(Pass { route, caller: None, charges });
    }
    let credential = headers::credential(request.headers)?;
    if credential.from_cookie {
        headers::check_same_origin(request.headers, request.method, request.authority)?;
    }
    let verified = verify(gate, cache, credential.token, now)?;
    *caller = Some(Rc::clone(&verified));
    verified.check_time(now)?;
    let role = gate
        .role_index(&verified.role)
        .filter(|index| route.roles.get(*index).copied().unwrap_or(false))
        .and_then(|index| gate.roles.get(index))
        .ok_or_else(|| Problem::new(Code::RoleForbidden, "Your role does not reach this."))?;
    if let Some(missing) = route.scopes.iter().find(|scope| !verified.has_scope(scope)) {
        let wanted = route.scopes.join(" ");
        return Err(Problem::new(Code::ScopeMissing, format!("The token lacks the scope {missing}."))
            .challenge(format!("Bearer realm=\"cosygate\", error=\"insufficient_scope\", scope=\"{wanted}\"")));
    }
    if let Some(oldest) = route.fresh_login_s {
        check_fresh_login(&verified, oldest, now)?;
    }
    check_body(request.headers, role.body_bytes)?;
    charges.extend(route_charge(route, request.address, Some(&verified)));
    if route.cost > 0 {
        charges.push(Charge { key: verified.requests, rate: role.rate, cost: route.cost, name: &role.name });
    }
    Ok(Pass { route, caller: Some(verified), charges })
}

fn verify(gate: &Gate, cache: &mut TokenCache, token: &str, now: u64) -> Result<Rc<Verified>, Problem> {
    if let Some(known) = cache.get(token) {
        return Ok(known);
    }
    let jws = token::parse(token).map_err(invalid)?;
    let claims = jws.claims().map_err(invalid)?;
    // The issuer is read before the signature, only to know by whose keys to verify it.
    let named = claims.get("iss").and_then(serde_json::Value::as_str).ok_or_else(|| invalid("iss is missing"))?;
    let issuer = gate.issuer(named).ok_or_else(|| invalid("unknown issuer"))?;
    if !issuer.settings.algorithms.contains(&jws.algorithm) {
        return Err(invalid("alg is not allowed for this issuer"));
    }
    let kind = jws.kind.as_deref().ok_or_else(|| invalid("typ is missing"))?;
    if !issuer.settings.types.iter().any(|accepted| accepted.eq_ignore_ascii_case(kind)) {
        return Err(invalid("typ is not accepted"));
    }
    if issuer.keys.is_empty() {
        return Err(Problem::new(Code::KeysUnavailable, "The token cannot be checked right now.").retry_after(2));
    }
    if !issuer.keys.verify(jws.algorithm, jws.key_id.as_deref(), jws.signed, jws.signature) {
        return Err(invalid("signature does not hold"));
    }
    let verified = Rc::new(claims::read(&claims, &issuer.settings, now).map_err(invalid)?);
    cache.put(token, Rc::clone(&verified));
    Ok(verified)
}

fn check_fresh_login(verified: &Verified, oldest_s: u32, now: u64) -> Result<(), Problem> {
    let age = verified.authenticated_at.map(|at| now.saturating_sub(at));
    if age.is_some_and(|age| age <= u64::from(oldest_s)) {
        return Ok(());
    }
    let challenge = format!(
        "Bearer realm=\"cosygate\", error=\"insufficient_user_authentication\", \
         error_description=\"a more recent login is needed\", max_age={oldest_s}"
    );
    Err(Problem::new(Code::StepUpRequired, "This needs a more recent login. Log in again.").challenge(challenge))
}

/// Refuses a body that announces itself as too large. One that does not announce itself is
/// counted by the origin.
fn check_body(headers: &Headers<'_>, allowed: u64) -> Result<(), Problem> {
    let mut lengths = headers.iter().filter(|(name, _)| *name == "content-length").map(|(_, value)| *value);
    let Some(length) = lengths.next() else { return Ok(()) };
    let length = std::str::from_utf8(length).ok().and_then(|text| text.parse::<u64>().ok());
    match length {
        Some(length) if length <= allowed => Ok(()),
        Some(_) => Err(Problem::new(Code::BodyTooLarge, format!("Your role allows {} KiB.", allowed / 1024))),
        None => Err(Problem::new(Code::RequestInvalid, "Content-Length is not a number.")),
    }
}

fn route_charge(
    route: &CompiledRoute,
    address: &dyn Fn() -> String,
    caller: Option<&Rc<Verified>>,
) -> Option<Charge<'static>> {
    let (by, rate): (LimitBy, Rate) = route.limit?;
    let (name, subject) = match (by, caller) {
        (LimitBy::User, Some(verified)) => ("user", verified.user_id.clone()),
        _ => ("address", network_of(&address())),
    };
    let scope = format!("{name} {} {}", route.pattern, route.methods.join(","));
    Some(Charge { key: Key::new(&scope, &subject), rate, cost: 1, name })
}

/// IPv4 as it is; IPv6 by its /64, because one household has as many addresses as it likes.
fn network_of(address: &str) -> String {
    match address.parse::<std::net::Ipv6Addr>() {
        Ok(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.to_string(),
            None => v6.segments().iter().take(4).map(|part| format!("{part:x}:")).collect(),
        },
        Err(_) => address.to_owned(),
    }
}

impl Pass<'_> {
    /// What the edge vouches for to the origin. `edge` is `edge:<region>`, `one_time_id` unique per
    /// request.
    pub fn identity<'b>(
        &'b self,
        gate: &Gate,
        request: Request<'b>,
        edge: &'b str,
        one_time_id: &'b str,
        now: u64,
    ) -> Sealed<'b> {
        let caller = self.caller.as_deref();
        let text = |read: fn(&Verified) -> &str| caller.map(read).filter(|text| !text.is_empty()).map(Cow::Borrowed);
        Sealed {
            iss: edge.into(),
            aud: AUDIENCE.into(),
            sub: text(|verified| &verified.user_id),
            sub_iss: text(|verified| &verified.issuer),
            role: text(|verified| &verified.role),
            scope: text(|verified| &verified.scope),
            sid: text(|verified| verified.session.as_deref().unwrap_or_default()),
            auth_time: caller.and_then(|verified| verified.authenticated_at),
            jti: one_time_id.into(),
            iat: now,
            exp: now + u64::from(gate.identity.lifetime_s),
            htm: request.method.into(),
            htu: request.target.into(),
            rev: gate.rev,
        }
    }
}

/// The refusal of a charge that could not be paid.
pub fn limit_exceeded(charge: &Charge<'_>, retry_after_s: u64) -> Problem {
    let wait = u32::try_from(retry_after_s).unwrap_or(u32::MAX);
    let unit = if wait == 1 { "second" } else { "seconds" };
    let whose = match charge.name {
        "address" | "user" => "This allows".to_owned(),
        role => format!("The role {role} allows"),
    };
    Problem::new(
        Code::RateLimited,
        format!("{whose} {} requests a minute. Try again in {wait} {unit}.", charge.rate.per_minute()),
    )
    .retry_after(wait)
}

/// The refusal when the limiter has no room for another caller.
pub fn limiter_crowded(retry_after_s: u64) -> Problem {
    let wait = u32::try_from(retry_after_s).unwrap_or(u32::MAX);
    Problem::new(Code::Overloaded, "Too many callers at the moment.").retry_after(wait).because("limiter slot full")
}
