//! `/api/tokens`: personal access tokens, for programs that are configured with one.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::NoContent;
use gate::{Code, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::caller::LoggedIn;
use crate::clock::{Time, new_id};
use crate::input::{JsonBody, ObjectId};
use crate::issuer::{Grant, SCOPE};
use crate::logins::admitted;
use crate::openapi::{About, Created, Section};
use crate::problem::Refusal;
use crate::revocation::{self, Withdrawal};
use crate::second_factor::ENROL_ROLE;
use crate::store::{Added, Ended, PersonalToken, Whose};

/// The longest name, in characters.
const MAX_NAME: usize = 64;
/// How long a token holds at most, and if nothing else is said, in days.
const MAX_DAYS: u32 = 365;
const USUAL_DAYS: u32 = 90;
const DAY_S: u64 = 86_400;

/// The body of `POST`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    #[schemars(length(min = 1, max = MAX_NAME))]
    name: String,
    /// What it may be used for; all if absent.
    #[serde(default)]
    scopes: Option<Vec<String>>,
    #[serde(default)]
    #[schemars(range(min = 1, max = MAX_DAYS))]
    expires_in_days: Option<u32>,
}

/// Tokens that have not run out, the newest first.
#[derive(Serialize, JsonSchema)]
pub(super) struct Tokens {
    tokens: Vec<Token>,
}

/// A personal access token, as it is listed.
#[derive(Serialize, JsonSchema)]
struct Token {
    id: String,
    name: String,
    role: String,
    scopes: Vec<String>,
    created_at: Time,
    expires_at: Time,
    /// Up to two minutes late.
    used_at: Option<Time>,
    ended_at: Option<Time>,
    ended_why: Option<String>,
}

/// A new token.
#[derive(Serialize, JsonSchema)]
pub(super) struct NewToken {
    #[serde(flatten)]
    described: Token,
    /// The token itself. No other answer has it.
    token: String,
}

pub(super) const POST: About =
    About::new(Section::Accounts, "Makes a personal access token").refuses(&[Code::Conflict]);

/// `POST`: makes a token and shows it this once.
pub(super) async fn post(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    JsonBody(body): JsonBody<Body>,
) -> Result<Created<NewToken>, Refusal> {
    let caller = login.caller();
    let policy = app.policy.now();
    let issuer = policy.pat_issuer();
    let issuer =
        issuer.ok_or_else(|| Refusal::new(Code::RoleForbidden, "There are no personal access tokens here."))?;
    let (scope, days) = check(&body).map_err(|reason| Refusal::new(Code::RequestInvalid, reason))?;
    let revoked = || Problem::new(Code::TokenRevoked, "The account was changed. Log in again.");
    let (user, now_ms) = admitted(&app, caller.user_id()).await?.ok_or_else(revoked)?;
    if user.role == ENROL_ROLE {
        return Err(Refusal::new(Code::RoleForbidden, "Your role needs a second factor. Set it up first."));
    }
    let lifetime_s = (u64::from(days) * DAY_S).min(u64::from(issuer.max_lifetime_s));
    let token = PersonalToken {
        id: new_id(now_ms),
        user_id: user.id.clone(),
        issuer: issuer.issuer.clone(),
        name: body.name,
        role: user.role.clone(),
        scope,
        created_at: now_ms,
        expires_at: now_ms.saturating_add(i64::try_from(lifetime_s).unwrap_or(i64::MAX).saturating_mul(1000)),
        used_at: None,
        ended_at: None,
        ended_why: None,
    };
    let audit = caller.audit(&app.clock, "token_make", "ok").on(&token.id);
    let conflict = |reason: &str| Err(Refusal::new(Code::Conflict, reason));
    match app.store.of(caller).add_token(&token, &audit).await? {
        Added::Yes => {}
        Added::Overtaken => return Err(revoked().into()),
        Added::TooManyLive => return conflict("You have 20 tokens, as many as one may have. Delete one first."),
        Added::TooManyEnded => {
            return conflict(
                "You have deleted 20 tokens that have not run out yet. Wait for one, or keep those you have.",
            );
        }
    }
    let grant = Grant {
        issuer: &token.issuer,
        audience: issuer.audiences.first().map(String::as_str).unwrap_or_default(),
        user: &user,
        scope: &token.scope,
        // By this the origin, to which the edge hands on no `jti`, learns which one was used.
        sid: &token.id,
        jti: &token.id,
        // A list that tells of it would have to be named until the token's end.
        place: None,
        // Nobody proves who they are by such a token, so it is never recent enough for anything.
        authenticated_ms: 0,
        lifetime_s,
        now_ms,
    };
    let text = app.policy.issuer().issue_pat(&grant);
    Ok(Created(NewToken { token: text, described: describe(token) }))
}

/// Scopes and days of a new token, or what is wrong.
fn check(body: &Body) -> Result<(String, u32), String> {
    if !(1..=MAX_NAME).contains(&body.name.chars().count()) || body.name.chars().any(char::is_control) {
        return Err(format!("name must have 1 to {MAX_NAME} characters."));
    }
    let days = body.expires_in_days.unwrap_or(USUAL_DAYS);
    if !(1..=MAX_DAYS).contains(&days) {
        return Err(format!("expires_in_days must be 1 to {MAX_DAYS}."));
    }
    let Some(scopes) = &body.scopes else { return Ok((SCOPE.to_owned(), days)) };
    if let Some(unknown) = scopes.iter().find(|scope| SCOPE.split(' ').all(|known| known != **scope)) {
        let unknown: String = unknown.chars().take(MAX_NAME).collect();
        return Err(format!("there is no scope `{unknown}`; there is {SCOPE}."));
    }
    let wanted: Vec<&str> = SCOPE.split(' ').filter(|known| scopes.iter().any(|scope| scope == known)).collect();
    Ok((wanted.join(" "), days))
}

pub(super) const LIST: About = About::new(Section::Accounts, "Lists your personal access tokens");

/// `GET`: one's own that have not run out, those that were withdrawn too.
pub(super) async fn list(State(app): State<Arc<App>>, login: LoggedIn) -> Result<Json<Tokens>, Refusal> {
    let tokens = app.store.of(login.caller()).tokens(app.clock.now_ms()).await?;
    Ok(Json(Tokens { tokens: tokens.into_iter().map(describe).collect() }))
}

pub(super) const DELETE: About = About::new(Section::Accounts, "Withdraws a personal access token");

/// `DELETE` of one.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    ObjectId(id): ObjectId,
) -> Result<NoContent, Refusal> {
    let caller = login.caller();
    let reason = Ended::Owner.as_str();
    let withdrawal = Withdrawal { whose: Whose::Pat, subject: &id, author: caller.user_id(), reason };
    let record = revocation::record(withdrawal, &app.policy.now().document, app.clock.now_ms());
    let audit = caller.audit(&app.clock, "token_delete", "ok").on(&id);
    if !app.store.of(caller).end_token(&record.map_err(Refusal::internal)?, &audit).await? {
        return Err(Refusal::not_found());
    }
    app.policy.hurry();
    Ok(NoContent)
}

fn describe(token: PersonalToken) -> Token {
    Token {
        scopes: token.scope.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect(),
        id: token.id,
        name: token.name,
        role: token.role,
        created_at: Time(token.created_at),
        expires_at: Time(token.expires_at),
        used_at: token.used_at.map(Time),
        ended_at: token.ended_at.map(Time),
        ended_why: token.ended_why,
    }
}

#[cfg(test)]
mod tests;
