//! The signed bundle in which the control plane hands an edge all that it judges by.
//!
//! A compact JWS (RFC 7515) under one of the root keys that stand in the edge's configuration. An
//! edge takes a bundle only if it is for its region, has not run out and is newer than what the
//! edge has; so neither a copy of an older one nor one for another region is of any use.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::identity::CLOCK_SKEW_S;
use crate::json;
use crate::keys::{Algorithm, KeySet};
use crate::policy::{FailureMode, Gate, Revocation};
use crate::problem::{Code, Problem};
use crate::status::MAX_LISTS;
use crate::token;

/// The largest bundle that is looked at, in bytes.
pub const MAX_BUNDLE_BYTES: usize = 1024 * 1024;
/// The `typ` of its header.
pub const TYPE: &str = "cosygate-bundle+jwt";
/// The `iss` of every bundle.
pub const ISSUER: &str = "cosygate";

/// What a bundle says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Always [`ISSUER`].
    pub iss: String,
    /// `edge:<region>`.
    pub aud: String,
    /// When it was signed, seconds since the epoch.
    pub iat: u64,
    /// Until when an edge may judge by it, seconds since the epoch.
    pub exp: u64,
    /// Counts up with every change of policy, keys or revocations.
    pub serial: u64,
    /// Names this bundle; the `ETag` (RFC 9110, section 8.8.3) under which it is fetched.
    pub jti: String,
    /// Revision of the policy.
    pub rev: u64,
    /// The text of the policy, with the origin's keys in it. What is the same text is the same
    /// policy.
    pub policy: Box<RawValue>,
    /// Tokens that were withdrawn, beside those of the policy.
    #[serde(default)]
    pub revocation: Revocation,
    /// The status lists that have a bit set, and the serial of the control plane that each has to
    /// know of at least.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lists: BTreeMap<String, u64>,
}

/// Which of two bundles is the newer one. The same content is signed again before it runs out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Counts up with every change.
    pub serial: u64,
    /// When it was signed, seconds since the epoch.
    pub iat: u64,
}

/// Why a bundle is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Refused {
    /// A word or two from a fixed set, for counting.
    pub reason: &'static str,
    /// What exactly.
    pub detail: String,
}

fn refused(reason: &'static str, detail: impl Into<String>) -> Refused {
    Refused { reason, detail: detail.into() }
}

/// The audience of a region's edges.
pub fn audience(region: &str) -> String {
    format!("edge:{region}")
}

/// Reads a bundle that one of the `roots` signed for `region`. Whether it is new enough is
/// [`Bundle::check`]'s to say.
///
/// # Errors
/// Its size, form, signature or audience.
pub fn open(text: &[u8], roots: &KeySet, region: &str) -> Result<Bundle, Refused> {
    let (payload, _) = signed_object(text, MAX_BUNDLE_BYTES, TYPE, roots)?;
    let bundle: Bundle = serde_json::from_slice(&payload).map_err(|error| refused("malformed", error.to_string()))?;
    if bundle.iss != ISSUER || bundle.aud != audience(region) {
        return Err(refused("audience", format!("it is for {}", bundle.aud)));
    }
    if bundle.lists.len() > MAX_LISTS {
        return Err(refused("malformed", format!("it names {} status lists", bundle.lists.len())));
    }
    Ok(bundle)
}

/// The payload of a compact JWS of at most `most` bytes and of this `kind` that one of the `roots`
/// signed: one strict JSON object, as text and as it was read.
pub(crate) fn signed_object(
    text: &[u8],
    most: usize,
    kind: &str,
    roots: &KeySet,
) -> Result<(Vec<u8>, Map<String, Value>), Refused> {
    if text.len() > most {
        return Err(refused("too large", format!("{} bytes; at most {most} are read", text.len())));
    }
    let malformed = |detail: &str| refused("malformed", detail);
    let text = std::str::from_utf8(text).map_err(|_| malformed("it is no text"))?;
    let jws = token::parse_up_to(text.trim_end(), most).map_err(malformed)?;
    if jws.kind.as_deref() != Some(kind) || jws.algorithm != Algorithm::EdDSA {
        return Err(malformed("it is something else"));
    }
    if !roots.verify(Algorithm::EdDSA, jws.key_id.as_deref(), jws.signed, &jws.signature) {
        return Err(refused("signature", "no root key signed it"));
    }
    let object = json::object(&jws.payload).map_err(|error| malformed(&error.to_string()))?;
    Ok((jws.payload, object))
}

impl Bundle {
    /// Its place in time.
    pub fn version(&self) -> Version {
        Version { serial: self.serial, iat: self.iat }
    }

    /// Whether an edge that has `newest` may take it at `now` (seconds).
    ///
    /// # Errors
    /// It is older, or it has run out.
    pub fn check(&self, newest: Version, now: u64) -> Result<(), Refused> {
        if self.version() < newest {
            return Err(refused("older", format!("serial {} after {}", self.serial, newest.serial)));
        }
        if now >= self.exp {
            return Err(refused("expired", format!("at {}", self.exp)));
        }
        Ok(())
    }
}

/// How far an edge can rely on what it judges by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// When the policy runs out, seconds since the epoch.
    pub expires_at: u64,
    /// Whether this edge has heard of the control plane since it was started. Before that it may
    /// not know of tokens that were withdrawn meanwhile.
    pub is_caught_up: bool,
    /// How far this edge's clock is ahead of the control plane's, in seconds; negative if it is
    /// behind.
    pub clock_offset_s: i64,
}

impl Default for Standing {
    /// A policy that nobody follows stands as it is.
    fn default() -> Self {
        Self { expires_at: u64::MAX, is_caught_up: true, clock_offset_s: 0 }
    }
}

impl Standing {
    /// Whether the time is known well enough to judge by it. An origin refuses what is sealed at
    /// another time than its own.
    pub fn is_clock_sound(self) -> bool {
        self.clock_offset_s.unsigned_abs() <= CLOCK_SKEW_S
    }

    /// Whether anything at all may be judged at `now` (seconds).
    pub(crate) fn check_policy(self, gate: &Gate, now: u64) -> Result<(), Problem> {
        if !self.is_clock_sound() {
            return Err(unavailable("the clock is wrong"));
        }
        if now >= self.expires_at && gate.failure.policy == FailureMode::Deny {
            return Err(unavailable("the policy has run out"));
        }
        Ok(())
    }

    /// Whether it is known which tokens were withdrawn.
    pub(crate) fn check_revocations(self, gate: &Gate) -> Result<(), Problem> {
        if !self.is_caught_up && gate.failure.revocation == FailureMode::Deny {
            return Err(unavailable("revocations are not known yet"));
        }
        Ok(())
    }
}

fn unavailable(cause: &'static str) -> Problem {
    Problem::new(Code::PolicyUnavailable, "The policy is not at hand right now.").because(cause).retry_after(2)
}

#[cfg(test)]
mod tests;
