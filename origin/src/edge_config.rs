//! What the edge is started with: one file with the filter, the keys by which it knows the control
//! plane and a bundle to begin with, in the form of an Envoy `DiscoveryResponse` (extension config
//! discovery). Everything that changes later the edge fetches.

use std::io;
use std::path::PathBuf;

use gate::policy::Document;
use serde_json::{Value, json};

use crate::files;

/// Everything about the filter that no policy changes, and what the module may call and be
/// called for: Envoy leaves out every other callback, which spares each request their cost.
const TEMPLATE: &str = include_str!("../../envoy/ecds/filter.json");
/// The variable with the keys that seal identities.
const IDENTITY_KEYS: &str = "COSYGATE_IDENTITY_KEYS";
/// Envoy's cluster of the origin, as in envoy.yaml.
const CLUSTER: &str = "origin";

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

impl EdgeConfig {
    /// Replaces the edge's file. `tag` names the seed.
    ///
    /// # Errors
    /// The disk's; the edge keeps the file it had.
    pub fn publish(&self, roots: &Value, tag: &str, seed: &str, variables: &[&str]) -> io::Result<()> {
        if let Some(folder) = self.file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut content = serde_json::to_vec_pretty(&self.render(roots, tag, seed, variables)?)?;
        content.push(b'\n');
        files::replace(&self.file, &content, files::READABLE)
    }

    fn render(&self, roots: &Value, tag: &str, seed: &str, variables: &[&str]) -> io::Result<Value> {
        let control = json!({"cluster": CLUSTER, "authority": "cosygate", "roots": roots});
        let configuration = json!({"region": self.region, "control": control, "seed": seed}).to_string();
        let mut response: Value = serde_json::from_str(TEMPLATE)?;
        for (place, value) in [
            ("/version_info", json!(tag)),
            ("/resources/0/typed_config/config/vm_config/code/local/filename", json!(self.filter_wasm)),
            ("/resources/0/typed_config/config/vm_config/environment_variables/host_env_keys", json!(variables)),
            ("/resources/0/typed_config/config/configuration/value", json!(configuration)),
        ] {
            *response.pointer_mut(place).ok_or_else(|| io::Error::other(place))? = value;
        }
        Ok(response)
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
