//! One request: read, ask, obey.

use std::borrow::Cow;
use std::rc::Rc;

use gate::claims::{Verified, percent_encoded};
use gate::flight::Taken;
use gate::headers::{Seen, is_removed};
use gate::identity::{self, Passing};
use gate::limit::{self, Charge, Key, Spent};
use gate::policy::FailureMode;
use gate::verdict::{
    Pass, Refusal, body_too_large, concurrency_exceeded, limit_exceeded, limiter_crowded, quota_exhausted,
};
use gate::{Code, Gate, Problem, Request, Verdict, cors, judge};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::held::Left;
use crate::host::{self, Map};
use crate::metrics::{Decision, Limiter};
use crate::root::Edge;
use crate::shared::{self, Uncounted};
use crate::worker::{Lease, Stream, WORKER};

/// The header in which the origin tells the edge what is left of a quota. It never reaches a client.
const QUOTA: &str = "x-cosygate-quota";

/// One request and its response.
#[derive(Default)]
pub(crate) struct Exchange {
    edge: Option<Rc<Edge>>,
    /// Headers about the nearest limit, for the response.
    limit: Option<[(&'static str, String); 2]>,
    /// Headers for a page of another site, for the response.
    cors: Option<[(&'static str, String); 2]>,
    /// How many bytes the body may have, and how many of them are left.
    body: Option<(u64, u64)>,
    /// The leave to be under way, given back with the exchange.
    lease: Option<Lease>,
    /// Where to remember that the quota is used up.
    quota: Option<Key>,
    /// Its number.
    context: u32,
    /// It is somebody's, and ends when their token is withdrawn.
    stream: Option<Stream>,
}

/// A request that ends here: with a problem, or with a yes to a preflight.
enum Ended {
    Refused(Problem),
    Preflight(Vec<(&'static str, String)>),
}

impl From<Problem> for Ended {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl Context for Exchange {}

impl HttpContext for Exchange {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let Ok(pairs) = host::headers(Map::Request) else { return refuse(&unreadable(), "") };
        let headers = match pairs.read() {
            Ok(headers) if !headers.is_empty() => headers,
            _ => return refuse(&unreadable(), ""),
        };
        #[cfg(feature = "faults")]
        crate::faults::happen(&headers);
        let seen = Seen::new(&headers);
        match self.handle(&seen) {
            Ok(()) => Action::Continue,
            Err(Ended::Refused(problem)) => refuse(&problem, seen.request_id),
            Err(Ended::Preflight(headers)) => {
                let _ = host::reply(204, "cosygate_preflight", &headers, &[]);
                Action::Pause
            }
        }
    }

    fn on_http_request_body(&mut self, size: usize, _end_of_stream: bool) -> Action {
        let Some((allowed, left)) = &mut self.body else { return Action::Continue };
        match left.checked_sub(size as u64) {
            Some(rest) => {
                *left = rest;
                Action::Continue
            }
            None => {
                let request_id = host::header(Map::Request, "x-request-id").unwrap_or_default();
                refuse(&body_too_large(*allowed), &String::from_utf8_lossy(&request_id))
            }
        }
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        let Ok(pairs) = host::headers(Map::RequestTrailers) else { return Action::Continue };
        let Ok(trailers) = pairs.read() else { return refuse(&unreadable(), "") };
        for (name, _) in trailers.iter().filter(|(name, _)| is_removed(name)) {
            if host::remove_header(Map::RequestTrailers, name).is_err() {
                return refuse(&unreadable(), "");
            }
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        // Without any of these the client only knows less; nothing is decided by them.
        for (name, value) in self.limit.iter().flatten() {
            let _ = host::set_header(Map::Response, name, value.as_bytes());
        }
        if let Some(headers) = &self.cors {
            for (name, value) in headers {
                let _ = host::set_header(Map::Response, name, value.as_bytes());
            }
            let _ = host::add_header(Map::Response, "vary", b"origin");
        }
        if let (Some(edge), Some(key)) = (&self.edge, self.quota) {
            remember_quota(key, edge.gate().rev);
        }
        Action::Continue
    }
}

impl Exchange {
    pub(crate) fn new(context: u32, edge: Option<Rc<Edge>>) -> Self {
        Self { context, edge, ..Self::default() }
    }

    /// Lets the request go on, or says why not. What a client claims about itself is gone before
    /// anything is judged, so that not even the log of a refusal repeats it.
    fn handle(&mut self, seen: &Seen<'_>) -> Result<(), Ended> {
        strip(seen)?;
        let edge = self.edge.clone().ok_or_else(no_policy)?;
        let gate = edge.gate();
        let now_ns = host::now_ns().map_err(|_| unreadable())?;
        let now_us = now_ns / 1000;
        if seen.has_hops() {
            let address = client_address(seen, gate.limits.trusted_hops);
            host::set_header(Map::Request, "x-forwarded-for", address.as_bytes()).map_err(|_| unreadable())?;
        }
        self.cors = gate.cors.as_ref().and_then(|cors| cors::headers(cors, seen));
        let request = Request {
            seen,
            address: &|| client_address(seen, gate.limits.trusted_hops),
            used_up: &|charge| shared::used_up(charge, now_us),
            standing: edge.standing.get(),
        };
        let verdict = judge(&gate, &mut edge.cache.borrow_mut(), request, now_us / 1_000_000);
        let ended = match verdict {
            Verdict::Pass(pass) => self.admit(&edge, &gate, &pass, seen, now_us).map_err(|problem| {
                let role = pass.caller.as_ref().and_then(|caller| caller.role_index);
                edge.counts.refusal(problem.code.as_str(), problem.cause, Some(pass.route.index), role);
                if let Some(caller) = &pass.caller {
                    let _ = set_caller(caller);
                }
                Ended::Refused(problem)
            }),
            Verdict::Preflight(headers) => {
                edge.counts.refusal("preflight", "preflight", None, None);
                Err(Ended::Preflight(headers))
            }
            Verdict::Refuse(refusal) => Err(self.refuse(&edge, &gate, *refusal, now_us).into()),
        };
        if let Some(shadow) = &gate.shadow {
            let active = match &ended {
                Ok(()) => "pass",
                Err(Ended::Preflight(_)) => "preflight",
                Err(Ended::Refused(problem)) => problem.code.as_str(),
            };
            compare(&edge, shadow, active, request, now_us);
        }
        ended
    }

    /// Takes what the request costs, and tells the origin who calls.
    fn admit(
        &mut self,
        edge: &Edge,
        gate: &Gate,
        pass: &Pass<'_>,
        seen: &Seen<'_>,
        now_us: u64,
    ) -> Result<(), Problem> {
        self.body = (!seen.is_upgrade()).then_some((pass.body_bytes, pass.body_bytes));
        self.quota = pass.quota;
        let used_up = pass.quota.filter(|_| !seen.may_be_repeated());
        if let Some(wait_s) = used_up.and_then(|key| shared::used_up_for(key, now_us).ok().flatten()) {
            return Err(quota_exhausted(wait_s));
        }
        if let Some((key, limit)) = pass.in_flight {
            match Lease::take(key, limit, now_us / 1_000_000) {
                Ok(Ok(lease)) => self.lease = Some(lease),
                Ok(Err(Taken::Full)) => return Err(concurrency_exceeded(limit)),
                Ok(Err(_)) | Err(Uncounted) => uncounted(gate, 1)?,
            }
        }
        let mut nearest: Option<(&Charge<'_>, Left)> = None;
        for (number, charge) in pass.charges.iter().enumerate() {
            let Some(charge) = charge else { continue };
            match self.pay(edge, gate, charge, now_us) {
                Ok(Some(left)) if nearest.as_ref().is_none_or(|(_, other)| left.remaining < other.remaining) => {
                    nearest = Some((charge, left));
                }
                Ok(_) => {}
                Err(problem) => {
                    // What does not pass costs nothing.
                    for paid in pass.charges.iter().take(number).flatten() {
                        shared::refund(paid, now_us);
                    }
                    return Err(problem);
                }
            }
        }
        if let Some((charge, left)) = nearest.filter(|_| gate.limits.announce) {
            self.announce(charge, left);
        }
        if let Some(caller) = &pass.caller {
            set_caller(caller)?;
            self.stream = Some(Stream::of(self.context, caller));
        }
        if gate.identity.sealed {
            seal(edge, gate, pass, seen, now_us / 1_000_000)?;
        }
        edge.counts.pass(pass.route.index, pass.caller.as_ref().and_then(|caller| caller.role_index));
        Ok(())
    }

    /// Takes a charge, from what this worker holds of the limit or from what all workers share.
    /// Returns what is left, unless nobody could count.
    fn pay(&mut self, edge: &Edge, gate: &Gate, charge: &Charge<'_>, now_us: u64) -> Result<Option<Left>, Problem> {
        if let Some(left) = edge.held.spend(charge, now_us) {
            return Ok(Some(left));
        }
        match shared::spend(charge, now_us) {
            Ok(Spent::Taken { remaining, reset_s, ahead }) => {
                let left = Left { remaining, reset_s };
                if let Some(ahead) = ahead {
                    edge.held.keep(charge.key, ahead, left);
                }
                Ok(Some(left))
            }
            Ok(Spent::Exceeded { retry_after_s }) => {
                self.announce(charge, Left { remaining: 0, reset_s: retry_after_s });
                Err(limit_exceeded(charge, retry_after_s))
            }
            Ok(Spent::Crowded { retry_after_s }) => {
                WORKER.with(|worker| worker.limiter(Limiter::Crowded));
                uncounted(gate, retry_after_s).map(|()| None)
            }
            Err(Uncounted) => uncounted(gate, 1).map(|()| None),
        }
    }

    /// Keeps for the response what a limit says of itself.
    fn announce(&mut self, charge: &Charge<'_>, left: Left) {
        self.limit = Some([
            ("ratelimit-policy", limit::policy_header(charge)),
            ("ratelimit", limit::state_header(charge, left.remaining, left.reset_s)),
        ]);
    }

    /// Does what a refusal brings with it, and returns what the client is told.
    fn refuse(&mut self, edge: &Edge, gate: &Gate, refusal: Refusal<'_>, now_us: u64) -> Problem {
        let mut problem = refusal.problem;
        if let Some(caller) = &refusal.caller {
            // For the log; if it cannot be set, the log says less.
            let _ = set_caller(caller);
        }
        if let Some(issuer) = refusal.missed.and_then(|index| gate.issuers.get(index)) {
            crate::keys::miss(issuer, now_us / 1_000_000);
        }
        if let Some(charge) = &refusal.charge
            && let Ok(Spent::Exceeded { retry_after_s }) = shared::spend(charge, now_us)
        {
            problem = limit_exceeded(charge, retry_after_s);
        }
        let role = refusal.caller.as_ref().and_then(|caller| caller.role_index);
        edge.counts.refusal(problem.code.as_str(), problem.cause, refusal.route.map(|route| route.index), role);
        problem
    }
}

/// Removes what a client may not say, and its credential.
fn strip(seen: &Seen<'_>) -> Result<(), Problem> {
    for name in seen.to_remove() {
        host::remove_header(Map::Request, name).map_err(|_| unreadable())?;
    }
    match seen.cookie_without_credential() {
        Some(rest) if rest.is_empty() => host::remove_header(Map::Request, "cookie").map_err(|_| unreadable()),
        Some(rest) => host::set_header(Map::Request, "cookie", &rest).map_err(|_| unreadable()),
        None => Ok(()),
    }
}

/// What the policy says of a request whose limit cannot be counted.
fn uncounted(gate: &Gate, retry_after_s: u64) -> Result<(), Problem> {
    match gate.failure.limits {
        FailureMode::Allow => Ok(()),
        FailureMode::Deny => Err(limiter_crowded(retry_after_s)),
    }
}

/// Judges by the shadow, too, in counts of its own, and tells where it differs.
fn compare(edge: &Edge, shadow: &Gate, active: Decision, request: Request<'_>, now_us: u64) {
    let seen = request.seen;
    let request = Request { address: &|| client_address(seen, shadow.limits.trusted_hops), ..request };
    let exceeded = |charge: &Charge<'_>| match shared::spend(charge, now_us) {
        Ok(Spent::Exceeded { retry_after_s }) => Some(limit_exceeded(charge, retry_after_s).code),
        _ => None,
    };
    let verdict = judge(shadow, &mut edge.shadow_cache.borrow_mut(), request, now_us / 1_000_000);
    let decision = match verdict {
        Verdict::Refuse(refusal) => refusal.charge.iter().find_map(exceeded).unwrap_or(refusal.problem.code).as_str(),
        Verdict::Preflight(_) => "preflight",
        Verdict::Pass(pass) => pass.charges.iter().flatten().find_map(exceeded).map_or("pass", Code::as_str),
    };
    if decision != active {
        edge.counts.difference(active, decision);
        if edge.may_log() {
            log::info!("cosygate: the shadow says {decision} instead of {active}, request {}", seen.request_id);
        }
    }
}

fn seal(edge: &Edge, gate: &Gate, pass: &Pass<'_>, seen: &Seen<'_>, now: u64) -> Result<(), Problem> {
    let place = pass.caller.as_ref().map_or(&edge.nobody, |caller| &caller.seal);
    let begun = match place.get() {
        Some(begun) => begun,
        None => {
            let begun = edge.ring.begin(&pass.lasting(gate, &edge.name)).ok_or_else(unreadable)?;
            place.get_or_init(|| begun)
        }
    };
    let passing = Passing {
        jti: &edge.one_time_id(),
        iat: now,
        exp: now + u64::from(gate.identity.lifetime_s),
        htm: seen.method,
        htu: seen.target,
    };
    let token = edge.ring.finish(begun, &passing).ok_or_else(unreadable)?;
    host::set_header(Map::Request, identity::HEADER, token.as_bytes()).map_err(|_| unreadable())
}

fn set_caller(caller: &Verified) -> Result<(), Problem> {
    host::set_header(Map::Request, "x-user-id", caller.user_id.as_bytes()).map_err(|_| unreadable())?;
    // A role that the policy does not have may be any text that an issuer put into a token.
    let role = match caller.role_index {
        Some(_) => Cow::Borrowed(&caller.role),
        None => Cow::Owned(percent_encoded(&caller.role)),
    };
    host::set_header(Map::Request, "x-user-role", role.as_bytes()).map_err(|_| unreadable())
}

/// Remembers what the origin says of the caller's quota, and keeps it from the client.
fn remember_quota(key: Key, rev: u64) {
    let Ok(value) = host::header(Map::Response, QUOTA) else { return };
    if value.is_empty() {
        return;
    }
    let _ = host::remove_header(Map::Response, QUOTA);
    let now_us = host::now_ns().unwrap_or_default() / 1000;
    if let Some(until_us) = limit::used_up_until(&value, rev, now_us) {
        shared::remember(key, until_us, now_us);
    }
}

/// The address of the client, without the port: who connects, or who the proxies of ours that
/// stand before this Envoy saw.
fn client_address(seen: &Seen<'_>, trusted_hops: u8) -> String {
    if trusted_hops > 0
        && let Some(address) = seen.forwarded_for(trusted_hops)
    {
        return address.to_owned();
    }
    let address = host::property(&["source", "address"]).unwrap_or_default();
    let address = String::from_utf8_lossy(&address);
    let host = address.rsplit_once(':').map_or(&*address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

fn refuse(problem: &Problem, request_id: &str) -> Action {
    let details = format!("cosygate_{}:{}", problem.code.as_str(), problem.cause.replace(' ', "_"));
    // If even this fails the request stays paused and Envoy's timeout ends it; it never goes on.
    let _ = host::reply(problem.code.status(), &details, &problem.headers(), &problem.body(request_id));
    Action::Pause
}

fn unreadable() -> Problem {
    Problem::new(Code::Internal, "The request could not be read.").because("host call failed")
}

fn no_policy() -> Problem {
    Problem::new(Code::PolicyUnavailable, "There is no policy in force yet.").retry_after(2)
}
