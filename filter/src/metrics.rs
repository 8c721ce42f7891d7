//! What is counted. Requests count in plain numbers of the worker; a tick hands the sums to Envoy.
//!
//! Envoy's Wasm metrics have no labels, so they stand in the name, `base|label=value|`, and
//! envoy.yaml takes them out again (`stats_tags`). Every value comes from the policy or from a
//! list of this program, never from a client.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use gate::Gate;

use crate::host::{self, Metric};

/// What may happen to the limiter.
#[derive(Clone, Copy)]
pub(crate) enum Limiter {
    /// Another worker wrote in between.
    Conflict = 0,
    /// It did so too often.
    GaveUp = 1,
    /// A slot was full of active others.
    Crowded = 2,
}

impl Limiter {
    /// The names, in the order of the numbers.
    pub(crate) const ALL: [&'static str; 3] = ["conflict", "gave_up", "crowded"];
}

/// The numbers that Envoy gave to names.
#[derive(Default)]
pub(crate) struct Names(RefCell<HashMap<String, u32>>);

impl Names {
    /// Adds to a counter; with 0, makes sure that it is there, so that its first step is seen.
    pub(crate) fn count(&self, name: &str, by: u64) {
        // A count that is lost hurts nobody.
        if let Some(id) = self.id(Metric::Counter, name).filter(|_| by > 0) {
            let _ = host::increment_metric(id, by);
        }
    }

    /// Sets a gauge.
    pub(crate) fn gauge(&self, name: &str, value: u64) {
        if let Some(id) = self.id(Metric::Gauge, name) {
            let _ = host::record_metric(id, value);
        }
    }

    fn id(&self, kind: Metric, name: &str) -> Option<u32> {
        let mut known = self.0.borrow_mut();
        if let Some(id) = known.get(name) {
            return Some(*id);
        }
        let id = host::define_metric(kind, name).ok()?;
        known.insert(name.to_owned(), id);
        Some(id)
    }
}

/// How a request ended: `pass`, `preflight` or a code.
pub(crate) type Decision = &'static str;
/// Decision, cause, route and role of a request that ended at the edge.
type Refused = (Decision, &'static str, Option<usize>, Option<usize>);

/// The counts of one policy.
#[derive(Default)]
pub(crate) struct Counts {
    /// Requests that passed, by route and role; the last role is nobody.
    passes: Vec<Cell<u64>>,
    roles: usize,
    /// All others, by decision, cause, route and role.
    refusals: RefCell<HashMap<Refused, u64>>,
    /// What the shadow would have decided otherwise.
    differences: RefCell<HashMap<(Decision, Decision), u64>>,
}

impl Counts {
    /// For the routes and roles of a policy.
    pub(crate) fn new(gate: &Gate) -> Self {
        let roles = gate.roles.len() + 1;
        let routes = gate.routes.iter().count();
        Self { passes: vec![Cell::new(0); roles * routes], roles, ..Self::default() }
    }

    pub(crate) fn pass(&self, route: usize, role: Option<usize>) {
        let place = route * self.roles + role.unwrap_or(self.roles - 1);
        if let Some(count) = self.passes.get(place) {
            count.set(count.get() + 1);
        }
    }

    pub(crate) fn refusal(&self, decision: Decision, cause: &'static str, route: Option<usize>, role: Option<usize>) {
        *self.refusals.borrow_mut().entry((decision, cause, route, role)).or_default() += 1;
    }

    pub(crate) fn difference(&self, active: Decision, shadow: Decision) {
        *self.differences.borrow_mut().entry((active, shadow)).or_default() += 1;
    }

    /// Hands all counts to Envoy and starts anew.
    pub(crate) fn flush(&self, gate: &Gate, names: &Names) {
        let role =
            |index: Option<usize>| index.and_then(|index| gate.roles.get(index)).map_or("none", |role| &role.name);
        let route = |index: Option<usize>| {
            let found = index.and_then(|index| gate.routes.iter().find(|route| route.index == index));
            found.map_or("none", |route| &route.pattern)
        };
        let requests = |decision: &str, at: Option<usize>, by: Option<usize>, count: u64| {
            let (route, role) = (label(route(at)), role(by));
            names.count(&format!("cosygate_edge_requests_total|decision={decision}|route={route}|role={role}|"), count);
        };
        for (place, count) in self.passes.iter().enumerate() {
            let count = count.take();
            if count > 0 {
                requests("pass", Some(place / self.roles), Some(place % self.roles), count);
            }
        }
        for ((decision, cause, route, role), count) in self.refusals.borrow_mut().drain() {
            requests(decision, route, role, count);
            let cause = cause.replace(' ', "_");
            names.count(&format!("cosygate_edge_refusals_total|code={decision}|cause={cause}|"), count);
        }
        for ((active, shadow), count) in self.differences.borrow_mut().drain() {
            names.count(&format!("cosygate_edge_shadow_differences_total|active={active}|shadow={shadow}|"), count);
        }
    }
}

/// A text of the policy as a label's value.
pub(crate) fn label(text: &str) -> String {
    text.replace('|', "_")
}
