use serde_json::{Value, json};

use crate::passkeys::tests::{Device, relying_party};
use crate::routes::totp::tests::{Person, code, login, told};
use crate::test_app::{Reply, TestApp};

const STEP_MS: i64 = 30_000;
const PASSWORD: &str = "correct horse";

/// With more members.
fn with(mut body: Value, more: &Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn begin(person: &Person<'_>, more: &Value) -> Reply {
    person.call("POST", "/api/me/passkeys", with(json!({"password": PASSWORD}), more)).await
}

async fn confirm(person: &Person<'_>, name: &str, credential: Value) -> Reply {
    person.call("POST", "/api/me/passkeys/confirm", json!({"name": name, "credential": credential})).await
}

/// Sets a passkey up for somebody who has no second factor; the device, and the answer.
async fn enrolled(person: &Person<'_>) -> (Device, Value) {
    let device = Device::new();
    let offered = begin(person, &json!({})).await;
    assert_eq!(offered.status.as_u16(), 201, "{offered:?}");
    let confirmed = confirm(person, "Phone", device.create(&offered.json())).await;
    assert_eq!(confirmed.status.as_u16(), 201, "{confirmed:?}");
    (device, confirmed.json())
}

/// What a login asks for after a right password.
async fn asked(app: &TestApp) -> Value {
    let refused = app.login("ada", PASSWORD).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (401, "step_up_required"));
    assert!(refused.header("www-authenticate").contains("acr_values=\"mfa\""));
    refused.json()["passkey"].clone()
}

/// What an answer of somebody who is logged in asks for.
async fn asked_inside(person: &Person<'_>) -> Value {
    let refused = person.call("POST", "/api/me/step-up", json!({})).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (400, "request_invalid"));
    refused.json()["passkey"].clone()
}

async fn log_in(app: &TestApp, passkey: Value) -> (u16, String) {
    login(app, PASSWORD, json!({ "passkey": passkey })).await
}

#[tokio::test]
async fn a_login_asks_for_a_passkey_and_takes_an_answer_once() {
    let app = TestApp::new().await;
    let ada = Person::new(&app, "ada").await;
    let (mut device, added) = enrolled(&ada).await;
    assert_eq!((&added["name"], &added["used_at"]), (&json!("Phone"), &Value::Null));
    assert_eq!(added["recovery_codes"].as_array().unwrap().len(), 10);

    let options = asked(&app).await;
    assert_eq!(options["publicKey"]["rpId"], "localhost");
    assert_eq!(options["publicKey"]["userVerification"], "required");
    assert_eq!(options["publicKey"]["allowCredentials"].as_array().unwrap().len(), 1);
    let answer = device.counted().get(&options);
    // Whoever does not know the password learns nothing, with a good answer neither.
    for more in [json!({}), json!({ "passkey": answer })] {
        let refused = app.post("/login", with(json!({"username": "ada", "password": "wrong horse"}), &more)).await;
        let unknown = app.post("/login", with(json!({"username": "nobody", "password": PASSWORD}), &more)).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (401, "token_invalid"));
        for member in ["title", "status", "code", "detail", "passkey"] {
            assert_eq!(refused.json().get(member), unknown.json().get(member), "{member}");
        }
        assert_eq!(refused.json().get("passkey"), None);
    }
    assert_eq!(log_in(&app, answer.clone()).await, told(200, "free"));
    assert_eq!(log_in(&app, answer).await, told(401, "step_up_required"));

    let listed = app.get(&ada.id, "/api/me/passkeys").await.json();
    assert_eq!(listed["passkeys"][0]["id"], added["id"]);
    assert_eq!(listed["passkeys"][0]["used_at"], "2026-11-23T12:00:00Z");
    let me = app.get(&ada.id, "/api/me").await.json();
    let expected = json!({"since": "2026-11-23T12:00:00Z", "recovery_codes": 10, "totp": false, "passkeys": 1});
    assert_eq!(me["second_factor"], expected);
    for (action, result, times) in
        [("passkey_add", "ok", 1), ("passkey", "ok", 1), ("second_factor", "token_invalid", 1)]
    {
        assert_eq!(app.app.store.audited(action, result).await.len(), times, "{action} {result}");
    }
    // A recovery code stands in for it.
    let code = json!({"recovery_code": added["recovery_codes"][0]});
    assert_eq!(login(&app, PASSWORD, code.clone()).await, told(200, "free"));
    assert_eq!(login(&app, PASSWORD, code).await, told(401, "step_up_required"));
    // There is no app to make codes.
    assert_eq!(login(&app, PASSWORD, json!({"totp": "123456"})).await, told(401, "step_up_required"));
}

#[tokio::test]
async fn one_answer_lets_one_in_however_many_come_at_once() {
    let app = TestApp::new().await;
    let ada = Person::new(&app, "ada").await;
    let (mut device, _) = enrolled(&ada).await;
    let answer = device.counted().get(&asked(&app).await);
    let all = futures::future::join_all((0..4).map(|_| log_in(&app, answer.clone()))).await;
    assert_eq!(all.iter().filter(|(status, _)| *status == 200).count(), 1, "{all:?}");
}

#[tokio::test]
async fn what_is_not_of_this_device_for_this_origin_and_challenge_is_refused() {
    let app = TestApp::new().await;
    let (ada, bob) = (Person::new(&app, "ada").await, Person::new(&app, "bob").await);
    let (mut device, _) = enrolled(&ada).await;
    let (mut stranger, _) = enrolled(&bob).await;
    let changed = |answer: &Value, member: &str| {
        let mut answer = answer.clone();
        let text = answer["response"][member].as_str().unwrap().to_owned();
        // In the middle: the last character may have bits that mean nothing.
        let (head, tail) = text.split_at(text.len() / 2);
        let other = if tail.starts_with('A') { "B" } else { "A" };
        answer["response"][member] = json!(format!("{head}{other}{}", &tail[1..]));
        answer
    };
    type Change<'a> = (&'static str, Box<dyn Fn(&mut Device, &Value) -> Value + 'a>);
    let cases: [Change<'_>; 8] = [
        (
            "another origin",
            Box::new(|device, options| {
                device.origin = "http://localhost:10001";
                device.get(options)
            }),
        ),
        (
            "a name that only ends alike",
            Box::new(|device, options| {
                device.origin = "http://evil-localhost:10000";
                device.get(options)
            }),
        ),
        (
            "another relying party",
            Box::new(|device, options| {
                device.rp_id = "example.org";
                device.get(options)
            }),
        ),
        (
            "nobody recognised",
            Box::new(|device, options| {
                device.is_verified = false;
                device.get(options)
            }),
        ),
        ("a tampered signature", Box::new(|device, options| changed(&device.get(options), "signature"))),
        ("tampered data", Box::new(|device, options| changed(&device.get(options), "authenticatorData"))),
        (
            "another challenge",
            Box::new(|device, options| {
                let mut options = options.clone();
                options["publicKey"]["challenge"] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
                device.get(&options)
            }),
        ),
        (
            "no client data",
            Box::new(|device, options| {
                let mut answer = device.get(options);
                answer["response"]["clientDataJSON"] = json!("AAAA");
                answer
            }),
        ),
    ];
    for (name, answer) in &cases {
        let options = asked(&app).await;
        let answer = answer(device.counted(), &options);
        assert_eq!(log_in(&app, answer).await, told(401, "step_up_required"), "{name}");
        (device.origin, device.rp_id, device.is_verified) = ("http://localhost:10000", "localhost", true);
        // The same device with nothing wrong gets in, so it was this that was wrong.
        let right = device.counted().get(&asked(&app).await);
        assert_eq!(log_in(&app, right).await, told(200, "free"), "after {name}");
    }

    // Somebody else's passkey, for the own challenge and for theirs.
    let options = asked(&app).await;
    assert_eq!(log_in(&app, stranger.counted().get(&options)).await, told(401, "step_up_required"));
    let options = app.login("bob", PASSWORD).await.json()["passkey"].clone();
    assert_eq!(log_in(&app, stranger.counted().get(&options)).await, told(401, "step_up_required"));
    assert_eq!(log_in(&app, device.counted().get(&options)).await, told(401, "step_up_required"));
    // An answer for a login proves nothing inside, and one for inside begins no login.
    let (at_login, inside) = (asked(&app).await, asked_inside(&ada).await);
    assert_eq!(log_in(&app, device.counted().get(&inside)).await, told(401, "step_up_required"));
    let body = json!({"passkey": device.counted().get(&at_login)});
    assert_eq!(ada.call("POST", "/api/me/step-up", body).await.code(), "request_invalid");
    // However much was wrong, the owner is never kept waiting.
    assert_eq!(log_in(&app, device.counted().get(&asked(&app).await)).await, told(200, "free"));
}

#[tokio::test]
async fn a_challenge_waits_five_minutes() {
    let app = TestApp::new().await;
    let ada = Person::new(&app, "ada").await;
    let (mut device, _) = enrolled(&ada).await;
    let (early, late) = (asked(&app).await, asked(&app).await);
    app.app.clock.advance(299_999);
    assert_eq!(log_in(&app, device.counted().get(&early)).await, told(200, "free"));
    app.app.clock.advance(1);
    assert_eq!(log_in(&app, device.counted().get(&late)).await, told(401, "step_up_required"));
    app.app.clock.advance(300_001);
    crate::upkeep::once(&app.app).await.unwrap();
    assert_eq!(app.app.store.passkeys().waiting().await, 0);
}

#[tokio::test]
async fn challenges_do_not_pile_up() {
    let app = TestApp::new().await;
    let ada = Person::new(&app, "ada").await;
    let (mut device, _) = enrolled(&ada).await;
    let mut last = Value::Null;
    for _ in 0..15 {
        app.app.clock.advance(1000);
        last = asked(&app).await;
        asked_inside(&ada).await;
    }
    assert_eq!(app.app.store.passkeys().waiting().await, 20);
    assert_eq!(log_in(&app, device.counted().get(&last)).await, told(200, "free"));
}

#[tokio::test]
async fn a_counter_only_goes_up() {
    let app = TestApp::new().await;
    let ada = Person::new(&app, "ada").await;
    let (mut device, _) = enrolled(&ada).await;
    // As long as a device does not count, as those do that share their keys, there is nothing to compare.
    for _ in 0..2 {
        assert_eq!(log_in(&app, device.get(&asked(&app).await)).await, told(200, "free"));
    }
    for (counter, holds) in [(7, true), (7, false), (6, false), (0, false), (8, true)] {
        device.counter = counter;
        let expected = if holds { told(200, "free") } else { told(401, "step_up_required") };
        assert_eq!(log_in(&app, device.get(&asked(&app).await)).await, expected, "{counter}");
    }
    // Also when both were asked before either answered.
    let (first, second) = (asked(&app).await, asked(&app).await);
    device.counter = 20;
    assert_eq!(log_in(&app, device.get(&first)).await, told(200, "free"));
    device.counter = 15;
    assert_eq!(log_in(&app, device.get(&second)).await, told(401, "step_up_required"));
}

#[tokio::test]
async fn adding_one_takes_the_password_and_what_there_is_already() {
    let app = TestApp::new().await;
    let ada = Person::new(&app, "ada").await;
    let wrong = ada.call("POST", "/api/me/passkeys", json!({"password": "wrong horse"})).await;
    assert_eq!(wrong.code(), "request_invalid");
    let device = Device::new();
    let offered = begin(&ada, &json!({})).await.json();
    for (name, credential) in [
        ("", device.create(&offered)),
        ("a\nb", device.create(&offered)),
        (&"a".repeat(65), device.create(&offered)),
        (
            "Phone",
            Device { origin: "https://example.org", ..Device::new() }.create(&begin(&ada, &json!({})).await.json()),
        ),
        ("Phone", Device { rp_id: "example.org", ..Device::new() }.create(&begin(&ada, &json!({})).await.json())),
        ("Phone", Device { is_verified: false, ..Device::new() }.create(&begin(&ada, &json!({})).await.json())),
    ] {
        assert_eq!(confirm(&ada, name, credential).await.code(), "request_invalid", "{name}");
    }
    assert_eq!(app.app.store.audited("passkey_add", "token_invalid").await.len(), 3);
    // What somebody else was asked is no use.
    let bob = Person::new(&app, "bob").await;
    assert_eq!(confirm(&bob, "Phone", device.create(&offered)).await.code(), "request_invalid");
    let created = device.create(&offered);
    assert_eq!(confirm(&ada, " Phone ", created.clone()).await.json()["name"], "Phone");
    assert_eq!(confirm(&ada, "Phone", created).await.code(), "request_invalid", "a challenge counts once");
    let known = device.create(&begin(&bob, &json!({})).await.json());
    assert_eq!(confirm(&bob, "Mine now", known).await.code(), "conflict");
    assert_eq!(app.get(&bob.id, "/api/me").await.json()["second_factor"], Value::Null);

    // From now on a password alone adds neither another passkey nor one-time codes.
    for target in ["/api/me/passkeys", "/api/me/totp"] {
        let refused = ada.call("POST", target, json!({"password": PASSWORD})).await;
        assert_eq!(refused.code(), "request_invalid", "{target}");
        let answer = json!({"passkey": device.get(&refused.json()["passkey"])});
        let more = ada.call("POST", target, with(json!({"password": PASSWORD}), &answer)).await;
        assert_eq!(more.status.as_u16(), 201, "{target}: {more:?}");
    }
    // A personal access token is no login.
    let body = json!({"password": PASSWORD});
    let other = app.request("POST", "/api/me/passkeys", Some((&ada.id, "free")), Some(&body));
    assert_eq!(app.send(other).await.code(), "role_forbidden");
}

#[tokio::test]
async fn codes_and_passkeys_stand_beside_each_other() {
    let app = TestApp::new().await;
    let ada = Person::new(&app, "ada").await;
    let (totp, codes) = ada.enrol().await;
    app.app.clock.advance(STEP_MS);
    let device = Device::new();
    let offered = begin(&ada, &json!({"totp": code(&app, &totp)})).await.json();
    let added = confirm(&ada, "Key", device.create(&offered)).await.json();
    // Those that were printed stay.
    assert_eq!(added["recovery_codes"], json!([]));
    app.app.clock.advance(STEP_MS);
    assert_eq!(login(&app, PASSWORD, json!({"totp": code(&app, &totp)})).await, told(200, "free"));
    assert_eq!(log_in(&app, device.get(&asked(&app).await)).await, told(200, "free"));
    assert_eq!(login(&app, PASSWORD, json!({"recovery_code": codes[0]})).await, told(200, "free"));

    let proof = json!({"password": PASSWORD, "passkey": device.get(&asked_inside(&ada).await)});
    assert_eq!(ada.call("DELETE", "/api/me/totp", proof).await.status.as_u16(), 204);
    let me = app.get(&ada.id, "/api/me").await.json();
    assert_eq!((&me["second_factor"]["totp"], &me["second_factor"]["recovery_codes"]), (&json!(false), &json!(9)));
    let target = format!("/api/me/passkeys/{}", added["id"].as_str().unwrap());
    for (body, told) in [
        (json!({"password": "wrong horse", "recovery_code": codes[1]}), "request_invalid"),
        (json!({"password": PASSWORD}), "request_invalid"),
        (json!({"password": PASSWORD, "recovery_code": "0000-0000-0000-0000"}), "request_invalid"),
    ] {
        assert_eq!(ada.call("DELETE", &target, body).await.code(), told);
    }
    let bob = Person::new(&app, "bob").await;
    let not_theirs = bob.call("DELETE", &target, json!({"password": PASSWORD})).await;
    assert_eq!(not_theirs.code(), "not_found");
    let proof = json!({"password": PASSWORD, "recovery_code": codes[1]});
    assert_eq!(ada.call("DELETE", &target, proof.clone()).await.status.as_u16(), 204);
    assert_eq!(ada.call("DELETE", &target, proof).await.code(), "not_found");
    assert_eq!(app.app.store.audited("passkey_remove", "ok").await.len(), 1);
    // With the last of them went the recovery codes: a password is enough again.
    assert_eq!(app.get(&ada.id, "/api/me").await.json()["second_factor"], Value::Null);
    assert_eq!(login(&app, PASSWORD, json!({})).await, told(200, "free"));
    let (_, fresh) = ada.enrol().await;
    assert_eq!(fresh.len(), 10);
    assert_eq!(login(&app, PASSWORD, json!({"recovery_code": codes[2]})).await, told(401, "step_up_required"));
}

#[tokio::test]
async fn a_user_has_at_most_ten() {
    let app = TestApp::new().await;
    let ada = Person::new(&app, "ada").await;
    let (device, _) = enrolled(&ada).await;
    let proof = async || json!({"passkey": device.get(&asked_inside(&ada).await)});
    let spare = begin(&ada, &proof().await).await.json();
    for n in 2..=10 {
        let offered = begin(&ada, &proof().await).await;
        let excluded = offered.json()["publicKey"]["excludeCredentials"].as_array().unwrap().len();
        assert_eq!(excluded, n - 1);
        assert_eq!(confirm(&ada, "More", Device::new().create(&offered.json())).await.status.as_u16(), 201);
    }
    assert_eq!(begin(&ada, &proof().await).await.code(), "conflict");
    // Also for one that was begun while there was room.
    assert_eq!(confirm(&ada, "More", Device::new().create(&spare)).await.code(), "conflict");
    assert_eq!(app.get(&ada.id, "/api/me/passkeys").await.json()["passkeys"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn stepping_up_takes_a_passkey() {
    let app = TestApp::new().await;
    let ada = Person::new(&app, "ada").await;
    let (mut device, _) = enrolled(&ada).await;
    // The password alone is not enough any more.
    let refused = ada.call("POST", "/api/me/step-up", json!({"password": PASSWORD})).await;
    assert_eq!(refused.code(), "request_invalid");
    let answer = json!({"passkey": device.counted().get(&refused.json()["passkey"])});
    let fresh = ada.call("POST", "/api/me/step-up", answer.clone()).await;
    assert_eq!(fresh.status.as_u16(), 200, "{fresh:?}");
    assert!(fresh.json()["token"].is_string() && fresh.json().get("refresh_token").is_none());
    let again = ada.call("POST", "/api/me/step-up", answer).await;
    assert_eq!(again.code(), "request_invalid");
    assert!(again.json()["detail"].as_str().unwrap().starts_with("passkey does not hold"));
}

#[tokio::test]
async fn a_role_that_needs_a_second_factor_takes_a_passkey() {
    let app = TestApp::with_policy(|policy| policy["roles"]["free"]["second_factor"] = json!(true)).await;
    let ada = Person::new(&app, "ada").await;
    let begun = app.login("ada", PASSWORD).await.json();
    assert_eq!(begun["role"], "enrol");
    enrolled(&ada).await;
    let refreshed = app.post("/refresh", json!({"refresh_token": begun["refresh_token"]})).await.json();
    assert_eq!(refreshed["role"], "free");
}

#[tokio::test]
async fn a_bare_address_has_none() {
    let mut app = TestApp::new().await;
    app.passkeys_mut(relying_party("http://127.0.0.1:10000"));
    let ada = Person::new(&app, "ada").await;
    let refused = begin(&ada, &json!({})).await;
    assert_eq!(refused.code(), "conflict");
    assert!(refused.json()["detail"].as_str().unwrap().contains("public_url"), "{refused:?}");
}
