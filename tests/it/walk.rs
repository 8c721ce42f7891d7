//! The main job from end to end.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::world::World;

#[tokio::test]
async fn from_registration_to_sound_and_out_again() {
    let world = World::start().await;
    let ada = world.user("ada").await;
    let me: Value = world.get_as(&ada, "/api/me").await.json().await.unwrap();
    assert_eq!((&me["username"], &me["role"], &me["user_id"]), (&json!("ada"), &json!("free"), &json!(ada.id)));
    let voices: Value = world.get_as(&ada, "/api/voices").await.json().await.unwrap();
    assert!(voices["notice"].as_str().unwrap().contains("obot"), "a robot voice says that it is one");

    let spoken = world.generate(&ada, "你好，世界。 Hello, world.").await;
    let id = spoken["id"].as_str().unwrap();
    let url = spoken["audio_url"].as_str().unwrap();
    assert!(spoken["seconds"].as_f64().unwrap() > 1.0 && spoken["seconds"].as_f64().unwrap() < 10.0, "{spoken}");

    let download = world.get_as(&ada, url).await;
    assert_eq!(download.status(), 200);
    assert_eq!(download.headers()["content-type"], "audio/wav");
    assert_eq!(download.headers()["accept-ranges"], "bytes");
    let etag = download.headers()["etag"].to_str().unwrap().to_owned();
    assert!(download.headers().contains_key("x-request-id"));
    assert!(download.headers().contains_key("ratelimit"));
    let wav = download.bytes().await.unwrap();
    assert!(wav.starts_with(b"RIFF") && &wav[8..12] == b"WAVE");
    assert_eq!(u32::from_le_bytes(wav[24..28].try_into().unwrap()), 24_000);
    let loudest = wav[44..].chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]).unsigned_abs()).max();
    assert!(loudest.unwrap() > 2000, "there is something to hear");

    let part =
        |range: &'static str| world.request(Method::GET, url).bearer_auth(&ada.token).header("range", range).send();
    let middle = part("bytes=4-11").await.unwrap();
    assert_eq!(middle.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(middle.headers()["content-range"], format!("bytes 4-11/{}", wav.len()));
    assert_eq!(middle.bytes().await.unwrap(), wav.slice(4..12));
    assert_eq!(part("bytes=-2").await.unwrap().bytes().await.unwrap(), wav.slice(wav.len() - 2..));
    assert_eq!(part("bytes=99999999-").await.unwrap().status(), StatusCode::RANGE_NOT_SATISFIABLE);
    let cached =
        world.request(Method::GET, url).bearer_auth(&ada.token).header("if-none-match", etag).send().await.unwrap();
    assert_eq!(cached.status(), StatusCode::NOT_MODIFIED);
    let head = world.request(Method::HEAD, url).bearer_auth(&ada.token).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], wav.len().to_string());

    let history: Value = world.get_as(&ada, "/api/outputs").await.json().await.unwrap();
    assert_eq!(history["outputs"][0]["id"], id);
    assert_eq!(history["outputs"][0]["text"], "你好，世界。 Hello, world.");
    let usage: Value = world.get_as(&ada, "/api/me/usage").await.json().await.unwrap();
    assert_eq!(usage["generations"]["used"], 1);
    assert_eq!(usage["characters"]["used"], spoken["characters"]);
    assert_eq!(usage["storage_bytes"]["used"], wav.len());

    assert_eq!(world.delete_as(&ada, &format!("/api/outputs/{id}")).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(world.get_as(&ada, url).await.status(), StatusCode::NOT_FOUND);
    assert!(world.blobs().is_empty(), "{:?}", world.blobs());
    let history: Value = world.get_as(&ada, "/api/outputs").await.json().await.unwrap();
    assert_eq!(history["outputs"], json!([]));
}

#[tokio::test]
async fn the_page_and_the_keys_are_public_and_safe() {
    let world = World::start().await;
    let page = world.get("/").await;
    assert_eq!(page.status(), 200);
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.headers()["x-content-type-options"], "nosniff");
    let html = page.text().await.unwrap();
    assert!(html.contains("data-test=\"login-form\"") && !html.contains("http://") && !html.contains("https://"));
    let keys: Value = world.get("/.well-known/jwks.json").await.json().await.unwrap();
    assert_eq!(keys["keys"][0]["kty"], "OKP");
    assert!(keys["keys"][0].get("d").is_none());
    for path in ["/nowhere", "/metrics", "/readyz", "/internal/edge/bundle", "/.git/config", "/assets/../main.rs"] {
        let response = world.get(path).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
    }
}
