//! The door of the origin: only what an edge sealed comes in.
//!
//! The client's own `x-user-id` and the like mean nothing here; the one source of identity is
//! `x-cosygate-identity` (see `gate::identity`).

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use gate::identity::{AUDIENCE, CLOCK_SKEW_S, CONTROL_AUDIENCE, HEADER, KeyRing, Sealed};
use gate::{Code, Problem};
use sha2::{Digest, Sha256};

use crate::answer::For;
use crate::app::App;
use crate::caller::{Caller, Edge, Visit};
use crate::problem::Refusal;

/// The one path that answers without a seal: edges fetch the issuer's keys there.
const OPEN_PATH: &str = "/.well-known/jwks.json";
/// Here edges ask on their own behalf, and nobody else does.
const EDGE_PREFIX: &str = "/internal/";
/// How many one-time ids are remembered, over all unsafe requests of half a minute.
const MAX_REMEMBERED: usize = 200_000;

/// Opens sealed headers and remembers the one-time ids of unsafe requests.
///
/// The memory is this process's own. Several origins behind one edge each remember what they
/// saw themselves.
pub struct Door {
    keys: KeyRing,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    ids: HashSet<[u8; 16]>,
    by_expiry: BTreeSet<(u64, [u8; 16])>,
}

/// Why the door stayed shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shut {
    /// No seal, two seals, or one that does not hold; the cause is for the log.
    Unsealed(&'static str),
    /// No room to remember another one-time id.
    Full,
}

impl Door {
    /// A door for these keys.
    pub fn new(keys: KeyRing) -> Self {
        Self { keys, seen: Mutex::default() }
    }

    /// Opens the one sealed header of a request; `target` is its path and query, `now` in seconds.
    /// What an edge sealed for a client opens no door of edges, and the other way round.
    ///
    /// # Errors
    /// See [`Shut`].
    pub fn open(&self, headers: &HeaderMap, method: &Method, target: &str, now: u64) -> Result<Sealed<'static>, Shut> {
        let mut values = headers.get_all(HEADER).iter();
        let value = values.next().ok_or(Shut::Unsealed("no sealed header"))?;
        if values.next().is_some() {
            return Err(Shut::Unsealed("two sealed headers"));
        }
        let token = value.to_str().map_err(|_| Shut::Unsealed("not text"))?;
        let audience = if target.starts_with(EDGE_PREFIX) { CONTROL_AUDIENCE } else { AUDIENCE };
        let sealed = self
            .keys
            .open_for(audience, token, method.as_str(), target, now)
            .map_err(|error| Shut::Unsealed(error.0))?;
        if !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            self.remember(&sealed, now)?;
        }
        Ok(sealed)
    }

    fn remember(&self, sealed: &Sealed<'_>, now: u64) -> Result<(), Shut> {
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(Sha256::digest(sealed.jti.as_bytes())) {
            *to = from;
        }
        let mut guard = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = &mut *guard;
        while let Some(oldest) = seen.by_expiry.first().copied().filter(|(expiry, _)| *expiry <= now) {
            seen.by_expiry.remove(&oldest);
            seen.ids.remove(&oldest.1);
        }
        if seen.ids.contains(&id) {
            return Err(Shut::Unsealed("one-time id seen before"));
        }
        if seen.ids.len() >= MAX_REMEMBERED {
            return Err(Shut::Full);
        }
        seen.ids.insert(id);
        seen.by_expiry.insert((sealed.exp.saturating_add(CLOCK_SKEW_S), id));
        Ok(())
    }
}

/// Lets a request in with its [`Caller`], or answers that it did not come through the edge.
pub async fn require(State(app): State<Arc<App>>, visit: Visit, mut request: Request, next: Next) -> Response {
    if request.uri().path() == OPEN_PATH && matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    match app.door.open(request.headers(), request.method(), target, app.clock.now_s()) {
        Ok(sealed) => {
            let region = sealed.iss.strip_prefix("edge:").unwrap_or_default().to_owned();
            let visit = Visit { policy_rev: sealed.rev, region, ..visit };
            if target.starts_with(EDGE_PREFIX) {
                request.extensions_mut().insert(visit);
                if let Some(edge) = Edge::from_sealed(&sealed) {
                    request.extensions_mut().insert(edge);
                }
                return next.run(request).await;
            }
            let caller = Caller::from_sealed(&sealed, &visit);
            request.extensions_mut().insert(visit);
            let Some(caller) = caller else { return next.run(request).await };
            if let Some(session) = caller.session() {
                app.uses.note(session, caller.visit().started_ms);
            }
            if let Err(refusal) = app.outsiders.admit(&app, &caller).await {
                let mut response = refusal.into_response();
                response.extensions_mut().insert(For(caller));
                return response;
            }
            request.extensions_mut().insert(caller.clone());
            let mut response = next.run(request).await;
            response.extensions_mut().insert(For(caller));
            response
        }
        Err(shut) => refuse(shut).into_response(),
    }
}

fn refuse(shut: Shut) -> Refusal {
    match shut {
        Shut::Unsealed(cause) => {
            metrics::counter!("cosygate_seal_refusals_total", "cause" => cause).increment(1);
            Refusal::from(Problem::new(Code::TokenInvalid, "This did not come through the edge.")).because(cause)
        }
        Shut::Full => {
            metrics::counter!("cosygate_seal_refusals_total", "cause" => "memory full").increment(1);
            Refusal::overloaded().because("too many one-time ids to remember")
        }
    }
}

#[cfg(test)]
mod tests;
