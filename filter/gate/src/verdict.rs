//! The judgement itself.

use std::rc::Rc;

use crate::bundle::Standing;
use crate::cache::TokenCache;
use crate::claims::{self, Verified, invalid};
use crate::cors;
use crate::headers::{Credential, Seen};
use crate::identity::{AUDIENCE, Lasting};
use crate::limit::{Charge, Key, Whose};
use crate::policy::{CompiledRole, Gate, LimitBy};
use crate::problem::{Code, Problem};
use crate::route::{CompiledRoute, Found, canonical_path};
use crate::token;

/// A request as the edge sees it.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Its headers.
    pub seen: &'a Seen<'a>,
    /// Gives the client's address without port, as far as trusted hops tell. Asked for only where
    /// a limit counts by address.
    pub address: &'a dyn Fn() -> String,
    /// Gives the seconds until a charge could be paid again, if it cannot be paid now. Asked for
    /// only before a token is verified that nobody has seen yet.
    pub used_up: &'a dyn Fn(&Charge<'_>) -> Option<u64>,
    /// How far the policy can be relied on.
    pub standing: Standing,
}

/// What becomes of a request.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every verdict is the large one, and lives on the stack")]
pub enum Verdict<'a> {
    /// It ends here.
    Refuse(Box<Refusal<'a>>),
    /// It asks on behalf of another site's page whether it may call, and may; these headers say so.
    Preflight(Vec<(&'static str, String)>),
    /// It goes on to the origin once its charges are paid.
    Pass(Pass<'a>),
}

/// Why a request ends here, and what is known of it.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// What the client is told.
    pub problem: Problem,
    /// The route, if there is one.
    pub route: Option<&'a CompiledRoute>,
    /// Who it was, as far as that was proved; for the log.
    pub caller: Option<Rc<Verified>>,
    /// What a token that does not hold costs its address. If it cannot be paid, that is the
    /// answer instead.
    pub charge: Option<Charge<'a>>,
    /// The place of the issuer whose keys lack the one that the token names.
    pub missed: Option<usize>,
}

/// Leave to go on.
#[derive(Debug)]
pub struct Pass<'a> {
    /// The route that was judged.
    pub route: &'a CompiledRoute,
    /// Who is calling; `None` on public routes.
    pub caller: Option<Rc<Verified>>,
    /// What has to be paid first, in this order: the narrowest limit first, so that who is over it
    /// takes nothing from anybody else.
    pub charges: [Option<Charge<'a>>; 4],
    /// Where the caller's requests under way are counted, and how many there may be.
    pub in_flight: Option<(Key, u32)>,
    /// Where it is remembered that the caller's quota is used up.
    pub quota: Option<Key>,
    /// The largest body, in bytes.
    pub body_bytes: u64,
}

/// Judges one request at `now` (seconds since the epoch).
///
/// Everything that is not explicitly allowed is refused. `cache` only spares a second
/// verification of the same token; it never changes a verdict.
pub fn judge<'a>(gate: &'a Gate, cache: &mut TokenCache, request: Request<'_>, now: u64) -> Verdict<'a> {
    if let Some(cors) = gate.cors.as_ref().filter(|_| cors::is_preflight(request.seen)) {
        return match cors::preflight(cors, &gate.routes, request.seen) {
            Ok(headers) => Verdict::Preflight(headers),
            Err(problem) => {
                let (route, caller, charge, missed) = (None, None, None, None);
                Verdict::Refuse(Box::new(Refusal { problem, route, caller, charge, missed }))
            }
        };
    }
    let mut judgement = Judgement { gate, request, now, route: None, caller: None, charge: None, missed: None };
    match judgement.pass(cache) {
        Ok(pass) => Verdict::Pass(pass),
        Err(problem) => {
            let Judgement { route, caller, charge, missed, .. } = judgement;
            Verdict::Refuse(Box::new(Refusal { problem, route, caller, charge, missed }))
        }
    }
}

/// A judgement on its way, with what a refusal will tell of it.
struct Judgement<'a, 'r> {
    gate: &'a Gate,
    request: Request<'r>,
    now: u64,
    route: Option<&'a CompiledRoute>,
    caller: Option<Rc<Verified>>,
    charge: Option<Charge<'a>>,
    missed: Option<usize>,
}

impl<'a> Judgement<'a, '_> {
    fn pass(&mut self, cache: &mut TokenCache) -> Result<Pass<'a>, Problem> {
        let seen = self.request.seen;
        self.request.standing.check_policy(self.gate, self.now)?;
        let path = canonical_path(seen.target)
            .ok_or_else(|| Problem::new(Code::RequestInvalid, "The path is too long or not in its canonical form."))?;
        let route = match self.gate.routes.find(path, seen.method) {
            Found::Route(route) => route,
            Found::OtherMethods(allow) => return Err(Problem::method_not_allowed(allow)),
            Found::Nothing => return Err(Problem::not_found()),
        };
        self.route = Some(route);
        if seen.is_upgrade() && !(route.websocket && seen.is_websocket()) {
            return Err(Problem::new(Code::RequestInvalid, "This path does not change protocols."));
        }
        if route.public { self.stranger(route) } else { self.user(route, cache) }
    }

    /// On a public route no credential is read, but a page of another site may not act in the
    /// user's browser, unless the policy says that it may.
    fn stranger(&self, route: &'a CompiledRoute) -> Result<Pass<'a>, Problem> {
        let seen = self.request.seen;
        let is_friend = self.gate.cors.as_ref().is_some_and(|cors| cors::headers(cors, seen).is_some());
        if seen.is_cross_site() && !is_friend {
            seen.check_same_origin()?;
        }
        let body_bytes = route.body_bytes.unwrap_or(self.gate.limits.public_body_bytes);
        check_body(seen, body_bytes)?;
        let charges = [self.route_charge(route, None), None, None, self.edge_charge()];
        Ok(Pass { route, caller: None, charges, in_flight: None, quota: None, body_bytes })
    }

    fn user(&mut self, route: &'a CompiledRoute, cache: &mut TokenCache) -> Result<Pass<'a>, Problem> {
        let (gate, seen) = (self.gate, self.request.seen);
        self.request.standing.check_revocations(gate)?;
        let credential = seen.credential()?;
        if credential.from_cookie {
            seen.check_same_origin()?;
        }
        let verified = self.verify(cache, credential)?;
        self.caller = Some(Rc::clone(&verified));
        verified.check_time(self.now).inspect_err(|_| cache.drop(credential.token))?;
        let role = verified
            .role_index
            .filter(|index| route.roles.get(*index).copied().unwrap_or(false))
            .and_then(|index| gate.roles.get(index))
            .ok_or_else(|| Problem::new(Code::RoleForbidden, "Your role does not reach this."))?;
        if let Some(missing) = route.scopes.iter().find(|scope| !verified.has_scope(scope)) {
            let wanted = route.scopes.join(" ");
            return Err(Problem::new(Code::ScopeMissing, format!("The token lacks the scope {missing}."))
                .challenge(format!("Bearer realm=\"cosygate\", error=\"insufficient_scope\", scope=\"{wanted}\"")));
        }
        if let Some(oldest) = route.fresh_login_s {
            check_fresh_login(&verified, oldest, self.now)?;
        }
        let body_bytes = route.body_bytes.unwrap_or(role.body_bytes);
        check_body(seen, body_bytes)?;
        let issuer = gate.issuers.get(verified.issuer_index).and_then(|issuer| issuer.requests);
        let charges = [
            self.route_charge(route, Some(&verified)),
            (route.cost > 0).then(|| role_charge(role, &verified, route.cost)),
            issuer.map(|(key, rate)| Charge { key, rate, cost: 1, whose: Whose::Issuer, name: "issuer" }),
            self.edge_charge(),
        ];
        Ok(Pass {
            route,
            charges,
            in_flight: role.in_flight.map(|limit| (verified.in_flight, limit)),
            quota: route.metered.then(|| Key::new(&role.quota_scope, &verified.user_id)),
            body_bytes,
            caller: Some(verified),
        })
    }

    fn verify(&mut self, cache: &mut TokenCache, credential: Credential<'_>) -> Result<Rc<Verified>, Problem> {
        if let Some(known) = cache.get(credential.token) {
            // What was verified with keys that are too old by now cannot be vouched for any more.
            let issuer = self.gate.issuers.get(known.issuer_index);
            return if issuer.is_some_and(|issuer| issuer.has_keys(self.now)) { Ok(known) } else { Err(no_keys()) };
        }
        let charge = self.gate.limits.bad_tokens.map(|rate| Charge {
            key: Key::new(&format!("{}bad tokens", self.gate.salt), &network_of(&(self.request.address)())),
            rate,
            cost: 1,
            whose: Whose::Address,
            name: "bad-tokens",
        });
        if let Some(wait_s) = charge.as_ref().and_then(self.request.used_up) {
            let wait = u32::try_from(wait_s).unwrap_or(u32::MAX);
            return Err(Problem::new(Code::RateLimited, "Too many tokens from here did not hold.").retry_after(wait));
        }
        self.charge = charge;
        let token = credential.text().ok_or_else(|| invalid("the credential is not a token"))?;
        let verified = Rc::new(self.verify_unknown(token)?);
        self.charge = None;
        if verified.is_revoked(self.gate) {
            self.caller = Some(verified);
            return Err(Problem::new(Code::TokenRevoked, "The token was withdrawn. Log in again."));
        }
        cache.put(credential.token, Rc::clone(&verified));
        Ok(verified)
    }

    fn verify_unknown(&mut self, token: &str) -> Result<Verified, Problem> {
        let jws = token::parse(token).map_err(invalid)?;
        let claims = jws.claims().map_err(invalid)?;
        // The issuer is read before the signature, only to know by whose keys to verify it.
        let named = claims.get("iss").and_then(serde_json::Value::as_str).ok_or_else(|| invalid("iss is missing"))?;
        let index = self.gate.issuer_index(named).ok_or_else(|| invalid("unknown issuer"))?;
        let issuer = self.gate.issuers.get(index).ok_or_else(|| invalid("unknown issuer"))?;
        if !issuer.settings.algorithms.contains(&jws.algorithm) {
            return Err(invalid("alg is not allowed for this issuer"));
        }
        let kind = jws.kind.as_deref().ok_or_else(|| invalid("typ is missing"))?;
        if !issuer.settings.types.iter().any(|accepted| accepted.eq_ignore_ascii_case(kind)) {
            return Err(invalid("typ is not accepted"));
        }
        if !issuer.has_keys(self.now) {
            // Nobody can say whether it holds, so it costs nothing.
            self.charge = None;
            return Err(no_keys());
        }
        if issuer.source.is_some() && !issuer.keys.knows(jws.key_id.as_deref()) {
            self.missed = Some(index);
            return Err(invalid("kid is not known"));
        }
        if !issuer.keys.verify(jws.algorithm, jws.key_id.as_deref(), jws.signed, &jws.signature) {
            return Err(invalid("signature does not hold"));
        }
        claims::read(&claims, self.gate, index, self.now).map_err(invalid)
    }

    fn edge_charge(&self) -> Option<Charge<'a>> {
        let (key, rate) = self.gate.limits.edge?;
        Some(Charge { key, rate, cost: 1, whose: Whose::Edge, name: "edge" })
    }

    fn route_charge(&self, route: &CompiledRoute, caller: Option<&Rc<Verified>>) -> Option<Charge<'a>> {
        let (by, rate) = route.limit?;
        let (whose, name, subject) = match (by, caller) {
            (LimitBy::User, Some(verified)) => (Whose::User, "user", verified.user_id.clone()),
            _ => (Whose::Address, "address", network_of(&(self.request.address)())),
        };
        let scope = format!("{}{name} {} {}", self.gate.salt, route.pattern, route.methods.join(","));
        Some(Charge { key: Key::new(&scope, &subject), rate, cost: 1, whose, name })
    }
}

fn no_keys() -> Problem {
    Problem::new(Code::KeysUnavailable, "The token cannot be checked right now.").retry_after(2)
}

fn role_charge<'a>(role: &'a CompiledRole, verified: &Verified, cost: u32) -> Charge<'a> {
    Charge { key: verified.requests, rate: role.rate, cost, whose: Whose::Role, name: &role.name }
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
/// counted as it comes.
fn check_body(seen: &Seen<'_>, allowed: u64) -> Result<(), Problem> {
    match seen.content_length()? {
        Some(length) if length > allowed => Err(body_too_large(allowed)),
        _ => Ok(()),
    }
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
    /// What of the sealed identity is the same for every request of this caller. `edge` is
    /// `edge:<region>`.
    pub fn lasting<'b>(&'b self, gate: &Gate, edge: &'b str) -> Lasting<'b> {
        let caller = self.caller.as_deref();
        let text = |read: fn(&Verified) -> &str| caller.map(read).filter(|text| !text.is_empty());
        Lasting {
            iss: edge,
            aud: AUDIENCE,
            sub: text(|verified| &verified.user_id),
            sub_iss: text(|verified| &verified.issuer),
            role: text(|verified| &verified.role),
            scope: text(|verified| &verified.scope),
            sid: text(|verified| verified.session.as_deref().unwrap_or_default()),
            auth_time: caller.and_then(|verified| verified.authenticated_at),
            rev: gate.rev,
        }
    }
}

/// The refusal of a body that is larger than `allowed` bytes.
pub fn body_too_large(allowed: u64) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("At most {} KiB may be sent here.", allowed / 1024))
}

/// The refusal of a charge that could not be paid.
pub fn limit_exceeded(charge: &Charge<'_>, retry_after_s: u64) -> Problem {
    let wait = u32::try_from(retry_after_s).unwrap_or(u32::MAX);
    let unit = if wait == 1 { "second" } else { "seconds" };
    let whose = match charge.whose {
        Whose::User | Whose::Address => "This allows".to_owned(),
        Whose::Role => format!("The role {} allows", charge.name),
        Whose::Issuer => "All users of this issuer together have".to_owned(),
        Whose::Edge => {
            return Problem::new(Code::Overloaded, format!("Everybody asks at once. Try again in {wait} {unit}."))
                .retry_after(wait)
                .because("edge limit");
        }
    };
    let rate = charge.rate.per_minute();
    Problem::new(Code::RateLimited, format!("{whose} {rate} requests a minute. Try again in {wait} {unit}."))
        .retry_after(wait)
}

/// The refusal when the limiter has no room for another caller.
pub fn limiter_crowded(retry_after_s: u64) -> Problem {
    let wait = u32::try_from(retry_after_s).unwrap_or(u32::MAX);
    Problem::new(Code::Overloaded, "Too many callers at the moment.").retry_after(wait).because("limiter slot full")
}

/// The refusal of a caller who has as many requests under way as allowed.
pub fn concurrency_exceeded(limit: u32) -> Problem {
    Problem::new(Code::ConcurrencyExceeded, format!("Your role allows {limit} requests at the same time."))
        .retry_after(1)
}

/// The refusal of a caller whose quota the origin said is used up.
pub fn quota_exhausted(retry_after_s: u64) -> Problem {
    let wait = u32::try_from(retry_after_s).unwrap_or(u32::MAX);
    Problem::new(Code::QuotaExhausted, "The allowance of the day is used up.")
        .retry_after(wait)
        .because("remembered from the origin")
}
