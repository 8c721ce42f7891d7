//! Which providers people may come from, and what becomes of them here.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;

use gate::policy::{RoleMapping, is_plain_name};
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::caller::ADMIN_ROLE;
use crate::config::Secret;
use crate::second_factor::ENROL_ROLE;

/// How many providers there may be.
const MOST: usize = 20;
/// The longest text of a setting, in bytes.
const MAX_BYTES: usize = 512;
/// The scope without which it is not OpenID Connect.
const OPENID: &str = "openid";

/// A provider of OpenID Connect: a `[[oidc]]` of the file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OidcSettings {
    /// Names it in paths: 1 to 64 of a-z, 0-9, `_` and `-`. The redirect URI that the provider must
    /// be told is `<public_url>/login/oidc/<id>/callback`.
    pub id: String,
    /// How the page calls it.
    pub name: String,
    /// Its issuer, exactly as its own metadata has it. `https`, or `http` on this machine alone.
    pub issuer: String,
    /// Who we are there.
    pub client_id: String,
    /// What proves it; none for a public client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// A file that has the secret, in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_file: Option<PathBuf>,
    /// A variable of the environment that has the secret, in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_env: Option<String>,
    /// What is asked for beside `openid`. Default `["profile"]`.
    #[serde(default = "profile")]
    pub scopes: Vec<String>,
    /// The claim that a new account is named after. Default `preferred_username`.
    #[serde(default = "preferred_username")]
    pub username_claim: String,
    /// Whether a first login makes an account. Default `closed`.
    #[serde(default)]
    pub sign_up: SignUp,
    /// Which role people have here.
    #[serde(default)]
    pub roles: RoleSettings,
}

/// Who may come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SignUp {
    /// Whoever the provider vouches for: the first login makes an account.
    Open,
    /// Only whoever has linked the provider to an account.
    #[default]
    Closed,
}

/// What role people of a provider have.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoleSettings {
    /// The claim that tells: one string, words with spaces between, or a list. A name that no claim
    /// has is read as a path with dots between: `realm_access.roles`. Default `roles`.
    pub claim: String,
    /// Which of our roles a role of theirs is, in order of precedence: the first one that somebody
    /// has counts, at every login. If there are none, the role is this server's to give.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mapping: Vec<RoleMapping>,
    /// The role of whoever has none of these. Without it they do not come in; where there is no
    /// mapping, new accounts get the role of the policy's `registration`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

impl Default for RoleSettings {
    fn default() -> Self {
        Self { claim: "roles".to_owned(), mapping: Vec::new(), default: None }
    }
}

impl OidcSettings {
    /// Fetches the secret from where the settings say.
    ///
    /// # Errors
    /// What is wrong.
    pub fn resolve(&mut self, variable: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        let at = |name: &str| format!("oidc.{}.{name}", self.id);
        let given = usize::from(self.client_secret.is_some())
            + usize::from(self.client_secret_file.is_some())
            + usize::from(self.client_secret_env.is_some());
        if given > 1 {
            return Err(format!(
                "{}: give one of client_secret, client_secret_file and client_secret_env",
                at("client_secret")
            ));
        }
        if let Some(path) = &self.client_secret_file {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("{}: {}: {error}", at("client_secret_file"), path.display()))?;
            self.client_secret = Some(text.trim_end().to_owned().into());
        }
        if let Some(name) = &self.client_secret_env {
            let text = variable(name).filter(|text| !text.is_empty());
            let text = text.ok_or_else(|| format!("{}: the variable {name} is not set", at("client_secret_env")))?;
            self.client_secret = Some(text.into());
        }
        Ok(())
    }

    fn validate(&self) -> Result<(), (&'static str, String)> {
        let short =
            |name, text: &str| match (1..=MAX_BYTES).contains(&text.len()) && !text.chars().any(char::is_control) {
                true => Ok(()),
                false => Err((name, format!("must have 1 to {MAX_BYTES} bytes and no control characters"))),
            };
        short("name", &self.name)?;
        short("client_id", &self.client_id)?;
        short("username_claim", &self.username_claim)?;
        short("roles.claim", &self.roles.claim)?;
        if let Some(secret) = &self.client_secret {
            short("client_secret", secret.reveal())?;
        }
        let issuer = Url::parse(&self.issuer).ok().filter(|url| {
            is_confidential(url)
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        });
        if issuer.is_none() || self.issuer.len() > MAX_BYTES {
            let message = "must look like https://host, or http://localhost:port on this machine, without password, \
                           query or fragment";
            return Err(("issuer", message.to_owned()));
        }
        let is_scope = |scope: &String| {
            (1..=128).contains(&scope.len())
                && scope.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
        };
        if self.scopes.len() > 20 || !self.scopes.iter().all(is_scope) {
            return Err(("scopes", "must be at most 20 words (RFC 6749, section 3.3)".to_owned()));
        }
        for role in self.roles.mapping.iter().map(|mapping| &mapping.to).chain(&self.roles.default) {
            if !is_plain_name(role) || role == ENROL_ROLE {
                return Err(("roles", format!("`{role}` is no role that somebody may have")));
            }
        }
        if self.sign_up == SignUp::Open && self.roles.default.as_deref() == Some(ADMIN_ROLE) {
            return Err((
                "roles.default",
                "whoever the provider knows would be an admin; map a role of theirs".to_owned(),
            ));
        }
        Ok(())
    }

    /// All scopes that are asked for, but for the one without which nothing is.
    pub fn other_scopes(&self) -> impl Iterator<Item = &String> {
        self.scopes.iter().filter(|scope| *scope != OPENID)
    }
}

/// Checks all providers.
///
/// # Errors
/// The first thing that is wrong.
pub fn validate(providers: &[OidcSettings]) -> Result<(), String> {
    if providers.len() > MOST {
        return Err(format!("oidc: there may be at most {MOST} providers"));
    }
    let (mut ids, mut issuers) = (HashSet::new(), HashSet::new());
    for provider in providers {
        if !is_plain_name(&provider.id) {
            return Err(format!("oidc: the id `{}` must be 1 to 64 of a-z, 0-9, _ and -", provider.id));
        }
        provider.validate().map_err(|(name, reason)| format!("oidc.{}.{name}: {reason}", provider.id))?;
        if !ids.insert(&provider.id) {
            return Err(format!("oidc.{}: stands twice", provider.id));
        }
        if !issuers.insert(&provider.issuer) {
            return Err(format!("oidc.{}.issuer: another provider has it", provider.id));
        }
    }
    Ok(())
}

/// Whether nobody on the way can read or change what goes there: it is encrypted, or stays on this
/// machine.
pub(super) fn is_confidential(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.has_host(),
        "http" => match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
            Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
            None => false,
        },
        _ => false,
    }
}

fn profile() -> Vec<String> {
    vec!["profile".to_owned()]
}

fn preferred_username() -> String {
    "preferred_username".to_owned()
}

#[cfg(test)]
mod tests;
