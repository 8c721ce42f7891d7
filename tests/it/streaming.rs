//! Audio that is heard while it is made, through the edge.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::stub_engine::{Mode, StubEngine};
use tests::world::{User, World};

fn speak(world: &World, user: &User, text: &str) -> reqwest::RequestBuilder {
    let body = json!({"text": text, "stream": true});
    world.request(Method::POST, "/api/generate").bearer_auth(&user.token).json(&body)
}

async fn usage(world: &World, user: &User) -> Value {
    world.get_as(user, "/api/me/usage").await.json().await.unwrap()
}

#[tokio::test]
async fn audio_is_heard_before_it_is_whole() {
    let stub = StubEngine::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (world, _) = crate::engines::world_with(&stub, folder.path()).await;
    let ada = world.user("ada").await;
    stub.fail_with(Mode::Slow { pause_milliseconds: 100 });
    let mut response = speak(&world, &ada, "This is long enough to be heard in several pieces.").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let location = response.headers()["content-location"].to_str().unwrap().to_owned();
    let mut heard = response.chunk().await.unwrap().unwrap().to_vec();
    assert_eq!(stub.counters().running, 1, "the engine still speaks when the first of it is heard");
    while let Some(piece) = response.chunk().await.unwrap() {
        heard.extend_from_slice(&piece);
    }
    let stored = world.get_as(&ada, &location).await.bytes().await.unwrap();
    assert_eq!((heard.len(), &heard[44..]), (stored.len(), &stored[44..]));

    // A cut in the middle reaches the client as a cut, and costs nothing.
    let before = usage(&world, &ada).await;
    stub.fail_with(Mode::Cut { after_bytes: 20_000 });
    let mut response = speak(&world, &ada, "This one will break off in the middle of it.").send().await.unwrap();
    let is_cut = loop {
        match response.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(is_cut || response.status() == StatusCode::BAD_GATEWAY, "half an audio ended properly");
    assert_eq!(usage(&world, &ada).await, before);

    // A client that leaves stops the engine.
    stub.fail_with(Mode::Slow { pause_milliseconds: 200 });
    let aborted = stub.counters().aborted;
    let mut response = speak(&world, &ada, "Nobody will hear the end of this.").send().await.unwrap();
    response.chunk().await.unwrap().unwrap();
    drop(response);
    let end = Instant::now() + Duration::from_secs(10);
    while stub.counters().aborted == aborted {
        assert!(Instant::now() < end, "the engine goes on: {:?}", stub.counters());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
