//! Calls to the origin past the edge: refused, and no work is done.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gate::identity::{HEADER, KeyRing, Sealed};
use jsonwebtoken::EncodingKey;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::attack::edges;
use tests::attack::mint::{ALGORITHMS, Mint, decoded, now, part, signed};
use tests::echo::Echo;
use tests::edge::IDENTITY_KEYS;
use tests::world::{User, World};

const PATHS: [(&str, &str); 16] = [
    ("GET", "/"),
    ("GET", "/api/me"),
    ("GET", "/api/me/usage"),
    ("GET", "/api/voices"),
    ("GET", "/api/outputs"),
    ("GET", "/api/outputs/{}"),
    ("DELETE", "/api/outputs/{}"),
    ("GET", "/download/{}"),
    ("HEAD", "/download/{}"),
    ("DELETE", "/download/{}"),
    ("POST", "/api/generate"),
    ("POST", "/login"),
    ("POST", "/register"),
    ("POST", "/logout"),
    ("GET", "/api/admin/policy"),
    ("GET", "/nowhere"),
];

fn ring(text: &str) -> KeyRing {
    KeyRing::parse(text).unwrap()
}

/// What an edge vouches for.
fn sealed<'a>(user: &User, role: &'a str, method: &'a str, target: &'a str) -> Sealed<'a> {
    let (now, id) = (now(), format!("{}-{method}-{target}", user.id));
    Sealed {
        iss: "edge:local".into(),
        aud: "origin".into(),
        sub: Some(user.id.clone().into()),
        sub_iss: Some("cosygate".into()),
        role: Some(role.to_owned().into()),
        scope: Some("speech".into()),
        sid: None,
        auth_time: Some(now),
        jti: id.into(),
        iat: now,
        exp: now + 30,
        htm: method.into(),
        htu: target.into(),
        rev: 1,
    }
}

/// Everything that one who does not hold the right key, or not for this request, can send.
fn forgeries(user: &User, role: &str, method: &str, target: &str) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let right = ring(IDENTITY_KEYS);
    let genuine = || sealed(user, role, method, target);
    let seal = |sealed: Sealed| right.seal(&sealed).unwrap();
    let sound = seal(genuine());
    let parts: Vec<&str> = sound.split('.').collect();
    let now = now();
    let other_method = if method == "GET" { "POST" } else { "GET" };
    let (id, secret) = IDENTITY_KEYS.split_once(':').unwrap();
    let secret = decoded(secret).unwrap();
    let head = |alg: &str, kind: &str| part(json!({"alg": alg, "typ": kind, "kid": id}).to_string());
    let hmac = |algorithm: &str, kind: &str, secret: &[u8]| {
        let parts = format!("{}.{}", head(algorithm, kind), parts[1]);
        signed(algorithm, &EncodingKey::from_secret(secret), &parts)
    };
    let none = |signature: &str| format!("{}.{}.{signature}", head("none", "cosygate-identity+jwt"), parts[1]);
    let somebody = seal(Sealed { sub: Some("somebody".into()), ..genuine() });
    let swapped = format!("{}.{}.{}", parts[0], parts[1], somebody.rsplit('.').next().unwrap());
    let stranger = URL_SAFE_NO_PAD.encode([7; 32]);
    let one = |text: String| vec![(HEADER, text)];
    vec![
        ("nothing", vec![]),
        ("claims", vec![("x-user-id", user.id.clone()), ("x-user-role", "admin".to_owned())]),
        ("nonsense", one("x".to_owned())),
        ("an empty seal", one(String::new())),
        ("alg none", one(none(""))),
        ("alg none with a signature", one(none(parts[2]))),
        ("no signature", one(format!("{}.{}.", parts[0], parts[1]))),
        ("the access token as a seal", one(user.token.clone())),
        ("the access token", vec![("authorization", format!("Bearer {}", user.token))]),
        ("the access token as a cookie", vec![("cookie", format!("cosygate={}", user.token))]),
        ("a seal as a bearer token", vec![("authorization", format!("Bearer {sound}"))]),
        ("a seal as a cookie", vec![("cookie", format!("cosygate={sound}"))]),
        ("a strange key of our name", one(ring(&format!("{id}:{stranger}")).seal(&genuine()).unwrap())),
        ("a strange key of its own name", one(ring(&format!("old:{stranger}")).seal(&genuine()).unwrap())),
        ("our key under a retired name", one(ring(&IDENTITY_KEYS.replace("test:", "old:")).seal(&genuine()).unwrap())),
        ("expired", one(seal(Sealed { iat: now - 90, exp: now - 60, ..genuine() }))),
        ("not yet made", one(seal(Sealed { iat: now + 60, exp: now + 90, ..genuine() }))),
        ("too long a life", one(seal(Sealed { exp: now + 3600, ..genuine() }))),
        ("another path", one(seal(Sealed { htu: "/api/other".into(), ..genuine() }))),
        ("another query", one(seal(Sealed { htu: format!("{target}?x=1").into(), ..genuine() }))),
        ("another method", one(seal(Sealed { htm: other_method.into(), ..genuine() }))),
        ("another user's signature", one(swapped)),
        ("another audience", one(seal(Sealed { aud: "cosygate".into(), ..genuine() }))),
        ("another issuer", one(seal(Sealed { iss: "cosygate".into(), ..genuine() }))),
        ("two seals", vec![(HEADER, sound.clone()), (HEADER, sound.clone())]),
        ("two seals in one", one(format!("{sound},{sound}"))),
        ("a seal and more", one(format!("{sound}A"))),
        ("a seal with padding", one(format!("{sound}="))),
        ("another hash", one(hmac("HS512", "cosygate-identity+jwt", &secret))),
        ("another type", one(hmac("HS256", "JWT", &secret))),
        ("an empty key", one(hmac("HS256", "cosygate-identity+jwt", b""))),
    ]
}

#[tokio::test]
async fn a_thousand_calls_past_the_edge_get_401_and_change_nothing() {
    let world = World::start().await;
    let (ada, admin) = (world.user("ada").await, world.admin().await);
    let output = world.generate(&ada, "hers").await;
    let id = output["id"].as_str().unwrap();
    let state = async || {
        let json = async |path| world.get_as(&ada, path).await.json::<Value>().await.unwrap();
        (json("/api/me/usage").await, json("/api/outputs").await, world.blobs())
    };
    let before = state().await;
    let mut count = 0;
    for (user, role) in [(&ada, "free"), (&ada, "admin"), (&admin, "admin")] {
        for (method, pattern) in PATHS {
            let target = pattern.replace("{}", id);
            for (name, headers) in forgeries(user, role, method, &target) {
                let answer = call(&world, method, &target, &headers).await;
                assert_eq!(answer, StatusCode::UNAUTHORIZED, "{method} {target}: {name}");
                count += 1;
            }
        }
    }
    println!("origin: {count} calls past the edge refused");
    assert!(count >= 1000);
    assert_eq!(state().await, before, "the origin did work");
    // What the calls to /register asked for can still be had.
    let free = world.post("/register", json!({"username": "eve", "password": "eve's own password"})).await;
    assert_eq!(free.status(), StatusCode::CREATED);

    // And what made the difference is the seal: with one that is right in everything, it answers.
    let right = |method: &str, target: &str| ring(IDENTITY_KEYS).seal(&sealed(&ada, "free", method, target)).unwrap();
    let with = |method, target| vec![(HEADER, right(method, target))];
    assert_eq!(call(&world, "GET", "/api/me", &with("GET", "/api/me")).await, StatusCode::OK);
    let once = with("POST", "/logout");
    // Past the door, where the body is not one of a logout.
    assert_eq!(call(&world, "POST", "/logout", &once).await, StatusCode::BAD_REQUEST);
    assert_eq!(call(&world, "POST", "/logout", &once).await, StatusCode::UNAUTHORIZED, "once");
}

async fn call(world: &World, method: &str, target: &str, headers: &[(&str, String)]) -> StatusCode {
    let fields: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap()))
        .fold(HeaderMap::new(), |mut all, (name, value)| {
            all.append(name, value);
            all
        });
    let request = world.client.request(method.parse::<Method>().unwrap(), format!("{}{target}", world.origin_url));
    let body = json!({"text": "x", "username": "eve", "password": "eve's own password"});
    request.headers(fields).json(&body).send().await.unwrap().status()
}

#[tokio::test]
async fn a_seal_that_was_seen_at_work_opens_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (echo, mint) = (Echo::start().await, Mint::default());
    let edge = edges::cosygate(folder.path(), echo.address).await;
    let world = World::start().await;
    let client = reqwest::Client::new();
    echo.take();
    let token = mint.sound(&ALGORITHMS[0]);
    let sent = client.get(format!("{}/api/me", edge.url)).bearer_auth(&token).send().await.unwrap();
    assert_eq!(sent.status(), StatusCode::OK);
    let seen = echo.take().remove(0);
    let seal = seen.values(HEADER)[0].to_owned();
    let mut refused = 0;
    for (method, pattern) in PATHS {
        let target = pattern.replace("{}", "01J00000000000000000000000");
        for target in [target.clone(), format!("{target}?"), format!("{target}?x=1"), format!("{target}/")] {
            if (method, target.as_str()) != ("GET", "/api/me") {
                let answer = call(&world, method, &target, &[(HEADER, seal.clone())]).await;
                assert_eq!(answer, StatusCode::UNAUTHORIZED, "{method} {target}");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, PATHS.len() * 4 - 1);
    // For the request that it was made for it holds.
    assert_eq!(call(&world, "GET", "/api/me", &[(HEADER, seal)]).await, StatusCode::OK);
}
