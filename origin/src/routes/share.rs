//! `POST /api/outputs/{id}/share` and `/api/shares`: one's own links to outputs.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use gate::Code;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::caller::Caller;
use crate::clock::{new_id, rfc3339};
use crate::input::{JsonBody, ObjectId};
use crate::problem::Refusal;
use crate::shares::Secret;
use crate::store::{ShareLink, Shared};

/// The shortest and the longest that a link may hold, in seconds.
const MIN_S: u32 = 60;
const MAX_S: u32 = 30 * 86_400;
/// The largest bound on downloads.
const MAX_DOWNLOADS: u32 = 1_000_000;

/// The body of `POST`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    expires_in_s: u32,
    #[serde(default)]
    downloads: Option<u32>,
    #[serde(default)]
    password: Option<String>,
}

/// `POST`: makes a link and shows it this once.
pub(super) async fn post(
    State(app): State<Arc<App>>,
    caller: Caller,
    ObjectId(output_id): ObjectId,
    JsonBody(body): JsonBody<Body>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let invalid = |detail: String| Refusal::new(Code::RequestInvalid, detail);
    if !(MIN_S..=MAX_S).contains(&body.expires_in_s) {
        return Err(invalid(format!("expires_in_s must be {MIN_S} to {MAX_S}.")));
    }
    if body.downloads.is_some_and(|downloads| !(1..=MAX_DOWNLOADS).contains(&downloads)) {
        return Err(invalid(format!("downloads must be 1 to {MAX_DOWNLOADS}.")));
    }
    // Whose output it is comes before the work of hashing.
    let output = app.store.of(&caller).output(&output_id).await?.ok_or_else(Refusal::not_found)?;
    let password_hash = match &body.password {
        Some(password) => {
            Some(app.passwords.hash(app.passwords.accept(password, caller.user_id()).map_err(invalid)?).await?)
        }
        None => None,
    };
    let (secret, now_ms) = (Secret::new(), app.clock.now_ms());
    let link = ShareLink {
        id: new_id(now_ms),
        output_id,
        secret_hash: secret.hash(),
        password_hash,
        downloads: 0,
        downloads_limit: body.downloads.map(i64::from),
        created_at: now_ms,
        expires_at: now_ms.saturating_add(i64::from(body.expires_in_s) * 1000),
    };
    let most = app.policy.now().role(caller.role())?.share_links;
    let audit = caller.audit(&app.clock, "share", "ok").on(&link.id);
    match app.store.of(&caller).share(&link, most, &audit).await? {
        Shared::Yes => {}
        Shared::NoOutput => return Err(Refusal::not_found()),
        Shared::TooMany => {
            let detail = format!("Your role may have {most} links at a time. Delete one first.");
            return Err(Refusal::new(Code::Conflict, detail));
        }
    }
    let mut answer = describe(&link, &output.text);
    if let Some(members) = answer.as_object_mut() {
        members.insert("path".to_owned(), json!(secret.path()));
    }
    Ok((StatusCode::CREATED, Json(answer)))
}

/// `GET`: those that have not run out, the newest first.
pub(super) async fn list(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, Refusal> {
    let links = app.store.of(&caller).share_links(app.clock.now_ms()).await?;
    Ok(Json(json!({ "shares": links.iter().map(|(link, text)| describe(link, text)).collect::<Vec<_>>() })))
}

/// `DELETE`: ends one at once.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    ObjectId(id): ObjectId,
) -> Result<StatusCode, Refusal> {
    let audit = caller.audit(&app.clock, "share_end", "ok").on(&id);
    match app.store.of(&caller).end_share(&id, &audit).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Refusal::not_found()),
    }
}

fn describe(link: &ShareLink, text: &str) -> Value {
    json!({
        "id": link.id,
        "output_id": link.output_id,
        "text": text,
        "has_password": link.password_hash.is_some(),
        "downloads": {"used": link.downloads, "limit": link.downloads_limit},
        "created_at": rfc3339(link.created_at),
        "expires_at": rfc3339(link.expires_at),
    })
}

#[cfg(test)]
mod tests;
