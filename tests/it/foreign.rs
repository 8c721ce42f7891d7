//! Every route that takes an id, with every kind of id of somebody else: it answers as if there were
//! none, and nothing is read or changed.

use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};
use tests::api::{self, Operation};
use tests::process::artefact;
use tests::world::{ADMIN_PASSWORD, User, World, roomy};

const CONSENT: &str = "This is a recording of my own voice, and I agree that a synthetic voice is made of it.";
/// Stands in everything of hers that has words.
const MARK: &str = "zinnober";
const UNKNOWN: &str = "01JD0000000000000000000000";
/// Ids of what only a device and a provider can bring about.
const PASSKEY: &str = "01JD0000000000000000000001";
const IDENTITY: &str = "01JD0000000000000000000002";
/// Writes both straight into the database; the arguments are its path, the user and the mark.
const PUT_IN: &str = "\
import sqlite3, sys
path, user, mark, passkey, identity = sys.argv[1:]
with sqlite3.connect(path, timeout=10) as database:
    database.execute('INSERT INTO passkeys VALUES (?, ?, 0, ?, ?, ?, 0, 1, NULL)', (passkey, user, mark, mark, '{}'))
    database.execute('INSERT INTO identities VALUES (?, ?, ?, ?, ?, 1)', (identity, user, 'https://id.example', mark, mark))
";

/// Everything of hers, by kind.
async fn belongings(world: &World, ada: &User, admin: &User) -> Vec<(&'static str, String)> {
    let output = world.generate(ada, &format!("hers alone, {MARK}")).await;
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
    let output = text(&output["id"]);
    let form = reqwest::multipart::Form::new()
        .text("name", format!("Voice {MARK}"))
        .text("transcript", format!("What is said: {MARK}"))
        .text("consent", CONSENT)
        .part("sample", reqwest::multipart::Part::bytes(crate::engines::recording(6)).file_name("sample.wav"));
    let voice =
        world.request(Method::POST, "/api/voices").bearer_auth(&ada.token).multipart(form).send().await.unwrap();
    let voice: Value = voice.json().await.unwrap();
    let made = async |path: &str, user: &User, body: Value| -> Value {
        let response = world.post_as(user, path, body).await;
        assert!(response.status().is_success(), "{path}: {}", response.text().await.unwrap());
        response.json().await.unwrap()
    };
    let share = made(&format!("/api/outputs/{output}/share"), ada, json!({"expires_in_s": 3600})).await;
    let token = made("/api/tokens", ada, json!({"name": format!("token {MARK}")})).await;
    let export = made("/api/me/export", ada, json!({})).await;
    let invitation = made("/api/admin/invitations", admin, json!({})).await;
    let mut put_in = Command::new(artefact("SERVICES_PYTHON", ".tools/services/bin/python"));
    put_in.args(["-c", PUT_IN]).arg(world.data().join("cosygate.db")).args([&ada.id, MARK, PASSKEY, IDENTITY]);
    assert!(put_in.status().unwrap().success());
    let logins: Value = world.get_as(ada, "/api/logins").await.json().await.unwrap();
    let audit: Value = world.get_as(ada, "/api/me/audit").await.json().await.unwrap();
    let entry = &audit["entries"][0];
    vec![
        ("output", output.clone()),
        ("job", output),
        ("voice", text(&voice["id"])),
        ("share", text(&share["id"])),
        ("token", text(&token["id"])),
        ("export", text(&export["id"])),
        ("login", text(&logins["logins"][0]["id"])),
        ("passkey", PASSKEY.to_owned()),
        ("identity", IDENTITY.to_owned()),
        ("user", ada.id.clone()),
        ("invitation", text(&invitation["id"])),
        ("audit row", entry["seq"].to_string()),
        ("request", text(&entry["request_id"])),
    ]
}

/// What she sees of what is hers, without what changes by itself.
async fn seen(world: &World, ada: &User) -> Vec<(String, Value)> {
    const PATHS: [&str; 9] = [
        "/api/me",
        "/api/me/usage",
        "/api/me/passkeys",
        "/api/me/identities",
        "/api/outputs",
        "/api/jobs",
        "/api/voices",
        "/api/shares",
        "/api/tokens",
    ];
    let mut all: Vec<(String, Value)> = Vec::new();
    for path in PATHS {
        let response = world.get_as(ada, path).await;
        assert_eq!(response.status(), 200, "{path}");
        all.push((path.to_owned(), response.json().await.unwrap()));
    }
    let marked = |path: &str| all.iter().any(|(known, value)| known == path && value.to_string().contains(MARK));
    assert!(marked("/api/me/passkeys") && marked("/api/me/identities"), "{all:?}");
    let logins: Value = world.get_as(ada, "/api/logins").await.json().await.unwrap();
    for login in logins["logins"].as_array().unwrap() {
        all.push((format!("login {}", login["id"]), login["ended_at"].clone()));
    }
    all
}

/// Status, headers but for times and numbers left, body but for the request id and the id that was asked for.
async fn answer(
    world: &World,
    user: &User,
    operation: &Operation,
    target: &str,
    id: &str,
) -> (u16, Vec<String>, String) {
    let method = Method::from_bytes(operation.method.as_bytes()).unwrap();
    let request = world.request(method, target).bearer_auth(&user.token);
    let request = operation.body().iter().fold(request, |request, body| request.json(body));
    let response = request.send().await.unwrap();
    let request_id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let varying = ["date", "x-request-id", "ratelimit"];
    let headers = response.headers().iter().filter(|(name, _)| !varying.contains(&name.as_str()));
    let mut headers: Vec<String> =
        headers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    headers.sort();
    let (status, body) = (response.status().as_u16(), response.text().await.unwrap());
    assert!(!body.contains(MARK), "{} shows what is hers: {body}", operation.name());
    (status, headers, body.replace(&request_id, "").replace(id, ""))
}

#[tokio::test]
async fn every_foreign_id_is_an_unknown_one() {
    let world = World::with(roomy, &[]).await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let admin = world.login("admin", ADMIN_PASSWORD).await;
    let hers = belongings(&world, &ada, &admin).await;
    let before = seen(&world, &ada).await;
    let description: Value = world.get("/openapi.json").await.json().await.unwrap();
    let operations = api::operations(&description);
    let mut asked = 0;
    for operation in &operations {
        match operation.placeholders().as_slice() {
            ["id"] => {}
            // Not ids: a secret is its own permit, a number names a public list, a path a public file, a
            // provider stands in the settings.
            [] | ["secret" | "number" | "path" | "provider"] => continue,
            other => panic!("{}: what is {other:?}?", operation.name()),
        }
        // An administrator reads and changes accounts and invitations, whosever they are.
        let is_administration = operation.path.starts_with("/api/admin/");
        for (user, is_admin) in [(&bob, false), (&admin, true)] {
            for (kind, id) in &hers {
                if is_administration && is_admin && ["user", "invitation"].contains(kind) {
                    continue;
                }
                let foreign = answer(&world, user, operation, &operation.filled(id), id).await;
                let missing = answer(&world, user, operation, &operation.filled(UNKNOWN), UNKNOWN).await;
                assert_eq!(foreign, missing, "{} with her {kind}", operation.name());
                let wanted = if is_administration && !is_admin { 403 } else { 404 };
                assert_eq!(foreign.0, wanted, "{} with her {kind}: {}", operation.name(), foreign.2);
                asked += 1;
            }
        }
    }
    println!("{asked} foreign ids in paths");
    assert!(asked > 300, "{asked}");
    assert_eq!(seen(&world, &ada).await, before, "something of hers has changed");
}

/// Ids that stand in a query or a body: her things are neither found nor told apart from nothing.
#[tokio::test]
async fn foreign_ids_elsewhere_find_nothing() {
    let world = World::with(roomy, &[]).await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let admin = world.admin().await;
    let hers = belongings(&world, &ada, &admin).await;
    let before = seen(&world, &ada).await;
    let operations = api::operations(&world.get("/openapi.json").await.json().await.unwrap());
    let mut asked = 0;
    for operation in operations.iter().filter(|operation| operation.method == "GET" && !operation.path.contains('{')) {
        for parameter in operation.about["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] != "query" || parameter["schema"]["type"] != "string" {
                continue;
            }
            let name = parameter["name"].as_str().unwrap();
            for (kind, id) in &hers {
                let target = |value: &str| format!("{}?{name}={value}", operation.path);
                // Her own lists begin with what came before an id, so his are compared with one of the same time.
                let foreign = answer(&world, &bob, operation, &target(id), id).await;
                let twin = if id.len() == 26 { format!("{}0000000000000000", &id[..10]) } else { "1".to_owned() };
                let missing = answer(&world, &bob, operation, &target(&twin), &twin).await;
                if operation.path != "/api/me/audit" {
                    assert_eq!(foreign.0, missing.0, "{}?{name} with her {kind}", operation.name());
                }
                asked += 1;
            }
        }
    }
    for (kind, id) in &hers {
        let bodies = [
            ("/api/outputs/delete", json!({"ids": [id]}), json!({"ids": [UNKNOWN]})),
            ("/api/generate", json!({"text": "his", "voice": id}), json!({"text": "his", "voice": UNKNOWN})),
            (
                "/v1/audio/speech",
                json!({"model": "tts-1", "input": "his", "voice": id}),
                json!({"model": "tts-1", "input": "his", "voice": UNKNOWN}),
            ),
        ];
        for (path, foreign, missing) in bodies {
            let mut said = Vec::new();
            for body in [foreign, missing] {
                let response = world.post_as(&bob, path, body).await;
                let request_id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
                let status = response.status();
                said.push((status, response.text().await.unwrap().replace(&request_id, "")));
            }
            assert_eq!(said[0], said[1], "POST {path} with her {kind}");
            asked += 1;
        }
    }
    println!("{asked} foreign ids in queries and bodies");
    assert!(asked > 60, "{asked}");
    assert_eq!(seen(&world, &ada).await, before, "something of hers has changed");
}
