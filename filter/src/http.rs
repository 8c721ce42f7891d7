//! One request: read, ask, obey.

use std::rc::Rc;

use gate::claims::percent_encoded;
use gate::headers::{Headers, cookie_without_credential, is_removed, to_remove};
use gate::identity;
use gate::limit::{self, Charge, Spent};
use gate::verdict::{Pass, limit_exceeded, limiter_crowded};
use gate::{Code, Problem, Request, Verdict, judge};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::host::{self, HostError, Map};
use crate::root::Edge;

/// How often a charge is tried when other workers write to the same slot.
const MAX_TRIES: u32 = 16;

/// One request and its response.
pub(crate) struct Exchange {
    edge: Option<Rc<Edge>>,
    /// Headers about the nearest limit, for the response, with what remains of it.
    limit: Option<(u32, [(&'static str, String); 2])>,
}

impl Context for Exchange {}

impl HttpContext for Exchange {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let Ok(pairs) = host::headers(Map::Request) else { return refuse(&unreadable(), "") };
        let headers = match pairs.read() {
            Ok(headers) if !headers.is_empty() => headers,
            _ => return refuse(&unreadable(), ""),
        };
        match self.handle(&headers) {
            Ok(()) => Action::Continue,
            Err(problem) => refuse(&problem, text(&headers, "x-request-id")),
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
        for (name, value) in self.limit.iter().flat_map(|(_, headers)| headers) {
            // Without it the client only knows less; nothing is decided by it.
            let _ = host::set_header(Map::Response, name, value.as_bytes());
        }
        Action::Continue
    }
}

impl Exchange {
    pub(crate) fn new(edge: Option<Rc<Edge>>) -> Self {
        Self { edge, limit: None }
    }

    /// Lets the request go on, or says why not. What a client claims about itself is gone before
    /// anything is judged, so that not even the log of a refusal repeats it.
    fn handle(&mut self, headers: &Headers<'_>) -> Result<(), Problem> {
        for name in to_remove(headers) {
            host::remove_header(Map::Request, name).map_err(|_| unreadable())?;
        }
        match cookie_without_credential(headers) {
            Some(rest) if rest.is_empty() => host::remove_header(Map::Request, "cookie").map_err(|_| unreadable())?,
            Some(rest) => host::set_header(Map::Request, "cookie", &rest).map_err(|_| unreadable())?,
            None => {}
        }
        let edge = self.edge.clone().ok_or_else(no_policy)?;
        let now_ns = host::now_ns().map_err(|_| unreadable())?;
        let now = now_ns / 1_000_000_000;
        let (method, target, authority) =
            (text(headers, ":method"), text(headers, ":path"), text(headers, ":authority"));
        let request = Request { method, target, authority, headers, address: &client_address };
        let pass = match judge(&edge.gate, &mut edge.cache.borrow_mut(), request, now) {
            Verdict::Pass(pass) => pass,
            Verdict::Refuse { problem, caller } => {
                if let Some(caller) = caller {
                    set_caller(&caller.user_id, &caller.role)?;
                }
                return Err(problem);
            }
        };
        if let Some(caller) = &pass.caller {
            set_caller(&caller.user_id, &caller.role)?;
        }
        for charge in &pass.charges {
            self.pay(charge, now_ns / 1000)?;
        }
        seal(&edge, &pass, request, now)
    }

    /// Takes a charge from the slot that all workers share.
    fn pay(&mut self, charge: &Charge<'_>, now_us: u64) -> Result<(), Problem> {
        let slot = format!("cosygate/1/limit/{}", charge.key.slot);
        for _ in 0..MAX_TRIES {
            let (cell, version) = match host::shared(&slot) {
                Ok(found) => found,
                Err(HostError::NotFound) => (Vec::new(), host::ABSENT),
                Err(_) => return Err(unreadable()),
            };
            let (spent, changed) = limit::spend(&cell, charge, now_us);
            match changed.map(|cell| host::set_shared(&slot, &cell, version)) {
                Some(Err(HostError::CasMismatch)) => continue,
                Some(Err(_)) => return Err(unreadable()),
                Some(Ok(())) | None => {}
            }
            return match spent {
                Spent::Taken { remaining, reset_s } => {
                    if self.limit.as_ref().is_none_or(|(nearest, _)| remaining < *nearest) {
                        self.limit = Some((remaining, limit::headers(charge, remaining, reset_s)));
                    }
                    Ok(())
                }
                Spent::Exceeded { retry_after_s } => {
                    self.limit = Some((0, limit::headers(charge, 0, retry_after_s)));
                    Err(limit_exceeded(charge, retry_after_s))
                }
                Spent::Crowded { retry_after_s } => Err(limiter_crowded(retry_after_s)),
            };
        }
        Err(limiter_crowded(1))
    }
}

fn seal(edge: &Edge, pass: &Pass<'_>, request: Request<'_>, now: u64) -> Result<(), Problem> {
    let one_time_id = edge.one_time_id();
    let sealed = pass.identity(&edge.gate, request, &edge.name, &one_time_id, now);
    let token = edge.ring.seal(&sealed).ok_or_else(unreadable)?;
    host::set_header(Map::Request, identity::HEADER, token.as_bytes()).map_err(|_| unreadable())
}

fn set_caller(user_id: &str, role: &str) -> Result<(), Problem> {
    host::set_header(Map::Request, "x-user-id", user_id.as_bytes()).map_err(|_| unreadable())?;
    // On a refusal the role may be any text that an issuer put into a token.
    let role = percent_encoded(role);
    host::set_header(Map::Request, "x-user-role", role.as_bytes()).map_err(|_| unreadable())
}

/// The address of the client as Envoy trusts it, without the port.
fn client_address() -> String {
    let address = host::property(&["source", "address"]).unwrap_or_default();
    let address = String::from_utf8_lossy(&address);
    let host = address.rsplit_once(':').map_or(&*address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

/// A header's text; empty, and so matched by no rule, when it is absent or not ASCII.
fn text<'a>(headers: &Headers<'a>, name: &str) -> &'a str {
    gate::headers::single(headers, name).unwrap_or_default()
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
