//! What the edge is started with: the filter, the keys by which it knows the control plane and a
//! bundle to begin with; everything that changes later the edge fetches. An edge that no control
//! plane reaches has the policy itself instead.
//!
//! Envoy reads it as a `DiscoveryResponse` (extension config discovery), Istio as a `WasmPlugin`.

/// For gateways of Istio.
mod istio;

use std::io;
use std::path::{Path, PathBuf};

use gate::policy::Document;
use serde_json::{Value, json};

pub use self::istio::{Api, Istio, istio_documents};
use crate::files;

/// Everything about the filter that no policy changes, and what the module may call and be
/// called for: Envoy leaves out every other callback, which spares each request their cost.
const TEMPLATE: &str = include_str!("../../envoy/ecds/filter.json");
/// The variable with the keys that seal identities.
const IDENTITY_KEYS: &str = "COSYGATE_IDENTITY_KEYS";
/// Envoy's cluster of the origin, as in envoy.yaml.
pub const CLUSTER: &str = "origin";

/// Where the edge's file lies and what it names.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// Name of the region of this edge.
    pub region: String,
    /// The compiled filter, absolute.
    pub filter_wasm: PathBuf,
    /// The file to write.
    pub file: PathBuf,
}

/// The variables whose values the filter gets, and no others: identity keys and the shared secrets
/// of issuers.
pub fn variables(document: &Document) -> Vec<&str> {
    let mut variables = vec![IDENTITY_KEYS];
    let shadow = document.shadow.iter().flat_map(|shadow| &shadow.issuers);
    for name in document.issuers.iter().chain(shadow).filter_map(|issuer| issuer.keys.secret_env.as_deref()) {
        if !variables.contains(&name) {
            variables.push(name);
        }
    }
    variables
}

/// By what an edge judges.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// By what the control plane tells it.
    Control {
        /// Envoy's cluster of the origin.
        cluster: &'a str,
        /// The public root keys as a JWK Set.
        roots: &'a Value,
        /// A signed bundle to begin with.
        seed: &'a str,
    },
    /// By a policy that stands as it is, with the origin's public keys in it.
    Policy(&'a Document),
}

/// What the filter is configured with, wherever it runs. There are names of secrets in it, and
/// never a secret.
#[derive(Clone, Copy, Debug)]
pub struct Plugin<'a> {
    /// Name of the region of the edge.
    pub region: &'a str,
    /// By what it judges.
    pub source: Source<'a>,
    /// The variables that the filter gets of its host's environment.
    pub variables: &'a [&'a str],
}

impl Plugin<'_> {
    /// What the filter reads; its `Configuration` says what may stand there.
    fn configuration(&self) -> Value {
        match self.source {
            Source::Control { cluster, roots, seed } => {
                let control = json!({"cluster": cluster, "authority": "cosygate", "roots": roots});
                json!({"region": self.region, "control": control, "seed": seed})
            }
            Source::Policy(document) => json!({"region": self.region, "policy": document}),
        }
    }

    /// For Envoy, which finds the compiled filter at `filter_wasm`. `tag` names the version.
    ///
    /// # Errors
    /// The file's name is not UTF-8.
    pub fn discovery_response(&self, tag: &str, filter_wasm: &Path) -> io::Result<Value> {
        let mut response: Value = serde_json::from_str(TEMPLATE)?;
        for (place, value) in [
            ("/version_info", json!(tag)),
            ("/resources/0/typed_config/config/vm_config/code/local/filename", serde_json::to_value(filter_wasm)?),
            ("/resources/0/typed_config/config/vm_config/environment_variables/host_env_keys", json!(self.variables)),
            ("/resources/0/typed_config/config/configuration/value", json!(self.configuration().to_string())),
        ] {
            *response.pointer_mut(place).ok_or_else(|| io::Error::other(place))? = value;
        }
        Ok(response)
    }
}

impl EdgeConfig {
    /// Replaces the edge's file. `tag` names the seed.
    ///
    /// # Errors
    /// The disk's; the edge keeps the file it had.
    pub fn publish(&self, roots: &Value, tag: &str, seed: &str, variables: &[&str]) -> io::Result<()> {
        if let Some(folder) = self.file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let source = Source::Control { cluster: CLUSTER, roots, seed };
        let plugin = Plugin { region: &self.region, source, variables };
        let mut content = serde_json::to_vec_pretty(&plugin.discovery_response(tag, &self.filter_wasm)?)?;
        content.push(b'\n');
        files::replace(&self.file, &content, files::READABLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::BUILT_IN;

    #[test]
    fn the_edge_gets_the_filter_a_seed_and_the_names_of_its_secrets() {
        let mut document = Document::parse(BUILT_IN).unwrap();
        let mut partner = document.issuers[0].clone();
        partner.keys = serde_json::from_value(json!({"secret_env": "PARTNER_SECRET"})).unwrap();
        document.issuers.push(partner);
        let folder = tempfile::tempdir().unwrap();
        let config = EdgeConfig {
            region: "local".to_owned(),
            filter_wasm: "/opt/filter.wasm".into(),
            file: folder.path().join("edge/filter.json"),
        };
        let roots = json!({"keys": []});
        config.publish(&roots, "7-1", "a.b.c", &variables(&document)).unwrap();

        let mut written: Value = serde_json::from_slice(&std::fs::read(&config.file).unwrap()).unwrap();
        let value = written.pointer_mut("/resources/0/typed_config/config/configuration/value").unwrap().take();
        let inner: Value = serde_json::from_str(value.as_str().unwrap()).unwrap();
        let control = json!({"cluster": "origin", "authority": "cosygate", "roots": roots});
        assert_eq!(inner, json!({"region": "local", "seed": "a.b.c", "control": control}));
        let mut expected: Value = serde_json::from_str(TEMPLATE).unwrap();
        expected["version_info"] = json!("7-1");
        let config = &mut expected["resources"][0]["typed_config"]["config"];
        config["vm_config"]["code"]["local"]["filename"] = json!("/opt/filter.wasm");
        config["vm_config"]["environment_variables"]["host_env_keys"] =
            json!(["COSYGATE_IDENTITY_KEYS", "PARTNER_SECRET"]);
        config["configuration"]["value"] = Value::Null;
        let allowed = &config["vm_config"]["capability_restriction_config"]["allowed_capabilities"];
        // A callback that is not listed is never called: without the first, every request would pass.
        for vital in ["proxy_on_request_headers", "proxy_on_request_trailers", "proxy_on_delete", "proxy_close_stream"]
        {
            assert!(allowed[vital].is_object(), "{vital}");
        }
        assert_eq!(written, expected);
    }
}
