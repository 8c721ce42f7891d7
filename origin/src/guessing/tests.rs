use std::net::Ipv4Addr;

use serde_json::json;

use super::*;
use crate::store::Store;
use crate::test_app::{NOW_MS, Reply, TestApp};

/// Ten thousand end alike, but take their time.
const GUESSES: u32 = 2000;
const TEN_MINUTES_MS: i64 = 600_000;

/// A login from this address, with this device token if any.
async fn login(app: &TestApp, address: &str, username: &str, password: &str, device: Option<&str>) -> Reply {
    let mut body = json!({"username": username, "password": password});
    if let Some(device) = device {
        body["device_token"] = json!(device);
    }
    let mut request = app.request("POST", "/login", None, Some(&body));
    request.headers_mut().insert("x-forwarded-for", address.parse().unwrap());
    app.send(request).await
}

async fn device_of(app: &TestApp, username: &str) -> String {
    let reply = login(app, "192.0.2.1", username, "correct horse", None).await;
    reply.json()["device_token"].as_str().unwrap().to_owned()
}

pub(super) fn attempt<'a>(username: &'a str, password: &'a str) -> Attempt<'a> {
    Attempt { username, password, device: None }
}

pub(super) fn visit(address: u32) -> Visit {
    let address = Some(Ipv4Addr::from_bits(address).into());
    let request_id = "request".to_owned();
    Visit { request_id, started_ms: NOW_MS, policy_rev: 1, is_secure: false, address, region: String::new() }
}

async fn audited(app: &TestApp, result: &str) -> Vec<(Option<String>, Option<String>)> {
    app.app.store.audited("login", result).await
}

#[tokio::test]
async fn however_many_guesses_are_ten_and_the_owner_gets_in() {
    let app = TestApp::new().await;
    let id = app.register("ada").await;
    let device = device_of(&app, "ada").await;
    let mut evaluated = Vec::new();
    for n in 0..GUESSES {
        // Over half an hour, from fifty addresses.
        app.app.clock.advance(30 * 60_000 / i64::from(GUESSES));
        match log_in(&app.app, &visit(n % 50), attempt("ada", "wrong horse")).await {
            Err(refusal) if refusal.problem.code == Code::TokenInvalid => evaluated.push(app.app.clock.now_ms()),
            Err(refusal) => {
                assert_eq!(refusal.problem.code, Code::RateLimited);
                assert!((1..=300).contains(&refusal.problem.retry_after_s.unwrap()));
            }
            Ok(_) => panic!("guessed"),
        }
        if n % 200 == 199 {
            let owner = login(&app, "198.51.100.7", "ada", "correct horse", Some(&device)).await;
            assert_eq!(owner.status.as_u16(), 200, "{owner:?}");
        }
    }
    let within = |from: i64| evaluated.iter().filter(|at| (from..from + TEN_MINUTES_MS).contains(*at)).count();
    assert!(evaluated.iter().map(|at| within(*at)).max() <= Some(10), "{evaluated:?}");
    assert_eq!(evaluated.len(), 8 + 5);
    // Every one is audited, under the account and by nobody.
    let refused = audited(&app, "rate_limited").await;
    assert_eq!((audited(&app, "token_invalid").await.len(), refused.len()), (13, GUESSES as usize - 13));
    assert!(refused.iter().all(|row| *row == (None, Some(id.clone()))));
    // Whoever waits as long as told gets in.
    let refused = login(&app, "198.51.100.8", "ada", "correct horse", None).await;
    assert_eq!(refused.code(), "rate_limited");
    app.app.clock.advance(refused.header("retry-after").parse::<i64>().unwrap() * 1000);
    assert_eq!(login(&app, "198.51.100.8", "ada", "correct horse", None).await.status.as_u16(), 200);
}

#[tokio::test]
async fn one_guess_at_each_of_many_names_is_limited() {
    let app = TestApp::new().await;
    let at = async |address: u32, count: u32| {
        let mut evaluated = 0;
        for n in 0..count {
            let refusal =
                log_in(&app.app, &visit(address), attempt(&format!("user{address}-{n}"), "wrong horse")).await;
            evaluated += u32::from(refusal.is_err_and(|it| it.problem.code == Code::TokenInvalid));
        }
        evaluated
    };
    assert_eq!(at(1, 100).await, 20);
    assert_eq!(at(2, 5).await, 5);
    // From very many addresses, all together.
    let mut evaluated = 25;
    for address in 10..1100 {
        evaluated += at(address, 1).await;
    }
    assert_eq!(evaluated, 1000);
    app.app.clock.advance(1000);
    assert_eq!(at(5000, 10).await, 5, "there is room for five more a second");
}

#[tokio::test]
async fn unknown_names_look_the_same() {
    let app = TestApp::new().await;
    app.register("ada").await;
    let told = async |username: &str| {
        let mut told = Vec::new();
        for n in 0..12 {
            let reply = login(&app, &format!("203.0.113.{n}"), username, "wrong horse", Some("no token of mine")).await;
            let mut body = reply.json();
            body["request_id"] = json!(null);
            let mut headers = reply.headers.clone();
            headers.remove("x-request-id");
            told.push((reply.status, headers, body));
        }
        told
    };
    let known = told("ada").await;
    assert_eq!(known.iter().filter(|(status, ..)| status.as_u16() == 429).count(), 4);
    for unknown in ["nobody", "My Secret Password", "Пpивeт", ""] {
        assert_eq!(told(unknown).await, known, "{unknown}");
    }
    // All spellings of a name are one name.
    assert_eq!(login(&app, "203.0.113.99", "ADA", "correct horse", None).await.status.as_u16(), 429);
    // What was typed for a name is nowhere: it may be a password.
    let folder = app.folder.path();
    for file in ["cosygate.db", "cosygate.db-wal"] {
        let bytes = std::fs::read(folder.join(file)).unwrap();
        for typed in ["My Secret Password", "my secret password", "203.0.113.9"] {
            assert!(!bytes.windows(typed.len()).any(|window| window == typed.as_bytes()), "{typed} in {file}");
        }
    }
}

#[tokio::test]
async fn a_device_is_known_to_one_account_until_the_password_changes() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.register("ada").await, app.register("bob").await);
    let device = device_of(&app, "ada").await;
    let user = async |id: &str| app.app.store.accounts().by_id(id).await.unwrap().unwrap();
    let (ada, bob) = (user(&ada).await, user(&bob).await);
    let now_s = app.app.clock.now_s();
    let known = |user: &User, token: &str, now_s| app.app.guard.device(user, token, now_s).is_some();
    assert!(known(&ada, &device, now_s) && known(&ada, &device, now_s + DEVICE_LIFETIME_S - 1));
    assert!(!known(&ada, &device, now_s + DEVICE_LIFETIME_S));
    assert!(!known(&bob, &device, now_s));
    assert!(!known(&User { password_hash: "another".to_owned(), ..ada.clone() }, &device, now_s));
    for index in 0..device.len() {
        let mut forged = device.clone().into_bytes();
        forged[index] = if forged[index] == b'A' { b'B' } else { b'A' };
        assert!(!known(&ada, std::str::from_utf8(&forged).unwrap(), now_s), "{index}");
    }
    // Its own allowance has an end, too.
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(login(&app, "192.0.2.1", "ada", "wrong horse", Some(&device)).await.status.as_u16());
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 401, 401, 401, 429, 429]);
    assert_eq!(login(&app, "192.0.2.1", "ada", "correct horse", None).await.status.as_u16(), 200);
}

#[tokio::test]
async fn right_passwords_are_no_guesses() {
    let app = TestApp::new().await;
    app.register("ada").await;
    for _ in 0..50 {
        assert_eq!(login(&app, "192.0.2.1", "ada", "correct horse", None).await.status.as_u16(), 200);
    }
    // Neither is what was not evaluated for want of time; a restart forgets none.
    for _ in 0..8 {
        login(&app, "192.0.2.1", "ada", "wrong horse", None).await;
    }
    crate::upkeep::once(&app.app).await.unwrap();
    let store = Store::open_file(&app.app.settings.database_file()).await.unwrap();
    let bucket = app.app.guard.bucket("guesses at a name", b"ada", &AT_ACCOUNT);
    assert!(store.guesses().take(&[bucket], NOW_MS, &AuditEntry::of_system(NOW_MS, "test")).await.unwrap().is_some());
    app.app.clock.advance(8 * 300_000);
    crate::upkeep::once(&app.app).await.unwrap();
    assert_eq!(store.guesses().count().await, 0);
}

#[test]
fn a_subscriber_has_one_network() {
    let of = |text: &str| network(Some(text.parse().unwrap()));
    assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::1"));
    assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
}

#[tokio::test]
async fn a_login_renews_an_old_hash() {
    let app = TestApp::new().await;
    let id = app.register("ada").await;
    let old = app.app.store.accounts().by_id(&id).await.unwrap().unwrap();
    let costly = crate::accounts::PasswordSettings { memory_kib: 128, passes: 1, ..Default::default() };
    let passwords = crate::accounts::Passwords::new(&costly).unwrap();
    let accepted = passwords.accept("correct horse", "ada").unwrap();
    let hash = passwords.hash(accepted).await.unwrap();
    assert!(app.app.store.accounts().renew_hash(&id, &old.password_hash, &hash).await.unwrap());
    assert!(!app.app.store.accounts().renew_hash(&id, &old.password_hash, &hash).await.unwrap());
    let device = device_of(&app, "ada").await;
    let renewed = app.app.store.accounts().by_id(&id).await.unwrap().unwrap();
    assert!(renewed.password_hash.contains("$m=64,t=1,p=1$"), "{}", renewed.password_hash);
    assert!(app.app.guard.device(&renewed, &device, app.app.clock.now_s()).is_some());
}
