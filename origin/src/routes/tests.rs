//! What holds for every route.

use axum::body::Body;
use serde_json::json;

use crate::test_app::{ADA, TestApp};

#[tokio::test]
async fn every_answer_is_a_problem_or_what_was_asked_for() {
    let app = TestApp::new().await;
    let user = Some((ADA, "free"));
    for (method, target, status, code) in [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/assets/nothing.js", 404, "not_found"),
        ("GET", "/assets/../Cargo.toml", 404, "not_found"),
        ("PUT", "/api/me", 405, "method_not_allowed"),
        ("DELETE", "/", 405, "method_not_allowed"),
        ("GET", "/api/generate", 405, "method_not_allowed"),
        ("POST", "/api/generate", 415, "unsupported_media"),
        ("GET", "/api/outputs?limit=0", 400, "request_invalid"),
        ("GET", "/api/outputs?limit=101", 400, "request_invalid"),
        ("GET", "/api/outputs?limit=x", 400, "request_invalid"),
        ("GET", "/api/outputs?colour=red", 400, "request_invalid"),
        ("GET", "/api/outputs?before=x", 400, "request_invalid"),
        ("GET", "/api/outputs?voice=a%00b", 400, "request_invalid"),
        ("GET", "/api/admin/policy", 403, "role_forbidden"),
    ] {
        let reply = app.send(app.request(method, target, user, None)).await;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (status, code), "{method} {target}");
        assert_eq!(reply.header("allow").is_empty(), status != 405, "{method} {target}");
    }
}

#[tokio::test]
async fn every_answer_carries_the_common_headers() {
    let app = TestApp::new().await;
    for target in ["/", "/nowhere", "/api/me"] {
        let reply = app.get(ADA, target).await;
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert_eq!(reply.header("referrer-policy"), "no-referrer");
        assert!(reply.header("content-security-policy").starts_with("default-src 'none'; script-src 'self';"));
        assert!(!reply.header("cache-control").is_empty());
    }
}

#[tokio::test]
async fn a_good_request_id_is_kept_and_a_bad_one_replaced() {
    let app = TestApp::new().await;
    let long = "x".repeat(129);
    for (given, is_kept) in [("4f1c-A.b_c", true), ("a b", false), ("", false), (long.as_str(), false)] {
        let mut request = app.request("GET", "/nowhere", None, None);
        request.headers_mut().insert("x-request-id", given.parse().unwrap());
        let reply = app.send(request).await;
        assert_eq!(reply.header("x-request-id") == given, is_kept, "{given}");
        assert_eq!(reply.code(), "not_found");
    }
}

#[tokio::test]
async fn bodies_are_counted_while_they_arrive() {
    let app = TestApp::with_policy(|policy| policy["roles"]["free"]["body_kb"] = json!(4)).await;
    let send = async |user, kib: usize, announce: bool| {
        let mut request = app.request("POST", "/api/generate", user, Some(&json!({})));
        let text = format!("{{\"text\":\"{}\"}}", " ".repeat(kib * 1024 - 11));
        if announce {
            request.headers_mut().insert("content-length", text.len().into());
            *request.body_mut() = Body::from(text);
        } else {
            let pieces: Vec<_> = text.as_bytes().chunks(1000).map(|piece| Ok::<_, String>(piece.to_vec())).collect();
            *request.body_mut() = Body::from_stream(futures::stream::iter(pieces));
        }
        app.send(request).await.code()
    };
    for announce in [true, false] {
        assert_eq!(send(Some((ADA, "free")), 4, announce).await, "request_invalid");
        assert_eq!(send(Some((ADA, "free")), 5, announce).await, "body_too_large");
        assert_eq!(send(Some((ADA, "premium")), 5, announce).await, "request_invalid");
        assert_eq!(send(Some((ADA, "nobody")), 1, announce).await, "role_forbidden");
    }
    let login = app.post("/login", json!({"username": "x".repeat(17 * 1024), "password": ""})).await;
    assert_eq!(login.code(), "body_too_large");
}

#[tokio::test]
async fn bodies_are_read_strictly() {
    let app = TestApp::new().await;
    let send = async |kind: &str, body: &str| {
        let mut request = app.request("POST", "/login", None, None);
        request.headers_mut().insert("content-type", kind.parse().unwrap());
        *request.body_mut() = Body::from(body.to_owned());
        app.send(request).await
    };
    let good = r#"{"username": "ada", "password": "wrong"}"#;
    assert_eq!(send("Application/JSON; charset=utf-8", good).await.code(), "token_invalid");
    for kind in ["text/plain", "", "application/x-www-form-urlencoded", "application/jsonx"] {
        assert_eq!(send(kind, good).await.code(), "unsupported_media", "{kind}");
    }
    for (body, reason) in [
        ("", "EOF"),
        ("[]", "not an object"),
        ("{", "EOF"),
        (r#"{"username": "ada"}"#, "missing field `password`"),
        (r#"{"username": 1, "password": "x"}"#, "invalid type: integer"),
        (r#"{"username": "a", "password": "x", "role": "admin"}"#, "unknown field `role`"),
        (r#"{"username": "a", "username": "b", "password": "x"}"#, "duplicate member"),
        (r#"{"username": "a", "password": "x\u0000"}"#, "U+0000"),
    ] {
        let reply = send("application/json", body).await;
        assert_eq!(reply.code(), "request_invalid", "{body}");
        assert!(reply.json()["detail"].as_str().unwrap().contains(reason), "{body}: {reply:?}");
    }
}
