//! The issuer of this server's tokens.

use serde::Serialize;
use serde_json::{Value, json};

use crate::keys::Ring;
use crate::signing::SigningJwk;
use crate::status_lists;
use crate::store::User;

/// What tokens of a login may be used for.
pub(crate) const SCOPE: &str = "speech";
/// The `typ` of our tokens (RFC 9068, section 2.1).
pub(crate) const TOKEN_TYPE: &str = "at+jwt";

/// Signs tokens.
pub struct Issuer(Ring);

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
    status: Value,
}

/// For whom and how long a token is made.
pub struct Grant<'a> {
    /// `iss`.
    pub issuer: &'a str,
    /// `aud`.
    pub audience: &'a str,
    /// Whose login it is.
    pub user: &'a User,
    /// The login's id.
    pub sid: &'a str,
    /// The token's own id.
    pub jti: &'a str,
    /// The token's place over all status lists.
    pub place: i64,
    /// When the user proved who they are, milliseconds since the epoch.
    pub authenticated_ms: i64,
    /// How long it holds, in seconds.
    pub lifetime_s: u64,
    /// When it is issued, milliseconds since the epoch.
    pub now_ms: i64,
}

impl Issuer {
    /// Signs with the active key of a ring.
    pub fn new(keys: Ring) -> Self {
        Self(keys)
    }

    /// The public keys as a JWK Set (RFC 7517, section 5).
    pub fn jwks(&self) -> Value {
        self.0.jwks()
    }

    /// The key that signs.
    pub fn key(&self) -> &SigningJwk {
        &self.0.active
    }

    /// A JWK Set to check policies with where the real keys are not at hand.
    pub fn sample_jwks() -> Value {
        json!({"keys": [SigningJwk::sample().public()]})
    }

    /// Makes an access token (RFC 9068).
    pub fn issue(&self, grant: &Grant<'_>) -> String {
        let seconds = |ms: i64| u64::try_from(ms / 1000).unwrap_or_default();
        let now_s = seconds(grant.now_ms);
        let claims = Claims {
            iss: grant.issuer,
            aud: grant.audience,
            sub: &grant.user.id,
            user_id: &grant.user.id,
            role: &grant.user.role,
            scope: SCOPE,
            sid: grant.sid,
            jti: grant.jti,
            auth_time: seconds(grant.authenticated_ms),
            iat: now_s,
            exp: now_s + grant.lifetime_s,
            status: status_lists::claim(grant.issuer, grant.place),
        };
        self.0.active.sign(TOKEN_TYPE, &claims)
    }
}
