//! Who is calling. A [`Caller`] or an [`Edge`] comes only from an opened identity header, an
//! [`Admin`] only from a [`Caller`]; handlers and the store take these permits instead of strings.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use gate::identity::Sealed;
use gate::{Code, Problem};

use crate::clock::Clock;
use crate::problem::Refusal;
use crate::store::{AuditEntry, Personal};

/// The role that administers.
pub const ADMIN_ROLE: &str = "admin";

/// What is known of every request, whoever sent it.
#[derive(Clone, Debug)]
pub struct Visit {
    /// Names the request in logs, responses and the audit.
    pub request_id: String,
    /// When it came in, milliseconds since the epoch.
    pub started_ms: i64,
    /// The revision of the policy by which the edge let it pass; 0 if it did not come through one.
    pub policy_rev: u64,
    /// The client speaks TLS with the edge.
    pub is_secure: bool,
    /// The edge that let it pass, `edge:<region>`; `origin` if none did.
    pub via: String,
    /// The client's address as the edge saw it.
    pub address: Option<String>,
}

/// A user whose identity the edge vouches for.
#[derive(Clone, Debug)]
pub struct Caller {
    user_id: String,
    role: String,
    visit: Visit,
}

/// An edge that asks on its own behalf.
#[derive(Clone, Debug)]
pub struct Edge {
    region: String,
}

/// A [`Caller`] who administers.
#[derive(Clone, Debug)]
pub struct Admin(Caller);

impl Visit {
    /// An audit row about this request as it stands now, without a user.
    pub fn audit(&self, clock: &Clock, action: &'static str, result: &'static str) -> AuditEntry {
        let at = clock.now_ms();
        AuditEntry {
            request_id: self.request_id.clone(),
            via: self.via.clone().into(),
            result,
            duration_ms: at.saturating_sub(self.started_ms),
            policy_rev: i64::try_from(self.policy_rev).unwrap_or(i64::MAX),
            personal: Personal { address: self.address.clone(), ..Personal::default() },
            ..AuditEntry::of_system(at, action)
        }
    }
}

impl Caller {
    /// The caller that an opened identity header names, if it names one.
    pub(crate) fn from_sealed(sealed: &Sealed<'_>, visit: &Visit) -> Option<Self> {
        let user_id = sealed.sub.as_deref().filter(|user_id| !user_id.is_empty())?.to_owned();
        Some(Self { user_id, role: sealed.role.as_deref().unwrap_or_default().to_owned(), visit: visit.clone() })
    }

    /// One id per user over all issuers.
    pub fn user_id(&self) -> &str {
        &self.user_id
    }

    /// The role that the edge judged by.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The request.
    pub fn visit(&self) -> &Visit {
        &self.visit
    }

    /// An audit row about this request as it stands now.
    pub fn audit(&self, clock: &Clock, action: &'static str, result: &'static str) -> AuditEntry {
        AuditEntry { user_id: Some(self.user_id.clone()), ..self.visit.audit(clock, action, result) }
    }
}

impl Edge {
    /// The edge that sealed this.
    pub(crate) fn from_sealed(sealed: &Sealed<'_>) -> Option<Self> {
        Some(Self { region: sealed.iss.strip_prefix("edge:")?.to_owned() })
    }

    /// Where it stands.
    pub fn region(&self) -> &str {
        &self.region
    }
}

impl<S: Sync> FromRequestParts<S> for Edge {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        parts.extensions.get::<Self>().cloned().ok_or_else(Refusal::not_found)
    }
}

impl<S: Sync> FromRequestParts<S> for Visit {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Refusal::internal("a request without a visit"))
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let missing = || Problem::new(Code::TokenMissing, "Log in first: this needs a token.");
        Ok(parts.extensions.get::<Self>().cloned().ok_or_else(missing)?)
    }
}

impl<S: Sync> FromRequestParts<S> for Admin {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let caller = Caller::from_request_parts(parts, state).await?;
        if caller.role != ADMIN_ROLE {
            return Err(Refusal::new(Code::RoleForbidden, "Your role does not reach this."));
        }
        Ok(Self(caller))
    }
}

impl Admin {
    /// The user behind the permit.
    pub fn caller(&self) -> &Caller {
        &self.0
    }
}
