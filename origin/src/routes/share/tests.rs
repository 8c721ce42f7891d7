use serde_json::{Value, json};

use crate::clock::new_id;
use crate::test_app::{ADA, BOB, Reply, TestApp};

const HOUR: u32 = 3600;

async fn output(app: &TestApp, user: &str) -> String {
    app.generate(user, json!({"text": "hello"})).await.json()["id"].as_str().unwrap().to_owned()
}

async fn share(app: &TestApp, user: &str, output: &str, body: Value) -> Reply {
    let target = format!("/api/outputs/{output}/share");
    app.send(app.request("POST", &target, Some((user, "free")), Some(&body))).await
}

#[tokio::test]
async fn a_link_is_shown_once_listed_and_ended() {
    let app = TestApp::new().await;
    let id = output(&app, ADA).await;
    let made = share(&app, ADA, &id, json!({"expires_in_s": HOUR, "downloads": 3})).await;
    assert_eq!(made.status.as_u16(), 201);
    let mut made = made.json();
    let path = made.as_object_mut().unwrap().remove("path").unwrap();
    assert_eq!(path.as_str().unwrap().len(), "/s/".len() + 43);
    let expected = json!({
        "id": made["id"], "output_id": id, "text": "hello", "has_password": false,
        "downloads": {"used": 0, "limit": 3},
        "created_at": "2026-11-23T12:00:00Z", "expires_at": "2026-11-23T13:00:00Z",
    });
    assert_eq!(made, expected);
    let listed = app.get(ADA, "/api/shares").await;
    assert_eq!(listed.json(), json!({"shares": [expected]}));
    assert!(!String::from_utf8_lossy(&listed.body).contains(&path.as_str().unwrap()[3..]));
    assert_eq!(app.get(ADA, &format!("/api/outputs/{id}")).await.json()["share_links"], 1);
    assert_eq!(app.get(ADA, "/api/outputs").await.json()["outputs"][0]["share_links"], 1);
    assert_eq!(app.get(BOB, "/api/shares").await.json(), json!({"shares": []}));

    let target = format!("/api/shares/{}", made["id"].as_str().unwrap());
    assert_eq!(app.delete(BOB, &target).await.code(), "not_found");
    assert_eq!(app.delete(ADA, &target).await.status.as_u16(), 204);
    assert_eq!(app.delete(ADA, &target).await.code(), "not_found");
    assert_eq!(app.get(ADA, "/api/shares").await.json(), json!({"shares": []}));
    let audited = app.app.store.audited("share", "ok").await;
    assert_eq!(audited, [(Some(ADA.to_owned()), Some(made["id"].as_str().unwrap().to_owned()))]);
}

#[tokio::test]
async fn only_one_s_own_outputs_are_shared_and_within_bounds() {
    let app = TestApp::new().await;
    let id = output(&app, ADA).await;
    for (body, reason) in [
        (json!({}), "expires_in_s"),
        (json!({"expires_in_s": 59}), "expires_in_s"),
        (json!({"expires_in_s": 30 * 86_400 + 1}), "expires_in_s"),
        (json!({"expires_in_s": HOUR, "downloads": 0}), "downloads"),
        (json!({"expires_in_s": HOUR, "downloads": 1_000_001}), "downloads"),
        (json!({"expires_in_s": HOUR, "password": "short"}), "password"),
        (json!({"expires_in_s": HOUR, "path": "/s/mine"}), "unknown field"),
    ] {
        let reply = share(&app, ADA, &id, body.clone()).await;
        assert_eq!(reply.code(), "request_invalid", "{body}");
        assert!(reply.json()["detail"].as_str().unwrap().contains(reason), "{body}");
    }
    for wanted in [id.as_str(), &new_id(0), "x", "..%2F..%2Fetc%2Fpasswd", "%0d%0aset-cookie:a=b"] {
        assert_eq!(share(&app, BOB, wanted, json!({"expires_in_s": HOUR})).await.code(), "not_found", "{wanted}");
    }
}

#[tokio::test]
async fn a_role_bounds_how_many_links_hold() {
    let app = TestApp::with_policy(|policy| policy["roles"]["free"]["share_links"] = json!(2)).await;
    let id = output(&app, ADA).await;
    let body = || json!({"expires_in_s": HOUR});
    let replies = futures::future::join_all((0..6).map(|_| share(&app, ADA, &id, body()))).await;
    let made = replies.iter().filter(|reply| reply.status == 201).count();
    assert_eq!(made, 2);
    assert!(replies.iter().filter(|reply| reply.status != 201).all(|reply| reply.code() == "conflict"));
    // Others have links of their own, and what has run out leaves room.
    let of_bob = output(&app, BOB).await;
    assert_eq!(share(&app, BOB, &of_bob, body()).await.status.as_u16(), 201);
    app.app.clock.advance(i64::from(HOUR) * 1000);
    assert_eq!(share(&app, ADA, &id, body()).await.status.as_u16(), 201);

    let none =
        TestApp::with_policy(|policy| drop(policy["roles"]["free"].as_object_mut().unwrap().remove("share_links")))
            .await;
    let id = output(&none, ADA).await;
    assert_eq!(share(&none, ADA, &id, body()).await.code(), "conflict");
}
