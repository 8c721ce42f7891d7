//! What a browser keeps between the question to a provider and the end of the login: a cookie that
//! only we can read, for ten minutes.

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use gate::headers::value_of;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::provider::Secrets;
use crate::app::App;
use crate::problem::Refusal;

/// How long a login may take, in milliseconds.
pub(super) const LASTS_MS: i64 = 10 * 60 * 1000;

/// Somebody is on the way to a provider.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Flow {
    /// To which.
    pub(super) provider: String,
    /// What the answer must fit.
    pub(super) secrets: Secrets,
    /// What for.
    pub(super) purpose: Purpose,
    /// Since when, milliseconds since the epoch.
    pub(super) began_at: i64,
}

/// What somebody goes to a provider for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Purpose {
    /// To come in.
    LogIn,
    /// To come in with it from now on.
    Link(Standing),
    /// To prove again who they are.
    StepUp(Standing),
}

/// Who was logged in when it began.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Standing {
    /// The user.
    pub(super) user_id: String,
    /// The login.
    pub(super) login: String,
}

/// The provider vouches for somebody whose account has a second factor, too.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Ticket {
    /// Known by it once it is used.
    pub(super) id: String,
    /// By which provider.
    pub(super) provider: String,
    /// Whose it is.
    pub(super) user_id: String,
    /// Since when, milliseconds since the epoch.
    pub(super) began_at: i64,
}

/// What stands in the cookie.
pub(super) trait Kept: DeserializeOwned + Serialize {
    /// What the encryption is bound to.
    const ABOUT: &'static str;

    /// Since when it holds.
    fn began_at(&self) -> i64;
}

impl Kept for Flow {
    const ABOUT: &'static str = "cosygate way to a provider";

    fn began_at(&self) -> i64 {
        self.began_at
    }
}

impl Kept for Ticket {
    const ABOUT: &'static str = "cosygate login without its second factor";

    fn began_at(&self) -> i64 {
        self.began_at
    }
}

/// Puts it into a cookie. A browser that comes back from the provider sends it (`Lax`), one that
/// another site makes post does not.
pub(super) fn cookie(app: &App, kept: &impl Kept, is_secure: bool) -> Result<HeaderValue, Refusal> {
    let text = serde_json::to_vec(kept).map_err(Refusal::internal)?;
    let sealed = app.oidc.vault.seal_text(&text, about(kept)).map_err(Refusal::internal)?;
    set(&sealed, LASTS_MS / 1000, is_secure)
}

/// Takes it back.
pub(super) fn no_cookie(is_secure: bool) -> Result<HeaderValue, Refusal> {
    set("", 0, is_secure)
}

/// What the browser kept, if it is ours and not over. Of two cookies none counts.
pub(super) fn in_cookie<K: Kept>(app: &App, headers: &HeaderMap, is_secure: bool, now_ms: i64) -> Option<K> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| value_of(pair.trim_ascii(), name(is_secure)));
    let value = values.next().filter(|_| values.next().is_none())?;
    let text = app.oidc.vault.open_text(std::str::from_utf8(value).ok()?, K::ABOUT)?;
    let kept: K = serde_json::from_slice(&text).ok()?;
    let age_ms = now_ms.saturating_sub(kept.began_at());
    (0..LASTS_MS).contains(&age_ms).then_some(kept)
}

fn about<K: Kept>(_: &K) -> &'static str {
    K::ABOUT
}

fn name(is_secure: bool) -> &'static str {
    if is_secure { "__Host-cosygate-oidc" } else { "cosygate-oidc" }
}

fn set(value: &str, max_age_s: i64, is_secure: bool) -> Result<HeaderValue, Refusal> {
    let (name, secure) = (name(is_secure), if is_secure { "; Secure" } else { "" });
    let cookie = format!("{name}={value}; HttpOnly; SameSite=Lax; Path=/; Max-Age={max_age_s}{secure}");
    cookie.parse().map_err(Refusal::internal)
}
