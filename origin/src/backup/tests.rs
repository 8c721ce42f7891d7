//! A backup is put back into an empty folder, and everything is compared.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::accounts::PasswordSettings;
use crate::app::App;
use crate::audio::tests::recording;
use crate::audit::{read_file, verify};
use crate::clock::Clock;
use crate::hash::sha256_hex;
use crate::store::tests::{contract, run_sql};
use crate::store::{Export, RevocationRecord};
use crate::test_app::{ADA, BOB, NOW_MS, TestApp, caller};
use crate::upkeep;
use crate::voices::CONSENTS;

contract! {
    a_backup_goes_into_either_database
}

/// Every row of every table but what a restoration changes.
async fn everything(store: &Store) -> BTreeMap<&'static str, Vec<String>> {
    let mut snapshot = store.snapshot().await.unwrap();
    let mut all = BTreeMap::new();
    for table in TABLES.iter().filter(|table| !["control", "audit_head", "exports"].contains(&table.name)) {
        let mut rows = Vec::new();
        let take = async |row: String| {
            // Both write the same, with other spaces.
            rows.push(serde_json::from_str::<Value>(&row).unwrap().to_string());
            Ok::<_, StoreError>(())
        };
        snapshot.each(table, None, take).await.unwrap();
        all.insert(table.name, rows);
    }
    all
}

/// Something in every table that a server has.
async fn used() -> TestApp {
    let app = TestApp::new().await;
    app.register("ada").await;
    app.login("ada", "correct horse").await;
    app.login("ada", "wrong horse").await;
    let texts = [("name", "My voice"), ("transcript", "“Good” morning."), ("consent", CONSENTS[0].statement)];
    let voice = app.upload(ADA, "/api/voices", &texts, ("sample", &recording(6.0))).await;
    assert_eq!(voice.status.as_u16(), 201, "{voice:?}");
    for user in [ADA, BOB, "partner:42", "%2E%2E", "a/b"] {
        for n in 0..4 {
            app.app.clock.advance(1);
            app.generate(
                user,
                json!({"text": format!("「{n}」 \"quoted\" \\ \u{1F3A4} of {user}"), "project_id": "p"}),
            )
            .await;
        }
    }
    let record = RevocationRecord {
        kind: "user".to_owned(),
        subject: "ada".to_owned(),
        not_before: NOW_MS / 1000,
        expires_at: NOW_MS + 1,
        at: NOW_MS,
        author: "cli:test".to_owned(),
        reason: "lost".to_owned(),
    };
    app.app.store.control().revoke(&record, &AuditEntry::of_system(NOW_MS, "revoke").on_user("ada")).await.unwrap();
    upkeep::once(&app.app).await.unwrap();
    app
}

async fn restored(app: &TestApp, backup: &Path, to: &Path) -> (Settings, Store) {
    let settings = Settings { data: to.to_owned(), ..app.app.settings.clone() };
    let store = crate::app::open_store(&settings).await.unwrap();
    restore(&settings, &store, backup, NOW_MS + 60_000, "cli:test".to_owned()).await.unwrap();
    (settings, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_back_is_what_was_there() {
    let (app, folder) = (used().await, tempfile::tempdir().unwrap());
    let (backup, data) = (folder.path().join("backup"), folder.path().join("data"));
    let app_of = |settings: &Settings, store: &Store| {
        let (settings, store) = (settings.clone(), store.clone());
        let cheap = PasswordSettings { memory_kib: 64, passes: 1, ..PasswordSettings::default() };
        let passwords = crate::accounts::Passwords::new(&cheap).unwrap();
        App::with_parts(settings, Clock::standing(NOW_MS), store, passwords, Arc::clone(&app.engine) as _)
    };
    let (settings, store, blobs) = (&app.app.settings, &app.app.store, &app.app.blobs);
    let before = (everything(store).await, store.control().progress().await.unwrap());
    let manifest = write(settings, store, blobs, &backup, true, NOW_MS).await.unwrap();
    assert!(manifest.files.keys().filter(|name| name.starts_with("blobs/")).count() == 21, "{manifest:?}");

    let (settings, store) = restored(&app, &backup, &data).await;
    let mut after = everything(&store).await;
    let added = after.get_mut("audit").unwrap().pop().unwrap();
    assert!(added.contains("\"restore\""), "{added}");
    assert_eq!(after, before.0);
    // A minute has passed, in which the control plane may have gone on.
    let serial = store.control().progress().await.unwrap().serial;
    assert_eq!(serial, before.1.serial + 1600);
    let kept = read_file(&settings.audit_file()).unwrap();
    assert!(!kept.is_empty() && verify(&store, &kept, NOW_MS).await.unwrap().is_sound());
    // Byte for byte.
    let mut files = 0;
    for (name, hash) in &manifest.files {
        if let Some(place) = name.strip_prefix("blobs/") {
            let bytes = |root: PathBuf| fs::read(root.join(place)).unwrap();
            assert_eq!(sha256_hex(&[&bytes(settings.blobs_folder())]), *hash);
            assert_eq!(bytes(settings.blobs_folder()), bytes(app.app.settings.blobs_folder()));
            files += 1;
        }
    }
    assert_eq!(files, 21);
    // It serves, with the same keys and the same policy.
    let again = app_of(&settings, &store).await.unwrap();
    assert_eq!(again.policy.issuer().jwks(), app.app.policy.issuer().jwks());
    assert_eq!(again.policy.now().record.rev, app.app.policy.now().record.rev);
    let owner = caller("%2E%2E", "free");
    let output = &again.store.of(&owner).outputs(None, 1).await.unwrap()[0];
    let audio = again.blobs.of(&owner).range(&output.id, 0..output.bytes as u64).await.unwrap();
    assert_eq!(sha256_hex(&[&audio]), output.sha256);
    // Never over anything.
    let second = restore(&settings, &store, &backup, NOW_MS, "cli:test".to_owned()).await;
    assert!(matches!(second, Err(BackupError::DatabaseNotEmpty)), "{second:?}");
    let over = write(&settings, &store, &again.blobs, &backup, true, NOW_MS).await;
    assert!(matches!(over, Err(BackupError::NotEmpty(_))), "{over:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_meanwhile_is_in_it_whole_or_not_at_all() {
    let (app, folder) = (Arc::new(used().await), tempfile::tempdir().unwrap());
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let busy: Vec<_> = [ADA, BOB]
        .into_iter()
        .map(|user| {
            let (app, stop) = (Arc::clone(&app), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut made = 0;
                while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                    app.app.clock.advance(1);
                    let first = app.generate(user, json!({"text": "one"})).await.json();
                    if let Some(id) = first["id"].as_str().filter(|_| made % 2 == 0) {
                        app.delete(user, &format!("/api/outputs/{id}")).await;
                    }
                    made += 1;
                    // Quotas are not what this is about.
                    app.app.clock.advance(86_400_000 / 40);
                }
            })
        })
        .collect();
    for n in 0..5 {
        let backup = folder.path().join(format!("backup {n}"));
        write(&app.app.settings, &app.app.store, &app.app.blobs, &backup, false, NOW_MS).await.unwrap();
        let (settings, store) = restored(&app, &backup, &folder.path().join(format!("data {n}"))).await;
        assert!(!settings.master_key_file().exists() && !settings.identity_keys_file().exists());
        let mut named = Vec::new();
        let mut all = everything(&store).await;
        for row in ["outputs", "voices"].iter().flat_map(|table| all.remove(table).unwrap()) {
            let row: Value = serde_json::from_str(&row).unwrap();
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            let blobs = Blobs::open(&settings.blobs_folder()).unwrap();
            let (path, _) = blobs.audio_path(&text("user_id"), &text("id")).unwrap();
            assert_eq!(sha256_hex(&[&fs::read(&path).unwrap()]), text("sha256"));
            named.push(path);
        }
        let users = fs::read_dir(settings.blobs_folder().join("users")).unwrap();
        let files = users.flat_map(|user| fs::read_dir(user.unwrap().path()).unwrap()).count();
        assert_eq!(files, named.len(), "every file belongs to a row");
        assert!(verify(&store, &[], NOW_MS).await.unwrap().is_sound());
        store.close().await;
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    for user in busy {
        user.await.unwrap();
    }
}

#[tokio::test]
async fn a_broken_backup_is_refused_before_anything_is_touched() {
    let (app, folder) = (used().await, tempfile::tempdir().unwrap());
    let (backup, data) = (folder.path().join("backup"), folder.path().join("data"));
    let manifest = write(&app.app.settings, &app.app.store, &app.app.blobs, &backup, false, NOW_MS).await.unwrap();
    let settings = Settings { data: data.clone(), ..app.app.settings.clone() };
    let store = crate::app::open_store(&settings).await.unwrap();
    for name in manifest.files.keys().map(String::as_str).chain([MANIFEST]) {
        let (path, whole) = (backup.join(name), fs::read(backup.join(name)).unwrap());
        let mut changed = whole.clone();
        changed.push(b'x');
        fs::write(&path, changed).unwrap();
        assert!(restore(&settings, &store, &backup, NOW_MS, "cli:test".to_owned()).await.is_err(), "{name}");
        fs::remove_file(&path).unwrap();
        assert!(restore(&settings, &store, &backup, NOW_MS, "cli:test".to_owned()).await.is_err(), "{name}");
        fs::write(&path, whole).unwrap();
    }
    let outside = Manifest { files: [("../data/x".to_owned(), String::new())].into(), ..manifest };
    fs::write(backup.join(MANIFEST), serde_json::to_vec(&outside).unwrap()).unwrap();
    assert!(matches!(check(&backup), Err(BackupError::Broken(_, "the manifest leads out of the backup"))));
    assert!(store.is_empty().await.unwrap() && !settings.blobs_folder().exists());
}

async fn a_backup_goes_into_either_database(store: Store) {
    let (app, folder) = (used().await, tempfile::tempdir().unwrap());
    let backup = folder.path().join("backup");
    let settings = Settings { data: folder.path().join("data"), ..app.app.settings.clone() };
    write(&app.app.settings, &app.app.store, &app.app.blobs, &backup, false, NOW_MS).await.unwrap();
    restore(&settings, &store, &backup, NOW_MS, "cli:test".to_owned()).await.unwrap();
    let mut after = everything(&store).await;
    after.get_mut("audit").unwrap().pop();
    let sorted = |mut all: BTreeMap<&'static str, Vec<String>>| {
        all.values_mut().for_each(|rows| rows.sort());
        all
    };
    assert_eq!(sorted(after), sorted(everything(&app.app.store).await));
    // What counts up for ever does not give a place away twice.
    let token = || crate::store::IssuedToken { jti: "j", sid: "s", issued_at: 1, expires_at: NOW_MS };
    assert!(store.issued().add(token()).await.unwrap() > 1000);
    // And out of it again.
    let (second, back) = (folder.path().join("second"), folder.path().join("back"));
    let blobs = Blobs::open(&settings.blobs_folder()).unwrap();
    write(&settings, &store, &blobs, &second, false, NOW_MS).await.unwrap();
    let (_, third) = restored(&app, &second, &back).await;
    assert!(verify(&third, &[], NOW_MS).await.unwrap().is_sound());
    assert_eq!(third.of(&caller(ADA, "free")).export().await.unwrap(), None::<Export>);
}
