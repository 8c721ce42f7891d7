//! The sealed header with which the edge tells the origin who is calling.
//!
//! `x-cosygate-identity` is a compact JWS (RFC 7515) under a key that only edge and origin hold.
//! It is bound to one method and one target, lives for seconds and has an id of its own, so a
//! copy of it is of no use anywhere else. Requests on public routes carry one too, without a
//! subject: it proves that they came through the edge.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The keys, and what is done with them.
mod ring;

pub use ring::{Begun, KeyRing, OpenError};

/// The header's name.
pub const HEADER: &str = "x-cosygate-identity";
/// Its audience, when an edge hands on a request.
pub const AUDIENCE: &str = "origin";
/// Its audience, when an edge asks on its own behalf. What comes from a client never has it.
pub const CONTROL_AUDIENCE: &str = "control";
/// How far the clocks of edge and origin may differ, in seconds.
pub const CLOCK_SKEW_S: u64 = 5;

/// What the edge vouches for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed<'a> {
    /// `edge:<region>`.
    pub iss: Cow<'a, str>,
    /// [`AUDIENCE`] or [`CONTROL_AUDIENCE`].
    pub aud: Cow<'a, str>,
    /// The user id; absent on public routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<Cow<'a, str>>,
    /// The issuer of the user's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_iss: Option<Cow<'a, str>>,
    /// The user's role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Cow<'a, str>>,
    /// The token's scopes, with spaces between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Cow<'a, str>>,
    /// The login that the token belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<Cow<'a, str>>,
    /// When the user last proved who they are, seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<u64>,
    /// The revision of the policy that let the request pass.
    pub rev: u64,
    /// One-time id.
    pub jti: Cow<'a, str>,
    /// Issued at, seconds since the epoch.
    pub iat: u64,
    /// Expires at, seconds since the epoch.
    pub exp: u64,
    /// The request's method.
    pub htm: Cow<'a, str>,
    /// The request's path and query.
    pub htu: Cow<'a, str>,
}

/// The claims of [`Sealed`] that are the same for every request of one token under one policy.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "each is the claim of the same name in `Sealed`")]
pub struct Lasting<'a> {
    pub iss: &'a str,
    pub aud: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<u64>,
    pub rev: u64,
}

/// The claims of [`Sealed`] that belong to one request.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "each is the claim of the same name in `Sealed`")]
pub struct Passing<'a> {
    pub jti: &'a str,
    pub iat: u64,
    pub exp: u64,
    pub htm: &'a str,
    pub htu: &'a str,
}

impl Sealed<'_> {
    fn lasting(&self) -> Lasting<'_> {
        Lasting {
            iss: &self.iss,
            aud: &self.aud,
            sub: self.sub.as_deref(),
            sub_iss: self.sub_iss.as_deref(),
            role: self.role.as_deref(),
            scope: self.scope.as_deref(),
            sid: self.sid.as_deref(),
            auth_time: self.auth_time,
            rev: self.rev,
        }
    }

    fn passing(&self) -> Passing<'_> {
        Passing { jti: &self.jti, iat: self.iat, exp: self.exp, htm: &self.htm, htu: &self.htu }
    }
}

#[cfg(test)]
mod tests;
