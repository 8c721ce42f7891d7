//! What an action says of itself to the audit.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::hash::sha256_hex;

/// What happened. Becomes an [`super::AuditRow`] when it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Milliseconds since the epoch.
    pub at: i64,
    /// The request that asked for it.
    pub request_id: String,
    /// Who, if that was proved.
    pub user_id: Option<String>,
    /// How it came: `edge:<region>`, `cli:<name>` or `origin`.
    pub via: Cow<'static, str>,
    /// What, for example `generate`.
    pub action: &'static str,
    /// What it was done to.
    pub object: Option<Object>,
    /// `ok`, or the code of the refusal.
    pub result: &'static str,
    /// From the arrival of the request, in milliseconds.
    pub duration_ms: i64,
    /// The revision of the policy that let it pass.
    pub policy_rev: i64,
    /// What is forgotten first.
    pub personal: Personal,
}

/// What an action was done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// An id that tells of nobody.
    Id(String),
    /// A user, who stands in the row under the pseudonym.
    User(String),
}

/// What a row says that is personal beside who did it. It can be forgotten without breaking the
/// chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Personal {
    /// The client's address as the edge saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Unicode scalar values of a text that was spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub characters: Option<i64>,
    /// Its SHA-256, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_sha256: Option<String>,
}

impl AuditEntry {
    /// Names the object by an id that tells of nobody.
    pub fn on(mut self, object: impl Into<String>) -> Self {
        self.object = Some(Object::Id(object.into()));
        self
    }

    /// Names the user it was done to.
    pub fn on_user(mut self, user_id: &str) -> Self {
        self.object = Some(Object::User(user_id.to_owned()));
        self
    }

    /// Names the user who did it, where that became known only now.
    pub fn by(mut self, user_id: &str) -> Self {
        self.user_id = Some(user_id.to_owned());
        self
    }

    /// Says how it came.
    pub fn via(mut self, via: impl Into<Cow<'static, str>>) -> Self {
        self.via = via.into();
        self
    }

    /// Says which text it was about, as hash and length.
    pub fn about_text(mut self, text: &str) -> Self {
        self.personal.characters = i64::try_from(text.chars().count()).ok();
        self.personal.text_sha256 = Some(sha256_hex(&[text.as_bytes()]));
        self
    }

    /// Something that nobody asked for by a request: upkeep, the command line.
    pub fn of_system(at: i64, action: &'static str) -> Self {
        Self {
            at,
            request_id: "-".to_owned(),
            user_id: None,
            via: Cow::Borrowed("origin"),
            action,
            object: None,
            result: "ok",
            duration_ms: 0,
            policy_rev: 0,
            personal: Personal::default(),
        }
    }
}
