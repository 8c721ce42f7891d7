//! Proof from outside: what the tests share.
//!
//! Nothing here looks inside the product. A [`world::World`] is the real binary behind the real
//! Envoy; an [`edge::Edge`] alone stands before an [`echo`]; the stub engine fails as the real
//! speech server fails.

/// The routes as the server describes them.
pub mod api;
/// What an attacker sends, and what becomes of it.
pub mod attack;
/// Measurements side by side.
pub mod bench;
/// Bundles as a control plane makes them.
pub mod bundle;
/// An origin that answers with what it received.
pub mod echo;
/// A real Envoy with the real filter.
pub mod edge;
/// Programs that a test starts, and that never outlive it.
pub mod process;
/// An origin that does what a test tells it.
pub mod scripted;
/// A stand-in for the CosyVoice server, down to its ways of failing.
pub mod stub_engine;
/// Origin and edge together.
pub mod world;
