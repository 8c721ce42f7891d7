//! Who is calling. A [`Caller`] or an [`Edge`] comes only from an opened identity header, or from
//! the job that such a caller left behind, a [`LoggedIn`] or an [`Admin`] only from a [`Caller`];
//! handlers and the store take these permits instead of strings.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use gate::identity::Sealed;
use gate::{Code, Problem};

use crate::app::App;
use crate::clock::Clock;
use crate::problem::Refusal;
use crate::store::{AuditEntry, Personal};

/// The role that administers.
pub const ADMIN_ROLE: &str = "admin";

/// What is known of every request, whoever sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Names the request in logs, responses and the audit.
    pub request_id: String,
    /// When it came in, milliseconds since the epoch.
    pub started_ms: i64,
    /// The revision of the policy by which the edge let it pass; 0 if it did not come through one.
    pub policy_rev: u64,
    /// The client speaks TLS with the edge.
    pub is_secure: bool,
    /// The client's address, as the edge saw it; none if it did not say.
    pub address: Option<IpAddr>,
    /// The region of the edge; empty if it did not come through one.
    pub region: String,
}

/// A user whose identity the edge vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    user_id: String,
    issuer: String,
    role: String,
    session: Option<String>,
    visit: Visit,
}

/// A [`Caller`] who logged in here and came with a token of that login.
#[derive(Clone, Debug)]
pub struct LoggedIn {
    caller: Caller,
    login: String,
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
            via: self.via().into(),
            result,
            duration_ms: at.saturating_sub(self.started_ms),
            policy_rev: i64::try_from(self.policy_rev).unwrap_or(i64::MAX),
            personal: Personal { address: self.address.map(|address| address.to_string()), ..Personal::default() },
            ..AuditEntry::of_system(at, action)
        }
    }

    /// How it came, as the audit says it: by the edge of a region, or straight to the origin.
    fn via(&self) -> String {
        if self.region.is_empty() { "origin".to_owned() } else { format!("edge:{}", self.region) }
    }
}

impl Caller {
    /// The caller that an opened identity header names, if it names one.
    pub(crate) fn from_sealed(sealed: &Sealed<'_>, visit: &Visit) -> Option<Self> {
        let user_id = sealed.sub.as_deref().filter(|user_id| !user_id.is_empty())?.to_owned();
        Some(Self {
            user_id,
            issuer: sealed.sub_iss.as_deref().unwrap_or_default().to_owned(),
            role: sealed.role.as_deref().unwrap_or_default().to_owned(),
            session: sealed.sid.as_deref().map(str::to_owned),
            visit: visit.clone(),
        })
    }

    /// Whoever asked for a job, for the worker that has taken it.
    pub(crate) fn of_job(user_id: &str, role: &str, visit: Visit) -> Self {
        Self { user_id: user_id.to_owned(), issuer: String::new(), role: role.to_owned(), session: None, visit }
    }

    /// One id per user over all issuers.
    pub fn user_id(&self) -> &str {
        &self.user_id
    }

    /// Whose token it is.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The login that the token belongs to, if it says so.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
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

impl FromRequestParts<Arc<App>> for LoggedIn {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let is_ours = app.policy.now().own_issuer().is_some_and(|issuer| issuer.issuer == caller.issuer);
        let login = caller.session.clone().filter(|_| is_ours);
        let login = login.ok_or_else(|| Refusal::new(Code::RoleForbidden, "This needs a login of this server."))?;
        Ok(Self { caller, login })
    }
}

/// None where nobody is logged in, or not here.
impl OptionalFromRequestParts<Arc<App>> for LoggedIn {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Option<Self>, Refusal> {
        Ok(<Self as FromRequestParts<Arc<App>>>::from_request_parts(parts, app).await.ok())
    }
}

impl LoggedIn {
    /// The user behind the permit.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The login's id.
    pub fn login(&self) -> &str {
        &self.login
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
