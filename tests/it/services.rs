//! Services in other languages verify the sealed identity with stock libraries and the lines of
//! docs/SECURITY.md.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tests::edge::{Edge, IDENTITY_KEYS, configuration, hand_over};
use tests::process::{artefact, workspace};
use tests::scripted::Scripted;

const TARGET: &str = "/api/me?x=1";

/// Starts an edge with these identity keys and returns a header that it sealed.
async fn sealed_by(keys: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let suite = cases::suites(now).into_iter().find(|(file, _)| *file == "routes.json").unwrap().1;
    let bearer = suite.cases.iter().find(|case| case.name == "with a token").unwrap().headers[0].1.clone();
    let (folder, origin) = (tempfile::tempdir().unwrap(), Scripted::start().await);
    hand_over(folder.path(), 1, &configuration(&suite.policy));
    let edge = Edge::start(folder.path(), origin.address, &[("COSYGATE_IDENTITY_KEYS", keys)]).await;
    edge.answers("/", 200).await;
    let url = format!("{}{TARGET}", edge.url);
    let response = reqwest::Client::new().get(url).header("authorization", bearer).send().await.unwrap();
    let received: Value = response.json().await.unwrap();
    let headers = received["headers"].as_array().unwrap();
    let sealed = headers.iter().find(|pair| pair[0] == "x-cosygate-identity").unwrap();
    sealed[1].as_str().unwrap().to_owned()
}

/// Whom a service in this language takes the request to be from; `None` if it refuses.
fn asked(language: &str, header: &str, target: &str, algorithm: &str, key: &str) -> Option<Value> {
    let services = workspace().join("tests/services");
    let mut command = match language {
        "python" => Command::new(artefact("SERVICES_PYTHON", ".tools/services/bin/python")),
        _ => Command::new("node"),
    };
    let script = if language == "python" { "check.py" } else { "check.mjs" };
    let mut child = command
        .arg(services.join(script))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let manual = std::fs::read_to_string(workspace().join("docs/SECURITY.md")).unwrap();
    let given = json!({
        "manual": manual, "header": header, "method": "GET", "target": target, "algorithm": algorithm, "key": key,
    });
    child.stdin.take().unwrap().write_all(given.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        // Refused by the library or by the lines of the manual, not for want of either.
        let known = ["PermissionError", "InvalidSignatureError", "sealed for another request", "ERR_JWS_SIGNATURE"];
        assert!(known.iter().any(|reason| complaint.contains(reason)), "{language}: {complaint}");
        return None;
    }
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_libraries_open_what_the_edge_sealed() {
    let secret = IDENTITY_KEYS.split_once(':').unwrap().1;
    let seed = [7; 32];
    let public = URL_SAFE_NO_PAD.encode(ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key());
    let private = format!("e1:ed25519:{}", URL_SAFE_NO_PAD.encode(seed));
    for (keys, algorithm, key) in [(IDENTITY_KEYS, "HS256", secret), (private.as_str(), "EdDSA", public.as_str())] {
        let header = sealed_by(keys).await;
        let mut forged = header.clone();
        forged.replace_range(header.len() - 12..header.len() - 4, "AAAAAAAA");
        for language in ["python", "node"] {
            let alice = json!(["alice", "free"]);
            assert_eq!(asked(language, &header, TARGET, algorithm, key), Some(alice), "{language} {algorithm}");
            assert_eq!(asked(language, &header, "/api/me", algorithm, key), None, "{language}: another request");
            assert_eq!(asked(language, &forged, TARGET, algorithm, key), None, "{language}: another signature");
        }
    }
}
