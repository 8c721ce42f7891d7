use gate::identity::Sealed;

use super::*;
use crate::test_app::{ADA, BOB, Reply, TestApp};

const TARGET: &str = "/api/me?x=1";

/// A request that carries these values of the sealed header.
async fn with_seals(app: &TestApp, method: &str, seals: &[&str]) -> Reply {
    let mut request = axum::http::Request::builder().method(method).uri(TARGET);
    for seal in seals {
        request = request.header(HEADER, *seal);
    }
    // What a client might try instead.
    let request = request.header("x-user-id", BOB).header("x-user-role", "admin").header("cookie", "cosygate=a.b.c");
    app.send(request.body(axum::body::Body::empty()).unwrap()).await
}

fn seal(app: &TestApp, change: impl FnOnce(&mut Sealed<'static>)) -> String {
    let mut sealed = app.sealed("GET", TARGET, Some((ADA, "free")));
    change(&mut sealed);
    app.ring.seal(&sealed).unwrap()
}

#[tokio::test]
async fn only_one_good_seal_opens_the_door() {
    let app = TestApp::new().await;
    let good = seal(&app, |_| {});
    let reply = with_seals(&app, "GET", &[&good]).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["user_id"]), (200, &ADA.into()), "{reply:?}");

    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    for refused in [
        &[][..],
        &[""],
        &["a.b.c"],
        &[&forged],
        &[&good, &good],
        &[&seal(&app, |sealed| sealed.exp = sealed.iat - 60)],
        &[&seal(&app, |sealed| sealed.htu = "/api/me".into())],
        &[&seal(&app, |sealed| sealed.htm = "POST".into())],
        &[&seal(&app, |sealed| sealed.aud = "elsewhere".into())],
    ] {
        let reply = with_seals(&app, "GET", refused).await;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (401, "token_invalid"), "{refused:?}");
    }
}

#[tokio::test]
async fn every_path_but_the_keys_is_behind_the_door() {
    let app = TestApp::new().await;
    let bare = async |method: &str, target: &str| {
        let request = axum::http::Request::builder().method(method).uri(target);
        app.send(request.body(axum::body::Body::empty()).unwrap()).await.status.as_u16()
    };
    assert_eq!(bare("GET", "/.well-known/jwks.json").await, 200);
    for (method, target) in [
        ("POST", "/.well-known/jwks.json"),
        ("GET", "/"),
        ("GET", "/assets/app.js"),
        ("POST", "/login"),
        ("POST", "/register"),
        ("POST", "/logout"),
        ("GET", "/api/me"),
        ("GET", "/nowhere"),
        ("PUT", "/api/me"),
    ] {
        assert_eq!(bare(method, target).await, 401, "{method} {target}");
    }
}

#[tokio::test]
async fn a_seal_without_a_user_opens_only_what_is_public() {
    let app = TestApp::new().await;
    let request = app.request("GET", "/api/me", None, None);
    assert_eq!(app.send(request).await.code(), "token_missing");
    let request = app.request("POST", "/logout", None, None);
    assert_eq!(app.send(request).await.status.as_u16(), 204);
}

#[tokio::test]
async fn an_unsafe_request_passes_once() {
    let app = TestApp::new().await;
    let sealed = app.sealed("POST", "/logout", None);
    let post = async || {
        let request = axum::http::Request::builder().method("POST").uri("/logout");
        let seal = app.ring.seal(&sealed).unwrap();
        app.send(request.header(HEADER, seal).body(axum::body::Body::empty()).unwrap()).await.status.as_u16()
    };
    assert_eq!(post().await, 204);
    assert_eq!(post().await, 401);
    app.app.clock.advance(34_000);
    assert_eq!(post().await, 401);
    // Safe requests may repeat.
    let good = seal(&app, |_| {});
    for _ in 0..2 {
        assert_eq!(with_seals(&app, "GET", &[&good]).await.status.as_u16(), 200);
    }
}

#[test]
fn the_memory_forgets_only_what_has_expired_and_is_bounded() {
    let keys = KeyRing::parse(&format!("k:{}", "A".repeat(43))).unwrap();
    let door = Door::new(keys);
    let sealed = |jti: usize, exp: u64| Sealed {
        iss: "".into(),
        aud: "".into(),
        sub: None,
        sub_iss: None,
        role: None,
        scope: None,
        sid: None,
        auth_time: None,
        jti: jti.to_string().into(),
        iat: 0,
        exp,
        htm: "".into(),
        htu: "".into(),
        rev: 0,
    };
    for jti in 0..MAX_REMEMBERED {
        door.remember(&sealed(jti, 100), 0).unwrap();
    }
    assert_eq!(door.remember(&sealed(MAX_REMEMBERED, 100), 104), Err(Shut::Full));
    assert_eq!(door.remember(&sealed(7, 100), 104), Err(Shut::Unsealed("one-time id seen before")));
    door.remember(&sealed(MAX_REMEMBERED, 200), 105).unwrap();
    assert_eq!(door.seen.lock().unwrap().ids.len(), 1);
}

/// The vectors that the edge's side seals and opens, too.
#[test]
fn the_door_opens_what_edges_seal_and_nothing_else() {
    let mut opened = 0;
    for vector in cases::seals() {
        let text = |name: &str| vector[name].as_str().unwrap_or_default();
        let door = Door::new(KeyRing::parse(text("opens")).unwrap());
        let Ok(value) = text("token").parse() else { panic!("{}: not a header", vector["name"]) };
        let headers = HeaderMap::from_iter([(HEADER.parse().unwrap(), value)]);
        let now = vector["now"].as_u64().unwrap();
        let outcome = door.open(&headers, &text("method").parse().unwrap(), text("target"), now);
        match vector["error"].as_str() {
            Some(cause) => assert_eq!(outcome.unwrap_err(), Shut::Unsealed(cause_of(cause)), "{}", vector["name"]),
            None => {
                assert_eq!(serde_json::to_value(outcome.unwrap()).unwrap(), vector["claims"], "{}", vector["name"]);
                opened += 1;
            }
        }
    }
    assert!(opened >= 6, "{opened}");
}

/// The causes are constants of the gate; the file has them as text.
fn cause_of(text: &str) -> &'static str {
    text.to_owned().leak()
}
