//! The filter: the shell around the gate that runs inside Envoy.
//!
//! It reads what Envoy gives, asks [`gate`], and does what the gate says. It decides nothing.

#![expect(missing_docs, reason = "the SDK's macro exports a function of its own")]

/// Following the control plane: one worker asks, all judge by what it gets.
mod control;
/// Signatures that the host verifies faster than this module could.
mod crypto;
/// Falling over, for tests.
#[cfg(feature = "faults")]
mod faults;
/// What a worker has drawn of fast limits and not spent yet.
mod held;
/// The host's functions; the only file that names one.
mod host;
/// One request: read, ask, obey.
mod http;
/// Keys that are fetched from an issuer, once for all workers.
mod keys;
/// What is counted.
mod metrics;
/// One configuration: read once, shared by every request.
mod root;
/// What all workers of an Envoy share.
mod shared;
/// What one worker keeps for itself, whichever configuration is in force.
mod worker;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(proxy_wasm::types::LogLevel::Info);
    gate::keys::verify_with(crypto::verifier);
    proxy_wasm::set_root_context(|context| Box::new(root::Root::new(context)));
}}
