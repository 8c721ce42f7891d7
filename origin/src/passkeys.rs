//! Passkeys (WebAuthn Level 2): a key pair on a device of the user, which signs a challenge for the
//! origin of `public_url` and for no other, after the device has recognised its owner.
//!
//! ```text
//! offer ─► challenge, waits ─► add: the public key is kept
//! ask   ─► challenge, waits ─► prove: signature, origin, owner recognised, counter not used before
//! ```
//!
//! A challenge waits in the database, so any origin can take the answer: for five minutes, for this
//! user and purpose, and once.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gate::Code;
use hmac::Mac as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;
use webauthn_rs::prelude::{
    Passkey as Key, PasskeyAuthentication, PasskeyRegistration, PublicKeyCredential, RegisterPublicKeyCredential, Uuid,
};
use webauthn_rs::{Webauthn, WebauthnBuilder};

use crate::app::App;
use crate::caller::Caller;
use crate::clock::new_id;
use crate::hash::{keyed, sha256_hex};
use crate::keys::Master;
use crate::problem::Refusal;
use crate::second_factor;
use crate::store::{AuditEntry, Ceremony, NewPasskey, Passkey, User};

/// How many passkeys a user may have.
const MOST: u32 = 10;
/// How many challenges of one user wait at a time, for each purpose.
const MOST_WAITING: u32 = 10;
/// How long a challenge waits.
const PATIENCE_MS: i64 = 300_000;
/// The longest name, in characters.
const MAX_NAME: usize = 64;
/// The longest credential that is kept, as JSON, in bytes. Nobody here asks for certificates.
const MAX_CREDENTIAL: usize = 4096;
/// The name of this server on a device.
const LABEL: &str = "cosygate";

/// What an answer is for: one for a login says nothing anywhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The device makes a new key.
    ToAdd,
    /// Somebody with a right password logs in.
    AtLogin,
    /// Somebody who is logged in proves it again.
    Inside,
}

impl Asked {
    fn as_str(self) -> &'static str {
        match self {
            Self::ToAdd => "add",
            Self::AtLogin => "login",
            Self::Inside => "inside",
        }
    }
}

/// Whom devices make keys for.
pub struct RelyingParty {
    /// None where browsers know this server by a bare address: there are no passkeys for those.
    webauthn: Option<Webauthn>,
    handles: [u8; 32],
}

impl RelyingParty {
    /// The relying party whose id is the host of this origin.
    pub fn new(public_url: &Url, master: &Master) -> Self {
        let build = |host| WebauthnBuilder::new(host, public_url)?.rp_name(LABEL).build();
        Self { webauthn: public_url.domain().and_then(|host| build(host).ok()), handles: master.derive("passkeys") }
    }

    /// How a device knows the account: the same for all origins, and nothing that tells who it is
    /// (WebAuthn Level 2, section 14.6.1).
    fn handle(&self, user_id: &str) -> Uuid {
        let bytes: [u8; 32] = keyed(&self.handles, "handle", &[user_id.as_bytes()]).finalize().into_bytes().into();
        Uuid::from_bytes(bytes.first_chunk().copied().unwrap_or_default())
    }
}

/// What a device needs to make a key for this user (`PublicKeyCredentialCreationOptions`, as JSON).
///
/// # Errors
/// `409 conflict` if there are as many as there may be, or none can be made for this server.
pub async fn offer(app: &App, user: &User) -> Result<Value, Refusal> {
    let conflict = |detail: String| Refusal::new(Code::Conflict, detail);
    let Some(webauthn) = &app.passkeys.webauthn else {
        return Err(conflict("There are no passkeys here: public_url of this server has no host name.".to_owned()));
    };
    let known = keys_of(app, &user.id).await?;
    if known.len() >= MOST as usize {
        return Err(too_many());
    }
    let known = known.iter().map(|key| key.cred_id().clone()).collect();
    let (handle, name) = (app.passkeys.handle(&user.id), user.username.as_str());
    let started = webauthn.start_passkey_registration(handle, name, name, Some(known));
    let (options, state) = started.map_err(Refusal::internal)?;
    keep(app, &user.id, Asked::ToAdd, &options.public_key.challenge, &state).await?;
    serde_json::to_value(options).map_err(Refusal::internal)
}

/// Keeps what a device made. With the first second factor come recovery codes.
///
/// # Errors
/// `400 request_invalid` if it is no answer to a challenge of this user that waits; `409 conflict`
/// if it is known already, or there are as many as there may be.
pub async fn add(
    app: &App,
    caller: &Caller,
    name: &str,
    answer: &RegisterPublicKeyCredential,
) -> Result<(Passkey, Vec<String>), Refusal> {
    let invalid = |detail: String| Refusal::new(Code::RequestInvalid, detail);
    let name = name.trim();
    if !(1..=MAX_NAME).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(invalid(format!("name must have 1 to {MAX_NAME} characters.")));
    }
    let refused = caller.audit(&app.clock, "passkey_add", "token_invalid").on_user(caller.user_id());
    let Some(key) = made(app, caller.user_id(), answer).await? else {
        app.store.audit(&refused).await?;
        return Err(invalid("passkey does not hold: begin again.".to_owned()));
    };
    let credential = serde_json::to_string(&key).map_err(Refusal::internal)?;
    if credential.len() > MAX_CREDENTIAL {
        return Err(invalid("passkey is too large.".to_owned()));
    }
    let now_ms = app.clock.now_ms();
    let passkey = Passkey {
        id: new_id(now_ms),
        name: name.to_owned(),
        credential_id: sha256_hex(&[key.cred_id()]),
        credential,
        // The counter with which it was made stands in the credential; this is that of its uses.
        counter: 0,
        created_at: now_ms,
        used_at: None,
    };
    let (codes, hashes) = second_factor::recovery_codes();
    let audit = caller.audit(&app.clock, "passkey_add", "ok").on(&passkey.id);
    match app.store.of(caller).add_passkey(&passkey, MOST, &hashes, &audit).await? {
        NewPasskey::Added { codes: true } => Ok((passkey, codes)),
        NewPasskey::Added { codes: false } => Ok((passkey, Vec::new())),
        NewPasskey::Known => Err(Refusal::new(Code::Conflict, "This passkey belongs to an account already.")),
        NewPasskey::TooMany => Err(too_many()),
    }
}

async fn made(app: &App, user_id: &str, answer: &RegisterPublicKeyCredential) -> Result<Option<Key>, Refusal> {
    let Some(webauthn) = &app.passkeys.webauthn else { return Ok(None) };
    let state = taken::<PasskeyRegistration>(app, user_id, Asked::ToAdd, &answer.response.client_data_json).await?;
    let Some(state) = state else { return Ok(None) };
    let made = webauthn.finish_passkey_registration(answer, &state);
    Ok(made.inspect_err(|error| tracing::info!(%error, user_id, "a new passkey was refused")).ok())
}

/// What a device needs to prove that this user has it (`PublicKeyCredentialRequestOptions`, as
/// JSON); none if the user has no passkey.
///
/// # Errors
/// The database failed.
pub async fn ask(app: &App, user_id: &str, asked: Asked) -> Result<Option<Value>, Refusal> {
    let Some(webauthn) = &app.passkeys.webauthn else { return Ok(None) };
    let keys = keys_of(app, user_id).await?;
    if keys.is_empty() {
        return Ok(None);
    }
    let (options, state) = webauthn.start_passkey_authentication(&keys).map_err(Refusal::internal)?;
    keep(app, user_id, asked, &options.public_key.challenge, &state).await?;
    Ok(Some(serde_json::to_value(options).map_err(Refusal::internal)?))
}

/// Whether a passkey of this user answered a challenge for this purpose. The challenge is used up
/// either way.
///
/// # Errors
/// The database failed.
pub async fn prove(
    app: &App,
    user_id: &str,
    asked: Asked,
    answer: &PublicKeyCredential,
    used: AuditEntry,
) -> Result<bool, Refusal> {
    let Some(webauthn) = &app.passkeys.webauthn else { return Ok(false) };
    let state = taken::<PasskeyAuthentication>(app, user_id, asked, &answer.response.client_data_json).await?;
    let Some(state) = state else { return Ok(false) };
    let result = match webauthn.finish_passkey_authentication(answer, &state) {
        Ok(result) => result,
        Err(error) => {
            tracing::info!(%error, user_id, "a passkey was refused");
            return Ok(false);
        }
    };
    let credential_id = sha256_hex(&[result.cred_id()]);
    let known = app.store.passkeys().of_user(user_id).await?;
    // Removed meanwhile.
    let Some(passkey) = known.into_iter().find(|passkey| passkey.credential_id == credential_id) else {
        return Ok(false);
    };
    let mut key: Key = read(&passkey.credential)?;
    key.update_credential(&result);
    let credential = serde_json::to_string(&key).map_err(Refusal::internal)?;
    let passkey = Passkey { credential, counter: i64::from(result.counter()), ..passkey };
    // Others may have used it since it was asked; only the database knows the last counter.
    Ok(app.store.passkeys().note_use(user_id, &passkey, &used.on(&passkey.id)).await?)
}

async fn keys_of(app: &App, user_id: &str) -> Result<Vec<Key>, Refusal> {
    app.store.passkeys().of_user(user_id).await?.iter().map(|passkey| read(&passkey.credential)).collect()
}

fn read<T: DeserializeOwned>(json: &str) -> Result<T, Refusal> {
    serde_json::from_str(json).map_err(|error| Refusal::internal(format!("a passkey cannot be read: {error}")))
}

/// Lets a challenge wait.
async fn keep(
    app: &App,
    user_id: &str,
    asked: Asked,
    challenge: &[u8],
    state: &(impl Serialize + Sync),
) -> Result<(), Refusal> {
    let state = serde_json::to_string(state).map_err(Refusal::internal)?;
    let expires_at = app.clock.now_ms().saturating_add(PATIENCE_MS);
    let id = sha256_hex(&[challenge]);
    let ceremony = Ceremony { id: &id, user_id, purpose: asked.as_str(), state: &state, expires_at };
    Ok(app.store.passkeys().begin(&ceremony, MOST_WAITING).await?)
}

/// Uses up the challenge that this client data answers (WebAuthn Level 2, section 5.8.1).
async fn taken<T: DeserializeOwned>(
    app: &App,
    user_id: &str,
    asked: Asked,
    client_data: &[u8],
) -> Result<Option<T>, Refusal> {
    #[derive(Deserialize)]
    struct ClientData {
        challenge: String,
    }
    let data: Option<ClientData> = serde_json::from_slice(client_data).ok();
    let Some(challenge) = data.and_then(|data| URL_SAFE_NO_PAD.decode(data.challenge).ok()) else { return Ok(None) };
    let id = sha256_hex(&[&challenge]);
    let state = app.store.passkeys().take(&id, user_id, asked.as_str(), app.clock.now_ms()).await?;
    state.as_deref().map(read).transpose()
}

fn too_many() -> Refusal {
    Refusal::new(Code::Conflict, format!("You have {MOST} passkeys, as many as there may be. Remove one first."))
}

#[cfg(test)]
pub(crate) mod tests;
