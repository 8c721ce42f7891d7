//! What a hostile client sends: claimed identities, odd paths, odd bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tests::echo;
use tests::edge::{Edge, configuration, hand_over};

async fn edge_with_echo(folder: &std::path::Path) -> (Edge, String) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let (_, suite) = cases::suites(now).into_iter().find(|(file, _)| *file == "routes.json").unwrap();
    let bearer = suite.cases.iter().find(|case| case.name == "with a token").unwrap().headers[0].1.clone();
    hand_over(folder, 1, &configuration(&suite.policy));
    let edge = Edge::start(folder, echo::start().await, &[]).await;
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while reqwest::get(format!("{}/", edge.url)).await.unwrap().status() != 200 {
        assert!(std::time::Instant::now() < end, "{}", edge.envoy.log());
    }
    (edge, bearer)
}

/// Sends bytes as they are and returns the whole answer, or what came of it in five seconds.
fn raw(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    let mut part = [0; 16 * 1024];
    while !is_whole(&answer) {
        match stream.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(size) => answer.extend_from_slice(&part[..size]),
        }
    }
    answer
}

/// Envoy keeps a connection that it closes open for a while, so its end is not waited for.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length)
}

fn status(answer: &[u8]) -> u16 {
    String::from_utf8_lossy(answer).split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0)
}

const SPELLINGS: &[&str] = &[
    "x-user-id",
    "X-User-Id",
    "X-USER-ID",
    "x-user-role",
    "X-User-Role",
    "x-cosygate-identity",
    "X-Cosygate-Identity",
    "X-COSYGATE-IDENTITY",
    "x-user-",
    "x-user-email",
    "x-cosygate-anything",
    "x_user_id",
    "X_User_Role",
    "x-user_id",
    "x_cosygate_identity",
    "x-cosygate_identity",
];

// The raw sockets block, so the echo needs a thread of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_claimed_identity_never_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let (edge, bearer) = edge_with_echo(folder.path()).await;
    let mut arrived = 0;
    for name in SPELLINGS {
        for (target, credential) in [("/", ""), ("/api/me", &*format!("authorization: {bearer}\r\n")), ("/api/me", "")]
        {
            for repeated in ["", "again"] {
                let second = if repeated.is_empty() { String::new() } else { format!("{name}: evil-second\r\n") };
                let request = format!(
                    "GET {target} HTTP/1.1\r\nhost: gate.example\r\n{name}: evil\r\n{credential}{second}connection: close\r\n\r\n"
                );
                let answer = raw(edge.address, request.as_bytes());
                let text = String::from_utf8_lossy(&answer).into_owned();
                assert!(!text.contains("evil"), "{name} on {target} arrived:\n{text}");
                if status(&answer) == 200 {
                    assert_eq!(text.matches("\"x-cosygate-identity\"").count(), 1, "{name} on {target}:\n{text}");
                    arrived += 1;
                }
            }
        }
    }
    assert!(arrived > 20, "most of these requests are otherwise fine and must pass");

    // The same over HTTP/2.
    let client = Client::builder().http2_prior_knowledge().build().unwrap();
    for name in SPELLINGS.iter().map(|name| name.to_lowercase()) {
        for target in ["/", "/api/me"] {
            let request = client.get(format!("{}{target}", edge.url)).header("authorization", &bearer);
            // Envoy resets or refuses a stream with underscores; a reset is a refusal too.
            let Ok(response) = request.header(&name, "evil").send().await else { continue };
            assert!(!response.text().await.unwrap_or_default().contains("evil"), "{name} on {target} over HTTP/2");
        }
    }
    assert!(!edge.envoy.log().contains("evil"), "not even the access log repeats it");
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_bytes_and_paths_are_refused_and_hurt_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (edge, bearer) = edge_with_echo(folder.path()).await;
    for value in [&b"\xff\xfe"[..], b"\x80", "ä".as_bytes(), b"Bearer \xff.\xff.\xff"] {
        for name in ["x-anything", "cookie", "authorization", "x-request-id", "sec-fetch-site"] {
            let mut request = b"GET /api/me HTTP/1.1\r\nhost: gate.example\r\nconnection: close\r\n".to_vec();
            request.extend([name.as_bytes(), b": ", value, b"\r\n\r\n"].concat());
            let answer = raw(edge.address, &request);
            assert!(matches!(status(&answer), 400 | 401), "{name}: {}", String::from_utf8_lossy(&answer));
        }
    }
    let admin_paths = [
        "//api/admin/policy",
        "/api//admin/policy",
        "/./api/admin/policy",
        "/assets/../api/admin/policy",
        "/assets/%2e%2e/api/admin/policy",
        "/api%2fadmin/policy",
        "/api%2Fadmin%2Fpolicy",
        "/api%5cadmin%5cpolicy",
        "/api\\admin\\policy",
        "/api/admin;x/policy",
        "/api/admin/policy;x",
        "/api/admin/policy%00",
        "/api/admin/policy#x",
        "/API/ADMIN/POLICY",
        "/api/%61dmin/policy",
        "http://gate.example/api/admin/policy",
        "/api/admin/policy/",
        "/api/admin/policy?x=/login",
        "/login/../api/admin/policy",
        "/api/admin/policy%20",
    ];
    for path in admin_paths {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: gate.example\r\nauthorization: {bearer}\r\nconnection: close\r\n\r\n"
        );
        let answer = raw(edge.address, request.as_bytes());
        assert!(matches!(status(&answer), 400 | 401 | 403 | 404), "{path}: {}", String::from_utf8_lossy(&answer));
    }
    let response =
        reqwest::Client::new().get(format!("{}/api/me", edge.url)).header("authorization", bearer).send().await;
    assert_eq!(response.unwrap().status(), 200, "the edge is still well");
    assert!(
        !edge.envoy.log().contains("Function: proxy_on"),
        "the filter must not have trapped:\n{}",
        edge.envoy.log()
    );
}

#[tokio::test]
async fn the_origin_serves_only_what_came_through_the_edge() {
    let world = tests::world::World::start().await;
    let user = world.user("ada").await;
    let sound = world.get_as(&user, "/api/me").await;
    assert_eq!(sound.status(), 200);
    let forged = [
        json!({}),
        json!({"x-user-id": user.id, "x-user-role": "admin"}),
        json!({"x-cosygate-identity": "x"}),
        json!({"x-cosygate-identity": "eyJhbGciOiJub25lIn0.e30."}),
        json!({"x-cosygate-identity": user.token}),
        json!({"authorization": format!("Bearer {}", user.token)}),
        json!({"x-cosygate-identity": forged_identity(&user.id)}),
    ];
    for headers in &forged {
        for (method, path) in [
            (Method::GET, "/"),
            (Method::GET, "/api/me"),
            (Method::GET, "/api/outputs"),
            (Method::POST, "/api/generate"),
            (Method::POST, "/login"),
            (Method::POST, "/register"),
            (Method::GET, "/download/01J00000000000000000000000"),
            (Method::DELETE, "/api/outputs/01J00000000000000000000000"),
            (Method::GET, "/nowhere"),
        ] {
            let mut request = world.client.request(method.clone(), format!("{}{path}", world.origin_url));
            for (name, value) in headers.as_object().unwrap() {
                request = request.header(name, value.as_str().unwrap());
            }
            let response = request
                .json(&json!({"text": "x", "username": "eve", "password": "eve's password"}))
                .send()
                .await
                .unwrap();
            assert_eq!(response.status(), 401, "{method} {path} with {headers}");
        }
    }
    let usage: Value = world.get_as(&user, "/api/me/usage").await.json().await.unwrap();
    assert_eq!(usage["generations"]["used"], 0, "the origin did no work");
    assert!(world.blobs().is_empty());
}

/// Well formed, signed with a key that nobody trusts.
fn forged_identity(user: &str) -> String {
    let ring = gate::identity::KeyRing::parse("test:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE").unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let identity = json!({
        "iss": "edge:local", "aud": "origin", "sub": user, "sub_iss": "cosygate", "role": "admin", "jti": "1",
        "iat": now, "exp": now + 30, "htm": "GET", "htu": "/api/me", "rev": 1
    });
    ring.seal(&serde_json::from_value(identity).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn none_of_wycheproofs_signatures_opens_the_door() {
    let folder = tempfile::tempdir().unwrap();
    let (edge, _) = edge_with_echo(folder.path()).await;
    let file = tests::process::workspace().join("filter/gate/tests/wycheproof/json_web_signature_test.json");
    let vectors: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let groups = vectors["testGroups"].as_array().unwrap();
    let mut count = 0;
    for test in groups.iter().flat_map(|group| group["tests"].as_array().unwrap()) {
        let text =
            test["jws"].as_str().map_or_else(|| test["jws"].to_string(), str::to_owned).replace(['\r', '\n'], " ");
        let request = format!(
            "GET /api/me HTTP/1.1\r\nhost: gate.example\r\nauthorization: Bearer {text}\r\nconnection: close\r\n\r\n"
        );
        let answer = raw(edge.address, request.as_bytes());
        assert!(matches!(status(&answer), 400 | 401), "{}: {}", test["tcId"], String::from_utf8_lossy(&answer));
        count += 1;
    }
    println!("envoy: {count} signatures of Wycheproof refused over HTTP");
    assert_eq!(count, 401);
}
