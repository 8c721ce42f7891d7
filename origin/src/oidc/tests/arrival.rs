use super::*;

#[tokio::test]
async fn whoever_is_not_linked_stays_out_where_accounts_are_not_made() {
    let world = World::new(json!({"sign_up": "closed"})).await;
    assert_eq!(world.word().await, "closed");
    assert_eq!(world.audited("login").await, ["role_forbidden"]);
    // A name and a mail address say nothing: the account of the same name is somebody's.
    let ada = world.member("ada").await;
    assert_eq!(world.word().await, "closed");
    let way = world.way_of(&ada, "/api/me/identities/work").await;
    assert_eq!(word(&world.go(&way).await), "linked");
    assert!(is_in(&world.log_in().await));
    assert_eq!(world.app.app.store.logins().of_user(&ada.0).await.unwrap().len(), 2);
}

#[tokio::test]
async fn identities_are_linked_and_unlinked() {
    let world = World::new(json!({})).await;
    let (bob, carol) = (world.member("bob").await, world.member("carol").await);
    let way = world.way_of(&bob, "/api/me/identities/work").await;
    assert_eq!(word(&world.go(&way).await), "linked");
    let again = world.way_of(&bob, "/api/me/identities/work").await;
    assert_eq!(word(&world.go(&again).await), "linked");
    let taken = world.way_of(&carol, "/api/me/identities/work").await;
    assert_eq!(word(&world.go(&taken).await), "taken");
    let listed = world.send_in(&bob, "GET", "/api/me/identities").await.json();
    assert_eq!(listed["identities"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&listed["identities"][0]["provider"], &listed["identities"][0]["label"], &listed["password"]),
        (&json!("work"), &json!("ada"), &json!(true))
    );
    let one = format!("/api/me/identities/{}", listed["identities"][0]["id"].as_str().unwrap());
    assert_eq!(world.send_in(&carol, "DELETE", &one).await.code(), "not_found");
    assert_eq!(world.send_in(&bob, "DELETE", &one).await.status.as_u16(), 204);
    assert_eq!(world.send_in(&bob, "DELETE", &one).await.code(), "not_found");
    // Without a login of ours nobody links anything.
    let foreign = world.app.request("POST", "/api/me/identities/work", Some(("partner:42", "free")), None);
    assert_eq!(world.app.send(foreign).await.code(), "role_forbidden");
    // The login has ended while its user was at the provider.
    let late = world.way_of(&bob, "/api/me/identities/work").await;
    assert_eq!(world.send_in(&bob, "DELETE", "/api/logins?all=true").await.status.as_u16(), 200);
    assert_eq!(word(&world.go(&late).await), "expired");
    assert_eq!(world.audited("identity_link").await, ["ok"]);
    assert_eq!(world.audited("identity_unlink").await, ["ok"]);
}

#[tokio::test]
async fn the_last_way_in_stays() {
    let world = World::new(json!({})).await;
    assert!(is_in(&world.log_in().await));
    let ada = world.user("ada").await;
    let login = world.app.app.store.logins().of_user(&ada.id).await.unwrap()[0].id.clone();
    let ada = (ada.id, login);
    let listed = world.send_in(&ada, "GET", "/api/me/identities").await.json();
    assert_eq!(listed["password"], false);
    let one = format!("/api/me/identities/{}", listed["identities"][0]["id"].as_str().unwrap());
    assert_eq!(world.send_in(&ada, "DELETE", &one).await.code(), "conflict");
    world.idp.script().claims = json!({"sub": "43"});
    let way = world.way_of(&ada, "/api/me/identities/work").await;
    assert_eq!(word(&world.go(&way).await), "linked");
    assert_eq!(world.send_in(&ada, "DELETE", &one).await.status.as_u16(), 204);
}

#[tokio::test]
async fn roles_follow_the_claims_at_every_login() {
    let roles = json!({"roles": {"claim": "realm.roles", "default": "free",
        "mapping": [{"from": "boss", "to": "admin"}, {"from": "paid", "to": "premium"}]}});
    let world = World::new(roles).await;
    world.idp.script().claims = json!({"realm": {"roles": ["paid"]}});
    assert!(is_in(&world.log_in().await));
    let ada = world.user("ada").await;
    assert_eq!(ada.role, "premium");
    assert!(world.app.app.store.control().revocations(NOW_MS, 10).await.unwrap().is_empty());
    world.idp.script().claims = json!({"realm": {"roles": []}});
    assert!(is_in(&world.log_in().await));
    assert_eq!(world.user("ada").await.role, "free");
    let told = world.app.app.store.control().revocations(NOW_MS, 10).await.unwrap();
    assert_eq!(
        (told[0].subject.as_str(), told[0].author.as_str(), told[0].reason.as_str()),
        (ada.id.as_str(), "oidc:work", "role changed")
    );
    assert_eq!(world.audited("user_role").await, ["ok"]);
    // The only admin there is, unless the provider is believed.
    world.idp.script().claims = json!({"realm": {"roles": ["boss"]}});
    assert!(is_in(&world.log_in().await));
    world.idp.script().claims = json!({});
    assert_eq!(world.word().await, "role");
    assert_eq!(world.user("ada").await.role, "admin");
}

#[tokio::test]
async fn whoever_has_no_role_here_stays_out() {
    let world =
        World::new(json!({"roles": {"mapping": [{"from": "paid", "to": "gone"}, {"from": "free", "to": "free"}]}}))
            .await;
    assert_eq!(world.word().await, "role");
    // The policy has no such role.
    world.idp.script().claims = json!({"roles": "paid"});
    assert_eq!(world.word().await, "role");
    world.idp.script().claims = json!({"roles": "free"});
    assert!(is_in(&world.log_in().await));
}

#[tokio::test]
async fn what_the_token_does_not_say_is_asked_for() {
    let world = World::new(json!({"roles": {"default": "free", "mapping": [{"from": "paid", "to": "premium"}]}})).await;
    world.idp.script().metadata = json!({"userinfo_endpoint": format!("{}/userinfo", world.idp.url)});
    world.idp.script().claims = json!({"preferred_username": null});
    world.idp.script().userinfo = json!({"sub": "somebody else", "preferred_username": "eve"});
    assert_eq!(world.word().await, "failed");
    world.idp.script().userinfo = json!({"sub": "42", "preferred_username": "grace", "roles": ["paid"]});
    assert!(is_in(&world.log_in().await));
    assert_eq!(world.user("grace").await.role, "premium");
}

#[tokio::test]
async fn disabled_accounts_stay_out() {
    let world = World::new(json!({})).await;
    assert!(is_in(&world.log_in().await));
    let one = format!("/api/admin/users/{}", world.user("ada").await.id);
    let body = json!({"disabled": true});
    let patch = world.app.request("PATCH", &one, Some(("boss", "admin")), Some(&body));
    assert_eq!(world.app.send(patch).await.status.as_u16(), 200);
    assert_eq!(world.word().await, "disabled");
}

#[tokio::test]
async fn stepping_up_takes_a_proof_of_now() {
    let world = World::new(json!({})).await;
    assert!(is_in(&world.log_in().await));
    let user = world.user("ada").await;
    let login = world.app.app.store.logins().of_user(&user.id).await.unwrap()[0].id.clone();
    let ada = (user.id.clone(), login.clone());
    world.app.app.clock.advance(20 * 60 * 1000);
    let now_s = NOW_S + 20 * 60;
    let way = world.way_of(&ada, "/api/me/step-up/work").await;
    assert_eq!((way.question["prompt"].as_str(), way.question["max_age"].as_str()), ("login", "0"));
    let times = json!({"iat": now_s, "exp": now_s + 300});
    let claims = |more: Value| {
        let mut all = times.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    // It did not ask again, or does not say so; or it was somebody else.
    for (more, expected) in [
        (json!({"auth_time": NOW_S}), "failed"),
        (json!({"auth_time": null}), "failed"),
        (json!({"auth_time": now_s, "sub": "43"}), "other"),
    ] {
        let way = world.way_of(&ada, "/api/me/step-up/work").await;
        world.idp.script().claims = claims(more);
        assert_eq!(word(&world.go(&way).await), expected);
    }
    world.idp.script().claims = claims(json!({"auth_time": now_s}));
    let reply = world.go(&way).await;
    assert_eq!(reply.header("location"), "/#login=stepped_up");
    assert!(reply.cookies()[0].starts_with("cosygate=ey") && reply.cookies().len() == 2, "{reply:?}");
    let login = world.app.app.store.logins().by_id(&login).await.unwrap().unwrap();
    assert_eq!(login.authenticated_at, Some(world.app.app.clock.now_ms()));
}

#[tokio::test]
async fn accounts_without_a_password_do_what_they_may() {
    let world = World::new(json!({})).await;
    assert!(is_in(&world.log_in().await));
    let user = world.user("ada").await;
    let login = world.app.app.store.logins().of_user(&user.id).await.unwrap()[0].id.clone();
    let send = async |method: &str, target: &str, body: Value| {
        let mut request = world.app.request_in(&login, method, target, &user.id);
        request.headers_mut().insert("content-type", "application/json".parse().unwrap());
        *request.body_mut() = axum::body::Body::from(body.to_string());
        world.app.send(request).await
    };
    let change = send("POST", "/api/me/password", json!({"current": "", "new": "another horse entirely"})).await;
    assert!(change.json()["detail"].as_str().unwrap().contains("has no password"), "{change:?}");
    let step_up = send("POST", "/api/me/step-up", json!({"password": "x"})).await;
    assert!(step_up.json()["detail"].as_str().unwrap().contains("step-up/{provider}"), "{step_up:?}");
    // The login is new enough, and then it is not.
    assert_eq!(send("POST", "/api/me/totp", json!({})).await.status.as_u16(), 201);
    world.app.app.clock.advance(5 * 60 * 1000 + 1);
    let stale = send("DELETE", "/api/me", json!({})).await;
    assert_eq!((stale.status.as_u16(), stale.code().as_str()), (401, "step_up_required"));
    assert!(stale.header("www-authenticate").contains("max_age=\"300\""));
    world.app.app.clock.advance(-5 * 60 * 1000);
    assert_eq!(send("DELETE", "/api/me", json!({})).await.status.as_u16(), 204);
    assert_eq!(world.app.app.store.identities().user_of(&world.idp.url, "42").await.unwrap(), None);
}

#[tokio::test]
async fn a_second_factor_is_asked_for_as_ever() {
    let world = World::new(json!({})).await;
    let ada = world.member("ada").await;
    let codes = world.second_factor(&ada.0).await;
    let way = world.way_of(&ada, "/api/me/identities/work").await;
    assert_eq!(word(&world.go(&way).await), "linked");
    let stepping = world.send_in(&ada, "POST", "/api/me/step-up/work").await;
    assert!(stepping.json()["detail"].as_str().unwrap().starts_with("code is missing"), "{stepping:?}");

    let half = world.log_in().await;
    assert_eq!(word(&half), "code");
    let ticket = half.cookies()[0].split(';').next().unwrap().to_owned();
    let finish = async |cookie: &str, body: Value, site: &str| {
        let mut request = world.app.request("POST", "/login/oidc", None, Some(&body));
        request.headers_mut().insert("cookie", cookie.parse().unwrap());
        request.headers_mut().insert("sec-fetch-site", site.parse().unwrap());
        world.app.send(request).await
    };
    let code = || json!({"recovery_code": codes[0]});
    assert_eq!(finish(&ticket, code(), "cross-site").await.code(), "csrf_refused");
    assert_eq!(finish("cosygate-oidc=none", code(), "same-origin").await.code(), "token_invalid");
    assert_eq!(finish(&way.cookie, code(), "same-origin").await.code(), "token_invalid");
    for body in [json!({}), json!({"totp": "000000"})] {
        assert_eq!(finish(&ticket, body, "same-origin").await.code(), "step_up_required");
    }
    let done = finish(&ticket, code(), "same-origin").await;
    assert_eq!(done.json()["username"], "ada");
    assert!(done.cookies()[0].starts_with("cosygate=ey"), "{done:?}");
    let again = finish(&ticket, json!({"recovery_code": codes[1]}), "same-origin").await;
    assert_eq!(again.code(), "token_invalid", "a ticket is good once");
}
