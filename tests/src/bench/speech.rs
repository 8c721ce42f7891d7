//! What cosygate adds to an engine: time, processor time and memory, measured from outside through
//! the real edge.

/// Beside nginx.
pub mod download;
/// An engine that always takes the same time.
pub mod engine;
/// Above the engine itself.
pub mod first_byte;
/// Idle, and with many who listen.
pub mod footprint;
/// Where everything runs, and what comes out.
pub mod place;
/// Behind a long queue of somebody else.
pub mod queue;
/// Generations a second, beside LiteLLM's proxy.
pub mod throughput;
