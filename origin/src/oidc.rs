//! Logging in with a provider of OpenID Connect (authorization code, PKCE, state, nonce).
//!
//! ```text
//! begin ──► provider ──code──► answer ──► identified ─┬─ to come in: the account that is linked, or a new one
//!   │ a sealed cookie            ▲                    │     ├─ has a second factor ──ticket──► its code
//!   └────────────────────────────┘                    │     └─ logged in
//!                                                     ├─ to link: the identity is the user's
//!                                                     └─ to step up: the login is as new as the proof
//! ```
//!
//! An identity is the provider's issuer and its subject there. Names and mail addresses say nothing:
//! providers hand them on.

/// What becomes of somebody who was identified.
mod arrival;
/// What a provider says of somebody.
mod claims;
/// The cookie.
mod flow;
/// Bounded requests.
mod http;
/// One provider.
mod provider;
/// The settings.
mod settings;

use axum::http::{HeaderMap, HeaderValue};
use gate::{Code, Problem};

use self::flow::{Flow, LASTS_MS, Purpose, Standing, Ticket};
use self::provider::Secrets;
use crate::app::App;
use crate::caller::{LoggedIn, Visit};
use crate::config::Settings;
use crate::hash::sha256_hex;
use crate::keys::Master;
use crate::logins::{self, Session};
use crate::passkeys::Asked;
use crate::problem::Refusal;
use crate::second_factor::{self, Given, Proof};

pub use self::provider::{Fault, Identified, Provider};
pub use self::settings::{OidcSettings, RoleSettings, SignUp, validate};

/// How long to stay away from a provider that does not answer, in seconds.
const RETRY_S: u32 = 5;
/// The longest code and the longest word of an answer, in bytes.
const MAX_ANSWER: usize = 4096;

/// All providers, and the key under which browsers keep where they are.
pub struct Providers {
    all: Vec<Provider>,
    vault: Master,
}

/// What a provider sends a browser back with (RFC 6749, section 4.1.2; RFC 9207).
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// What the question had.
    pub state: Option<String>,
    /// Stands for somebody.
    pub code: Option<String>,
    /// Why there is no code.
    pub error: Option<String>,
    /// From whom it is.
    pub iss: Option<String>,
}

/// What came of an answer.
pub enum Arrived {
    /// Logged in, or as good as logged in just now.
    In(Session),
    /// Proved again who they are.
    SteppedUp(Session),
    /// The second factor is missing; the cookie stands for the rest.
    NeedsCode(HeaderValue),
    /// The identity is the user's.
    Linked,
}

/// Why somebody did not come in, as a word that the page explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// They changed their mind at the provider.
    Cancelled,
    /// It took too long, began elsewhere, or was answered before.
    Expired,
    /// What the provider said does not hold.
    Failed,
    /// The provider cannot be asked now.
    Unavailable,
    /// Nobody has linked this identity, and no accounts are made.
    Closed,
    /// The account is disabled.
    Disabled,
    /// There is no role here for them.
    Role,
    /// The identity is somebody else's.
    Taken,
    /// There are too many identities already.
    Full,
    /// It is not the one who was logged in.
    Other,
}

/// Why an answer led nowhere.
pub enum Nowhere {
    /// Told on the page.
    Word(Word),
    /// Like any refused request.
    Refusal(Refusal),
}

impl Word {
    /// As it stands behind `#login=`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Failed => "failed",
            Self::Unavailable => "unavailable",
            Self::Closed => "closed",
            Self::Disabled => "disabled",
            Self::Role => "role",
            Self::Taken => "taken",
            Self::Full => "full",
            Self::Other => "other",
        }
    }
}

impl<E: Into<Refusal>> From<E> for Nowhere {
    fn from(error: E) -> Self {
        Self::Refusal(error.into())
    }
}

impl Providers {
    /// Asks none of them yet.
    ///
    /// # Errors
    /// What is wrong with one; checked settings have nothing wrong.
    pub fn new(settings: &Settings, master: &Master) -> Result<Self, String> {
        let all = settings.oidc.iter().map(|provider| Provider::new(provider.clone(), &settings.public_url));
        Ok(Self { all: all.collect::<Result<_, _>>()?, vault: master.child("logins with providers") })
    }

    /// In the order of the settings.
    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.all.iter()
    }

    /// The provider of this id.
    ///
    /// # Errors
    /// `not_found`.
    pub fn find(&self, id: &str) -> Result<&Provider, Refusal> {
        self.all.iter().find(|provider| provider.settings.id == id).ok_or_else(Refusal::not_found)
    }

    /// Who the providers are, exactly.
    pub fn issuers(&self) -> Vec<&str> {
        self.all.iter().map(|provider| provider.settings.issuer.as_str()).collect()
    }
}

/// Sends somebody to a provider to come in: the address, and the cookie that goes with it.
///
/// # Errors
/// `503 overloaded` if the provider does not answer.
pub async fn begin(app: &App, visit: &Visit, provider: &Provider) -> Result<(String, HeaderValue), Refusal> {
    go(app, visit, provider, Purpose::LogIn).await
}

/// Sends somebody who is logged in to a provider, so that they may come in with it from now on.
///
/// # Errors
/// As [`begin`].
pub async fn begin_link(app: &App, login: &LoggedIn, provider: &Provider) -> Result<(String, HeaderValue), Refusal> {
    go(app, login.caller().visit(), provider, Purpose::Link(standing(login))).await
}

/// Sends somebody who is logged in to a provider to prove again who they are.
///
/// # Errors
/// As [`begin`]; `request_invalid` if the account has a second factor, which counts in its place.
pub async fn begin_step_up(app: &App, login: &LoggedIn, provider: &Provider) -> Result<(String, HeaderValue), Refusal> {
    if second_factor::of_user(app, login.caller().user_id()).await?.is_some() {
        return Err(Refusal::new(Code::RequestInvalid, "code is missing: the account has a second factor."));
    }
    go(app, login.caller().visit(), provider, Purpose::StepUp(standing(login))).await
}

fn standing(login: &LoggedIn) -> Standing {
    Standing { user_id: login.caller().user_id().to_owned(), login: login.login().to_owned() }
}

async fn go(app: &App, visit: &Visit, provider: &Provider, purpose: Purpose) -> Result<(String, HeaderValue), Refusal> {
    let (secrets, now_ms) = (Secrets::new(), app.clock.now_ms());
    let again = matches!(purpose, Purpose::StepUp(_));
    let url = provider.question(&secrets, again, now_ms).await.map_err(|fault| away(provider, fault))?;
    let flow = Flow { provider: provider.settings.id.clone(), secrets, purpose, began_at: now_ms };
    Ok((url.into(), flow::cookie(app, &flow, visit.is_secure)?))
}

/// Takes what a provider sent a browser back with.
///
/// # Errors
/// A word for the page, or a refusal.
pub async fn answer(
    app: &App,
    visit: &Visit,
    headers: &HeaderMap,
    provider: &Provider,
    answer: &Answer,
) -> Result<Arrived, Nowhere> {
    let result = take(app, visit, headers, provider, answer).await;
    let label = match &result {
        Ok(_) => "ok",
        Err(Nowhere::Word(word)) => word.as_str(),
        Err(Nowhere::Refusal(refusal)) => refusal.problem.code.as_str(),
    };
    metrics::counter!("cosygate_provider_logins_total", "provider" => provider.settings.id.clone(), "result" => label)
        .increment(1);
    result
}

async fn take(
    app: &App,
    visit: &Visit,
    headers: &HeaderMap,
    provider: &Provider,
    answer: &Answer,
) -> Result<Arrived, Nowhere> {
    let now_ms = app.clock.now_ms();
    let word = |word| Err(Nowhere::Word(word));
    let flow: Option<Flow> = flow::in_cookie(app, headers, visit.is_secure, now_ms);
    let Some(flow) = flow.filter(|flow| flow.provider == provider.settings.id) else { return word(Word::Expired) };
    let state = answer.state.as_deref().unwrap_or_default();
    if !bool::from(subtle::ConstantTimeEq::ct_eq(state.as_bytes(), flow.secrets.state.as_bytes())) {
        return word(Word::Expired);
    }
    match provider.may_answer(answer.iss.as_deref(), now_ms).await {
        Ok(true) => {}
        Ok(false) => {
            return nowhere(app, visit, provider, Fault::Unsound("the answer of another issuer".to_owned())).await;
        }
        Err(fault) => return nowhere(app, visit, provider, fault).await,
    }
    let hash = sha256_hex(&[flow.secrets.state.as_bytes()]);
    if !app.store.identities().use_up(&hash, flow.began_at.saturating_add(LASTS_MS)).await? {
        return word(Word::Expired);
    }
    let code = match (&answer.code, answer.error.as_deref()) {
        (_, Some("access_denied")) => return word(Word::Cancelled),
        (_, Some("temporarily_unavailable" | "server_error")) => return word(Word::Unavailable),
        (Some(code), None) if (1..=MAX_ANSWER).contains(&code.len()) => code,
        _ => return nowhere(app, visit, provider, Fault::Unsound("an answer without a code".to_owned())).await,
    };
    match provider.identify(code, &flow.secrets, now_ms).await {
        Ok(identified) => arrival::of(app, visit, headers, provider, &flow, &identified).await,
        Err(fault) => nowhere(app, visit, provider, fault).await,
    }
}

/// What does not hold is audited; why is for the log alone.
async fn nowhere(app: &App, visit: &Visit, provider: &Provider, fault: Fault) -> Result<Arrived, Nowhere> {
    match fault {
        fault @ Fault::Away(_) => Err(Nowhere::Refusal(away(provider, fault))),
        Fault::Unsound(reason) => {
            tracing::warn!(provider = provider.settings.id, reason, "what a provider said does not hold");
            let audit = visit.audit(&app.clock, "login", "token_invalid").on(object(provider));
            app.store.audit(&audit).await?;
            Err(Nowhere::Word(Word::Failed))
        }
    }
}

/// How a provider stands in the audit.
fn object(provider: &Provider) -> String {
    format!("oidc {}", provider.settings.id)
}

/// The provider is not there; nobody's credentials are wrong.
fn away(provider: &Provider, fault: Fault) -> Refusal {
    let (Fault::Away(reason) | Fault::Unsound(reason)) = fault;
    let detail = format!("{} does not answer at the moment. Try again in {RETRY_S} seconds.", provider.settings.name);
    Refusal::from(Problem::new(Code::Overloaded, detail).retry_after(RETRY_S)).because(reason)
}

/// Ends a login that a provider vouches for, with the second factor of the account.
///
/// # Errors
/// As `POST /login`; `token_invalid` if there is no such login under way.
pub async fn finish(
    app: &App,
    visit: &Visit,
    headers: &HeaderMap,
    given: Given<'_>,
) -> Result<(Session, HeaderValue), Refusal> {
    let over = || Refusal::new(Code::TokenInvalid, "The login took too long. Begin again.");
    let now_ms = app.clock.now_ms();
    let ticket: Ticket = flow::in_cookie(app, headers, visit.is_secure, now_ms).ok_or_else(over)?;
    let audit = |result| visit.audit(&app.clock, "second_factor", result);
    let proof = second_factor::prove(app, &ticket.user_id, Asked::AtLogin, given, &audit).await?;
    if matches!(proof, Proof::Missing | Proof::Wrong) {
        return Err(second_factor::demand(app, &ticket.user_id, proof).await?);
    }
    let hash = sha256_hex(&[ticket.id.as_bytes()]);
    if !app.store.identities().use_up(&hash, ticket.began_at.saturating_add(LASTS_MS)).await? {
        return Err(over());
    }
    let (user, now_ms) = logins::admitted(app, &ticket.user_id).await?.ok_or_else(over)?;
    let session = logins::begin(app, visit, user_agent(headers), user, now_ms).await?;
    Ok((session, flow::no_cookie(visit.is_secure)?))
}

/// Takes the cookie back when a login has ended, well or not.
///
/// # Errors
/// Never.
pub fn no_cookie(visit: &Visit) -> Result<HeaderValue, Refusal> {
    flow::no_cookie(visit.is_secure)
}

fn user_agent(headers: &HeaderMap) -> &str {
    headers.get("user-agent").and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
