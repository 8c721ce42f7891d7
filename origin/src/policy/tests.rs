use serde_json::json;

use super::*;
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

fn edge_version(app: &TestApp) -> Value {
    let file: Value = serde_json::from_slice(&std::fs::read(app.app.settings.edge_file()).unwrap()).unwrap();
    file["version_info"].clone()
}

#[tokio::test]
async fn a_changed_file_comes_into_force_and_a_bad_one_does_not() {
    let app = TestApp::new().await;
    let stop = CancellationToken::new();
    let watching = tokio::spawn({
        let (app, stop) = (Arc::clone(&app.app), stop.clone());
        async move { app.policy.watch(stop).await }
    });
    let file = app.app.settings.policy_file();
    let rev = || app.app.policy.now().record.rev;
    assert_eq!((rev(), edge_version(&app)), (1, json!("1")));

    publish(&policy(1000), &app.app.issuer.jwks(), &file).unwrap();
    until(|| rev() == 2).await;
    assert_eq!(app.get(ADA, "/api/me/usage").await.json()["characters"]["limit"], 1000);
    assert_eq!(edge_version(&app), "2");

    // An editor that is not careful writes in place and may be read half-way.
    std::fs::write(&file, &policy(2000)[..500]).unwrap();
    until(|| app.app.policy.last_error().is_some()).await;
    assert_eq!((rev(), edge_version(&app)), (2, json!("2")));
    let shown = app.send(app.request("GET", "/api/admin/policy", Some((ADA, "admin")), None)).await.json();
    assert!(shown["last_error"].as_str().unwrap().contains("policy.json"), "{shown}");

    std::fs::write(&file, String::from_utf8(policy(2000)).unwrap().replace("\"burst\":30", "\"burst\":0")).unwrap();
    until(|| app.app.policy.last_error().is_some_and(|error| error.contains("/roles/free/requests/burst"))).await;
    std::fs::write(&file, policy(2000)).unwrap();
    until(|| rev() == 3).await;
    assert_eq!(app.app.policy.last_error(), None);

    // The same content under a new time is nothing new; going back is a new revision.
    publish(&policy(2000), &app.app.issuer.jwks(), &file).unwrap();
    publish(&policy(1000), &app.app.issuer.jwks(), &file).unwrap();
    until(|| rev() == 4).await;
    stop.cancel();
    watching.await.unwrap();
}

/// What a start finds.
async fn start(app: &TestApp) -> Result<PolicyCenter, CenterError> {
    let edge =
        EdgeConfig { region: "local".to_owned(), filter_wasm: "/f.wasm".into(), file: app.app.settings.edge_file() };
    let (file, store) = (app.app.settings.policy_file(), app.app.store.clone());
    PolicyCenter::start(file, edge, app.app.issuer.jwks(), store, Clock::system()).await
}

#[tokio::test]
async fn a_start_needs_a_good_policy_once() {
    let app = TestApp::new().await;
    let file = app.app.settings.policy_file();
    assert_eq!(start(&app).await.unwrap().now().record.rev, 1);
    std::fs::write(&file, "{}").unwrap();
    let center = start(&app).await.unwrap();
    assert_eq!(center.now().record.rev, 1);
    assert!(center.last_error().is_some());
    std::fs::remove_file(&file).unwrap();
    assert_eq!(start(&app).await.unwrap().now().record.sha256, sha256_hex(&[BUILT_IN]));

    let empty = crate::store::Store::open_file(&app.folder.path().join("empty.db")).await.unwrap();
    empty.migrate().await.unwrap();
    std::fs::write(&file, "{}").unwrap();
    let edge = EdgeConfig { region: "local".to_owned(), filter_wasm: "/f".into(), file: app.folder.path().join("e") };
    let refused = PolicyCenter::start(file, edge, app.app.issuer.jwks(), empty, Clock::system()).await;
    assert!(matches!(refused, Err(CenterError::Invalid(..))));
}

#[tokio::test]
async fn a_rev_in_the_file_may_run_ahead() {
    let app = TestApp::with_policy(|policy| policy["rev"] = json!(40)).await;
    assert_eq!(app.app.policy.now().record.rev, 40);
    assert_eq!(edge_version(&app), "40");
}
