//! What all workers of an Envoy share: limits, leases and what the origin said of quotas.
//!
//! Shared data is a map of bytes with versions. A change is a read, a pure function of the gate on
//! what was read, and a write that succeeds only if nobody else wrote in between.

use gate::flight::{self, Taken};
use gate::limit::{self, Charge, Key, Spent};

use crate::host::{self, HostError};
use crate::metrics::Limiter;
use crate::worker::WORKER;

/// How often a change is tried when other workers write to the same place.
const MAX_TRIES: u32 = 16;

/// Nothing could be counted: too many others wrote at once, or the host failed.
pub(crate) struct Uncounted;

/// Reads a value; empty if there is none.
pub(crate) fn read(name: &str) -> Result<(Vec<u8>, u32), Uncounted> {
    match host::shared(name) {
        Ok(found) => Ok(found),
        Err(HostError::NotFound) => Ok((Vec::new(), host::ABSENT)),
        Err(_) => Err(Uncounted),
    }
}

/// Changes a value by a pure function, which says what came of it and what to write, if anything.
pub(crate) fn update<T>(name: &str, change: impl Fn(&[u8]) -> (T, Option<Vec<u8>>)) -> Result<T, Uncounted> {
    for _ in 0..MAX_TRIES {
        let (cell, version) = read(name)?;
        let (outcome, changed) = change(&cell);
        match changed.map(|cell| host::set_shared(name, &cell, version)) {
            None | Some(Ok(())) => return Ok(outcome),
            Some(Err(HostError::CasMismatch)) => WORKER.with(|worker| worker.limiter(Limiter::Conflict)),
            Some(Err(_)) => return Err(Uncounted),
        }
    }
    WORKER.with(|worker| worker.limiter(Limiter::GaveUp));
    Err(Uncounted)
}

fn limit_slot(key: Key) -> String {
    format!("cosygate/1/limit/{}", key.slot)
}

fn flight_slot(key: Key) -> String {
    format!("cosygate/1/flight/{}", key.slot)
}

/// Takes a charge.
pub(crate) fn spend(charge: &Charge<'_>, now_us: u64) -> Result<Spent, Uncounted> {
    update(&limit_slot(charge.key), |cell| limit::spend(cell, charge, now_us))
}

/// Gives a charge back. If that fails the caller has a little less, and nobody more.
pub(crate) fn refund(charge: &Charge<'_>, now_us: u64) {
    let _ = update(&limit_slot(charge.key), |cell| ((), limit::refund(cell, charge, now_us)));
}

/// Seconds until a charge could be paid, if it cannot be paid now.
pub(crate) fn used_up(charge: &Charge<'_>, now_us: u64) -> Option<u64> {
    let (cell, _) = read(&limit_slot(charge.key)).ok()?;
    match limit::spend(&cell, charge, now_us).0 {
        Spent::Exceeded { retry_after_s } => Some(retry_after_s),
        Spent::Taken { .. } | Spent::Crowded { .. } => None,
    }
}

/// Remembers until when a quota is used up. If that fails the origin says it again.
pub(crate) fn remember(key: Key, until_us: u64, now_us: u64) {
    let _ = update(&limit_slot(key), |cell| ((), limit::remember(cell, key, until_us, now_us)));
}

/// Seconds for which a quota stays used up.
pub(crate) fn used_up_for(key: Key, now_us: u64) -> Result<Option<u64>, Uncounted> {
    Ok(limit::used_up_for(&read(&limit_slot(key))?.0, key, now_us))
}

/// Takes a lease for one request under way.
pub(crate) fn take_lease(key: Key, worker: u32, limit: u32, now_s: u64) -> Result<Taken, Uncounted> {
    update(&flight_slot(key), |cell| flight::take(cell, key, worker, limit, now_s))
}

/// Sets and renews how many leases a worker holds for one user. If that fails they end by
/// themselves.
pub(crate) fn hold_leases(key: Key, worker: u32, count: u32, now_s: u64) {
    let _ = update(&flight_slot(key), |cell| ((), flight::hold(cell, key, worker, count, now_s)));
}
