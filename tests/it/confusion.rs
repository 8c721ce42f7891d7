//! Every kind of secret text that there is, presented in every other's place.

use std::io::Write as _;
use std::process::{Command, Stdio};

use gate::identity::{HEADER, KeyRing};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::attack::mint::now;
use tests::edge::IDENTITY_KEYS;
use tests::process::artefact;
use tests::world::{User, World};

const KINDS: [&str; 8] = [
    "access token",
    "personal access token",
    "refresh token",
    "sealed identity",
    "id of an audio",
    "path of an audio",
    "password",
    "user id",
];

/// Where something can be presented, and the kinds that belong there, if any.
const PLACES: [(&str, &[&str]); 18] = [
    ("bearer token at the edge", &["access token", "personal access token"]),
    ("cookie at the edge", &["access token", "personal access token"]),
    ("bearer token of somebody who looks after logins", &["access token"]),
    ("body of a refresh", &["refresh token"]),
    ("cookie of a refresh", &["refresh token"]),
    ("identity header at the edge", &[]),
    ("query at the edge", &[]),
    ("proxy's header at the edge", &[]),
    ("Basic at the edge", &[]),
    ("path of a download, as its owner", &["id of an audio"]),
    ("path of a download, as somebody else", &[]),
    ("path of a download, as nobody", &[]),
    ("password of a login", &["password"]),
    ("name of a login", &[]),
    ("identity header at the origin", &["sealed identity"]),
    ("bearer token at the origin", &[]),
    ("cookie at the origin", &[]),
    ("token for the command line", &["access token", "personal access token"]),
];

const PASSWORD: &str = "ada's own long password";

#[tokio::test]
async fn nothing_is_accepted_off_the_diagonal() {
    let world = World::start().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let id = world.generate(&ada, "hers").await["id"].as_str().unwrap().to_owned();
    let login = world.post("/login", json!({"username": "ada", "password": PASSWORD})).await;
    let personal = world.post_as(&ada, "/api/tokens", json!({"name": "laptop"})).await;
    let text = async |response: reqwest::Response, name: &str| {
        response.json::<Value>().await.unwrap()[name].as_str().unwrap().to_owned()
    };
    let texts = [
        ada.token.clone(),
        text(personal, "token").await,
        text(login, "refresh_token").await,
        seal(&ada),
        id.clone(),
        format!("/download/{id}"),
        PASSWORD.to_owned(),
        ada.id.clone(),
    ];
    let (mut on, mut off) = (0, 0);
    for (kind, text) in KINDS.into_iter().zip(&texts) {
        for (place, belongs) in PLACES {
            let accepted = is_accepted(&world, place, text, &ada, &bob).await;
            assert_eq!(accepted, belongs.contains(&kind), "{kind} as {place}");
            if accepted { on += 1 } else { off += 1 }
        }
    }
    println!("world: {on} accepted where they belong, none of {off} elsewhere");
    let belong = PLACES.iter().map(|(_, belongs)| belongs.len()).sum::<usize>();
    assert_eq!((on, off), (belong, KINDS.len() * PLACES.len() - belong));
}

fn seal(user: &User) -> String {
    let now = now();
    let identity = json!({
        "iss": "edge:local", "aud": "origin", "sub": user.id, "sub_iss": "cosygate", "role": "free", "jti": "1",
        "iat": now, "exp": now + 30, "htm": "GET", "htu": "/api/me", "rev": 1
    });
    KeyRing::parse(IDENTITY_KEYS).unwrap().seal(&serde_json::from_value(identity).unwrap()).unwrap()
}

async fn is_accepted(world: &World, place: &str, text: &str, owner: &User, other: &User) -> bool {
    let me = || world.request(Method::GET, "/api/me");
    let at_origin = || world.client.get(format!("{}/api/me", world.origin_url));
    let cookie = format!("cosygate={text}");
    let download = || world.request(Method::GET, &format!("/download/{text}"));
    let login = |name: &str, password: &str| {
        world.request(Method::POST, "/login").json(&json!({"username": name, "password": password}))
    };
    let request = match place {
        "bearer token at the edge" => me().bearer_auth(text),
        "cookie at the edge" => me().header("cookie", cookie),
        "bearer token of somebody who looks after logins" => {
            world.request(Method::GET, "/api/logins").bearer_auth(text)
        }
        "body of a refresh" => world.request(Method::POST, "/refresh").json(&json!({"refresh_token": text})),
        "cookie of a refresh" => world
            .request(Method::POST, "/refresh")
            .header("cookie", format!("cosygate-refresh={text}"))
            .header("sec-fetch-site", "same-origin"),
        "identity header at the edge" => me().header(HEADER, text),
        "query at the edge" => world.request(Method::GET, &format!("/api/me?access_token={text}&token={text}")),
        "proxy's header at the edge" => me().header("proxy-authorization", format!("Bearer {text}")),
        "Basic at the edge" => me().basic_auth("ada", Some(text)),
        "path of a download, as its owner" => download().bearer_auth(&owner.token),
        "path of a download, as somebody else" => download().bearer_auth(&other.token),
        "path of a download, as nobody" => download(),
        "password of a login" => login("ada", text),
        "name of a login" => login(text, PASSWORD),
        "identity header at the origin" => at_origin().header(HEADER, text),
        "bearer token at the origin" => at_origin().bearer_auth(text),
        "cookie at the origin" => at_origin().header("cookie", cookie),
        "token for the command line" => return holds(world, text),
        _ => panic!("{place}"),
    };
    let status = request.send().await.unwrap().status();
    assert!(!status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS, "{place}: {status}");
    status.is_success()
}

/// Whether `cosygate token verify` says so.
fn holds(world: &World, text: &str) -> bool {
    let mut program = Command::new(artefact("COSYGATE_BIN", "target/release/cosygate"))
        .args(["token", "verify", "--now", &now().to_string(), "--policy"])
        .arg(world.data().join("policy.json"))
        .env("COSYGATE_DATA", world.data())
        .current_dir(world.data())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    program.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let code = program.wait().unwrap().code();
    assert!(matches!(code, Some(0 | 1)), "{code:?}");
    code == Some(0)
}
