//! What one worker keeps for itself, whichever configuration is in force.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;

use gate::Gate;
use gate::claims::Verified;
use gate::flight::{RENEW_S, Taken};
use gate::limit::Key;

use crate::host;
use crate::metrics::{Limiter, Names};
use crate::shared::{self, Uncounted};

thread_local! {
    /// The one of this VM.
    pub(crate) static WORKER: Worker = Worker::new();
}

/// Leave for one request of a user to be under way; ends when it is dropped.
pub(crate) struct Lease(Key);

impl Lease {
    /// Takes one, or says why there is none.
    pub(crate) fn take(key: Key, limit: u32, now_s: u64) -> Result<Result<Self, Taken>, Uncounted> {
        let taken = WORKER.with(|worker| worker.take_lease(key, limit, now_s))?;
        Ok(if taken == Taken::Granted { Ok(Self(key)) } else { Err(taken) })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let now_s = host::now_ns().unwrap_or_default() / 1_000_000_000;
        // The VM may be on its way out; then the lease ends by itself.
        let _ = WORKER.try_with(|worker| worker.release_lease(self.0, now_s));
    }
}

/// A stream of a caller, to be ended should the caller's token be withdrawn; known until it is
/// dropped.
pub(crate) struct Stream(u32);

impl Stream {
    /// Makes it known.
    pub(crate) fn of(context: u32, caller: &Rc<Verified>) -> Self {
        WORKER.with(|worker| worker.streams.borrow_mut().insert(context, Rc::clone(caller)));
        Self(context)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = WORKER.try_with(|worker| worker.streams.borrow_mut().remove(&self.0));
    }
}

/// The state of one worker.
pub(crate) struct Worker {
    /// Random, so that a VM that follows a dead one holds none of its leases.
    id: u32,
    /// Users with requests under way here: how many, and when their leases were last renewed.
    leases: RefCell<HashMap<Key, (u32, u64)>>,
    /// Streams under way, by context: whose they are.
    streams: RefCell<HashMap<u32, Rc<Verified>>>,
    /// The configuration that came last; older ones live on until their last stream ends.
    generation: Cell<u64>,
    limiter: [Cell<u64>; Limiter::ALL.len()],
    /// The numbers of metrics by name.
    pub(crate) names: Names,
}

impl Worker {
    fn new() -> Self {
        let random = RandomState::new().build_hasher().finish();
        Self {
            id: (random >> 32) as u32,
            leases: RefCell::default(),
            streams: RefCell::default(),
            generation: Cell::new(0),
            limiter: Default::default(),
            names: Names::default(),
        }
    }

    /// Its number among the workers of this Envoy.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Ends every stream whose token was withdrawn, and returns how many. `root` is the context
    /// that asks.
    pub(crate) fn cut(&self, gate: &Gate, root: u32) -> usize {
        let is_cut = |verified: &Verified| verified.is_revoked(gate);
        let streams: Vec<u32> =
            self.streams.borrow().iter().filter(|(_, caller)| is_cut(caller)).map(|(context, _)| *context).collect();
        for context in &streams {
            // A stream that is gone by now has nothing to end.
            let _ = host::set_effective_context(*context).and_then(|()| host::close_stream());
        }
        let _ = host::set_effective_context(root);
        streams.len()
    }

    /// Begins another generation of configuration and returns its number.
    pub(crate) fn next_generation(&self) -> u64 {
        self.generation.set(self.generation.get() + 1);
        self.generation.get()
    }

    /// The generation that came last.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.get()
    }

    fn take_lease(&self, key: Key, limit: u32, now_s: u64) -> Result<Taken, Uncounted> {
        let taken = shared::take_lease(key, self.id, limit, now_s)?;
        if taken == Taken::Granted {
            let mut leases = self.leases.borrow_mut();
            let lease = leases.entry(key).or_default();
            *lease = (lease.0 + 1, now_s);
        }
        Ok(taken)
    }

    fn release_lease(&self, key: Key, now_s: u64) {
        let mut leases = self.leases.borrow_mut();
        let Some((count, renewed_at)) = leases.get_mut(&key) else { return };
        *count = count.saturating_sub(1);
        *renewed_at = now_s;
        shared::hold_leases(key, self.id, *count, now_s);
        if *count == 0 {
            leases.remove(&key);
        }
    }

    /// Renews what has been held for a while.
    pub(crate) fn renew_leases(&self, now_s: u64) {
        for (key, (count, renewed_at)) in self.leases.borrow_mut().iter_mut() {
            if now_s.abs_diff(*renewed_at) >= RENEW_S {
                *renewed_at = now_s;
                shared::hold_leases(*key, self.id, *count, now_s);
            }
        }
    }

    /// Counts something that happened to the limiter.
    pub(crate) fn limiter(&self, what: Limiter) {
        if let Some(count) = self.limiter.get(what as usize) {
            count.set(count.get() + 1);
        }
    }

    /// Hands the limiter's counts to Envoy.
    pub(crate) fn flush(&self) {
        for (count, name) in self.limiter.iter().zip(Limiter::ALL) {
            self.names.count(&format!("cosygate_edge_limiter_total|outcome={name}|"), count.take());
        }
    }
}
