//! `cosygate policy render`, as an operator calls it.

#![cfg(test)]

use std::path::Path;
use std::process::{Command, Output};

use gate::Gate;
use gate::keys::KeySet;
use gate::policy::Document;
use origin::app;
use origin::clock::Clock;
use origin::config::Settings;
use origin::edge_config::EdgeConfig;
use origin::issuer::Issuer;
use origin::policy::{PolicyCenter, PolicyFile};
use serde_json::{Value, json};
use tempfile::TempDir;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../envoy/policy.json");
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../envoy/istio/cosygate.yaml");
/// 32 times the letter Z, and the same in base64url.
const IDENTITY_KEY: &str = "WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo";
const PARTNER_SECRET: &str = "YYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYY";
const WARNING: &str = "# An example. Do not apply it: whoever has the sample key in it is let in. See README.md.\n";
const ISTIO: [&str; 4] = ["--target", "istio", "--url", "oci://registry.example/cosygate-filter:1"];

fn settings(folder: &TempDir) -> Settings {
    Settings { data: folder.path().join("data"), ..Settings::default() }
}

fn cosygate(folder: &TempDir, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cosygate"))
        .args(arguments)
        .current_dir(folder.path())
        .env_clear()
        .env("COSYGATE_DATA", "data")
        .env("COSYGATE_FILTER_WASM", "/opt/filter.wasm")
        .env("COSYGATE_IDENTITY_KEYS", format!("k1:{IDENTITY_KEY}"))
        .env("PARTNER_SECRET", PARTNER_SECRET)
        .output()
        .unwrap()
}

/// What is printed, after looking for secrets in it.
fn render(folder: &TempDir, arguments: &[&str]) -> String {
    let output = cosygate(folder, &[&["policy", "render"], arguments].concat());
    let (printed, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{said}");
    for secret in [IDENTITY_KEY, PARTNER_SECRET] {
        assert!(!printed.contains(secret) && !said.contains(secret), "{printed}{said}");
    }
    let master = std::fs::read_to_string(settings(folder).master_key_file()).unwrap();
    assert!(!printed.contains(master.trim()) && !printed.contains("\"d\""), "{printed}");
    printed
}

fn documents(printed: &str) -> Vec<Value> {
    printed.split("\n---\n").map(|document| serde_json::from_str(document).unwrap()).collect()
}

/// The plugin's configuration of an Envoy document.
fn configuration(envoy: &str) -> Value {
    let response: Value = serde_json::from_str(envoy).unwrap();
    let text = &response["resources"][0]["typed_config"]["config"]["configuration"]["value"];
    serde_json::from_str(text.as_str().unwrap()).unwrap()
}

fn is_judged_by_partner(policy: &Value) {
    let document = Document::parse(policy.to_string().as_bytes()).unwrap();
    let gate = Gate::new(&document, &|name| (name == "PARTNER_SECRET").then(|| PARTNER_SECRET.to_owned())).unwrap();
    assert_eq!((gate.rev, gate.issuers.len()), (2, 3));
    assert!(gate.issuers.iter().all(|issuer| !issuer.keys.is_empty()));
}

/// An origin that has been started: keys, and the shipped policy as the first revision.
async fn start(folder: &TempDir) -> EdgeConfig {
    let settings = settings(folder);
    let edge = EdgeConfig {
        region: settings.region.clone(),
        filter_wasm: "/opt/filter.wasm".into(),
        file: settings.edge_file(),
    };
    let file = PolicyFile { path: settings.policy_file(), is_master: false };
    let store = app::open_store(&settings).await.unwrap();
    let master = app::open_master(&settings).unwrap();
    PolicyCenter::start(file, edge.clone(), master, store.clone(), Clock::system()).await.unwrap();
    store.close().await;
    edge
}

/// The shipped policy with an issuer whose key is a shared secret.
fn publish_partner(folder: &TempDir) {
    let mut policy: Value = serde_json::from_slice(&std::fs::read(SHIPPED).unwrap()).unwrap();
    let mut partner = policy["issuers"][0].clone();
    partner["issuer"] = json!("partner");
    partner["algorithms"] = json!(["HS256"]);
    partner["keys"] = json!({"secret_env": "PARTNER_SECRET"});
    partner["user_prefix"] = json!("partner");
    policy["issuers"].as_array_mut().unwrap().push(partner);
    std::fs::write(folder.path().join("next.json"), policy.to_string()).unwrap();
    let output = cosygate(folder, &["policy", "publish", "next.json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn envoy_gets_what_the_origin_writes() {
    let folder = tempfile::tempdir().unwrap();
    let edge = start(&folder).await;
    let written = std::fs::read_to_string(&edge.file).unwrap();
    assert_eq!(render(&folder, &["--target", "envoy"]), written);

    publish_partner(&folder);
    let north = ["--target", "envoy", "--region", "north", "--cluster", "hub", "--wasm", "relative/filter.wasm"];
    let printed = render(&folder, &north);
    let plugin = configuration(&printed);
    assert_eq!((&plugin["region"], &plugin["control"]["cluster"]), (&json!("north"), &json!("hub")));
    let roots = KeySet::from_jwks(&plugin["control"]["roots"]).unwrap();
    let seed = gate::bundle::open(plugin["seed"].as_str().unwrap().as_bytes(), &roots, "north").unwrap();
    assert_eq!(seed.rev, 2);
    let response: Value = serde_json::from_str(&printed).unwrap();
    let vm = &response["resources"][0]["typed_config"]["config"]["vm_config"];
    assert_eq!(vm["code"]["local"]["filename"], "relative/filter.wasm");
    let names = json!(["COSYGATE_IDENTITY_KEYS", "PARTNER_SECRET"]);
    assert_eq!(vm["environment_variables"], json!({"host_env_keys": names}));

    let printed = render(&folder, &["--target", "envoy", "--static"]);
    let plugin = configuration(&printed);
    assert_eq!(plugin.as_object().unwrap().keys().collect::<Vec<_>>(), ["policy", "region"]);
    is_judged_by_partner(&plugin["policy"]);
    assert!(printed.contains("\"version_info\": \"2\""), "{printed}");
}

#[tokio::test]
async fn istio_gets_a_plugin() {
    let folder = tempfile::tempdir().unwrap();
    start(&folder).await;
    publish_partner(&folder);
    let hash = "AB".repeat(32);
    let place = ["--sha256", &hash, "--namespace", "edge", "--selector", "istio=ingressgateway"];
    let printed = documents(&render(&folder, &[ISTIO.as_slice(), &place].concat()));
    let [object] = printed.as_slice() else { panic!("{printed:?}") };
    assert_eq!(
        (&object["apiVersion"], &object["kind"]),
        (&json!("extensions.istio.io/v1alpha1"), &json!("WasmPlugin"))
    );
    assert_eq!(object["metadata"], json!({"name": "cosygate", "namespace": "edge"}));
    let spec = &object["spec"];
    assert_eq!(spec["sha256"], json!("ab".repeat(32)));
    assert_eq!(spec["selector"], json!({"matchLabels": {"istio": "ingressgateway"}}));
    let host = |name: &str| json!({"name": name, "valueFrom": "HOST"});
    assert_eq!(spec["vmConfig"], json!({"env": [host("COSYGATE_IDENTITY_KEYS"), host("PARTNER_SECRET")]}));
    let plugin = &spec["pluginConfig"];
    let roots = KeySet::from_jwks(&plugin["control"]["roots"]).unwrap();
    let seed = gate::bundle::open(plugin["seed"].as_str().unwrap().as_bytes(), &roots, "local").unwrap();
    is_judged_by_partner(&serde_json::from_str(seed.policy.get()).unwrap());
    assert_eq!(*plugin, configuration(&render(&folder, &["--target", "envoy"])), "the same for both");

    let extension = [ISTIO.as_slice(), &place, &["--kind", "traffic-extension"]].concat();
    let printed = documents(&render(&folder, &extension));
    let (object, module) = (&printed[0], &printed[0]["spec"]["wasm"]);
    assert_eq!((&object["kind"], &object["spec"]["phase"]), (&json!("TrafficExtension"), &json!("AUTHN")));
    assert_eq!((&module["sha256"], &module["pluginConfig"]["region"]), (&json!("ab".repeat(32)), &json!("local")));

    let printed = documents(&render(&folder, &[ISTIO.as_slice(), &["--static"]].concat()));
    let plugin = &printed[0]["spec"]["pluginConfig"];
    assert_eq!(plugin.as_object().unwrap().keys().collect::<Vec<_>>(), ["policy", "region"]);
    is_judged_by_partner(&plugin["policy"]);
}

#[tokio::test]
async fn mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], expected: &str| {
        let output = cosygate(&folder, &[&["policy", "render"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && output.stdout.is_empty() && said.contains(expected), "{said}");
    };
    refused(&["--target", "envoy"], "no policy was ever in force");
    assert!(!settings(&folder).keys_folder().exists(), "no key is made");
    start(&folder).await;
    refused(&["--target", "envoy", "--region", "a b"], "--region");
    refused(&["--target", "envoy", "--namespace", "edge"], "only for istio");
    refused(&["--target", "envoy", "--kind", "traffic-extension"], "only for istio");
    refused(&["--target", "envoy", "--static", "--cluster", "hub"], "--cluster");
    refused(&["--target", "istio"], "--url");
    refused(&["--target", "istio", "--url", "filter.wasm"], "--url");
    refused(&["--target", "istio", "--url", "http://registry.example/filter.wasm"], "--url");
    refused(&["--target", "istio", "--url", "/filter.wasm", "--wasm", "/filter.wasm"], "--wasm");
    refused(&["--target", "istio", "--url", "/filter.wasm", "--sha256", "ab"], "--sha256");
    refused(&["--target", "istio", "--url", "/filter.wasm", "--selector", "gateway"], "key=value");
}

/// With the sample key in place of the issuers' own.
#[tokio::test]
async fn the_example_is_fresh() {
    let folder = tempfile::tempdir().unwrap();
    start(&folder).await;
    let place = ["--static", "--namespace", "istio-ingress", "--selector", "istio=ingressgateway"];
    let mut object = documents(&render(&folder, &[ISTIO.as_slice(), &place].concat())).remove(0);
    for issuer in object["spec"]["pluginConfig"]["policy"]["issuers"].as_array_mut().unwrap() {
        issuer["keys"]["jwks"] = Issuer::sample_keys().logins;
    }
    let printed = serde_json::to_string_pretty(&object).unwrap() + "\n";
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cosygate.yaml");
    let expected = format!("{WARNING}{printed}");
    std::fs::write(&fresh, &expected).unwrap();
    let committed = std::fs::read_to_string(EXAMPLE).unwrap_or_default();
    assert!(committed == expected, "run: cp {} envoy/istio/cosygate.yaml", fresh.display());
}
