//! Settings: `cosygate.toml`, overridden by the environment, overridden by flags.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use gate::identity::KeyRing;
use serde::{Deserialize, Serialize, Serializer};
use url::Url;

use crate::accounts::{PasswordSettings, accept_password};
use crate::engine::EngineSettings;
use crate::keys::Master;
use crate::oidc::{self, OidcSettings};

/// Everything an operator can set.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Folder of everything that is written by default. `COSYGATE_DATA`, default `./data`.
    pub data: PathBuf,
    /// Where the edge reaches the origin. `COSYGATE_ORIGIN_ADDR`, default `127.0.0.1:8080`.
    pub origin_addr: SocketAddr,
    /// Where `/metrics`, `/healthz` and `/readyz` are. `COSYGATE_METRICS_ADDR`, default
    /// `127.0.0.1:9090`.
    pub metrics_addr: SocketAddr,
    /// The origin under which browsers reach the edge: scheme, host and port. Passkeys are bound to
    /// its host, and providers send people back to it. `COSYGATE_PUBLIC_URL`, default `http://localhost:10000`.
    pub public_url: Url,
    /// `postgres://…` or `sqlite://path`. `COSYGATE_DATABASE_URL`, default `cosygate.db` under
    /// the data folder.
    pub database_url: Option<Secret>,
    /// Name of this region. `COSYGATE_REGION`, default `local`.
    pub region: String,
    /// Password of the first administrator, used at the first start only.
    /// `COSYGATE_ADMIN_PASSWORD`, default generated.
    pub admin_password: Option<Secret>,
    /// The keys that seal identities, `id:base64url`, the current one first.
    /// `COSYGATE_IDENTITY_KEYS`, default generated into `keys/identity.keys` under the data folder.
    pub identity_keys: Option<Secret>,
    /// The key under which the database keeps all others: 32 bytes in base64url.
    /// `COSYGATE_MASTER_KEY`, default generated into `keys/master.key` under the data folder.
    pub master_key: Option<Secret>,
    /// The policy. `COSYGATE_POLICY_FILE`, default `policy.json` under the data folder.
    pub policy_file: Option<PathBuf>,
    /// Where the edge's configuration is written. `COSYGATE_EDGE_DIR`, default `edge` under the
    /// data folder.
    pub edge_dir: Option<PathBuf>,
    /// The compiled filter. `COSYGATE_FILTER_WASM`, default `target/edge/cosygate-filter.wasm`.
    pub filter_wasm: PathBuf,
    /// How long running work may take after a signal to stop, in seconds.
    /// `COSYGATE_DRAIN_SECONDS`, default 10.
    pub drain_seconds: u64,
    /// How long an access token holds, in seconds, at most as long as the policy allows.
    /// `COSYGATE_TOKEN_LIFETIME_SECONDS`, default 3600.
    pub token_lifetime_seconds: u64,
    /// How long a login holds, in seconds, however often it is refreshed.
    /// `COSYGATE_LOGIN_LIFETIME_SECONDS`, default 2 592 000, thirty days.
    pub login_lifetime_seconds: u64,
    /// The queue of generations.
    pub queue: QueueSettings,
    /// How passwords are chosen and kept.
    pub passwords: PasswordSettings,
    /// The speech engine. `COSYGATE_ENGINE` sets its kind, `COSYGATE_ENGINE_URL` its addresses,
    /// separated by commas.
    pub engine: EngineSettings,
    /// Providers of OpenID Connect that people may log in with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub oidc: Vec<OidcSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data: "./data".into(),
            origin_addr: SocketAddr::from(([127, 0, 0, 1], 8080)),
            metrics_addr: SocketAddr::from(([127, 0, 0, 1], 9090)),
            public_url: usual_public_url(),
            database_url: None,
            region: "local".to_owned(),
            admin_password: None,
            identity_keys: None,
            master_key: None,
            policy_file: None,
            edge_dir: None,
            filter_wasm: "target/edge/cosygate-filter.wasm".into(),
            drain_seconds: 10,
            token_lifetime_seconds: 3600,
            login_lifetime_seconds: 2_592_000,
            queue: QueueSettings::default(),
            passwords: PasswordSettings::default(),
            engine: EngineSettings::default(),
            oidc: Vec::new(),
        }
    }
}

/// The table `[queue]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueSettings {
    /// Generations of all users that may wait for their turn; one more is refused. Default 1000.
    pub length: usize,
    /// How long a client that waits for its audio stays in the queue, in seconds. What comes to
    /// its turn by then is made; what does not is cancelled. Default 60.
    pub wait_seconds: u64,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { length: 1000, wait_seconds: 60 }
    }
}

#[expect(clippy::expect_used, reason = "a constant; every test would fail")]
fn usual_public_url() -> Url {
    Url::parse("http://localhost:10000").expect("an address")
}

/// A value that is never printed.
#[derive(Clone, Deserialize)]
pub struct Secret(String);

impl Secret {
    /// The value.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// One line that says which setting is wrong and how.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

fn wrong(name: &str, reason: impl std::fmt::Display) -> ConfigError {
    ConfigError(format!("{name}: {reason}"))
}

impl Settings {
    /// Reads the file (if `file` is none, `cosygate.toml` in the working directory if there is
    /// one) and the environment, as far as `variable` knows it.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(file: Option<&Path>, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let path = file.unwrap_or(Path::new("cosygate.toml"));
        let mut settings = match std::fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text).map_err(|error| wrong(&path.display().to_string(), error))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && file.is_none() => Self::default(),
            Err(error) => return Err(wrong(&path.display().to_string(), error)),
        };
        settings.override_by(variable)?;
        settings.validate()?;
        Ok(settings)
    }

    fn override_by(&mut self, variable: &dyn Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        override_with(&mut self.data, "COSYGATE_DATA", &set)?;
        override_with(&mut self.origin_addr, "COSYGATE_ORIGIN_ADDR", &set)?;
        override_with(&mut self.metrics_addr, "COSYGATE_METRICS_ADDR", &set)?;
        override_with(&mut self.public_url, "COSYGATE_PUBLIC_URL", &set)?;
        override_with(&mut self.region, "COSYGATE_REGION", &set)?;
        override_with(&mut self.filter_wasm, "COSYGATE_FILTER_WASM", &set)?;
        override_with(&mut self.drain_seconds, "COSYGATE_DRAIN_SECONDS", &set)?;
        override_with(&mut self.token_lifetime_seconds, "COSYGATE_TOKEN_LIFETIME_SECONDS", &set)?;
        override_with(&mut self.passwords.length, "COSYGATE_PASSWORD_LENGTH", &set)?;
        override_with(&mut self.passwords.memory_kib, "COSYGATE_PASSWORD_MEMORY_KIB", &set)?;
        override_with(&mut self.passwords.passes, "COSYGATE_PASSWORD_PASSES", &set)?;
        override_with(&mut self.engine.kind, "COSYGATE_ENGINE", &set)?;
        override_with(&mut self.login_lifetime_seconds, "COSYGATE_LOGIN_LIFETIME_SECONDS", &set)?;
        self.policy_file = set("COSYGATE_POLICY_FILE").map(PathBuf::from).or(self.policy_file.take());
        self.edge_dir = set("COSYGATE_EDGE_DIR").map(PathBuf::from).or(self.edge_dir.take());
        if let Some(urls) = set("COSYGATE_ENGINE_URL") {
            self.engine.urls = urls.split(',').map(|url| url.trim().to_owned()).collect();
        }
        for (secret, name) in [
            (&mut self.database_url, "COSYGATE_DATABASE_URL"),
            (&mut self.admin_password, "COSYGATE_ADMIN_PASSWORD"),
            (&mut self.identity_keys, "COSYGATE_IDENTITY_KEYS"),
            (&mut self.master_key, "COSYGATE_MASTER_KEY"),
        ] {
            let from_file = match set(&format!("{name}_FILE")) {
                Some(path) => {
                    let text = std::fs::read_to_string(&path);
                    let text = text.map_err(|error| wrong(&format!("{name}_FILE"), format!("{path}: {error}")))?;
                    Some(text.trim_end().to_owned())
                }
                None => None,
            };
            *secret = set(name).or(from_file).map(Secret).or(secret.take());
        }
        self.oidc.iter_mut().try_for_each(|provider| provider.resolve(variable)).map_err(ConfigError)
    }

    /// Checks what can be checked without touching a file or the network.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.data.as_os_str().is_empty() {
            return Err(wrong("data", "must name a folder"));
        }
        if !is_plain_origin(&self.public_url) {
            return Err(wrong(
                "public_url",
                "must be http:// or https://, a host and perhaps a port, and nothing else",
            ));
        }
        if !gate::policy::is_plain_name(&self.region) {
            return Err(wrong("region", "must be 1 to 64 of a-z, 0-9, _ and -"));
        }
        if self.drain_seconds > 3600 {
            return Err(wrong("drain_seconds", "must be at most 3600"));
        }
        if !(1..=86_400).contains(&self.token_lifetime_seconds) {
            return Err(wrong("token_lifetime_seconds", "must be 1 to 86400"));
        }
        if !(1..=31_536_000).contains(&self.login_lifetime_seconds) {
            return Err(wrong("login_lifetime_seconds", "must be 1 to 31536000"));
        }
        if self.queue.length > 100_000 {
            return Err(wrong("queue.length", "must be at most 100000"));
        }
        if !(1..=3600).contains(&self.queue.wait_seconds) {
            return Err(wrong("queue.wait_seconds", "must be 1 to 3600"));
        }
        if let Some(url) = &self.database_url
            && !["postgres://", "postgresql://", "sqlite:"].iter().any(|scheme| url.reveal().starts_with(scheme))
        {
            return Err(wrong("database_url", "must begin with postgres:// or sqlite:"));
        }
        if let Some(keys) = &self.identity_keys {
            KeyRing::parse(keys.reveal()).map_err(|reason| wrong("identity_keys", reason))?;
        }
        if let Some(key) = &self.master_key {
            Master::parse(key.reveal()).map_err(|error| wrong("master_key", error))?;
        }
        self.passwords.validate().map_err(|reason| wrong("passwords", reason))?;
        if let Some(password) = &self.admin_password {
            accept_password(password.reveal(), "admin", self.passwords.length)
                .map_err(|reason| wrong("admin_password", reason))?;
        }
        oidc::validate(&self.oidc).map_err(ConfigError)?;
        self.engine.validate().map_err(|error| ConfigError(error.to_string()))
    }

    /// With the places that follow from the data folder written out.
    pub fn effective(&self) -> Self {
        Self { policy_file: Some(self.policy_file()), edge_dir: Some(self.edge_dir()), ..self.clone() }
    }

    /// The database's file when no address is set.
    pub fn database_file(&self) -> PathBuf {
        self.data.join("cosygate.db")
    }

    /// The folder of keys.
    pub fn keys_folder(&self) -> PathBuf {
        self.data.join("keys")
    }

    /// The key under which all others are kept, when no setting gives it.
    pub fn master_key_file(&self) -> PathBuf {
        self.keys_folder().join("master.key")
    }

    /// The keys that seal identities, when no setting gives them.
    pub fn identity_keys_file(&self) -> PathBuf {
        self.keys_folder().join("identity.keys")
    }

    /// Where a generated password of the first administrator is written.
    pub fn admin_password_file(&self) -> PathBuf {
        self.data.join("admin-password")
    }

    /// The folder of audio.
    pub fn blobs_folder(&self) -> PathBuf {
        self.data.join("blobs")
    }

    /// Checkpoints of the audit, one a line.
    pub fn audit_file(&self) -> PathBuf {
        self.data.join("audit-checkpoints.jsonl")
    }

    /// The policy.
    pub fn policy_file(&self) -> PathBuf {
        self.policy_file.clone().unwrap_or_else(|| self.data.join("policy.json"))
    }

    /// The folder of the edge's configuration.
    pub fn edge_dir(&self) -> PathBuf {
        self.edge_dir.clone().unwrap_or_else(|| self.data.join("edge"))
    }

    /// The edge's configuration.
    pub fn edge_file(&self) -> PathBuf {
        self.edge_dir().join("filter.json")
    }
}

fn is_plain_origin(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
}

fn override_with<T: FromStr<Err: std::fmt::Display>>(
    setting: &mut T,
    name: &str,
    set: &dyn Fn(&str) -> Option<String>,
) -> Result<(), ConfigError> {
    if let Some(value) = set(name) {
        *setting = value.parse().map_err(|error| wrong(name, error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str, environment: &[(&str, &str)]) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cosygate.toml");
        std::fs::write(&path, toml).unwrap();
        let variable = |name: &str| {
            environment.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        };
        Settings::load(Some(&path), &variable).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let file = "region = \"north\"\ndrain_seconds = 3\n[engine]\nqueue_length = 5\n";
        let settings = load(file, &[("COSYGATE_REGION", "south"), ("COSYGATE_ORIGIN_ADDR", "127.0.0.1:1")]).unwrap();
        assert_eq!((settings.region.as_str(), settings.drain_seconds), ("south", 3));
        assert_eq!(settings.engine.queue_length, 5);
        assert_eq!(settings.origin_addr.port(), 1);
        assert_eq!(settings.policy_file(), Path::new("./data/policy.json"));
        assert_eq!(settings.public_url.as_str(), "http://localhost:10000/");
    }

    #[test]
    fn mistakes_are_named() {
        for (toml, environment, expected) in [
            ("colour = 1", &[][..], "unknown field `colour`"),
            ("[engine]\ncolour = 1", &[], "unknown field `colour`"),
            ("", &[("COSYGATE_ORIGIN_ADDR", "nowhere")], "COSYGATE_ORIGIN_ADDR"),
            ("", &[("COSYGATE_ENGINE", "parrot")], "must be espeak, cosyvoice-http, cosyvoice-grpc, gradio or"),
            ("", &[("COSYGATE_IDENTITY_KEYS", "k:short")], "identity_keys"),
            ("", &[("COSYGATE_ADMIN_PASSWORD", "short")], "admin_password"),
            ("", &[("COSYGATE_ADMIN_PASSWORD_FILE", "/nonexistent")], "COSYGATE_ADMIN_PASSWORD_FILE"),
            ("", &[("COSYGATE_DATABASE_URL", "mysql://h")], "database_url"),
            ("[passwords]\nlength = 7", &[], "passwords: length"),
            ("region = \"a b\"", &[], "region"),
            ("", &[("COSYGATE_PUBLIC_URL", "speech.example.org")], "COSYGATE_PUBLIC_URL"),
            ("public_url = \"ftp://speech.example.org\"", &[], "public_url"),
            ("public_url = \"https://speech.example.org/page\"", &[], "public_url"),
            ("public_url = \"https://speech.example.org?\"", &[], "public_url"),
            ("public_url = \"https://speech.example.org#\"", &[], "public_url"),
            ("public_url = \"https://ada@speech.example.org\"", &[], "public_url"),
            ("public_url = \"https://:secret@speech.example.org\"", &[], "public_url"),
            ("token_lifetime_seconds = 0", &[], "token_lifetime_seconds"),
            ("login_lifetime_seconds = 0", &[], "login_lifetime_seconds"),
        ] {
            let error = load(toml, environment).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert!(Settings::load(Some(Path::new("/nonexistent.toml")), &|_| None).is_err());
    }

    #[test]
    fn secrets_are_never_printed() {
        let environment =
            [("COSYGATE_ADMIN_PASSWORD", "hunter22hunter"), ("COSYGATE_DATABASE_URL", "postgres://u:hunter22@h/d")];
        let settings = load("", &environment).unwrap();
        let printed = format!("{settings:?}{}", toml::to_string(&settings).unwrap());
        assert!(!printed.contains("hunter22") && printed.contains("***"), "{printed}");
        assert_eq!(settings.admin_password.unwrap().reveal(), "hunter22hunter");
    }
}
