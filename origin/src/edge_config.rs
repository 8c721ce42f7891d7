//! What the edge reads: one file with the filter and its policy, in the form of an Envoy
//! `DiscoveryResponse` (extension config discovery), replaced whenever the policy changes.

use std::io;
use std::path::PathBuf;

use gate::policy::Document;
use serde_json::{Value, json};

use crate::files;

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
        let mut content = serde_json::to_vec_pretty(&self.render(document))?;
        content.push(b'\n');
        files::replace(&self.file, &content, files::READABLE)
    }

    fn render(&self, document: &Document) -> Value {
        // The filter gets the values of these variables and of no others.
        let mut variables = vec![IDENTITY_KEYS];
        for name in document.issuers.iter().filter_map(|issuer| issuer.keys.secret_env.as_deref()) {
            if !variables.contains(&name) {
                variables.push(name);
            }
        }
        let configuration = json!({"region": self.region, "policy": document}).to_string();
        json!({
            "version_info": document.rev.to_string(),
            "resources": [{
                "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
                "name": "cosygate",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                    "config": {
                        "name": "cosygate",
                        "root_id": "cosygate",
                        "failure_policy": "FAIL_RELOAD",
                        "vm_config": {
                            "vm_id": "cosygate",
                            "runtime": "envoy.wasm.runtime.v8",
                            "code": {"local": {"filename": self.filter_wasm}},
                            "environment_variables": {"host_env_keys": variables},
                        },
                        "configuration": {
                            "@type": "type.googleapis.com/google.protobuf.StringValue",
                            "value": configuration,
                        },
                    },
                },
            }],
        })
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
        let expected = json!({
            "version_info": "7",
            "resources": [{
                "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
                "name": "cosygate",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                    "config": {
                        "name": "cosygate",
                        "root_id": "cosygate",
                        "failure_policy": "FAIL_RELOAD",
                        "vm_config": {
                            "vm_id": "cosygate",
                            "runtime": "envoy.wasm.runtime.v8",
                            "code": {"local": {"filename": "/opt/filter.wasm"}},
                            "environment_variables": {
                                "host_env_keys": ["COSYGATE_IDENTITY_KEYS", "PARTNER_SECRET"],
                            },
                        },
                        "configuration": {
                            "@type": "type.googleapis.com/google.protobuf.StringValue",
                            "value": null,
                        },
                    },
                },
            }],
        });
        assert_eq!(written, expected);
    }
}
