use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::shares::Secret;
use crate::test_app::{ADA, BOB, Reply, TestApp};

const HOUR: i64 = 3600;
const SIZE: usize = 44 + 24_000 * 2;

/// An app with one output of Ada's, and its id.
async fn with_output() -> (TestApp, String) {
    let app = TestApp::new().await;
    let id = output(&app, ADA, "hello").await;
    (app, id)
}

async fn output(app: &TestApp, user: &str, text: &str) -> String {
    app.generate(user, json!({"text": text})).await.json()["id"].as_str().unwrap().to_owned()
}

/// The path of a new link, and its id.
async fn share(app: &TestApp, user: &str, output: &str, more: Value) -> (String, String) {
    let mut body = more;
    body["expires_in_s"] = json!(HOUR);
    let target = format!("/api/outputs/{output}/share");
    let made = app.send(app.request("POST", &target, Some((user, "free")), Some(&body))).await.json();
    (made["path"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned())
}

/// A request of nobody, named so that answers can be compared.
fn request(app: &TestApp, method: &str, target: &str, headers: &[(&'static str, &str)]) -> Request<Body> {
    let mut request = app.request(method, target, None, None);
    request.headers_mut().insert("x-request-id", "same".parse().unwrap());
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    request
}

async fn fetch(app: &TestApp, method: &str, target: &str, headers: &[(&'static str, &str)]) -> Reply {
    app.send(request(app, method, target, headers)).await
}

async fn answer(app: &TestApp, path: &str, password: &str) -> Reply {
    let mut request = request(app, "POST", path, &[("content-type", "application/x-www-form-urlencoded")]);
    *request.body_mut() = Body::from(format!("password={}", password.replace(' ', "+")));
    app.send(request).await
}

/// The cookie of a reply as a browser sends it back.
fn pass_of(reply: &Reply) -> String {
    reply.header("set-cookie").split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_stranger_hears_what_was_shared_and_nothing_else() {
    let (app, _) = with_output().await;
    let id = output(&app, ADA, "<script>alert(\"&\")</script>").await;
    let (path, _) = share(&app, ADA, &id, json!({})).await;
    let page = fetch(&app, "GET", &path, &[]).await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(html.contains("&lt;script&gt;alert(&quot;&amp;&quot;)&lt;/script&gt;") && !html.contains("<script"));
    assert!(html.contains(&format!("src=\"{path}/audio\"")) && html.contains("preload=\"none\""));
    assert!(!html.contains(ADA) && !html.contains(&id), "neither owner nor output is named");
    for (name, value) in [
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-robots-tag", "noindex, nofollow, noarchive"),
        ("content-security-policy", super::CONTENT_SECURITY_POLICY),
    ] {
        assert_eq!(page.header(name), value, "{name}");
    }
    let chinese = fetch(&app, "GET", &path, &[("accept-language", "zh-CN,zh;q=0.9")]).await;
    assert!(String::from_utf8(chinese.body.to_vec()).unwrap().contains("lang=\"zh-CN\""));

    let whole = fetch(&app, "GET", &format!("{path}/audio"), &[]).await;
    assert_eq!((whole.status.as_u16(), whole.body.len()), (200, SIZE));
    assert_eq!(whole.body, app.get(ADA, &format!("/download/{id}")).await.body);
    let saved = fetch(&app, "GET", &format!("{path}/audio?download=1"), &[]).await;
    assert!(saved.header("content-disposition").starts_with("attachment; "));
    // The link is no credential for anything else.
    for target in [format!("/download/{id}"), format!("/api/outputs/{id}"), "/api/shares".to_owned()] {
        assert_eq!(fetch(&app, "GET", &target, &[]).await.code(), "token_missing", "{target}");
    }
}

#[tokio::test]
async fn whatever_does_not_hold_answers_alike() {
    let (app, id) = with_output().await;
    let gone = output(&app, ADA, "gone").await;
    let (live, _) = share(&app, ADA, &id, json!({})).await;
    let (ended, ended_id) = share(&app, ADA, &id, json!({})).await;
    let (used, _) = share(&app, ADA, &id, json!({"downloads": 1})).await;
    let (deleted, _) = share(&app, ADA, &gone, json!({"password": "correct horse"})).await;
    assert_eq!(app.delete(ADA, &format!("/api/shares/{ended_id}")).await.status.as_u16(), 204);
    assert_eq!(fetch(&app, "GET", &format!("{used}/audio"), &[]).await.status.as_u16(), 200);
    assert_eq!(app.delete(ADA, &format!("/api/outputs/{gone}")).await.status.as_u16(), 204);
    let unknown = Secret::new().path();
    let mut dead = vec![ended, used, deleted, unknown];
    for odd in ["x", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%0d%0aset-cookie:%20a=b", "a%00b"] {
        dead.push(format!("/s/{odd}"));
    }
    dead.push(format!("{live}0"));
    dead.push(live[..live.len() - 1].to_owned());
    let mut answers = Vec::new();
    for path in &dead {
        for target in [path.clone(), format!("{path}/audio")] {
            let reply = fetch(&app, "GET", &target, &[]).await;
            assert_eq!((reply.status.as_u16(), reply.code().as_str()), (404, "not_found"), "{target}");
            answers.push((reply.body, reply.headers));
        }
        let reply = answer(&app, path, "correct horse").await;
        answers.push((reply.body, reply.headers));
    }
    assert_eq!(fetch(&app, "GET", &live, &[]).await.status.as_u16(), 200);
    app.app.clock.advance(HOUR * 1000);
    let late = fetch(&app, "GET", &live, &[]).await;
    answers.push((late.body, late.headers));
    answers.dedup();
    assert_eq!(answers.len(), 1);
    crate::upkeep::once(&app.app).await.unwrap();
    assert_eq!(app.app.store.share_links().rows().await, 0);
}

#[tokio::test]
async fn downloads_are_counted_and_never_more_than_allowed() {
    let (app, id) = with_output().await;
    let (path, _) = share(&app, ADA, &id, json!({"downloads": 3})).await;
    let audio = format!("{path}/audio");
    let used = async || app.get(ADA, "/api/shares").await.json()["shares"][0]["downloads"]["used"].clone();
    // Looking, asking for the head, and asking in vain count nothing.
    let tag = fetch(&app, "HEAD", &audio, &[]).await.header("etag").to_owned();
    for (method, target, headers, status) in [
        ("GET", &path, &[][..], 200),
        ("HEAD", &path, &[], 200),
        ("HEAD", &audio, &[], 200),
        ("GET", &audio, &[("if-none-match", tag.as_str())], 304),
        ("GET", &audio, &[("range", "bytes=99999999-")], 416),
    ] {
        let reply = fetch(&app, method, target, headers).await;
        assert_eq!(reply.status.as_u16(), status, "{method} {target}");
        assert!(reply.cookies().is_empty());
    }
    assert_eq!(used().await, 0);
    let many = futures::future::join_all((0..20).map(|_| fetch(&app, "GET", &audio, &[("range", "bytes=1-")]))).await;
    let given: Vec<&Reply> = many.iter().filter(|reply| reply.status == 206).collect();
    assert_eq!(given.len(), 3, "a part from the middle is a download, too");
    assert!(many.iter().all(|reply| reply.status == 206 || reply.code() == "not_found"));
    assert_eq!(used().await, 3);

    // Whoever has begun reads on, for an hour and for this link alone.
    let pass = pass_of(given[0]);
    assert!(given[0].header("set-cookie").ends_with(&format!("; HttpOnly; SameSite=Lax; Path={path}; Max-Age=3600")));
    let (other, _) = share(&app, ADA, &id, json!({"downloads": 1})).await;
    let other = format!("{other}/audio");
    for (cookie, target, status) in [
        (&pass, &audio, 206),
        (&pass, &path, 200),
        (&"cosygate_share=AA".to_owned(), &audio, 404),
        (&pass, &other, 206),
        (&pass, &other, 404),
    ] {
        let reply = fetch(&app, "GET", target, &[("cookie", cookie), ("range", "bytes=-5")]).await;
        assert_eq!(reply.status.as_u16(), status, "{cookie} {target}");
    }
}

#[tokio::test]
async fn a_pass_ends_with_its_hour_and_with_its_link() {
    let (app, id) = with_output().await;
    let body = json!({"expires_in_s": 10 * HOUR, "downloads": 1});
    let target = format!("/api/outputs/{id}/share");
    let make = async || app.send(app.request("POST", &target, Some((ADA, "free")), Some(&body))).await.json();
    for ends in ["hour", "link"] {
        let made = make().await;
        let audio = format!("{}/audio", made["path"].as_str().unwrap());
        let pass = pass_of(&fetch(&app, "GET", &audio, &[]).await);
        assert_eq!(fetch(&app, "GET", &audio, &[("cookie", &pass)]).await.status.as_u16(), 200);
        match ends {
            "hour" => app.app.clock.advance(HOUR * 1000),
            _ => drop(app.delete(ADA, &format!("/api/shares/{}", made["id"].as_str().unwrap())).await),
        }
        assert_eq!(fetch(&app, "GET", &audio, &[("cookie", &pass)]).await.code(), "not_found", "{ends}");
    }
}

#[tokio::test]
async fn a_password_stands_before_the_audio_and_is_not_guessed() {
    let (app, id) = with_output().await;
    let (path, _) = share(&app, ADA, &id, json!({"password": "correct horse", "downloads": 1})).await;
    let audio = format!("{path}/audio");
    let page = fetch(&app, "GET", &path, &[]).await;
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(html.contains("type=\"password\"") && !html.contains("hello") && !html.contains("<audio"));
    for method in ["GET", "HEAD"] {
        let locked = fetch(&app, method, &audio, &[]).await;
        assert_eq!((locked.status.as_u16(), locked.header("location"), locked.body.len()), (303, path.as_str(), 0));
    }
    let wrong = answer(&app, &path, "wrong").await;
    assert_eq!((wrong.status.as_u16(), wrong.header("location")), (303, format!("{path}?wrong=1").as_str()));
    assert!(wrong.cookies().is_empty());
    let right = answer(&app, &path, "correct horse").await;
    assert_eq!((right.status.as_u16(), right.header("location")), (303, path.as_str()));
    let unlocked = pass_of(&right);
    let page = fetch(&app, "GET", &path, &[("cookie", &unlocked)]).await;
    assert!(String::from_utf8(page.body.to_vec()).unwrap().contains("<audio"));
    let heard = fetch(&app, "GET", &audio, &[("cookie", &unlocked)]).await;
    assert_eq!(heard.status.as_u16(), 200);
    assert_eq!(fetch(&app, "GET", &audio, &[("cookie", &unlocked)]).await.code(), "not_found", "it was paid for once");
    let counted = pass_of(&heard);
    assert_eq!(fetch(&app, "GET", &audio, &[("cookie", &counted)]).await.status.as_u16(), 200);

    let (path, _) = share(&app, ADA, &id, json!({"password": "correct horse"})).await;
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(answer(&app, &path, "wrong").await.status.as_u16());
    }
    assert_eq!(statuses, [vec![303; 8], vec![429; 4]].concat());
    let refused = answer(&app, &path, "correct horse").await;
    assert!(refused.code() == "rate_limited" && !refused.header("retry-after").is_empty());
    let long = answer(&app, &path, &"x".repeat(super::FORM_BYTES)).await;
    assert_eq!(long.code(), "body_too_large");
}

#[tokio::test]
async fn links_of_a_disabled_account_lead_nowhere() {
    let app = TestApp::new().await;
    let ada = app.register("ada").await;
    let id = output(&app, &ada, "hello").await;
    let (path, _) = share(&app, &ada, &id, json!({})).await;
    let of_bob = output(&app, BOB, "hello").await;
    let (other, _) = share(&app, BOB, &of_bob, json!({})).await;
    let target = format!("/api/admin/users/{ada}");
    let reply =
        app.send(app.request("PATCH", &target, Some(("root", "admin")), Some(&json!({"disabled": true})))).await;
    assert_eq!(reply.status.as_u16(), 200, "{reply:?}");
    assert_eq!(fetch(&app, "GET", &path, &[]).await.code(), "not_found");
    assert_eq!(fetch(&app, "GET", &other, &[]).await.status.as_u16(), 200);
}

/// By HTTP and at the store, near the right secret and far from it; none of them opens anything.
async fn guess(by_http: usize, at_store: usize) {
    let (app, id) = with_output().await;
    let (path, _) = share(&app, ADA, &id, json!({})).await;
    for _ in 0..by_http {
        assert_eq!(fetch(&app, "GET", &Secret::new().path(), &[]).await.status.as_u16(), 404);
    }
    let (right, now_ms) = (path.strip_prefix("/s/").unwrap(), app.app.clock.now_ms());
    for _ in 0..at_store / 2 {
        let mut near = right.to_owned();
        near.replace_range(..8, &Secret::new().path()[3..11]);
        for guess in [Secret::new(), Secret::parse(&near).unwrap()] {
            let opened = app.app.store.share_links().open(&guess.hash(), now_ms).await.unwrap();
            assert!(opened.is_none(), "{}", guess.path());
        }
    }
    assert_eq!(fetch(&app, "GET", &path, &[]).await.status.as_u16(), 200);
}

#[tokio::test]
async fn guesses_hit_nothing() {
    guess(200, 800).await;
}

#[tokio::test]
#[ignore = "takes minutes without optimisation"]
async fn a_hundred_thousand_guesses_hit_nothing() {
    guess(2_000, 98_000).await;
}
