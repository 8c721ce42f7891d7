use super::*;
use crate::policy::BUILT_IN;
use crate::test_app::NOW_MS;

async fn store(folder: &std::path::Path) -> Store {
    let store = Store::open_file(&folder.join("test.db")).await.unwrap();
    store.migrate().await.unwrap();
    store
}

fn audit(at: i64) -> AuditEntry {
    AuditEntry::of_system(at, "test")
}

fn edge(serial: i64) -> EdgeRecord {
    let (region, node, error) = ("north".to_owned(), "e".to_owned(), String::new());
    EdgeRecord { region, node, serial, rev: 1, error, seen_at: NOW_MS }
}

fn document(rotate_days: Option<u32>) -> Document {
    let mut document = Document::parse(BUILT_IN).unwrap();
    document.keys.rotate_days = rotate_days;
    document
}

async fn states(store: &Store) -> Vec<&'static str> {
    let known = store.keys().all().await.unwrap();
    known.iter().filter(|key| key.purpose == "issuer").map(|key| key.state().as_str()).collect()
}

#[tokio::test]
async fn a_new_key_signs_when_every_live_edge_holds_it_and_the_old_one_ends_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let (store, master) = (store(folder.path()).await, Master::parse(&Master::generate()).unwrap());
    make_first(&store, &master, NOW_MS).await.unwrap();
    make_first(&store, &master, NOW_MS).await.unwrap();
    let first = load(&store, &master, Purpose::Issuer).await.unwrap();
    assert_eq!((states(&store).await, first.jwks()["keys"].as_array().unwrap().len()), (vec!["active"], 1));

    let kid = rotate(&store, &master, Purpose::Issuer, &audit(NOW_MS + 1)).await.unwrap();
    let another = rotate(&store, &master, Purpose::Issuer, &audit(NOW_MS + 1)).await;
    assert!(matches!(another, Err(KeyError::Store(StoreError::Conflict))));
    let serial = store.control().progress().await.unwrap().serial;
    // It is told, and does not sign.
    let told = load(&store, &master, Purpose::Issuer).await.unwrap();
    assert_eq!((told.active.id(), told.jwks()["keys"].as_array().unwrap().len()), (first.active.id(), 2));
    let policy = document(None);
    assert!(!tend(&store, &master, &policy, &[edge(serial), edge(serial - 1)], NOW_MS).await.unwrap());
    assert!(tend(&store, &master, &policy, &[edge(serial), edge(serial + 1)], NOW_MS).await.unwrap());
    let second = load(&store, &master, Purpose::Issuer).await.unwrap();
    assert_eq!((second.active.id(), states(&store).await), (kid.as_str(), vec!["retired", "active"]));

    // What the first one signed holds until it has run out.
    let end = NOW_MS + grace_ms(&policy);
    assert_eq!(grace_ms(&policy), (7200 + 30 + 60) * 1000);
    assert!(!tend(&store, &master, &policy, &[], end - 1).await.unwrap());
    assert_eq!(load(&store, &master, Purpose::Issuer).await.unwrap().jwks()["keys"].as_array().unwrap().len(), 2);
    assert!(tend(&store, &master, &policy, &[], end).await.unwrap());
    assert_eq!(states(&store).await, ["active"]);
}

#[tokio::test]
async fn the_schedule_makes_keys_and_the_operator_ends_them() {
    let folder = tempfile::tempdir().unwrap();
    let (store, master) = (store(folder.path()).await, Master::parse(&Master::generate()).unwrap());
    make_first(&store, &master, NOW_MS).await.unwrap();
    let policy = document(Some(30));
    assert!(!tend(&store, &master, &policy, &[], NOW_MS + 30 * DAY_MS - 1).await.unwrap());
    assert!(tend(&store, &master, &policy, &[], NOW_MS + 30 * DAY_MS).await.unwrap());
    assert_eq!(states(&store).await, ["active", "next"]);
    assert!(tend(&store, &master, &policy, &[], NOW_MS + 30 * DAY_MS).await.unwrap());
    assert_eq!(states(&store).await, ["retired", "active"]);
    let known = store.keys().all().await.unwrap();
    let kid =
        |state: State| known.iter().find(|key| key.purpose == "issuer" && key.state() == state).unwrap().kid.clone();
    assert!(!store.keys().retire(&kid(State::Active), NOW_MS, &audit(NOW_MS)).await.unwrap(), "one has to sign");
    assert!(store.keys().retire(&kid(State::Retired), NOW_MS, &audit(NOW_MS)).await.unwrap());
    assert_eq!(store.keys().end(NOW_MS).await.unwrap(), 1);
    assert!(!store.keys().activate("nothing", NOW_MS, &audit(NOW_MS)).await.unwrap());
}

#[tokio::test]
async fn what_is_kept_opens_under_the_same_master_key_only() {
    let folder = tempfile::tempdir().unwrap();
    let (store, master) = (store(folder.path()).await, Master::parse(&Master::generate()).unwrap());
    make_first(&store, &master, NOW_MS).await.unwrap();
    let stranger = Master::parse(&Master::generate()).unwrap();
    assert!(matches!(load(&store, &stranger, Purpose::Root).await, Err(KeyError::Sealed(_))));
    let known = store.keys().all().await.unwrap();
    // Not even under another name or for another purpose.
    let other = if known[0].purpose == "root" { "issuer" } else { "root" };
    let posing = KeyRecord { purpose: other.to_owned(), ..known[0].clone() };
    assert!(master.open(&known[0]).is_ok() && master.open(&posing).is_err());
    let bytes = std::fs::read(folder.path().join("test.db")).unwrap();
    let secret = master.open(&known[0]).unwrap().private();
    let seed = secret.split("\"d\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert!(!bytes.windows(seed.len()).any(|part| part == seed.as_bytes()));
    assert!(Master::parse("short").is_err());
    let keys = published(&store).await.unwrap().unwrap();
    assert_eq!(keys.logins, load(&store, &master, Purpose::Issuer).await.unwrap().jwks());
    assert_eq!(keys.pats, load(&store, &master, Purpose::Pat).await.unwrap().jwks());
    assert_ne!(keys.logins, keys.pats);
}
