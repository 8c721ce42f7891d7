use serde_json::json;

use gate::keys::KeySet;

use super::*;
use crate::revocation::Withdrawal;
use crate::store::Whose;
use crate::test_app::{ADA, TestApp};

/// The built-in policy with so many characters a day for free users.
fn policy(characters: u32) -> Vec<u8> {
    let mut document: Value = serde_json::from_slice(BUILT_IN).unwrap();
    document["roles"]["free"]["characters_per_day"] = json!(characters);
    document.to_string().into_bytes()
}

/// Waits until something holds, for a watched file takes a moment.
async fn until(holds: impl Fn() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never holds");
}

/// The revision that edges are handed.
fn edge_rev(app: &TestApp) -> u64 {
    let roots = KeySet::from_jwks(&app.app.policy.roots()).unwrap();
    gate::bundle::open(app.app.policy.bundle("local", "e1").text.as_bytes(), &roots, "local").unwrap().rev
}

#[tokio::test]
async fn a_changed_file_comes_into_force_and_a_bad_one_does_not() {
    let app = TestApp::new().await;
    let stop = CancellationToken::new();
    let watching = tokio::spawn({
        let (app, stop) = (Arc::clone(&app.app), stop.clone());
        async move { app.policy.follow(stop).await }
    });
    let file = app.app.settings.policy_file();
    let rev = || app.app.policy.now().record.rev;
    assert_eq!((rev(), edge_rev(&app)), (1, 1));

    std::fs::write(&file, policy(1000)).unwrap();
    until(|| rev() == 2).await;
    assert_eq!(app.get(ADA, "/api/me/usage").await.json()["characters"]["limit"], 1000);
    assert_eq!(edge_rev(&app), 2);

    // An editor that is not careful writes in place and may be read half-way.
    std::fs::write(&file, &policy(2000)[..500]).unwrap();
    until(|| app.app.policy.last_error().is_some()).await;
    assert_eq!((rev(), edge_rev(&app)), (2, 2));
    let shown = app.send(app.request("GET", "/api/admin/policy", Some((ADA, "admin")), None)).await.json();
    assert!(shown["last_error"].as_str().unwrap().contains("policy.json"), "{shown}");

    std::fs::write(&file, String::from_utf8(policy(2000)).unwrap().replace("\"burst\":30", "\"burst\":0")).unwrap();
    until(|| app.app.policy.last_error().is_some_and(|error| error.contains("/roles/free/requests/burst"))).await;
    std::fs::write(&file, policy(2000)).unwrap();
    until(|| rev() == 3).await;
    assert_eq!(app.app.policy.last_error(), None);

    // The same content under a new time is nothing new; going back is a new revision.
    std::fs::write(&file, policy(2000)).unwrap();
    tokio::time::sleep(2 * POLL).await;
    assert_eq!(rev(), 3);
    std::fs::write(&file, policy(1000)).unwrap();
    until(|| rev() == 4).await;
    stop.cancel();
    watching.await.unwrap();
}

/// What a start finds, in this database, with the app's own file.
async fn start(app: &TestApp, store: &Store, is_master: bool) -> Result<PolicyCenter, CenterError> {
    let file = app.folder.path().join("other-edge.json");
    let edge = EdgeConfig { region: "local".to_owned(), filter_wasm: "/f.wasm".into(), file };
    let file = PolicyFile { path: app.app.settings.policy_file(), is_master };
    let master = crate::app::open_master(&app.app.settings).unwrap();
    PolicyCenter::start(file, edge, master, store.clone(), Clock::system()).await
}

#[tokio::test]
async fn a_start_needs_a_good_policy_once() {
    let app = TestApp::new().await;
    let (file, store) = (app.app.settings.policy_file(), &app.app.store);
    assert_eq!(start(&app, store, false).await.unwrap().now().record.rev, 1);
    std::fs::write(&file, "{}").unwrap();
    let center = start(&app, store, false).await.unwrap();
    assert_eq!(center.now().record.rev, 1);
    assert!(center.last_error().is_some());
    std::fs::remove_file(&file).unwrap();
    start(&app, store, false).await.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), center.now().record.document);

    let empty = crate::store::Store::open_file(&app.folder.path().join("empty.db")).await.unwrap();
    empty.migrate().await.unwrap();
    std::fs::write(&file, "{}").unwrap();
    assert!(matches!(start(&app, &empty, false).await, Err(CenterError::Invalid(..))));
}

#[tokio::test]
async fn what_was_published_outlives_the_file_it_overtook() {
    let app = TestApp::new().await;
    let (file, store) = (app.app.settings.policy_file(), &app.app.store);
    let before = std::fs::read(&file).unwrap();
    let audit = AuditEntry::of_system(1, "policy_change");
    let publication = Publication { author: "cli:test", reason: "more", after: Some(1) };
    let record = app.app.policy.publish(&policy(7000), publication, &audit).await.unwrap();
    assert_eq!((record.rev, record.author.as_str(), record.reason.as_str()), (2, "cli:test", "more"));
    assert_eq!(app.app.policy.now().record.rev, 2);
    assert_eq!(std::fs::read(&file).unwrap(), policy(7000), "the file shows what is in force");
    let overtaken = app.app.policy.publish(&policy(8000), publication, &audit).await.unwrap_err();
    assert_eq!(overtaken.to_string(), "revision 2 is in force by now; look at it and publish again");

    // Another origin, whose file is still the first one, must not bring it back.
    std::fs::write(&file, &before).unwrap();
    assert_eq!(start(&app, store, false).await.unwrap().now().record.rev, 2);
    assert_eq!(std::fs::read(&file).unwrap(), policy(7000));
    // Unless nothing but the file counts.
    std::fs::write(&file, &before).unwrap();
    let center = start(&app, store, true).await.unwrap();
    assert_eq!((center.now().record.rev, center.now().record.author.as_str()), (3, FILE));
}

#[tokio::test]
async fn several_origins_follow_one_database() {
    let app = TestApp::new().await;
    let other = Arc::new(start(&app, &app.app.store, false).await.unwrap());
    let stop = CancellationToken::new();
    let following = tokio::spawn({
        let (other, stop) = (Arc::clone(&other), stop.clone());
        async move { other.follow(stop).await }
    });
    let audit = AuditEntry::of_system(1, "policy_change");
    let publication = Publication { author: "cli:test", reason: "", after: None };
    app.app.policy.publish(&policy(7000), publication, &audit).await.unwrap();
    until(|| other.now().record.rev == 2).await;
    let withdrawal = Withdrawal { whose: Whose::User, subject: ADA, author: "cli:test", reason: "" };
    let record =
        crate::revocation::record(withdrawal, &app.app.policy.now().document, Clock::system().now_ms()).unwrap();
    app.app.store.control().revoke(&record, &audit).await.unwrap();
    until(|| other.in_force().borrow().content.withdrawn_until(ADA).is_some()).await;
    stop.cancel();
    following.await.unwrap();
}

#[tokio::test]
async fn a_rev_in_the_file_may_run_ahead() {
    let app = TestApp::with_policy(|policy| policy["rev"] = json!(40)).await;
    assert_eq!(app.app.policy.now().record.rev, 40);
    assert_eq!(edge_rev(&app), 40);
}
