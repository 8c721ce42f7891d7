//! `/api/me/totp`: the second factor, one-time codes of an authenticator app (RFC 6238).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::NoContent;
use gate::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::proof::ProofBody;
use crate::app::App;
use crate::caller::LoggedIn;
use crate::fresh;
use crate::input::JsonBody;
use crate::openapi::{About, Created, Section};
use crate::problem::Refusal;
use crate::second_factor;
use crate::store::Confirmed;

/// A secret for an authenticator app.
#[derive(Serialize, JsonSchema)]
pub(super) struct TotpOffer {
    secret: String,
    otpauth_url: String,
    qr_svg: String,
}

pub(super) const OFFER: About = About::new(Section::Accounts, "Offers a secret for an authenticator app")
    .refuses(&[Code::Conflict, Code::NotFound]);

/// `POST`: makes a secret and shows it this once. It counts as soon as a code of it was sent to
/// `confirm`. An account that has passkeys proves one of them, too: otherwise a password would be
/// enough to get round them. `409 conflict` when there are one-time codes already.
pub(super) async fn offer(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    JsonBody(body): JsonBody<ProofBody>,
) -> Result<Created<TotpOffer>, Refusal> {
    let caller = login.caller();
    let user = fresh::confirm(&app, caller, "second_factor_offer", &body.password).await?;
    let conflict = || Refusal::new(Code::Conflict, "You have one-time codes. Remove them first.");
    if app.store.second_factors().factors(&user.id).await?.totp_since.is_some() {
        return Err(conflict());
    }
    second_factor::confirm(&app, caller, "second_factor_offer", body.given()).await?;
    let offer = second_factor::offer(&app, &user)?;
    let audit = caller.audit(&app.clock, "second_factor_offer", "ok");
    if !app.store.of(caller).offer_second_factor(&offer.sealed, &audit).await? {
        return Err(conflict());
    }
    Ok(Created(TotpOffer { secret: offer.secret, otpauth_url: offer.url, qr_svg: offer.qr_svg }))
}

/// The body of `POST …/confirm`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmBody {
    totp: String,
}

/// Each is good for one login without the app.
#[derive(Serialize, JsonSchema)]
pub(super) struct RecoveryCodes {
    recovery_codes: Vec<String>,
}

pub(super) const CONFIRM: About =
    About::new(Section::Accounts, "Confirms the secret by its first code").refuses(&[Code::Conflict]);

/// `POST …/confirm`: a code of the new secret; from now on logins ask for one. Recovery codes are in
/// this answer and nowhere else; none if there are some already.
pub(super) async fn confirm(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    JsonBody(body): JsonBody<ConfirmBody>,
) -> Result<Json<RecoveryCodes>, Refusal> {
    let caller = login.caller();
    let conflict = || Refusal::new(Code::Conflict, "There is no secret that waits for its first code.");
    let factor = app.store.second_factors().of_user(caller.user_id()).await?.ok_or_else(conflict)?;
    let refused = |result| caller.audit(&app.clock, "second_factor_set", result);
    let step = second_factor::first_step(&app, caller.user_id(), &factor, &body.totp, &refused).await?;
    let (codes, hashes) = second_factor::recovery_codes();
    let audit = caller.audit(&app.clock, "second_factor_set", "ok");
    match app.store.of(caller).confirm_second_factor(&factor.sealed, step, &hashes, &audit).await? {
        Confirmed::Yes { codes: true } => Ok(Json(RecoveryCodes { recovery_codes: codes })),
        Confirmed::Yes { codes: false } => Ok(Json(RecoveryCodes { recovery_codes: Vec::new() })),
        Confirmed::No => Err(conflict()),
    }
}

pub(super) const REMOVE: About = About::new(Section::Accounts, "Removes the second factor").refuses(&[Code::NotFound]);

/// `DELETE`: removes it, against the password and a code, a passkey or a recovery code.
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    JsonBody(body): JsonBody<ProofBody>,
) -> Result<NoContent, Refusal> {
    let caller = login.caller();
    fresh::confirm(&app, caller, "second_factor_remove", &body.password).await?;
    if app.store.second_factors().factors(caller.user_id()).await?.totp_since.is_none() {
        return Err(Refusal::not_found());
    }
    second_factor::confirm(&app, caller, "second_factor_remove", body.given()).await?;
    let audit = caller.audit(&app.clock, "second_factor_remove", "ok");
    app.store.second_factors().remove(caller.user_id(), &audit).await?;
    Ok(NoContent)
}

#[cfg(test)]
pub(super) mod tests;
