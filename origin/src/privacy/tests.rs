//! Exporting and erasing, as a user does it.

use std::io::Read as _;

use serde_json::{Value, json};

use crate::audio::tests::recording;
use crate::audit;
use crate::clock::new_id;
use crate::test_app::{BOB, NOW_MS, Reply, TestApp};
use crate::upkeep;
use crate::voices::CONSENTS;

const WORDS: &str = "words that nobody else would say";
const NAME: &str = "name-of-zoe";
const PASSWORD: &str = "correct horse";

async fn registered(app: &TestApp) -> String {
    app.register(NAME).await
}

async fn add_voice(app: &TestApp, user: &str) -> String {
    let texts = [("name", "voice-of-zoe"), ("transcript", WORDS), ("consent", CONSENTS[0].statement)];
    let reply = app.upload(user, "/api/voices", &texts, ("sample", &recording(6.0))).await;
    reply.json()["id"].as_str().unwrap_or_else(|| panic!("{reply:?}")).to_owned()
}

/// Logs in and makes a personal access token; its id.
async fn log_in(app: &TestApp, user: &str) -> String {
    let session = app.login(NAME, PASSWORD).await;
    assert_eq!(session.status.as_u16(), 200, "{session:?}");
    let login = app.app.store.logins().of_user(user).await.unwrap()[0].id.clone();
    let mut request = app.request_in(&login, "POST", "/api/tokens", user);
    *request.body_mut() = json!({"name": "laptop-of-zoe"}).to_string().into();
    request.headers_mut().insert("content-type", "application/json".parse().unwrap());
    let made = app.send(request).await;
    made.json()["id"].as_str().unwrap_or_else(|| panic!("{made:?}")).to_owned()
}

async fn send(app: &TestApp, method: &str, target: &str, user: &str, body: Option<Value>) -> Reply {
    app.send(app.request(method, target, Some((user, "free")), body.as_ref())).await
}

async fn exported(app: &TestApp, user: &str) -> Value {
    let begun = send(app, "POST", "/api/me/export", user, None).await;
    assert_eq!((begun.status.as_u16(), &begun.json()["state"]), (202, &json!("running")), "{begun:?}");
    loop {
        let export = app.get(user, "/api/me/export").await.json();
        if export["state"] != "running" {
            return export;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_everything_of_one_user() {
    let app = TestApp::new().await;
    let zoe = registered(&app).await;
    assert_eq!(app.get(&zoe, "/api/me/export").await.code(), "not_found");
    assert_eq!(app.get(&zoe, "/api/me/export/file").await.code(), "not_found");
    let mut made = Vec::new();
    for n in 0..25 {
        let output = app.generate(&zoe, json!({"text": format!("{WORDS} {n}")})).await.json();
        made.push(output["id"].as_str().unwrap().to_owned());
    }
    app.generate(BOB, json!({"text": "what bob says"})).await;
    let voice = add_voice(&app, &zoe).await;
    log_in(&app, &zoe).await;

    let export = exported(&app, &zoe).await;
    assert_eq!((&export["state"], &export["done"]), (&json!("ready"), &export["total"]));
    assert_eq!(export["expires_at"], "2026-11-24T12:00:00Z");
    let reply = app.get(&zoe, export["download_url"].as_str().unwrap()).await;
    assert_eq!(reply.header("content-type"), "application/zip");
    assert_eq!(reply.body.len() as u64, export["bytes"].as_u64().unwrap());
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(reply.body.to_vec())).unwrap();
    let mut read = |name: &str| {
        let mut bytes = Vec::new();
        archive.by_name(name).unwrap_or_else(|_| panic!("{name}")).read_to_end(&mut bytes).unwrap();
        bytes
    };
    for id in &made {
        let audio = app.get(&zoe, &format!("/download/{id}")).await.body;
        assert_eq!(read(&format!("audio/{id}.wav")), audio);
    }
    let recording = app.get(&zoe, &format!("/api/voices/{voice}/preview")).await.body;
    assert_eq!(read(&format!("voices/{voice}.wav")), recording);
    let mut lines = |name: &str| {
        let text = String::from_utf8(read(name)).unwrap();
        assert!(!text.contains("bob") && !text.contains("argon2"), "{text}");
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(lines("users.jsonl")[0]["username"], NAME);
    assert_eq!(lines("outputs.jsonl").len(), 25);
    assert!(lines("outputs.jsonl").iter().all(|row| row["text"].as_str().unwrap().starts_with(WORDS)));
    assert_eq!(lines("voices.jsonl")[0]["consent"], CONSENTS[0].statement);
    assert_eq!(lines("personal_tokens.jsonl")[0]["name"], "laptop-of-zoe");
    let login = &lines("logins.jsonl")[0];
    assert!(login["created_at"] == NOW_MS && ["secret", "family", "nonce"].iter().all(|name| login[*name].is_null()));
    assert_eq!(lines("daily_usage.jsonl")[0]["generations"], 25);
    assert_eq!(lines("audit.jsonl").iter().filter(|row| row["action"] == "generate").count(), 25);
    // Another's is another's.
    assert_eq!(app.get(BOB, "/api/me/export/file").await.code(), "not_found");

    // The next one takes its place, and it goes after a day.
    let again = exported(&app, &zoe).await;
    assert_ne!(again["id"], export["id"]);
    let files = || app.audio_files().into_iter().filter(|path| path.contains("export-")).collect::<Vec<_>>();
    assert_eq!(files().len(), 1);
    app.app.clock.advance(super::KEPT_MS);
    assert_eq!(app.get(&zoe, "/api/me/export/file").await.code(), "not_found");
    upkeep::once(&app.app).await.unwrap();
    assert_eq!(files(), [""; 0]);
    assert_eq!(app.get(&zoe, "/api/me/export").await.code(), "not_found");
}

#[tokio::test]
async fn one_export_at_a_time() {
    let app = TestApp::new().await;
    let zoe = crate::test_app::caller("zoe", "free");
    let begin = async |at| {
        let audit = crate::store::AuditEntry::of_system(at, "export");
        app.app.store.of(&zoe).begin_export(&new_id(at), at + super::PACKING_MS, &audit).await.unwrap()
    };
    assert!(begin(NOW_MS).await);
    assert_eq!(send(&app, "POST", "/api/me/export", "zoe", None).await.code(), "conflict");
    // One whose process was killed is in nobody's way for long.
    assert!(begin(NOW_MS + super::PACKING_MS).await);
    upkeep::recover(&app.app).await.unwrap();
    assert_eq!(app.get("zoe", "/api/me/export").await.json()["state"], "failed");
    assert_eq!(exported(&app, "zoe").await["state"], "ready");
}

/// Where any of the marks stand in the files of the data folder.
fn found(folder: &std::path::Path, marks: &[&str]) -> Vec<String> {
    let mut places = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = path.display().to_string();
        if marks.iter().any(|mark| text.contains(mark)) {
            places.push(text);
        } else if path.is_dir() {
            places.extend(found(&path, marks));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            let is_in = |mark: &&str| bytes.windows(mark.len()).any(|window| window == mark.as_bytes());
            places.extend(marks.iter().filter(|mark| is_in(mark)).map(|mark| format!("{text}: {mark}")));
        }
    }
    places
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_who_was_erased() {
    let app = TestApp::new().await;
    let zoe = registered(&app).await;
    for n in 0..40 {
        app.generate(&zoe, json!({"text": format!("{WORDS} {n}"), "project_id": "project-of-zoe"})).await;
    }
    add_voice(&app, &zoe).await;
    let token = log_in(&app, &zoe).await;
    exported(&app, &zoe).await;
    let bobs = app.generate(BOB, json!({"text": "what bob says"})).await.json();
    let marks = [zoe.as_str(), NAME, WORDS, "project-of-zoe", "voice-of-zoe", "laptop-of-zoe"];
    let before = found(app.folder.path(), &marks).join("\n");
    assert!(marks.iter().all(|mark| before.contains(mark)), "{before}");

    for body in [json!({}), json!({"password": "wrong horse"})] {
        let reply = send(&app, "DELETE", "/api/me", &zoe, Some(body)).await;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (400, "request_invalid"));
    }
    let erased = send(&app, "DELETE", "/api/me", &zoe, Some(json!({"password": PASSWORD}))).await;
    assert_eq!(erased.status.as_u16(), 204, "{erased:?}");
    assert!(erased.cookies().len() == 2 && erased.cookies().iter().all(|cookie| cookie.contains("Max-Age=0")));
    assert!(app.audio_files().iter().all(|path| path.contains(BOB)));
    assert_eq!(app.login(NAME, PASSWORD).await.code(), "token_invalid");
    let withdrawn = app.app.store.control().revocations(NOW_MS, 9).await.unwrap();
    let told = |kind: &str| withdrawn.iter().find(|record| record.kind == kind).unwrap();
    assert_eq!((told("user").subject.as_str(), told("user").author.as_str()), (zoe.as_str(), "erased"));
    // It would hold for months, and the withdrawal of the user is not told for so long.
    assert_eq!((told("pat").subject.as_str(), told("pat").author.as_str()), (token.as_str(), "erased"));
    assert!(told("pat").expires_at > NOW_MS + 80 * 86_400_000);

    // Once no token can be around, nothing is left: not in a table, a file, or between rows.
    app.app.clock.advance(3 * 3_600_000);
    upkeep::once(&app.app).await.unwrap();
    app.app.store.erasures().finish("nobody", NOW_MS).await.unwrap();
    assert_eq!(found(app.folder.path(), &marks), [""; 0]);
    assert_eq!(app.get(BOB, &format!("/download/{}", bobs["id"].as_str().unwrap())).await.status.as_u16(), 200);
    let kept = audit::read_file(&app.app.settings.audit_file()).unwrap();
    let report = audit::verify(&app.app.store, &kept, app.app.clock.now_ms()).await.unwrap();
    assert!(report.is_sound() && report.checkpoints > 0, "{report:?}");
    // The name is free again.
    assert_ne!(registered(&app).await, zoe);
}

#[tokio::test]
async fn a_stolen_token_does_not_let_one_guess() {
    let app = TestApp::new().await;
    let zoe = registered(&app).await;
    for n in 0..10 {
        let body = json!({"password": format!("wrong horse {n}")});
        let reply = send(&app, "DELETE", "/api/me", &zoe, Some(body)).await;
        assert_eq!(reply.status.as_u16(), if n < 8 { 400 } else { 429 }, "{reply:?}");
    }
    assert_eq!(send(&app, "DELETE", "/api/me", &zoe, Some(json!({"password": PASSWORD}))).await.status.as_u16(), 429);
    assert_eq!(app.app.store.audited("erase", "token_invalid").await.len(), 8);
    assert_eq!(app.login(NAME, PASSWORD).await.status.as_u16(), 200);
}

#[tokio::test]
async fn users_of_other_issuers_have_no_password_and_the_last_administrator_stays() {
    let app = TestApp::new().await;
    app.generate("partner:42", json!({"text": WORDS})).await;
    assert_eq!(send(&app, "DELETE", "/api/me", "partner:42", Some(json!({}))).await.status.as_u16(), 204);
    assert_eq!(app.get("partner:42", "/api/outputs").await.json()["outputs"], json!([]));

    let add = async |name: &str| {
        let (store, passwords, clock) = (&app.app.store, &app.app.passwords, &app.app.clock);
        crate::app::add_user(store, passwords, clock, name, "admin", PASSWORD.to_owned(), "cli:test").await.unwrap().id
    };
    let first = add("first-admin").await;
    let body = Some(json!({"password": PASSWORD}));
    assert_eq!(send(&app, "DELETE", "/api/me", &first, body.clone()).await.code(), "conflict");
    add("second-admin").await;
    assert_eq!(send(&app, "DELETE", "/api/me", &first, body).await.status.as_u16(), 204);
}
