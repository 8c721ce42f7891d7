//! `/api/me/passkeys`: key pairs on devices of the user, as a second factor (WebAuthn).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use webauthn_rs::prelude::{PublicKeyCredential, RegisterPublicKeyCredential};

use crate::app::App;
use crate::caller::{Caller, LoggedIn};
use crate::clock::rfc3339;
use crate::fresh;
use crate::input::{JsonBody, ObjectId};
use crate::passkeys;
use crate::problem::Refusal;
use crate::second_factor::{self, Given};
use crate::store::Passkey;

/// The body of `POST` and `DELETE`: the password, and a second factor where there is one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProofBody {
    password: String,
    #[serde(default)]
    totp: Option<String>,
    #[serde(default)]
    recovery_code: Option<String>,
    #[serde(default)]
    passkey: Option<PublicKeyCredential>,
}

impl ProofBody {
    fn given(&self) -> Given<'_> {
        Given {
            totp: self.totp.as_deref(),
            recovery_code: self.recovery_code.as_deref(),
            passkey: self.passkey.as_ref(),
        }
    }
}

/// `GET`: one's own, the first made first.
pub(super) async fn list(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, Refusal> {
    let passkeys = app.store.passkeys().of_user(caller.user_id()).await?;
    Ok(Json(json!({ "passkeys": passkeys.iter().map(describe).collect::<Vec<_>>() })))
}

/// `POST`: what a device needs to make one. An account that has a second factor proves it, too:
/// otherwise a password would be enough to get round it.
pub(super) async fn offer(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    JsonBody(body): JsonBody<ProofBody>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let caller = login.caller();
    let user = fresh::confirm(&app, caller, "passkey_offer", &body.password).await?;
    second_factor::confirm(&app, caller, "passkey_offer", body.given()).await?;
    Ok((StatusCode::CREATED, Json(passkeys::offer(&app, &user).await?)))
}

/// The body of `POST …/confirm`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmBody {
    name: String,
    credential: RegisterPublicKeyCredential,
}

/// `POST …/confirm`: what the device made; from now on logins ask for a second factor. Recovery codes
/// are in this answer and nowhere else; none if there are some already.
pub(super) async fn confirm(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    JsonBody(body): JsonBody<ConfirmBody>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let (passkey, codes) = passkeys::add(&app, login.caller(), &body.name, &body.credential).await?;
    let mut answer = describe(&passkey);
    if let Some(members) = answer.as_object_mut() {
        members.insert("recovery_codes".to_owned(), json!(codes));
    }
    Ok((StatusCode::CREATED, Json(answer)))
}

/// `DELETE …/{id}`: removes one, against the password and a second factor, which may be that very one.
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    ObjectId(id): ObjectId,
    JsonBody(body): JsonBody<ProofBody>,
) -> Result<StatusCode, Refusal> {
    let caller = login.caller();
    fresh::confirm(&app, caller, "passkey_remove", &body.password).await?;
    let known = app.store.passkeys().of_user(caller.user_id()).await?;
    if known.iter().all(|passkey| passkey.id != id) {
        return Err(Refusal::not_found());
    }
    second_factor::confirm(&app, caller, "passkey_remove", body.given()).await?;
    let audit = caller.audit(&app.clock, "passkey_remove", "ok").on(&id);
    match app.store.of(caller).remove_passkey(&id, &audit).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Refusal::not_found()),
    }
}

fn describe(passkey: &Passkey) -> Value {
    json!({
        "id": passkey.id, "name": passkey.name,
        "created_at": rfc3339(passkey.created_at), "used_at": passkey.used_at.map(rfc3339),
    })
}

#[cfg(test)]
mod tests;
