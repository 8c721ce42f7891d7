//! Who may issue tokens, and what they look like.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RequestRate;
use crate::keys::Algorithm;

/// One issuer of tokens, known by the exact text of `iss`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Issuer {
    /// Compared with `iss` byte for byte.
    pub issuer: String,
    /// At least one of these must stand in `aud`.
    pub audiences: Vec<String>,
    /// The only algorithms that are tried for this issuer. Symmetric and public-key algorithms
    /// never stand together.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys come from.
    pub keys: KeySource,
    /// Under which names it states its claims.
    #[serde(default)]
    pub claims: ClaimNames,
    /// Which of our roles a role of theirs is, in order of precedence: the first one that the
    /// token has counts. If absent, the token states one of our roles by its own name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<RoleMapping>,
    /// Claims that every token must have, whatever they say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
    /// Put before the subject to form the user id, so that one subject of two issuers is two
    /// users: `partner` makes `partner:42`. At most one issuer may go without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_prefix: Option<String>,
    /// The issuer whose users its subjects are, by its name: both then have the same
    /// `user_prefix`, or none, and one subject of both is one user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users_of: Option<String>,
    /// Whether its users have accounts at the origin, where they are listed and can be disabled. The
    /// edge does not look at it.
    #[serde(default, skip_serializing_if = "Accounts::is_none")]
    pub accounts: Accounts,
    /// How far clocks may differ, in seconds, at most 60.
    #[serde(default = "default_clock_skew_s")]
    pub clock_skew_s: u32,
    /// The longest accepted time from issue to expiry, in seconds.
    #[serde(default = "default_max_lifetime_s")]
    pub max_lifetime_s: u32,
    /// Accepted values of the header `typ` (RFC 9068, section 2.1).
    #[serde(default = "default_types")]
    pub types: Vec<String>,
    /// What all users of this issuer together may ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestRate>,
}

/// Where an issuer's keys come from: exactly one of `jwks`, `jwks_path`, `secret_env` and `from`.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KeySource {
    /// The public keys themselves, as a JWK Set (RFC 7517).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
    /// The path and query at which the edge fetches a JWK Set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_path: Option<String>,
    /// The cluster of the edge's Envoy that answers to `jwks_path`. No address ever comes from a
    /// token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The host that is asked for; if absent, the cluster's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// How often fetched keys are fetched again, in seconds; 10 to 86 400, 300 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_s: Option<u32>,
    /// How old fetched keys may become while they cannot be fetched again, in seconds; at least
    /// `refresh_s`, 86 400 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_stale_s: Option<u32>,
    /// The name of an environment variable with a shared secret of at least 32 bytes, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// `origin`, `origin_pat`: the keys of this cosygate. The control plane puts them in place of
    /// this word whenever it hands the policy to an edge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<KeysFrom>,
}

/// A place that the control plane knows to take keys from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum KeysFrom {
    /// Those that sign the access tokens of logins.
    Origin,
    /// Those that sign personal access tokens.
    OriginPat,
}

/// The origin's own public keys, each a JWK Set (RFC 7517, section 5).
#[derive(Clone, Debug)]
pub struct OriginKeys {
    /// Those that sign the access tokens of logins.
    pub logins: Value,
    /// Those that sign personal access tokens.
    pub pats: Value,
}

impl OriginKeys {
    /// The keys that a word of the policy means.
    pub fn of(&self, from: KeysFrom) -> &Value {
        match from {
            KeysFrom::Origin => &self.logins,
            KeysFrom::OriginPat => &self.pats,
        }
    }
}

/// Whether users of an issuer have accounts at the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Accounts {
    /// Their token is all there is.
    #[default]
    None,
    /// One is made at the first request.
    FirstUse,
}

impl Accounts {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// One role of an issuer and what it is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RoleMapping {
    /// As the token states it.
    pub from: String,
    /// One of `roles`.
    pub to: String,
}

/// Under which names an issuer states its claims. A name that no claim has is read as a path with
/// dots between: `realm_access.roles`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClaimNames {
    /// Who.
    pub subject: String,
    /// The role: one string, or a list when `roles` says what to make of it.
    pub role: String,
    /// Scopes: one string with spaces between (RFC 9068, section 2.2.3) or an array.
    pub scopes: String,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self { subject: "sub".to_owned(), role: "role".to_owned(), scopes: "scope".to_owned() }
    }
}

fn default_clock_skew_s() -> u32 {
    30
}

fn default_max_lifetime_s() -> u32 {
    7200
}

fn default_types() -> Vec<String> {
    vec!["at+jwt".to_owned(), "JWT".to_owned()]
}
