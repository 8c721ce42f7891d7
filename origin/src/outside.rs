//! Accounts of users who come with tokens of another issuer, where the policy wants them (`accounts`
//! of the issuer): made at the first request, listed, disabled and erased like others.
//!
//! Nothing is read for a user who is known. What is known holds for one serial of the control plane:
//! whoever disables or erases an account counts it up, so every origin looks again within a moment.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use gate::Code;
use gate::policy::Accounts;

use crate::app::App;
use crate::caller::Caller;
use crate::problem::Refusal;

/// How many users are remembered; then all are forgotten, and remembered anew.
const MOST: usize = 10_000;

/// What is remembered of users of other issuers.
#[derive(Default)]
pub struct Outsiders {
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Clone, Copy)]
struct Known {
    /// Of the control plane, from before it was read.
    serial: i64,
    is_disabled: bool,
}

impl Outsiders {
    /// Lets a caller pass, with an account from now on if the policy wants one.
    ///
    /// # Errors
    /// `token_revoked` if the account is disabled: the edge refuses only what was issued until then,
    /// and the issuer may go on issuing.
    pub async fn admit(&self, app: &App, caller: &Caller) -> Result<(), Refusal> {
        let policy = app.policy.now();
        let issuer = policy.document.issuers.iter().find(|issuer| issuer.issuer == caller.issuer());
        if issuer.is_none_or(|issuer| issuer.accounts != Accounts::FirstUse) {
            return Ok(());
        }
        let serial = app.policy.serial();
        let known = match self.recall(caller.user_id()).filter(|known| known.serial == serial) {
            Some(known) => known,
            None => {
                let known = Known { serial, is_disabled: look_up(app, caller).await? };
                self.remember(caller.user_id(), known);
                known
            }
        };
        match known.is_disabled {
            true => Err(Refusal::new(Code::TokenRevoked, "The account is disabled.")),
            false => Ok(()),
        }
    }

    fn recall(&self, user_id: &str) -> Option<Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(user_id).copied()
    }

    fn remember(&self, user_id: &str, known: Known) {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST && !all.contains_key(user_id) {
            all.clear();
        }
        all.insert(user_id.to_owned(), known);
    }
}

/// Whether the account is disabled; it is made if there is none.
async fn look_up(app: &App, caller: &Caller) -> Result<bool, Refusal> {
    if let Some(user) = app.store.accounts().by_id(caller.user_id()).await? {
        return Ok(user.disabled_at.is_some());
    }
    let audit = caller.audit(&app.clock, "first_use", "ok").on_user(caller.user_id());
    app.store.identities().first_use(caller.user_id(), caller.role(), &audit).await?;
    Ok(false)
}

#[cfg(test)]
mod tests;
