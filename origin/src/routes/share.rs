//! `POST /api/outputs/{id}/share` and `/api/shares`: one's own links to outputs.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::NoContent;
use gate::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::caller::Caller;
use crate::clock::{Time, new_id};
use crate::input::{JsonBody, ObjectId};
use crate::openapi::{About, Created, Section};
use crate::problem::Refusal;
use crate::shares::Secret;
use crate::store::{ShareLink, Shared};

/// The shortest and the longest that a link may hold, in seconds.
const MIN_S: u32 = 60;
const MAX_S: u32 = 30 * 86_400;
/// The largest bound on downloads.
const MAX_DOWNLOADS: u32 = 1_000_000;

/// The body of `POST`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    #[schemars(range(min = MIN_S, max = MAX_S))]
    expires_in_s: u32,
    /// How often it may be downloaded; unbounded if absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = MAX_DOWNLOADS))]
    downloads: Option<u32>,
    /// Which whoever has the link is asked for.
    #[serde(default)]
    password: Option<String>,
}

/// Links that have not run out, the newest first.
#[derive(Serialize, JsonSchema)]
pub(super) struct Shares {
    shares: Vec<Share>,
}

/// A link to an output.
#[derive(Serialize, JsonSchema)]
struct Share {
    id: String,
    output_id: String,
    text: String,
    has_password: bool,
    downloads: Downloads,
    created_at: Time,
    expires_at: Time,
}

/// Of a link.
#[derive(Serialize, JsonSchema)]
struct Downloads {
    used: i64,
    limit: Option<i64>,
}

/// A new link.
#[derive(Serialize, JsonSchema)]
pub(super) struct NewShare {
    #[serde(flatten)]
    share: Share,
    /// To be appended to the address of the server. No other answer has it.
    path: String,
}

pub(super) const POST: About = About::new(Section::Links, "Makes a link to an output").refuses(&[Code::Conflict]);

/// `POST`: makes a link and shows it this once.
pub(super) async fn post(
    State(app): State<Arc<App>>,
    caller: Caller,
    ObjectId(output_id): ObjectId,
    JsonBody(body): JsonBody<Body>,
) -> Result<Created<NewShare>, Refusal> {
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
    Ok(Created(NewShare { share: describe(link, output.text), path: secret.path() }))
}

pub(super) const LIST: About = About::new(Section::Links, "Lists your links");

/// `GET`: those that have not run out, the newest first.
pub(super) async fn list(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Shares>, Refusal> {
    let links = app.store.of(&caller).share_links(app.clock.now_ms()).await?;
    Ok(Json(Shares { shares: links.into_iter().map(|(link, text)| describe(link, text)).collect() }))
}

pub(super) const DELETE: About = About::new(Section::Links, "Ends a link");

/// `DELETE`: ends one at once.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    ObjectId(id): ObjectId,
) -> Result<NoContent, Refusal> {
    let audit = caller.audit(&app.clock, "share_end", "ok").on(&id);
    match app.store.of(&caller).end_share(&id, &audit).await? {
        true => Ok(NoContent),
        false => Err(Refusal::not_found()),
    }
}

fn describe(link: ShareLink, text: String) -> Share {
    Share {
        id: link.id,
        output_id: link.output_id,
        text,
        has_password: link.password_hash.is_some(),
        downloads: Downloads { used: link.downloads, limit: link.downloads_limit },
        created_at: Time(link.created_at),
        expires_at: Time(link.expires_at),
    }
}

#[cfg(test)]
mod tests;
