//! Nobody reaches what is somebody else's, nor learns that it is there.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::world::{User, World};

#[tokio::test]
async fn a_foreign_id_answers_as_an_unknown_one() {
    let world = World::start().await;
    let (ada, bob, admin) = (world.user("ada").await, world.user("bob").await, world.admin().await);
    let output = world.generate(&ada, "hers alone").await;
    let id = output["id"].as_str().unwrap();
    let unknown = format!("{}0000000000", &id[..16]);
    for (method, pattern) in [
        (Method::GET, "/download/{}"),
        (Method::HEAD, "/download/{}"),
        (Method::DELETE, "/download/{}"),
        (Method::GET, "/api/outputs/{}"),
        (Method::DELETE, "/api/outputs/{}"),
        (Method::GET, "/download/{}?download=1"),
    ] {
        for user in [&bob, &admin] {
            let foreign = answer(&world, user, &method, &pattern.replace("{}", id)).await;
            let missing = answer(&world, user, &method, &pattern.replace("{}", &unknown)).await;
            assert_eq!(foreign, missing, "{method} {pattern}");
            assert_eq!(foreign.0, StatusCode::NOT_FOUND);
        }
    }
    let range =
        world.request(Method::GET, &format!("/download/{id}")).bearer_auth(&bob.token).header("range", "bytes=0-9");
    assert_eq!(range.send().await.unwrap().status(), StatusCode::NOT_FOUND);
    let listed: Value = world.get_as(&bob, &format!("/api/outputs?before={id}z&limit=100")).await.json().await.unwrap();
    assert!(!listed.to_string().contains(id));
    assert_eq!(world.get_as(&ada, &format!("/download/{id}")).await.status(), 200, "and it is still there for her");
    for blob in world.blobs() {
        assert!(blob.to_str().unwrap().contains(&format!("users/{}/", ada.id)), "{blob:?}");
    }
}

/// Status, headers but for times and ids, and body but for the request id.
async fn answer(world: &World, user: &User, method: &Method, path: &str) -> (StatusCode, Vec<String>, String) {
    let response = world.request(method.clone(), path).bearer_auth(&user.token).send().await.unwrap();
    let request_id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let varying = ["date", "x-request-id", "ratelimit"];
    let mut headers: Vec<String> = response
        .headers()
        .iter()
        .filter(|(name, _)| !varying.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    let status = response.status();
    (status, headers, response.text().await.unwrap().replace(&request_id, ""))
}

#[tokio::test]
async fn many_in_the_same_second_never_mix() {
    let roomy = |policy: &mut Value| {
        policy["roles"]["free"]["jobs_running"] = json!(4);
        policy["routes"].as_array_mut().unwrap().iter_mut().for_each(|route| {
            route.as_object_mut().unwrap().remove("limit");
        });
    };
    let world = World::with(roomy, &[]).await;
    let users = [world.user("ada").await, world.user("bob").await, world.user("cleo").await];
    let requests = users.iter().flat_map(|user| (1..=3).map(move |n| (user, n))).map(|(user, n)| {
        let world = &world;
        async move {
            let text = format!("{} {}", "word ".repeat(n), user.id);
            (user, text.clone(), world.generate(user, &text).await)
        }
    });
    let spoken = futures::future::join_all(requests).await;
    let mut ids: Vec<String> = spoken.iter().map(|(_, _, output)| output["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 9, "nine generations, nine outputs");
    for (user, text, output) in &spoken {
        let entry: Value =
            world.get_as(user, &format!("/api/outputs/{}", output["id"].as_str().unwrap())).await.json().await.unwrap();
        assert_eq!(entry["text"], text.trim());
        let wav = world.get_as(user, output["audio_url"].as_str().unwrap()).await.bytes().await.unwrap();
        assert_eq!(wav.len(), entry["bytes"].as_u64().unwrap() as usize);
    }
}
