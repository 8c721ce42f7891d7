//! An Envoy whose filter can be handed other policies while it is loaded.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::tokens::{ALGORITHMS, AUDIENCE, Algorithm};
use crate::edge::{IDENTITY_KEYS, configuration, hand_over};
use crate::process::{Program, artefact, free_port};

/// How many workers Envoy has.
pub const WORKERS: u64 = 2;

/// The algorithm whose tokens are sent; the quickest to verify, so that many can be.
pub fn algorithm() -> &'static Algorithm {
    &ALGORITHMS[3]
}

/// A running Envoy, without a filter until it is handed one.
pub struct Subject {
    /// The process.
    pub envoy: Program,
    folder: PathBuf,
    port: u16,
}

impl Subject {
    /// Starts Envoy with a filter that lets everything pass until another one comes.
    ///
    /// # Errors
    /// Envoy does not start within 30 seconds.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let port = free_port();
        let manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "memory",
            "use_remote_address": true,
            "http_filters": [
                {"name": "cosygate", "config_discovery": {
                    "config_source": {
                        "resource_api_version": "V3",
                        "path_config_source": {"path": "filter.json", "watched_directory": {"path": "."}},
                    },
                    "apply_default_config_without_warming": true,
                    "type_urls": [
                        "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                        "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
                    ],
                    "default_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"},
                }},
                {"name": "router", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                }},
            ],
            "route_config": {"virtual_hosts": [{"name": "memory", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}},
            ]}]},
        });
        let bootstrap = json!({
            "node": {"id": "bench", "cluster": "bench"},
            "static_resources": {"listeners": [{
                "name": "memory",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
            }]},
        });
        std::fs::write(folder.join("envoy.json"), bootstrap.to_string())?;
        std::fs::write(folder.join("filter.json"), "{}")?;
        let envoy = Program::start(
            Command::new(artefact("ENVOY", ".tools/envoy-1.40.0/envoy"))
                .current_dir(folder)
                .args(["-c", "envoy.json", "--concurrency", &WORKERS.to_string()])
                .args(["--disable-hot-restart", "--log-level", "error"])
                .env("COSYGATE_IDENTITY_KEYS", IDENTITY_KEYS)
                .env("CASES_SECRET", cases::secret()),
            &folder.join("envoy.log"),
        );
        let subject = Self { envoy, folder: folder.to_owned(), port };
        let end = Instant::now() + Duration::from_secs(30);
        while reqwest::get(subject.url("/")).await.is_err() {
            if Instant::now() > end {
                bail!("Envoy did not start:\n{}", subject.envoy.log());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(subject)
    }

    /// Where a path is.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Hands over a policy and waits until it is in force: its one public path has its number.
    ///
    /// # Errors
    /// It is not within 30 seconds.
    pub async fn hand_over(&self, rev: u64) -> anyhow::Result<()> {
        hand_over(&self.folder, rev, &configuration(&policy(rev)));
        let end = Instant::now() + Duration::from_secs(30);
        while reqwest::get(self.url(&format!("/rev/{rev}"))).await?.status() != 200 {
            if Instant::now() > end {
                bail!("policy {rev} did not arrive:\n{}", self.envoy.log());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Memory of the process that is in use, in KiB (proc_pid_status(5), `VmRSS`).
    ///
    /// # Errors
    /// Envoy is gone.
    pub fn resident_kb(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.envoy.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

/// A policy that differs from the others in its number and in one path.
fn policy(rev: u64) -> Value {
    let algorithm = algorithm();
    let role = json!({
        "requests": {"per_minute": 600, "burst": 100_000}, "in_flight": 100, "body_kb": 1024, "jobs_running": 1,
        "characters_per_request": 500, "characters_per_day": 5000, "generations_per_day": 50, "storage_mb": 200,
        "retention_days": 7,
    });
    json!({
        "rev": rev,
        "issuers": [{
            "issuer": algorithm.issuer, "audiences": [AUDIENCE], "algorithms": [algorithm.name],
            "keys": {"secret_env": "CASES_SECRET"}, "types": ["at+jwt"], "max_lifetime_s": 86_400,
        }],
        "roles": {"free": role},
        "routes": [
            {"prefix": "/speech/", "methods": ["GET"], "roles": ["free"], "scopes": ["speech"]},
            {"path": format!("/rev/{rev}"), "methods": ["GET"], "public": true},
        ],
    })
}
