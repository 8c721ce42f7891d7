//! A real Envoy with the real filter.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::{Program, artefact, free_port, workspace};
use crate::scripted::everywhere;

/// The identity key of all test worlds.
pub const IDENTITY_KEYS: &str = "test:dGVzdCB0ZXN0IHRlc3QgdGVzdCB0ZXN0IHRlc3QgdGVzdA";

/// One Envoy in front of one origin.
pub struct Edge {
    /// The process.
    pub envoy: Program,
    /// Where clients go, without a slash at the end.
    pub url: String,
    /// The same as an address.
    pub address: SocketAddr,
    /// Where Envoy's figures are read, without a slash at the end.
    pub metrics_url: String,
}

impl Edge {
    /// Starts Envoy from envoy/envoy.yaml inside `folder`, which holds or will hold a
    /// `filter.json` with something in it; Envoy only wants the file to be there.
    pub async fn start(folder: &Path, origin: SocketAddr, variables: &[(&str, &str)]) -> Self {
        Self::start_with(folder, origin, variables, |text| text).await
    }

    /// The same, with something changed in envoy.yaml.
    pub async fn start_with(
        folder: &Path,
        origin: SocketAddr,
        variables: &[(&str, &str)],
        change: impl FnOnce(String) -> String,
    ) -> Self {
        let (port, metrics_port) = (free_port(), free_port());
        let text = std::fs::read_to_string(workspace().join("envoy/envoy.yaml")).unwrap();
        let text = with_port(&text, "# edge port", port);
        let text = with_port(&text, "# edge metrics port", metrics_port);
        let text = change(with_port(&text, "# origin port", origin.port()));
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("envoy.yaml"), text).unwrap();
        if !folder.join("filter.json").exists() {
            std::fs::write(folder.join("filter.json"), "{}").unwrap();
        }
        let envoy = Program::start(
            Command::new(artefact("ENVOY", ".tools/envoy-1.40.0/envoy"))
                .current_dir(folder)
                .args(["-c", "envoy.yaml", "--concurrency", "2", "--disable-hot-restart", "--log-level", "warn"])
                // By default what is logged of a request is written ten seconds later, and tests look at it.
                .args(["--component-log-level", "wasm:info", "--file-flush-interval-msec", "50"])
                .env("COSYGATE_IDENTITY_KEYS", IDENTITY_KEYS)
                .env("CASES_SECRET", cases::secret())
                .envs(variables.iter().copied()),
            &folder.join("envoy.log"),
        );
        let mut edge = Self {
            envoy,
            url: format!("http://127.0.0.1:{port}"),
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            metrics_url: format!("http://127.0.0.1:{metrics_port}"),
        };
        let end = Instant::now() + Duration::from_secs(30);
        while reqwest::get(edge.url.clone()).await.is_err() {
            assert!(edge.envoy.is_running() && Instant::now() < end, "Envoy did not start:\n{}", edge.envoy.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        edge
    }

    /// Waits until every worker answers so to a stranger's GET: until then some may have no policy yet.
    ///
    /// # Panics
    /// One does not within half a minute.
    pub async fn answers(&self, path: &str, status: u16) {
        let url = format!("{}{path}", self.url);
        let says = async || reqwest::get(&url).await.is_ok_and(|answer| answer.status() == status);
        let end = Instant::now() + Duration::from_secs(30);
        while !everywhere(says).await {
            assert!(Instant::now() < end, "{path} is not {status} everywhere:\n{}", self.envoy.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Sets the one port that is marked so.
fn with_port(yaml: &str, mark: &str, port: u16) -> String {
    let marked = |line: &&str| line.trim_start().starts_with("port_value:") && line.ends_with(mark);
    let line = yaml.lines().find(marked).unwrap_or_else(|| panic!("envoy.yaml must mark one `{mark}`"));
    let indent: String = line.chars().take_while(|letter| *letter == ' ').collect();
    yaml.replace(line, &format!("{indent}port_value: {port}"))
}

/// Hands Envoy a filter configuration, as the control plane does: written aside, then renamed.
pub fn hand_over(folder: &Path, version: u64, configuration: &str) {
    hand_over_module(folder, version, configuration, &filter_module());
}

/// The same with another module than what is shipped.
pub fn hand_over_module(folder: &Path, version: u64, configuration: &str, module: &Path) {
    let mut response = template();
    response["version_info"] = json!(version.to_string());
    let mut typed = typed_config(configuration);
    typed["config"]["vm_config"]["code"]["local"]["filename"] = json!(module);
    response["resources"][0]["typed_config"] = typed;
    let aside = folder.join("filter.json.new");
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(&aside, response.to_string()).unwrap();
    std::fs::rename(aside, folder.join("filter.json")).unwrap();
}

/// The filter with its configuration, as an HTTP filter's `typed_config`.
pub fn typed_config(configuration: &str) -> Value {
    let mut typed = template()["resources"][0]["typed_config"].take();
    let config = &mut typed["config"];
    config["vm_config"]["code"]["local"]["filename"] = json!(filter_module());
    config["vm_config"]["environment_variables"]["host_env_keys"] = json!(["COSYGATE_IDENTITY_KEYS", "CASES_SECRET"]);
    config["configuration"]["value"] = json!(configuration);
    typed
}

fn template() -> Value {
    serde_json::from_slice(&std::fs::read(workspace().join("envoy/ecds/filter.json")).unwrap()).unwrap()
}

/// The compiled filter.
pub fn filter_module() -> PathBuf {
    artefact("FILTER_WASM", "target/edge/cosygate-filter.wasm")
}

/// The text of a configuration for a policy.
pub fn configuration(policy: &Value) -> String {
    json!({"region": "test", "policy": policy}).to_string()
}
