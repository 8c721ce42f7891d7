//! Project Wycheproof's signatures, put to the program. `corpus.rs` sends them to the edge.

#[path = "../../filter/gate/tests/wycheproof/vectors.rs"]
pub(crate) mod vectors;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tests::process::artefact;

const ISSUER: &str = "https://wycheproof.example";
const SECRET: &str = "SECRET_OF_WYCHEPROOF";

#[test]
fn the_program_judges_every_signature_as_it_must() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.json");
    let (mut passed, mut refused, mut no_such_key) = (0, 0, 0);
    for group in vectors::groups() {
        std::fs::write(&policy, policy_of(&[issuer(ISSUER, &group.key)]).to_string()).unwrap();
        for vector in group.vectors {
            let output = verify(folder.path(), group.key["k"].as_str(), &vector.text);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let named = format!("{}: {}: {output:?}", vector.id, vector.comment);
            let expected_code = if vector.holds { 0 } else { 1 };
            assert_eq!(output.status.code(), Some(expected_code), "{named}");
            if output.stdout.is_empty() {
                // A key that is for something else, or on a curve that is not supported.
                assert!(said.contains("/issuers/0/keys/jwks") || said.contains("ES521"), "{named}");
                no_such_key += 1;
                continue;
            }
            assert_eq!(said, "", "{named}");
            let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
            if vector.holds {
                let algorithm = &group.key["alg"];
                let key_id = &verdict["key_id"];
                assert!(key_id.is_null() || *key_id == group.key["kid"], "{named}");
                let pass = json!({"verdict": "pass", "issuer": ISSUER, "algorithm": algorithm, "key_id": key_id});
                assert_eq!(verdict, pass, "{named}");
                passed += 1;
            } else {
                assert_eq!(verdict["verdict"], "refuse", "{named}");
                assert_eq!(verdict["code"], "token_invalid", "{named}");
                assert!(!verdict["cause"].as_str().unwrap().is_empty(), "{named}");
                refused += 1;
            }
        }
    }
    println!("{passed} signatures of Wycheproof passed, {refused} refused, {no_such_key} with keys that are refused");
    assert_eq!((passed, refused, no_such_key), (42, 353, 6));
}

#[test]
fn any_issuer_that_allows_the_algorithm_will_do() {
    let folder = tempfile::tempdir().unwrap();
    let all = vectors::groups();
    let group = |algorithm: &str| all.iter().find(|group| group.key["alg"] == algorithm).unwrap();
    let (ours, other, secret) = (group("RS256"), group("ES256"), group("HS256"));
    let mut stranger = group("RS384").key.clone();
    stranger["alg"] = json!("RS256");
    let issuers = [
        issuer("https://stranger.example", &stranger),
        issuer("https://other.example", &other.key),
        issuer(ISSUER, &ours.key),
    ];
    std::fs::write(folder.path().join("policy.json"), policy_of(&issuers).to_string()).unwrap();
    let judged = |text: &str| {
        let output = verify(folder.path(), None, text);
        let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), verdict)
    };
    let text = |group: &vectors::Group| group.vectors.iter().find(|vector| vector.holds).unwrap().text.clone();
    let (code, verdict) = judged(&text(ours));
    assert_eq!((code, &verdict["issuer"]), (Some(0), &json!(ISSUER)), "{verdict}");
    let (code, verdict) = judged(&text(other));
    assert_eq!((code, &verdict["issuer"]), (Some(0), &json!("https://other.example")), "{verdict}");
    let (code, verdict) = judged(&text(secret));
    assert_eq!((code, &verdict["cause"]), (Some(1), &json!("alg is not allowed for any issuer")), "{verdict}");

    // The payload is no claims, so as a token it is nothing; and one or the other is asked for.
    let as_token = run(folder.path(), &["--now", "1800000000"], None, &text(ours));
    assert_eq!(as_token.status.code(), Some(1), "{as_token:?}");
    for wrong in [&["--jws", "--path", "/"][..], &["--jws", "--now", "1800000000"], &[]] {
        let output = run(folder.path(), wrong, None, &text(ours));
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {output:?}");
    }
}

/// An issuer with this key, for the algorithm that the key names.
fn issuer(name: &str, key: &Value) -> Value {
    let by_kind = if key["kty"] == "EC" { "ES256" } else { "RS256" };
    let keys = if key["k"].is_string() { json!({"secret_env": SECRET}) } else { json!({"jwks": {"keys": [key]}}) };
    json!({
        "issuer": name,
        "audiences": ["anybody"],
        "algorithms": [key["alg"].as_str().unwrap_or(by_kind)],
        "keys": keys,
        "user_prefix": name.trim_start_matches("https://").replace('.', "-"),
    })
}

fn policy_of(issuers: &[Value]) -> Value {
    let mut policy = tests::world::shipped_policy();
    policy["issuers"] = json!(issuers);
    policy
}

fn verify(folder: &Path, secret: Option<&str>, text: &str) -> Output {
    run(folder, &["--jws"], secret, text)
}

/// Runs `cosygate token verify` on the folder's policy with a text as its input.
fn run(folder: &Path, arguments: &[&str], secret: Option<&str>, text: &str) -> Output {
    let mut child = Command::new(artefact("COSYGATE_BIN", "target/release/cosygate"))
        .args(["token", "verify", "--policy", "policy.json"])
        .args(arguments)
        .current_dir(folder)
        .envs(secret.map(|secret| (SECRET, secret)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not read its input may be gone by now; its answer tells.
    let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
    child.wait_with_output().unwrap()
}
