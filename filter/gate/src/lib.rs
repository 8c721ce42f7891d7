//! The gate: every decision of cosygate, as pure functions.
//!
//! Nothing here reads a clock, a file, the environment or the network. Time, secrets and random
//! ids are arguments, so one table of cases proves the same verdict natively, in node and inside
//! Envoy.
//!
//! ```text
//! judge(gate, cache, request, now) ─┬─► Verdict::Refuse(problem)
//!                                   ├─► Verdict::Preflight(headers)
//!                                   └─► Verdict::Pass ─┬─ charges ──► limit::spend(cell, charge, now)
//!                                                      └─ lease ────► flight::take(cell, key, …, now)
//! ```

/// The signed bundle in which the control plane hands an edge all that it judges by.
pub mod bundle;
/// A bounded memory of tokens that were already verified.
pub mod cache;
/// What a token says about its bearer, and whether that holds now.
pub mod claims;
/// Pages of other sites: what their browsers are told.
pub mod cors;
/// When to fetch an issuer's keys, and who does it.
pub mod fetch;
/// Requests under way, per user, as leases that end by themselves.
pub mod flight;
/// How the workers of an edge follow the control plane together.
pub mod follow;
/// Which headers a client may not send, and where its credential stands.
pub mod headers;
/// The sealed header with which the edge tells the origin who is calling.
pub mod identity;
/// JSON without the freedoms that make two readers disagree.
pub mod json;
/// Public keys and shared secrets, refused at load when they are weak.
pub mod keys;
/// Rate limits: the generic cell rate algorithm over a fixed number of slots.
pub mod limit;
/// The policy document and the tables that are compiled from it.
pub mod policy;
/// The one catalogue of refusals.
pub mod problem;
/// Which route a path takes; no route means no.
pub mod route;
/// Lists with a bit for each token, set once it is withdrawn.
pub mod status;
/// The compact serialisation of a signed token, read strictly.
pub mod token;
/// The judgement itself.
pub mod verdict;
/// Small records that all workers share.
mod words;

pub use policy::Gate;
pub use problem::{Code, Problem};
pub use verdict::{Pass, Refusal, Request, Verdict, judge};
