//! `/api/me/totp`: the second factor, one-time codes of an authenticator app (RFC 6238).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use gate::Code;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::caller::LoggedIn;
use crate::fresh;
use crate::input::JsonBody;
use crate::problem::Refusal;
use crate::second_factor::{self, Given, Proof};

/// The body of `POST`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfferBody {
    /// Of accounts that have one.
    #[serde(default)]
    password: String,
}

/// `POST`: makes a secret and shows it this once. It counts as soon as a code of it was sent to
/// `confirm`. `409 conflict` when there is a second factor already.
pub(super) async fn offer(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    JsonBody(body): JsonBody<OfferBody>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let caller = login.caller();
    let user = fresh::confirm(&app, caller, "second_factor_offer", &body.password).await?;
    let offer = second_factor::offer(&app, &user)?;
    let audit = caller.audit(&app.clock, "second_factor_offer", "ok");
    if !app.store.of(caller).offer_second_factor(&offer.sealed, &audit).await? {
        return Err(Refusal::new(Code::Conflict, "You have a second factor. Remove it first."));
    }
    let body = json!({"secret": offer.secret, "otpauth_url": offer.url, "qr_svg": offer.qr_svg});
    Ok((StatusCode::CREATED, Json(body)))
}

/// The body of `POST …/confirm`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmBody {
    totp: String,
}

/// `POST …/confirm`: a code of the new secret; from now on logins ask for one. The recovery codes
/// are in this answer and nowhere else.
pub(super) async fn confirm(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    JsonBody(body): JsonBody<ConfirmBody>,
) -> Result<Json<Value>, Refusal> {
    let caller = login.caller();
    let conflict = || Refusal::new(Code::Conflict, "There is no secret that waits for its first code.");
    let factor = app.store.second_factors().of_user(caller.user_id()).await?.ok_or_else(conflict)?;
    let refused = |result| caller.audit(&app.clock, "second_factor_set", result);
    let step = second_factor::first_step(&app, caller.user_id(), &factor, &body.totp, &refused).await?;
    let (codes, hashes) = second_factor::recovery_codes();
    let audit = caller.audit(&app.clock, "second_factor_set", "ok");
    if !app.store.of(caller).confirm_second_factor(&factor.sealed, step, &hashes, &audit).await? {
        return Err(conflict());
    }
    Ok(Json(json!({ "recovery_codes": codes })))
}

/// The body of `DELETE`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RemoveBody {
    /// Of accounts that have one.
    #[serde(default)]
    password: String,
    #[serde(default)]
    totp: Option<String>,
    #[serde(default)]
    recovery_code: Option<String>,
}

/// `DELETE`: removes it, against the password and a code or a recovery code.
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    login: LoggedIn,
    JsonBody(body): JsonBody<RemoveBody>,
) -> Result<StatusCode, Refusal> {
    let caller = login.caller();
    fresh::confirm(&app, caller, "second_factor_remove", &body.password).await?;
    let given = Given { totp: body.totp.as_deref(), recovery_code: body.recovery_code.as_deref() };
    let audit = |result| caller.audit(&app.clock, "second_factor_remove", result);
    match second_factor::prove(&app, caller.user_id(), given, &audit).await? {
        Proof::Right => {}
        Proof::None => return Err(Refusal::not_found()),
        Proof::Missing => {
            return Err(Refusal::new(Code::RequestInvalid, "code is missing: send totp or recovery_code."));
        }
        Proof::Wrong => return Err(second_factor::wrong()),
    }
    app.store.second_factors().remove(caller.user_id(), &audit("ok")).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests;
