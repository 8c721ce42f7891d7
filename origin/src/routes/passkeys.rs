//! `/api/me/passkeys`: key pairs on devices of the user, as a second factor (WebAuthn).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::NoContent;
use gate::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use webauthn_rs::prelude::RegisterPublicKeyCredential;

use super::proof::ProofBody;
use crate::app::App;
use crate::caller::{Caller, LoggedIn};
use crate::clock::Time;
use crate::fresh;
use crate::input::{JsonBody, ObjectId};
use crate::openapi::{About, Created, Section};
use crate::passkeys;
use crate::problem::Refusal;
use crate::second_factor;
use crate::store::Passkey;

/// One's own, the first made first.
#[derive(Serialize, JsonSchema)]
pub(super) struct PasskeyList {
    passkeys: Vec<PasskeyView>,
}

/// A passkey.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Passkey")]
pub(super) struct PasskeyView {
    id: String,
    name: String,
    created_at: Time,
    used_at: Option<Time>,
}

/// A new passkey.
#[derive(Serialize, JsonSchema)]
pub(super) struct NewPasskey {
    #[serde(flatten)]
    passkey: PasskeyView,
    /// Each is good for one login without any device; none if there are some already.
    recovery_codes: Vec<String>,
}

pub(super) const LIST: About = About::new(Section::Accounts, "Lists your passkeys");

/// `GET`: one's own, the first made first.
pub(super) async fn list(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<PasskeyList>, Refusal> {
    let passkeys = app.store.passkeys().of_user(caller.user_id()).await?;
    Ok(Json(PasskeyList { passkeys: passkeys.into_iter().map(view).collect() }))
}

pub(super) const OFFER: About =
    About::new(Section::Accounts, "Offers to make a passkey on this device").refuses(&[Code::Conflict, Code::NotFound]);

/// `POST`: what a device needs to make one. An account that has a second factor proves it, too:
/// otherwise a password would be enough to get round it.
pub(super) async fn offer(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    JsonBody(body): JsonBody<ProofBody>,
) -> Result<Created<Value>, Refusal> {
    let caller = login.caller();
    let user = fresh::confirm(&app, caller, "passkey_offer", &body.password).await?;
    second_factor::confirm(&app, caller, "passkey_offer", body.given()).await?;
    Ok(Created(passkeys::offer(&app, &user).await?))
}

/// The body of `POST …/confirm`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmBody {
    name: String,
    /// What the device made of the offer.
    #[schemars(with = "Map<String, Value>")]
    credential: RegisterPublicKeyCredential,
}

pub(super) const CONFIRM: About =
    About::new(Section::Accounts, "Keeps the passkey that the device made").refuses(&[Code::Conflict]);

/// `POST …/confirm`: what the device made; from now on logins ask for a second factor. Recovery codes
/// are in this answer and nowhere else; none if there are some already.
pub(super) async fn confirm(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    JsonBody(body): JsonBody<ConfirmBody>,
) -> Result<Created<NewPasskey>, Refusal> {
    let (passkey, codes) = passkeys::add(&app, login.caller(), &body.name, &body.credential).await?;
    Ok(Created(NewPasskey { passkey: view(passkey), recovery_codes: codes }))
}

pub(super) const REMOVE: About = About::new(Section::Accounts, "Removes a passkey");

/// `DELETE …/{id}`: removes one, against the password and a second factor, which may be that very one.
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    ObjectId(id): ObjectId,
    JsonBody(body): JsonBody<ProofBody>,
) -> Result<NoContent, Refusal> {
    let caller = login.caller();
    let known = app.store.passkeys().of_user(caller.user_id()).await?;
    if known.iter().all(|passkey| passkey.id != id) {
        return Err(Refusal::not_found());
    }
    fresh::confirm(&app, caller, "passkey_remove", &body.password).await?;
    second_factor::confirm(&app, caller, "passkey_remove", body.given()).await?;
    let audit = caller.audit(&app.clock, "passkey_remove", "ok").on(&id);
    match app.store.of(caller).remove_passkey(&id, &audit).await? {
        true => Ok(NoContent),
        false => Err(Refusal::not_found()),
    }
}

fn view(passkey: Passkey) -> PasskeyView {
    PasskeyView {
        id: passkey.id,
        name: passkey.name,
        created_at: Time(passkey.created_at),
        used_at: passkey.used_at.map(Time),
    }
}

#[cfg(test)]
mod tests;
