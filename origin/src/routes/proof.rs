//! What proves who one is, in the body of a request that changes a second factor.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use webauthn_rs::prelude::PublicKeyCredential;

use crate::second_factor::Given;

/// The password, and a second factor where there is one.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProofBody {
    /// Of accounts that have one.
    #[serde(default)]
    pub(super) password: String,
    /// A code of the authenticator app.
    #[serde(default)]
    totp: Option<String>,
    /// In place of a code.
    #[serde(default)]
    recovery_code: Option<String>,
    /// Or what a passkey signed of the question in the answer before.
    #[serde(default)]
    #[schemars(with = "Option<Map<String, Value>>")]
    passkey: Option<PublicKeyCredential>,
}

impl ProofBody {
    /// The second factor in it.
    pub(super) fn given(&self) -> Given<'_> {
        Given {
            totp: self.totp.as_deref(),
            recovery_code: self.recovery_code.as_deref(),
            passkey: self.passkey.as_ref(),
        }
    }
}
