//! One provider: what it says of itself, and what it says of somebody (OpenID Connect Core 1.0,
//! section 3.1).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreClaimName, CoreClaimType, CoreClient,
    CoreClientAuthMethod, CoreGrantType, CoreIdToken, CoreJsonWebKey, CoreJsonWebKeySet,
    CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreJwsSigningAlgorithm, CoreResponseMode,
    CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::http::Request;
use openidconnect::{
    AccessToken, AdditionalProviderMetadata, AuthType, AuthorizationCode, ClaimsVerificationError, ClientId,
    ClientSecret, CsrfToken, EndpointMaybeSet, EndpointNotSet, EndpointSet, HttpRequest, IssuerUrl, Nonce,
    OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier, ProviderMetadata, RedirectUrl, RequestTokenError,
    Scope, SignatureVerificationError, TokenResponse as _,
};
use reqwest::Client;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use url::Url;

use super::claims::find;
use super::http::{self, FetchError, chain};
use super::settings::{OidcSettings, is_confidential};

/// How long metadata and keys count as new, in milliseconds.
const FRESH_MS: i64 = 60 * 60 * 1000;
/// How long they are used while the provider cannot be asked again.
const STALE_MS: i64 = 24 * 60 * 60 * 1000;
/// How long a provider that did not answer is left alone.
const PAUSE_MS: i64 = 5000;
/// How often tokens of an unknown key may make us ask for keys.
const KEYS_EVERY_MS: i64 = 10_000;
/// How far the clocks of the provider may be from ours.
const SKEW_MS: i64 = 30_000;
/// The longest subject (OpenID Connect Core 1.0, section 2), in bytes.
const MAX_SUBJECT: usize = 255;
/// Signatures that somebody else cannot make; the provider's metadata says which of them it uses.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// What is read of the metadata beside what the library knows.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Extra {
    /// Whether its answers say from whom they are (RFC 9207, section 3).
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for Extra {}

type Metadata = ProviderMetadata<
    Extra,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;
type ReadyClient =
    CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointMaybeSet, EndpointMaybeSet>;

/// A provider and what is known of it.
pub struct Provider {
    /// As the file has it.
    pub settings: OidcSettings,
    redirect: RedirectUrl,
    issuer: IssuerUrl,
    http: Client,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    known: Option<Known>,
    failed_at: Option<i64>,
}

struct Known {
    metadata: Arc<Metadata>,
    at: i64,
    keys_at: i64,
}

/// What binds an answer to the question.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Secrets {
    /// Comes back beside the code.
    pub(super) state: String,
    /// Comes back inside the ID token.
    pub(super) nonce: String,
    /// What the challenge was made of (RFC 7636).
    pub(super) verifier: String,
}

/// Somebody whom the provider vouches for.
#[derive(Clone, Debug)]
pub struct Identified {
    /// Who says so.
    pub issuer: String,
    /// Who it is there, for ever.
    pub subject: String,
    /// All that was said.
    pub claims: Map<String, Value>,
    /// When they last proved who they are, seconds since the epoch, if the provider says so.
    pub authenticated_at: Option<i64>,
}

/// Why nobody was identified; the text is for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The provider cannot be asked now.
    Away(String),
    /// What came does not hold.
    Unsound(String),
}

impl Secrets {
    /// Each of 256 random bits.
    pub(super) fn new() -> Self {
        let secret = || URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        Self { state: secret(), nonce: secret(), verifier: secret() }
    }
}

impl Provider {
    /// Nothing is asked before somebody comes.
    pub(super) fn new(settings: OidcSettings, public_url: &Url) -> Result<Self, String> {
        let redirect = format!("{public_url}login/oidc/{}/callback", settings.id);
        Ok(Self {
            redirect: RedirectUrl::new(redirect).map_err(|error| error.to_string())?,
            issuer: IssuerUrl::new(settings.issuer.clone()).map_err(|error| error.to_string())?,
            http: http::client()?,
            memory: Mutex::default(),
            settings,
        })
    }

    /// Where to send somebody. `again`: they are to prove who they are even if they just did.
    pub(super) async fn question(&self, secrets: &Secrets, again: bool, now_ms: i64) -> Result<Url, Fault> {
        let metadata = self.known(now_ms).await?;
        let client = self.client(&metadata);
        let (state, nonce) = (secrets.state.clone(), secrets.nonce.clone());
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(secrets.verifier.clone()));
        let mut request = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, || CsrfToken::new(state), || Nonce::new(nonce))
            .add_scopes(self.settings.other_scopes().cloned().map(Scope::new))
            .set_pkce_challenge(challenge);
        if again {
            request = request.add_prompt(CoreAuthPrompt::Login).set_max_age(std::time::Duration::ZERO);
        }
        Ok(request.url().0)
    }

    /// Whether an answer that says it comes from `issuer` may be this provider's (RFC 9207, section
    /// 2.4): answers of several must not be taken for one another's.
    pub(super) async fn may_answer(&self, issuer: Option<&str>, now_ms: i64) -> Result<bool, Fault> {
        let metadata = self.known(now_ms).await?;
        Ok(match issuer {
            Some(issuer) => issuer == self.settings.issuer,
            None => !metadata.additional_metadata().authorization_response_iss_parameter_supported,
        })
    }

    /// Whom a code stands for.
    pub(super) async fn identify(&self, code: &str, secrets: &Secrets, now_ms: i64) -> Result<Identified, Fault> {
        let mut metadata = self.known(now_ms).await?;
        let client = self.client(&metadata);
        let request = client.exchange_code(AuthorizationCode::new(code.to_owned()));
        let request = request.map_err(|_| Fault::Away("it has no token endpoint".to_owned()))?;
        let request = request.set_pkce_verifier(PkceCodeVerifier::new(secrets.verifier.clone()));
        let answer = request.request_async(&self.caller()).await.map_err(|error| match error {
            RequestTokenError::Request(error) => Fault::Away(chain(&error)),
            other => Fault::Unsound(chain(&other)),
        })?;
        let token = answer.id_token().ok_or_else(|| Fault::Unsound("no ID token".to_owned()))?;
        let nonce = Nonce::new(secrets.nonce.clone());
        let mut verified = self.verify(&metadata, token, &nonce, now_ms);
        if verified.as_ref().is_err_and(|error| *error == unknown_key()) {
            metadata = self.renew_keys(&metadata, now_ms).await?;
            verified = self.verify(&metadata, token, &nonce, now_ms);
        }
        let mut identified = verified.map_err(|error| Fault::Unsound(chain(&error)))?;
        if self.lacks(&identified.claims) && metadata.userinfo_endpoint().is_some() {
            let more = self.userinfo(&metadata, answer.access_token(), &identified.subject).await?;
            // What is signed counts before what is not.
            identified.claims = more.into_iter().chain(identified.claims).collect();
        }
        Ok(identified)
    }

    /// Checks an ID token (OpenID Connect Core 1.0, section 3.1.3.7).
    fn verify(
        &self,
        metadata: &Metadata,
        token: &CoreIdToken,
        nonce: &Nonce,
        now_ms: i64,
    ) -> Result<Identified, ClaimsVerificationError> {
        let unsound = |reason: &str| ClaimsVerificationError::Other(reason.to_owned());
        let at = |ms: i64| DateTime::<Utc>::from_timestamp_millis(ms).unwrap_or_default();
        let client = self.client(metadata);
        let supported = metadata.id_token_signing_alg_values_supported();
        let verifier = client
            .id_token_verifier()
            .set_allowed_algs(ALGORITHMS.into_iter().filter(|algorithm| supported.contains(algorithm)))
            .set_time_fn(|| at(now_ms.saturating_sub(SKEW_MS)))
            .set_issue_time_verifier_fn(|issued| match issued <= at(now_ms.saturating_add(SKEW_MS)) {
                true => Ok(()),
                false => Err("issued in the future".to_owned()),
            });
        let claims = token.claims(&verifier, nonce)?;
        // The library leaves this one to us; other audiences than us alone it has refused.
        if claims.authorized_party().is_some_and(|party| party.as_str() != self.settings.client_id) {
            return Err(unsound("given to another program (azp)"));
        }
        let subject = claims.subject().as_str().to_owned();
        if !(1..=MAX_SUBJECT).contains(&subject.len()) {
            return Err(unsound("a subject without any or with too many bytes"));
        }
        let text = token.to_string();
        let payload = text.split('.').nth(1).and_then(|payload| URL_SAFE_NO_PAD.decode(payload).ok());
        let all = payload.and_then(|payload| gate::json::object(&payload).ok());
        Ok(Identified {
            issuer: self.settings.issuer.clone(),
            subject,
            claims: all.ok_or_else(|| unsound("claims that two readers could read differently"))?,
            authenticated_at: claims.auth_time().map(|time| time.timestamp()),
        })
    }

    /// Whether anything is missing that the provider may tell elsewhere.
    fn lacks(&self, claims: &Map<String, Value>) -> bool {
        let roles = &self.settings.roles;
        find(claims, &self.settings.username_claim).is_none()
            || (!roles.mapping.is_empty() && find(claims, &roles.claim).is_none())
    }

    /// What else it says of this subject (OpenID Connect Core 1.0, section 5.3).
    async fn userinfo(
        &self,
        metadata: &Metadata,
        token: &AccessToken,
        subject: &str,
    ) -> Result<Map<String, Value>, Fault> {
        let unsound = |reason: &str| Fault::Unsound(format!("userinfo: {reason}"));
        let address = metadata.userinfo_endpoint().map(|url| url.as_str()).unwrap_or_default();
        let request = Request::get(address)
            .header("accept", "application/json")
            .header("authorization", format!("Bearer {}", token.secret()))
            .body(Vec::new())
            .map_err(|error| Fault::Unsound(chain(&error)))?;
        let answer = http::call(self.http.clone(), request).await.map_err(|error| Fault::Away(chain(&error)))?;
        if answer.status().as_u16() != 200 {
            return Err(unsound(answer.status().as_str()));
        }
        let claims = gate::json::object(answer.body()).map_err(|_| unsound("not JSON as it is read here"))?;
        if claims.get("sub").and_then(Value::as_str) != Some(subject) {
            return Err(unsound("of somebody else"));
        }
        Ok(claims)
    }

    fn client(&self, metadata: &Metadata) -> ReadyClient {
        let secret = self.settings.client_secret.as_ref().map(|secret| ClientSecret::new(secret.reveal().to_owned()));
        let id = ClientId::new(self.settings.client_id.clone());
        let client = CoreClient::from_provider_metadata(metadata.clone(), id, secret);
        // Basic where nothing is said (OpenID Connect Discovery 1.0, section 3).
        let methods = metadata.token_endpoint_auth_methods_supported();
        let has_basic = methods.is_none_or(|methods| methods.contains(&CoreClientAuthMethod::ClientSecretBasic));
        client
            .set_auth_type(if has_basic { AuthType::BasicAuth } else { AuthType::RequestBody })
            .set_redirect_uri(self.redirect.clone())
    }

    fn caller(&self) -> impl Fn(HttpRequest) -> Answer {
        let http = self.http.clone();
        move |request| Box::pin(http::call(http.clone(), request))
    }

    /// Metadata and keys. One asks, and the others wait for what comes.
    async fn known(&self, now_ms: i64) -> Result<Arc<Metadata>, Fault> {
        let mut memory = self.memory.lock().await;
        let usable = |longest_ms: i64, memory: &Memory| {
            let known = memory.known.as_ref().filter(|known| now_ms.saturating_sub(known.at) <= longest_ms);
            known.map(|known| Arc::clone(&known.metadata))
        };
        if let Some(metadata) = usable(FRESH_MS, &memory) {
            return Ok(metadata);
        }
        let is_paused = memory.failed_at.is_some_and(|at| now_ms.saturating_sub(at) < PAUSE_MS);
        let found = match is_paused {
            true => Err("it did not answer a moment ago".to_owned()),
            false => self.discover().await,
        };
        match found {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                memory.known = Some(Known { metadata: Arc::clone(&metadata), at: now_ms, keys_at: now_ms });
                memory.failed_at = None;
                Ok(metadata)
            }
            Err(reason) => {
                if !is_paused {
                    memory.failed_at = Some(now_ms);
                    tracing::warn!(provider = self.settings.id, reason, "a provider cannot be asked");
                }
                usable(STALE_MS, &memory).ok_or(Fault::Away(reason))
            }
        }
    }

    async fn discover(&self) -> Result<Metadata, String> {
        let found = Metadata::discover_async(self.issuer.clone(), &self.caller()).await;
        let metadata = found.map_err(|error| chain(&error))?;
        let token = metadata.token_endpoint().ok_or("it has no token endpoint")?.url();
        let more = metadata.userinfo_endpoint().map(|url| url.url());
        for url in [metadata.authorization_endpoint().url(), token].into_iter().chain(more) {
            if !is_confidential(url) {
                return Err(FetchError::Open(url.to_string()).to_string());
            }
        }
        Ok(metadata)
    }

    /// Asks for keys, because a token has one that is not among those of `old`.
    async fn renew_keys(&self, old: &Arc<Metadata>, now_ms: i64) -> Result<Arc<Metadata>, Fault> {
        let mut memory = self.memory.lock().await;
        let Some(known) = memory.known.as_mut() else { return Ok(Arc::clone(old)) };
        if !Arc::ptr_eq(&known.metadata, old) || now_ms.saturating_sub(known.keys_at) < KEYS_EVERY_MS {
            return Ok(Arc::clone(&known.metadata));
        }
        known.keys_at = now_ms;
        let keys = CoreJsonWebKeySet::fetch_async(old.jwks_uri(), &self.caller()).await;
        let keys = keys.map_err(|error| Fault::Away(chain(&error)))?;
        known.metadata = Arc::new(Metadata::clone(old).set_jwks(keys));
        Ok(Arc::clone(&known.metadata))
    }
}

type Answer = std::pin::Pin<Box<dyn Future<Output = Result<openidconnect::HttpResponse, FetchError>> + Send>>;

fn unknown_key() -> ClaimsVerificationError {
    ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey)
}
