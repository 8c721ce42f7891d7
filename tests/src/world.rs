//! A whole cosygate: origin and edge, each a real process, on ports and a folder of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::edge::{Edge, IDENTITY_KEYS};
use crate::process::{Program, artefact, free_port, workspace};

/// The admin's password in every world.
pub const ADMIN_PASSWORD: &str = "an admin's long password";

/// Origin, edge and a client.
pub struct World {
    /// The edge; dropped, and so stopped, before the origin.
    pub edge: Edge,
    /// The origin's process.
    pub origin: Program,
    /// Where the origin listens; clients have no business there.
    pub origin_url: String,
    /// A client without cookies or redirects.
    pub client: Client,
    folder: TempDir,
}

/// Somebody who is logged in.
pub struct User {
    /// The access token.
    pub token: String,
    /// The user id.
    pub id: String,
}

impl World {
    /// A world with the shipped policy and the default engine.
    pub async fn start() -> Self {
        Self::with(|_| {}, &[]).await
    }

    /// A world with a changed policy and more settings.
    pub async fn with(change: impl FnOnce(&mut Value), settings: &[(&str, &str)]) -> Self {
        Self::with_file(change, settings, "").await
    }

    /// A world with a `cosygate.toml` of its own, too.
    pub async fn with_file(change: impl FnOnce(&mut Value), settings: &[(&str, &str)], toml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("cosygate.toml"), toml).unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        let mut policy = shipped_policy();
        change(&mut policy);
        std::fs::write(data.join("policy.json"), policy.to_string()).unwrap();
        let (port, metrics_port) = (free_port(), free_port());
        let mut command = Command::new(artefact("COSYGATE_BIN", "target/release/cosygate"));
        command
            .arg("serve")
            .current_dir(folder.path())
            .env("COSYGATE_DATA", &data)
            .env("COSYGATE_ORIGIN_ADDR", format!("127.0.0.1:{port}"))
            .env("COSYGATE_METRICS_ADDR", format!("127.0.0.1:{metrics_port}"))
            .env("COSYGATE_ADMIN_PASSWORD", ADMIN_PASSWORD)
            .env("COSYGATE_IDENTITY_KEYS", IDENTITY_KEYS)
            .env("COSYGATE_FILTER_WASM", crate::edge::filter_module())
            .envs(settings.iter().copied());
        let mut origin = Program::start(&mut command, &folder.path().join("origin.log"));
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            // Long before the edge closes what is idle, so that no request meets a connection that is closing.
            .pool_idle_timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        let ready = format!("http://127.0.0.1:{metrics_port}/readyz");
        let end = Instant::now() + Duration::from_secs(30);
        while !client.get(&ready).send().await.is_ok_and(|response| response.status() == StatusCode::OK) {
            assert!(origin.is_running() && Instant::now() < end, "the origin did not start:\n{}", origin.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let edge = Edge::start(&data.join("edge"), ([127, 0, 0, 1], port).into(), &[]).await;
        let world = Self { edge, origin, origin_url: format!("http://127.0.0.1:{port}"), client, folder };
        world.edge.answers("/api/me", 401).await;
        world
    }

    /// Where everything is kept.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A request through the edge.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.edge.url))
    }

    /// GET without a credential.
    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    /// GET as somebody.
    pub async fn get_as(&self, user: &User, path: &str) -> Response {
        self.request(Method::GET, path).bearer_auth(&user.token).send().await.unwrap()
    }

    /// Whether the edge says of somebody's token that it was withdrawn. A request that is under way
    /// when that happens is cut off, which is no answer yet.
    pub async fn is_withdrawn(&self, user: &User) -> bool {
        let answer = self.request(Method::GET, "/api/me").bearer_auth(&user.token).send().await;
        let Some(answer) = answer.ok().filter(|answer| answer.status() == StatusCode::UNAUTHORIZED) else {
            return false;
        };
        answer.json::<Value>().await.is_ok_and(|body| body["code"] == "token_revoked")
    }

    /// POST of JSON without a credential.
    pub async fn post(&self, path: &str, body: Value) -> Response {
        self.request(Method::POST, path).json(&body).send().await.unwrap()
    }

    /// POST of JSON as somebody.
    pub async fn post_as(&self, user: &User, path: &str, body: Value) -> Response {
        self.request(Method::POST, path).bearer_auth(&user.token).json(&body).send().await.unwrap()
    }

    /// DELETE as somebody.
    pub async fn delete_as(&self, user: &User, path: &str) -> Response {
        self.request(Method::DELETE, path).bearer_auth(&user.token).send().await.unwrap()
    }

    /// Logs somebody in.
    pub async fn login(&self, username: &str, password: &str) -> User {
        let response = self.post("/login", json!({"username": username, "password": password})).await;
        assert_eq!(response.status(), StatusCode::OK);
        let body: Value = response.json().await.unwrap();
        User { token: body["token"].as_str().unwrap().to_owned(), id: body["user_id"].as_str().unwrap().to_owned() }
    }

    /// Registers and logs in.
    pub async fn user(&self, username: &str) -> User {
        let password = format!("{username}'s own long password");
        let response = self.post("/register", json!({"username": username, "password": password})).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        self.login(username, &password).await
    }

    /// The admin.
    pub async fn admin(&self) -> User {
        self.login("admin", ADMIN_PASSWORD).await
    }

    /// Generates speech and returns the reply's body.
    pub async fn generate(&self, user: &User, text: &str) -> Value {
        let response = self.post_as(user, "/api/generate", json!({"text": text})).await;
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    /// Runs the command line on this world's data.
    pub fn cosygate(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(artefact("COSYGATE_BIN", "target/release/cosygate"))
            .args(arguments)
            .current_dir(self.folder.path())
            .env("COSYGATE_DATA", self.data())
            .output()
            .unwrap()
    }

    /// Every file under the blobs.
    pub fn blobs(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.data().join("blobs")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found
    }

    /// Changes the policy file as an editor does.
    pub fn edit_policy(&self, change: impl FnOnce(&mut Value)) {
        let path = self.data().join("policy.json");
        let mut policy: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut policy);
        write_whole(&path, policy.to_string().as_bytes());
    }
}

/// The policy that is shipped.
pub fn shipped_policy() -> Value {
    serde_json::from_slice(&std::fs::read(workspace().join("envoy/policy.json")).unwrap()).unwrap()
}

/// Replaces a file in one step.
pub fn write_whole(path: &Path, bytes: &[u8]) {
    let aside = path.with_extension("new");
    std::fs::write(&aside, bytes).unwrap();
    std::fs::rename(aside, path).unwrap();
}

/// Room for everything but what a test is about: no limit by time, and a day that never ends.
pub fn roomy(policy: &mut Value) {
    for (name, role) in policy["roles"].as_object_mut().unwrap() {
        role["requests"] = json!({"per_minute": 600_000, "burst": 100_000});
        role["in_flight"] = json!(1000);
        if name != "enrol" {
            role["characters_per_day"] = json!(1_000_000_000);
            role["generations_per_day"] = json!(1_000_000);
            role["storage_mb"] = json!(100_000);
            role["jobs_running"] = json!(8);
        }
    }
    for route in policy["routes"].as_array_mut().unwrap() {
        route.as_object_mut().unwrap().remove("limit");
    }
    policy["limits"]["bad_tokens"] = json!({"per_minute": 600_000, "burst": 100_000});
}
