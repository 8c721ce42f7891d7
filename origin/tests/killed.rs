//! What the audit has after the server was killed again and again.

#![cfg(test)]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gate::identity::{AUDIENCE, HEADER, KeyRing, Sealed};
use serde_json::{Value, json};
use tempfile::TempDir;

const KEYS: &str = "k1:WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo";
const ACTIONS: usize = 1000;
/// One that is not there does not keep the server from starting.
const ENGINE: &str = r#"
[engine]
kind = "cosyvoice-http"
model = "cosyvoice"
mode = "sft"
urls = ["http://127.0.0.1:9"]
[[engine.voices]]
id = "v"
name = "V"
source = { kind = "preset", speaker_id = "v" }
"#;
/// After how many answers the server is killed.
const LIFE: usize = 50;
/// How many ask at once.
const CLIENTS: usize = 4;

struct Server {
    process: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGKILL.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn cosygate(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cosygate"));
    command
        .current_dir(folder.path())
        .env_clear()
        .env("COSYGATE_DATA", "data")
        .env("COSYGATE_IDENTITY_KEYS", KEYS)
        .env("COSYGATE_METRICS_ADDR", "127.0.0.1:0")
        .env("RUST_LOG", "off");
    command
}

async fn start(folder: &TempDir, client: &reqwest::Client) -> Server {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let process = cosygate(folder).arg("serve").env("COSYGATE_ORIGIN_ADDR", &address).stderr(Stdio::null()).spawn();
    let server = Server { process: process.unwrap(), address };
    for _ in 0..600 {
        if client.get(format!("http://{}/.well-known/jwks.json", server.address)).send().await.is_ok() {
            return server;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the server does not start");
}

/// Withdraws the token of this name, as an administrator; whether that was answered.
async fn withdraw(client: &reqwest::Client, address: &str, ring: &KeyRing, name: &str) -> bool {
    const TARGET: &str = "/api/admin/revocations";
    let now = origin::clock::Clock::system();
    let sealed = Sealed {
        iss: "edge:local".into(),
        aud: AUDIENCE.into(),
        sub: Some("root".into()),
        sub_iss: Some("cosygate".into()),
        role: Some("admin".into()),
        scope: None,
        sid: None,
        auth_time: None,
        jti: origin::clock::new_id(now.now_ms()).into(),
        iat: now.now_s(),
        exp: now.now_s() + 30,
        htm: "POST".into(),
        htu: TARGET.into(),
        rev: 1,
    };
    let request = client
        .post(format!("http://{address}{TARGET}"))
        .header(HEADER, ring.seal(&sealed).unwrap())
        .json(&json!({"kind": "token", "subject": name}));
    match request.send().await {
        Ok(response) => {
            assert_eq!(response.status().as_u16(), 201);
            true
        }
        Err(_) => false,
    }
}

fn run(folder: &TempDir, arguments: &[&str]) -> (bool, String) {
    let output = cosygate(folder).args(arguments).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_action_is_logged_once_however_the_server_ends() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("cosygate.toml"), ENGINE).unwrap();
    let client = origin::tls::client(Duration::from_secs(10)).unwrap().build().unwrap();
    let ring = KeyRing::parse(KEYS).unwrap();
    let (mut answered, mut asked, mut kills) = (Vec::new(), 0, 0);
    while answered.len() < ACTIONS {
        let mut server = start(&folder, &client).await;
        // The others still ask when it dies.
        let names: Vec<Vec<String>> = (0..CLIENTS)
            .map(|client| (0..LIFE).map(|n| format!("token-{}", asked + client * LIFE + n)).collect())
            .collect();
        asked += CLIENTS * LIFE;
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let clients: Vec<_> = names
            .into_iter()
            .map(|names| {
                let (client, ring, address, tell) =
                    (client.clone(), KeyRing::parse(KEYS).unwrap(), server.address.clone(), tell.clone());
                tokio::spawn(async move {
                    for name in names {
                        if !withdraw(&client, &address, &ring, &name).await {
                            return;
                        }
                        let _ = tell.send(name);
                    }
                })
            })
            .collect();
        drop(tell);
        let until = (answered.len() + LIFE).min(ACTIONS);
        while answered.len() < until {
            answered.push(told.recv().await.unwrap());
        }
        server.process.kill().unwrap();
        kills += 1;
        for client in clients {
            client.await.unwrap();
        }
        while let Ok(name) = told.try_recv() {
            answered.push(name);
        }
    }
    drop(ring);
    assert!(kills >= 5, "{kills}");

    let (is_done, lines) = run(&folder, &["audit", "export", "--action", "revoke"]);
    assert!(is_done);
    let mut logged: BTreeMap<String, usize> = BTreeMap::new();
    for line in lines.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&row["result"], &row["via"]), (&json!("ok"), &json!("edge:local")));
        assert_eq!(row["user_id"], "root");
        *logged.entry(row["object"].as_str().unwrap().replace("token ", "")).or_default() += 1;
    }
    for name in &answered {
        assert_eq!(logged.get(name), Some(&1), "{name}");
    }
    // What was done but not answered is logged, too, and nothing else is.
    let (_, list) = run(&folder, &["revoke", "list"]);
    let mut done: Vec<&str> = list.lines().map(|line| line.split('\t').nth(1).unwrap()).collect();
    done.sort_unstable();
    assert_eq!(done, logged.keys().collect::<Vec<_>>());

    let (is_sound, report) = run(&folder, &["audit", "verify", "--json"]);
    assert!(is_sound, "{report}");
    let report: Value = serde_json::from_str(&report).unwrap();
    assert!(report["rows"].as_u64().unwrap() >= 1000 && report["checkpoints"].as_u64().unwrap() >= 1, "{report}");
}
