use serde_json::{Value, json};

use crate::test_app::{ADA, BOB, TestApp};

async fn as_admin(app: &TestApp, target: &str, accept: Option<&str>) -> crate::test_app::Reply {
    let mut request = app.request("GET", target, Some(("root", "admin")), None);
    if let Some(accept) = accept {
        request.headers_mut().insert("accept", accept.parse().unwrap());
    }
    app.send(request).await
}

fn actions(page: &Value) -> Vec<&str> {
    page["entries"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn everybody_sees_their_own_and_administrators_all() {
    let app = TestApp::new().await;
    let mut request =
        app.request("POST", "/api/generate", Some((ADA, "free")), Some(&json!({"text": "a secret word"})));
    request.headers_mut().append("x-forwarded-for", "192.0.2.7".parse().unwrap());
    let made = app.send(request).await.json();
    let id = made["id"].as_str().unwrap();
    app.delete(ADA, &format!("/api/outputs/{id}")).await;
    app.generate(BOB, json!({"text": "hello"})).await;

    let own = app.get(ADA, "/api/me/audit").await;
    let page = own.json();
    assert_eq!((actions(&page), &page["next"]), (vec!["delete", "generate"], &Value::Null));
    let entry = &page["entries"][1];
    assert_eq!((&entry["object"], &entry["result"], &entry["via"]), (&json!(id), &json!("ok"), &json!("edge:local")));
    assert_eq!(
        (&entry["user_id"], &entry["address"], &entry["characters"]),
        (&json!(ADA), &json!("192.0.2.7"), &json!(13))
    );
    assert!(!String::from_utf8_lossy(&own.body).contains("secret"));
    let first = app.get(ADA, "/api/me/audit?limit=1").await.json();
    assert_eq!(actions(&first), ["delete"]);
    let second = app.get(ADA, &format!("/api/me/audit?limit=1&before={}", first["next"])).await.json();
    assert_eq!((actions(&second), &second["next"]), (vec!["generate"], &Value::Null));

    let all = as_admin(&app, "/api/admin/audit?action=generate", None).await.json();
    assert_eq!(all["entries"].as_array().unwrap().len(), 2);
    let of_bob = as_admin(&app, "/api/admin/audit?user=bob&since=2026-11-23T12:00:00Z", None).await.json();
    assert_eq!(actions(&of_bob), ["generate"]);
    let by_request = format!("/api/admin/audit?request_id={}", entry["request_id"].as_str().unwrap());
    assert_eq!(as_admin(&app, &by_request, None).await.json()["entries"], json!([entry]));
    assert_eq!(app.get(ADA, "/api/admin/audit").await.code(), "role_forbidden");
    for wrong in ["limit=0", "limit=1001", "since=yesterday", "colour=red", &format!("user={}", "x".repeat(513))] {
        assert_eq!(
            as_admin(&app, &format!("/api/admin/audit?{wrong}"), None).await.code(),
            "request_invalid",
            "{wrong}"
        );
    }
    assert_eq!(app.get(ADA, "/api/me/audit?user=bob").await.code(), "request_invalid");
}

#[tokio::test]
async fn an_export_has_all_rows_and_is_a_row_itself() {
    let app = TestApp::new().await;
    for _ in 0..3 {
        app.generate(ADA, json!({"text": "hello"})).await;
    }
    let reply = as_admin(&app, "/api/admin/audit", Some("application/jsonl")).await;
    assert_eq!(reply.header("content-type"), "application/jsonl");
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        rows.iter().map(|row| row["seq"].as_u64().unwrap()).collect::<Vec<_>>(),
        (1..=rows.len() as u64).collect::<Vec<_>>()
    );
    assert_eq!(rows.last().unwrap()["action"], "audit_export");
    assert_eq!(rows.iter().filter(|row| row["action"] == "generate").count(), 3);
}
