//! The issuer of this server's tokens.

use gate::policy::OriginKeys;
use serde::Serialize;
use serde_json::{Value, json};

use crate::keys::Ring;
use crate::signing::SigningJwk;
use crate::status_lists;
use crate::store::User;

/// What tokens of a login may be used for.
pub(crate) const SCOPE: &str = "speech";
/// The `typ` of access tokens (RFC 9068, section 2.1).
pub(crate) const TOKEN_TYPE: &str = "at+jwt";
/// The `typ` of personal access tokens.
pub(crate) const PAT_TYPE: &str = "pat+jwt";

/// Signs tokens.
pub struct Issuer {
    logins: Ring,
    pats: Ring,
}

/// The claims of an access token (RFC 9068, section 2.2).
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    user_id: &'a str,
    role: &'a str,
    scope: &'a str,
    sid: &'a str,
    jti: &'a str,
    auth_time: u64,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Value>,
}

/// For whom and how long a token is made.
pub struct Grant<'a> {
    /// `iss`.
    pub issuer: &'a str,
    /// `aud`.
    pub audience: &'a str,
    /// Whose login it is.
    pub user: &'a User,
    /// `scope`.
    pub scope: &'a str,
    /// The id of the login, or of the personal access token.
    pub sid: &'a str,
    /// The token's own id.
    pub jti: &'a str,
    /// The token's place over all status lists, if it has one.
    pub place: Option<i64>,
    /// When the user proved who they are, milliseconds since the epoch.
    pub authenticated_ms: i64,
    /// How long it holds, in seconds.
    pub lifetime_s: u64,
    /// When it is issued, milliseconds since the epoch.
    pub now_ms: i64,
}

impl Issuer {
    /// Signs access tokens with the active key of one ring, and personal ones with that of another.
    pub fn new(logins: Ring, pats: Ring) -> Self {
        Self { logins, pats }
    }

    /// The public keys of access tokens as a JWK Set (RFC 7517, section 5).
    pub fn jwks(&self) -> Value {
        self.logins.jwks()
    }

    /// The key that signs access tokens.
    pub fn key(&self) -> &SigningJwk {
        &self.logins.active
    }

    /// The public keys that edges need.
    pub fn keys(&self) -> OriginKeys {
        OriginKeys { logins: self.logins.jwks(), pats: self.pats.jwks() }
    }

    /// Keys to check policies with where the real ones are not at hand.
    pub fn sample_keys() -> OriginKeys {
        let jwks = json!({"keys": [SigningJwk::sample().public()]});
        OriginKeys { logins: jwks.clone(), pats: jwks }
    }

    /// Makes an access token (RFC 9068).
    pub fn issue(&self, grant: &Grant<'_>) -> String {
        self.logins.active.sign(TOKEN_TYPE, &claims(grant))
    }

    /// Makes a personal access token.
    pub fn issue_pat(&self, grant: &Grant<'_>) -> String {
        self.pats.active.sign(PAT_TYPE, &claims(grant))
    }
}

fn claims<'a>(grant: &Grant<'a>) -> Claims<'a> {
    let seconds = |ms: i64| u64::try_from(ms / 1000).unwrap_or_default();
    Claims {
        iss: grant.issuer,
        aud: grant.audience,
        sub: &grant.user.id,
        user_id: &grant.user.id,
        role: &grant.user.role,
        scope: grant.scope,
        sid: grant.sid,
        jti: grant.jti,
        auth_time: seconds(grant.authenticated_ms),
        iat: seconds(grant.now_ms),
        exp: seconds(grant.now_ms) + grant.lifetime_s,
        status: grant.place.map(|place| status_lists::claim(grant.issuer, place)),
    }
}
