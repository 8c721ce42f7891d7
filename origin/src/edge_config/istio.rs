use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Plugin;

/// The name of the plugin, and of the object in the cluster.
const NAME: &str = "cosygate";

/// Which of Istio's two ways to bring a module into a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Every release has it.
    WasmPlugin,
    /// Takes its place from release 1.30 on.
    TrafficExtension,
}

/// Where the filter comes from and where it goes.
#[derive(Clone, Debug)]
pub struct Istio {
    /// The kind of object.
    pub api: Api,
    /// The compiled filter: `oci://…`, `https://…` or `file://…`.
    pub url: String,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: Option<String>,
    /// The namespace of the gateway; left to `kubectl` if none.
    pub namespace: Option<String>,
    /// Labels of the gateway's pods; every proxy of the namespace if there are none.
    pub selector: BTreeMap<String, String>,
}

/// The objects to apply, each a document of its own.
///
/// Istio lets nobody set what else the Envoy template has: the name of the VM and which calls the
/// module may make.
pub fn istio_documents(plugin: &Plugin<'_>, istio: &Istio) -> Vec<Value> {
    let variables: Vec<Value> =
        plugin.variables.iter().map(|name| json!({"name": name, "valueFrom": "HOST"})).collect();
    let module = json!({
        "url": istio.url,
        "pluginName": NAME,
        // A fallen VM is started again; until then, and if there is no filter at all, nobody passes.
        "failStrategy": "FAIL_RELOAD",
        "vmConfig": {"env": variables},
        "pluginConfig": plugin.configuration(),
    });
    let (kind, of_module, spec) = match istio.api {
        Api::WasmPlugin => ("WasmPlugin", "/spec", module),
        Api::TrafficExtension => ("TrafficExtension", "/spec/wasm", json!({"wasm": module})),
    };
    let mut object = json!({
        "apiVersion": "extensions.istio.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": NAME},
        "spec": spec,
    });
    let optional = [
        // Before anything of Istio's own that asks who is calling.
        ("/spec", "phase", Some(json!("AUTHN"))),
        ("/metadata", "namespace", istio.namespace.as_ref().map(|name| json!(name))),
        (of_module, "sha256", istio.sha256.as_ref().map(|hash| json!(hash))),
        ("/spec", "selector", (!istio.selector.is_empty()).then(|| json!({"matchLabels": istio.selector}))),
    ];
    for (place, name, value) in optional {
        if let (Some(Value::Object(parent)), Some(value)) = (object.pointer_mut(place), value) {
            parent.insert(name.to_owned(), value);
        }
    }
    vec![object]
}

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::*;

    #[test]
    fn a_plugin_takes_its_secrets_from_the_host() {
        let roots = json!({"keys": []});
        let source = Source::Control { cluster: "outbound|80||origin", roots: &roots, seed: "a.b.c" };
        let plugin = Plugin { region: "north", source, variables: &["COSYGATE_IDENTITY_KEYS", "PARTNER_SECRET"] };
        let mut istio = Istio {
            api: Api::WasmPlugin,
            url: "oci://registry/filter:1".to_owned(),
            sha256: None,
            namespace: None,
            selector: BTreeMap::new(),
        };
        let control = json!({"cluster": "outbound|80||origin", "authority": "cosygate", "roots": roots});
        let mut expected = json!({
            "apiVersion": "extensions.istio.io/v1alpha1",
            "kind": "WasmPlugin",
            "metadata": {"name": "cosygate"},
            "spec": {
                "url": "oci://registry/filter:1",
                "pluginName": "cosygate",
                "phase": "AUTHN",
                "failStrategy": "FAIL_RELOAD",
                "vmConfig": {"env": [
                    {"name": "COSYGATE_IDENTITY_KEYS", "valueFrom": "HOST"},
                    {"name": "PARTNER_SECRET", "valueFrom": "HOST"},
                ]},
                "pluginConfig": {"region": "north", "control": control, "seed": "a.b.c"},
            },
        });
        assert_eq!(istio_documents(&plugin, &istio), [expected.clone()]);

        istio.sha256 = Some("ab".repeat(32));
        istio.namespace = Some("edge".to_owned());
        istio.selector = BTreeMap::from([("istio".to_owned(), "gateway".to_owned())]);
        expected["metadata"]["namespace"] = json!("edge");
        expected["spec"]["sha256"] = json!("ab".repeat(32));
        expected["spec"]["selector"] = json!({"matchLabels": {"istio": "gateway"}});
        assert_eq!(istio_documents(&plugin, &istio), [expected.clone()]);

        // The same, with what is the module's own in a place of its own.
        istio.api = Api::TrafficExtension;
        expected["kind"] = json!("TrafficExtension");
        let mut module = expected["spec"].take();
        let outside =
            ["phase", "selector"].map(|name| (name.to_owned(), module.as_object_mut().unwrap().remove(name).unwrap()));
        expected["spec"] = outside.into_iter().collect::<serde_json::Map<_, _>>().into();
        expected["spec"]["wasm"] = module;
        assert_eq!(istio_documents(&plugin, &istio), [expected]);
    }
}
