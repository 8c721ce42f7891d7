//! Proving to be the owner of an account for one action that cannot be taken back lightly.

use gate::{Code, Problem};

use crate::app::App;
use crate::caller::Caller;
use crate::guessing;
use crate::problem::Refusal;
use crate::store::User;

/// How long ago whoever has no password must have proved who they are, in milliseconds.
const FRESH_MS: i64 = 5 * 60 * 1000;

/// The account of a caller who proves to be its owner: by the password, or, where the account has
/// none, by a login or a step-up of the last five minutes. `action` names in the audit what for.
///
/// # Errors
/// As [`guessing::confirm`]; `401 step_up_required` if there is no password and the login is older.
pub async fn confirm(app: &App, caller: &Caller, action: &'static str, password: &str) -> Result<User, Refusal> {
    let user = app.store.accounts().by_id(caller.user_id()).await?;
    match user.filter(|user| user.password().is_none()) {
        None => guessing::confirm(app, caller, action, password).await,
        Some(user) if user.disabled_at.is_none() && is_fresh(app, caller).await? => Ok(user),
        Some(_) => Err(stale()),
    }
}

/// What the database knows of the login counts, not what a token says of it.
async fn is_fresh(app: &App, caller: &Caller) -> Result<bool, Refusal> {
    let Some(id) = caller.session() else { return Ok(false) };
    let login = app.store.logins().by_id(id).await?;
    let login = login.filter(|login| login.user_id == caller.user_id() && login.ended_at.is_none());
    let proved_at = login.map(|login| login.authenticated_at.unwrap_or(login.created_at));
    Ok(proved_at.is_some_and(|at| app.clock.now_ms().saturating_sub(at) <= FRESH_MS))
}

/// The challenge names how recent (RFC 9470, section 3).
fn stale() -> Refusal {
    let challenge = format!(
        "Bearer realm=\"cosygate\", error=\"insufficient_user_authentication\", \
         error_description=\"a more recent login is needed\", max_age=\"{}\"",
        FRESH_MS / 1000
    );
    let detail = "This account has no password. Prove again who you are, at its provider or by a code.";
    Problem::new(Code::StepUpRequired, detail).challenge(challenge).into()
}
