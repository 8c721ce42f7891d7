//! Requests under way: how many, how large, and streams that stay open.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, Header};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tests::edge::{Edge, configuration, hand_over};
use tests::scripted::{Scripted, eventually};

fn policy() -> Value {
    let mut policy = cases::suites(1).into_iter().find(|(file, _)| *file == "sites.json").unwrap().1.policy;
    policy["roles"]["free"]["in_flight"] = json!(3);
    policy["limits"] = json!({"public_body_kb": 4});
    policy["routes"] = json!([
        {"path": "/", "methods": ["GET"], "public": true},
        {"path": "/upload", "methods": ["POST"], "public": true},
        {"path": "/echo", "methods": ["GET", "POST"], "roles": ["free"]},
        {"path": "/hold", "methods": ["GET"], "roles": ["free"]},
        {"path": "/events", "methods": ["GET"], "roles": ["free"]},
        {"path": "/live", "methods": ["GET"], "roles": ["free"], "websocket": true},
    ]);
    policy
}

async fn start(folder: &Path, origin: &Scripted) -> Edge {
    hand_over(folder, 1, &configuration(&policy()));
    let edge = Edge::start(folder, origin.address, &[]).await;
    edge.answers("/", 200).await;
    edge
}

pub(crate) fn token(user: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    token_of(&json!({
        "iss": "https://issuer.example", "aud": "cosygate", "sub": user, "role": "free", "iat": now, "exp": now + 600,
    }))
}

/// A sound token that says this.
pub(crate) fn token_of(claims: &Value) -> String {
    let header = Header { typ: Some("at+jwt".into()), kid: Some("ed".into()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, claims, &cases::private_key("ed")).unwrap()
}

#[tokio::test]
async fn a_user_has_only_so_many_requests_under_way_at_all_workers_together() {
    let (folder, origin) = (tempfile::tempdir().unwrap(), Scripted::start().await);
    let edge = start(folder.path(), &origin).await;
    let get = |path: &str, user: &str| {
        let request = Client::new().get(format!("{}{path}", edge.url)).bearer_auth(token(user));
        async move { request.send().await.unwrap() }
    };
    let held: Vec<_> = (0..3).map(|_| tokio::spawn(get("/hold", "ada"))).collect();
    eventually("three requests under way", async || origin.holding() == 3).await;
    for _ in 0..8 {
        let refused = get("/echo", "ada").await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.headers()["retry-after"], "1");
        assert_eq!(refused.json::<Value>().await.unwrap()["code"], "concurrency_exceeded");
    }
    assert_eq!(get("/echo", "bob").await.status(), StatusCode::OK, "one user's are not another's");
    // A client that goes away frees its place, too.
    let [first, second, third] = <[_; 3]>::try_from(held).unwrap();
    first.abort();
    let _ = first.await;
    eventually("a place is free", async || get("/echo", "ada").await.status() == StatusCode::OK).await;
    origin.release(3);
    assert_eq!(second.await.unwrap().text().await.unwrap(), "held");
    assert_eq!(third.await.unwrap().text().await.unwrap(), "held");
    for _ in 0..20 {
        assert_eq!(get("/echo", "ada").await.status(), StatusCode::OK, "every place is free again");
    }
}

#[tokio::test]
async fn a_body_is_counted_when_it_does_not_say_its_length() {
    let (folder, origin) = (tempfile::tempdir().unwrap(), Scripted::start().await);
    let edge = start(folder.path(), &origin).await;
    let send = |path: &str, bytes: usize| {
        let chunks = (0..bytes).step_by(1024).map(|at| Ok::<_, std::io::Error>(vec![b'x'; (bytes - at).min(1024)]));
        let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks.collect::<Vec<_>>()));
        let request = Client::new().post(format!("{}{path}", edge.url)).bearer_auth(token("ada")).body(body);
        async move { request.send().await.unwrap() }
    };
    let whole: Value = send("/echo", 64 * 1024).await.json().await.unwrap();
    assert_eq!(whole["body_bytes"], 64 * 1024, "what is allowed arrives whole");
    for (path, bytes) in [("/echo", 64 * 1024 + 1), ("/upload", 4 * 1024 + 1)] {
        let refused = send(path, bytes).await;
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE, "{path}");
        assert_eq!(refused.json::<Value>().await.unwrap()["code"], "body_too_large");
    }
    assert_eq!(send("/upload", 4 * 1024).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn events_arrive_as_they_are_sent() {
    let (folder, origin) = (tempfile::tempdir().unwrap(), Scripted::start().await);
    let edge = start(folder.path(), &origin).await;
    let mut response =
        Client::new().get(format!("{}/events", edge.url)).bearer_auth(token("ada")).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    for number in 1..=3 {
        // The next event is not made before this one has arrived.
        origin.release(1);
        assert_eq!(response.chunk().await.unwrap().unwrap(), format!("data: {number}\n\n"));
    }
    assert_eq!(response.chunk().await.unwrap(), None);
}

/// Sends a handshake as it is written and returns the stream with the head of the answer.
fn handshake(edge: &Edge, path: &str, headers: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(edge.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let key = "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: gate.example\r\nconnection: Upgrade\r\nupgrade: websocket\r\n{key}\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    (stream, String::from_utf8_lossy(&head).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_opens_where_the_policy_says_and_for_whom() {
    let (folder, origin) = (tempfile::tempdir().unwrap(), Scripted::start().await);
    let edge = start(folder.path(), &origin).await;
    let bearer = format!("authorization: Bearer {}\r\n", token("ada"));
    let (mut stream, head) = handshake(&edge, "/live", &bearer);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    // More than any body of this role may have: what follows a handshake is no body.
    let sent: Vec<u8> = (0..=255).cycle().take(100 * 1024).collect();
    let copy = sent.clone();
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&copy).unwrap());
    let mut received = vec![0; sent.len()];
    stream.read_exact(&mut received).unwrap();
    writing.join().unwrap();
    assert!(received == sent, "the stream changed on its way");
    drop(stream);

    let cookie = format!("cookie: cosygate={}\r\n", token("ada"));
    for (path, headers, status) in [
        ("/live", String::new(), "401"),
        ("/live", cookie.clone(), "403"),
        ("/live", format!("{cookie}origin: https://evil.example\r\n"), "403"),
        ("/live", format!("{cookie}origin: https://gate.example\r\n"), "101"),
        ("/echo", bearer.clone(), "400"),
        ("/nothing", bearer.clone(), "404"),
    ] {
        let (_, head) = handshake(&edge, path, &headers);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {headers}: {head}");
    }
}
