//! Measurements side by side: the filter against Envoy's own filters doing the same job.
//!
//! A [`chains::Chains`] is one Envoy with one worker on one core, a port for each chain of
//! filters. [`load::run`] sends prepared requests from another core and reads what they cost
//! Envoy in processor time. [`checks`] comes first, so that nobody measures an open door.

/// Chains of filters, each behind a port of its own.
pub mod chains;
/// What every chain must let pass and refuse before it is measured.
pub mod checks;
/// One run of wrk, and the processor time it cost Envoy.
pub mod load;
/// One Envoy that is handed many policies.
pub mod memory;
/// Medians, as a table and as JSON.
pub mod report;
/// What cosygate adds to an engine.
pub mod speech;
/// Tokens, minted before anything is measured.
pub mod tokens;
