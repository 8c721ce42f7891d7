//! What the edge reads: one file with the filter and its policy, in the form of an Envoy
//! `DiscoveryResponse` (extension config discovery), replaced whenever the policy changes.

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

impl EdgeConfig {
    /// Replaces the edge's file. `document` has its revision and the origin's keys in it.
    ///
    /// # Errors
    /// The disk's; the edge keeps the file it had.
    pub fn publish(&self, document: &Document) -> io::Result<()> {
        if let Some(folder) = self.file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut content = serde_json::to_vec_pretty(&self.render(document)?)?;
        content.push(b'\n');
        files::replace(&self.file, &content, files::READABLE)
    }

    fn render(&self, document: &Document) -> io::Result<Value> {
        // The filter gets the values of these variables and of no others.
        let mut variables = vec![IDENTITY_KEYS];
        for name in document.issuers.iter().filter_map(|issuer| issuer.keys.secret_env.as_deref()) {
            if !variables.contains(&name) {
                variables.push(name);
            }
        }
        let configuration = json!({"region": self.region, "policy": document}).to_string();
        let mut response: Value = serde_json::from_str(TEMPLATE)?;
        for (place, value) in [
            ("/version_info", json!(document.rev.to_string())),
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
    fn the_edge_gets_the_filter_its_policy_and_the_names_of_its_secrets() {
        let mut document = Document::parse(BUILT_IN).unwrap();
        document.rev = 7;
        let mut partner = document.issuers[0].clone();
        partner.keys = serde_json::from_value(json!({"secret_env": "PARTNER_SECRET"})).unwrap();
        document.issuers.push(partner);
        let folder = tempfile::tempdir().unwrap();
        let config = EdgeConfig {
            region: "local".to_owned(),
            filter_wasm: "/opt/filter.wasm".into(),
            file: folder.path().join("edge/filter.json"),
        };
        config.publish(&document).unwrap();

        let mut written: Value = serde_json::from_slice(&std::fs::read(&config.file).unwrap()).unwrap();
        let value = written.pointer_mut("/resources/0/typed_config/config/configuration/value").unwrap().take();
        let inner: Value = serde_json::from_str(value.as_str().unwrap()).unwrap();
        assert_eq!(inner["region"], "local");
        assert_eq!(serde_json::from_value::<Document>(inner["policy"].clone()).unwrap(), document);
        let mut expected: Value = serde_json::from_str(TEMPLATE).unwrap();
        expected["version_info"] = json!("7");
        let config = &mut expected["resources"][0]["typed_config"]["config"];
        config["vm_config"]["code"]["local"]["filename"] = json!("/opt/filter.wasm");
        config["vm_config"]["environment_variables"]["host_env_keys"] =
            json!(["COSYGATE_IDENTITY_KEYS", "PARTNER_SECRET"]);
        config["configuration"]["value"] = Value::Null;
        let allowed = &config["vm_config"]["capability_restriction_config"]["allowed_capabilities"];
        // A callback that is not listed is never called: without the first, every request would pass.
        for vital in ["proxy_on_request_headers", "proxy_on_request_trailers", "proxy_on_delete"] {
            assert!(allowed[vital].is_object(), "{vital}");
        }
        assert_eq!(written, expected);
    }
}
