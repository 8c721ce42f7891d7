//! The origin: logs users in, wraps the speech engine and keeps what belongs to each user apart.
//!
//! ```text
//! edge ──► answer ──► seal ──► routes ──► speech ──► queue ──► jobs ──► engine
//!                       │                   │                   └──► blobs.of(&caller)
//!                       └─► Caller          └──► store.of(&caller)
//! ```

/// Names and passwords.
pub mod accounts;
/// The outermost layer: request ids, problems, headers, one log line.
pub mod answer;
/// Putting the parts together, serving, stopping.
pub mod app;
/// Several outputs as one file.
pub mod archive;
/// Audio files: decoding, measuring, encoding.
pub mod audio;
/// Checkpoints of the audit, and its verifier.
pub mod audit;
/// Backups, and putting them back.
pub mod backup;
/// Audio on disk.
pub mod blobs;
/// Whether what was charged is what was delivered.
pub mod books;
/// What edges are handed.
pub mod bundles;
/// Who is calling.
pub mod caller;
/// The time, and how times and ids are written.
pub mod clock;
/// Settings.
pub mod config;
/// Days begin where the user is.
pub mod days;
/// The file that the edge is started with.
pub mod edge_config;
/// Speech engines.
pub mod engine;
/// Files that are there whole or not at all.
pub mod files;
/// Forms with files.
pub mod form;
/// Proving to be the owner, with a password or without.
pub mod fresh;
/// How often passwords may be guessed.
pub mod guessing;
/// SHA-256 as text.
pub mod hash;
/// What handlers read: bodies, queries, ids.
pub mod input;
/// Secrets that let somebody in: invitations and resets.
pub mod invitations;
/// Tokens and the key that signs them.
pub mod issuer;
/// Who works on the queue.
pub mod jobs;
/// The keys that origins share.
pub mod keys;
/// Bodies that nobody read to their end.
pub mod leftover;
/// Logins, and how they are renewed.
pub mod logins;
/// `/metrics`, `/healthz`, `/readyz`.
pub mod metrics_listener;
/// Logging in with providers of OpenID Connect.
pub mod oidc;
/// The dialect of `/v1`.
pub mod openai;
/// The description of the API, made of the handlers.
pub mod openapi;
/// Accounts of users of other issuers.
pub mod outside;
/// Key pairs on devices of users (WebAuthn).
pub mod passkeys;
/// The control plane: the policy and its revisions.
pub mod policy;
/// Exporting and erasing what is a user's.
pub mod privacy;
/// How a handler refuses.
pub mod problem;
/// What is left of the caller's day, told to the edge.
pub mod quota;
/// Files whole or in part.
pub mod ranges;
/// Withdrawing tokens before their time.
pub mod revocation;
/// The whole API on one screen.
pub mod routes;
/// The door: only what an edge sealed comes in.
pub mod seal;
/// One-time codes and passkeys beside the password.
pub mod second_factor;
/// Links to outputs for people without an account.
pub mod shares;
/// Ed25519 keys and what is signed with them.
pub mod signing;
/// From a wish to a job, and from its end to an answer.
pub mod speech;
/// Which single tokens were withdrawn, a bit for each.
pub mod status_lists;
/// What is remembered.
pub mod store;
/// What tests of routes need.
#[cfg(test)]
mod test_app;
/// HTTP clients that speak TLS.
pub mod tls;
/// A policy on trial at some edges.
pub mod trial;
/// The housekeeper.
pub mod upkeep;
/// Voices that users made of recordings.
pub mod voices;
