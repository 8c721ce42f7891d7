use serde_json::json;

use crate::audio::Format;
use crate::test_app::{ADA, Mood, Reply, TestApp};

/// Longer than two pieces.
const SAMPLES: usize = 300_000;
const SIZE: usize = 44 + SAMPLES * 2;

async fn with_output() -> (TestApp, String) {
    let app = TestApp::new().await;
    app.set_mood(Mood::Speak(SAMPLES));
    let made = app.generate(ADA, json!({"text": "hello"})).await.json();
    let target = made["audio_url"].as_str().unwrap().to_owned();
    (app, target)
}

async fn fetch(app: &TestApp, method: &str, target: &str, headers: &[(&'static str, &str)]) -> Reply {
    let mut request = app.request(method, target, Some((ADA, "free")), None);
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    app.send(request).await
}

#[tokio::test]
async fn the_whole_file_is_a_wav() {
    let (app, target) = with_output().await;
    let whole = fetch(&app, "GET", &target, &[]).await;
    assert_eq!((whole.status.as_u16(), whole.body.len()), (200, SIZE));
    assert!(whole.body.starts_with(b"RIFF") && whole.body[44..].iter().all(|byte| *byte == 7));
    assert_eq!(whole.header("etag"), format!("\"{}\"", crate::hash::sha256_hex(&[&whole.body])));
    let id = target.strip_prefix("/download/").unwrap();
    for (name, value) in [
        ("content-type", "audio/wav".to_owned()),
        ("content-length", SIZE.to_string()),
        ("accept-ranges", "bytes".to_owned()),
        ("cache-control", "private, no-cache".to_owned()),
        ("content-disposition", format!("inline; filename=\"cosygate-{id}.wav\"")),
    ] {
        assert_eq!(whole.header(name), value, "{name}");
    }
    let saved = fetch(&app, "GET", &format!("{target}?download=1"), &[]).await;
    assert!(saved.header("content-disposition").starts_with("attachment; "));

    let head = fetch(&app, "HEAD", &target, &[]).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), SIZE.to_string());
}

#[tokio::test]
async fn parts_conditions_and_refusals() {
    let (app, target) = with_output().await;
    let whole = fetch(&app, "GET", &target, &[]).await;
    let tag = whole.header("etag");
    let weak = format!("W/{tag}");
    let several = format!("\"other\", {tag}");
    let last = format!("bytes {}-{}/{SIZE}", SIZE - 5, SIZE - 1);
    let across = "bytes=262000-530000";
    for (headers, status, range, content_range) in [
        (&[("range", "bytes=0-4")][..], 206, 0..5, format!("bytes 0-4/{SIZE}")),
        (&[("range", "bytes=-5")], 206, SIZE - 5..SIZE, last.clone()),
        (&[("range", across)], 206, 262_000..530_001, format!("bytes 262000-530000/{SIZE}")),
        (&[("range", "bytes=0-4"), ("if-range", tag)], 206, 0..5, format!("bytes 0-4/{SIZE}")),
        (&[("range", "bytes=0-4"), ("if-range", &weak)], 200, 0..SIZE, String::new()),
        (&[("range", "bytes=0-4"), ("if-range", "\"other\"")], 200, 0..SIZE, String::new()),
        (&[("range", "bytes=0-4"), ("if-range", "Mon, 23 Nov 2026 12:00:00 GMT")], 200, 0..SIZE, String::new()),
        (&[("range", "bytes=0-4,6-7")], 200, 0..SIZE, String::new()),
        (&[("range", "bytes=0-4"), ("range", "bytes=6-7")], 200, 0..SIZE, String::new()),
        (&[("if-none-match", "\"other\"")], 200, 0..SIZE, String::new()),
    ] {
        let reply = fetch(&app, "GET", &target, headers).await;
        assert_eq!(reply.status.as_u16(), status, "{headers:?}");
        assert_eq!(reply.header("content-range"), content_range, "{headers:?}");
        assert_eq!(reply.header("content-length"), range.len().to_string(), "{headers:?}");
        assert!(reply.body == whole.body[range], "{headers:?}");
    }
    for tags in [tag, "*", &weak, &several] {
        let reply = fetch(&app, "GET", &target, &[("if-none-match", tags), ("range", "bytes=0-4")]).await;
        assert_eq!((reply.status.as_u16(), reply.body.len()), (304, 0), "{tags}");
        assert_eq!(reply.header("etag"), tag);
    }
    let outside = fetch(&app, "GET", &target, &[("range", "bytes=99999999-")]).await;
    assert_eq!((outside.status.as_u16(), outside.code().as_str()), (416, "range_invalid"));
    assert_eq!(outside.header("content-range"), format!("bytes */{SIZE}"));
}

#[tokio::test]
async fn every_format_is_served_whole_and_in_part() {
    let (app, target) = with_output().await;
    for format in Format::ALL {
        let target = format!("{target}?format={format}");
        let whole = fetch(&app, "GET", &target, &[]).await;
        assert_eq!((whole.status.as_u16(), whole.header("content-type")), (200, format.media_type()));
        assert_eq!(whole.header("content-length"), whole.body.len().to_string());
        assert_eq!((whole.header("x-audio-sample-rate"), whole.header("x-audio-seconds")), ("24000", "12.5"));
        assert!(whole.header("content-disposition").ends_with(&format!(".{format}\"")));
        let etag = whole.header("etag").to_owned();
        let part = fetch(&app, "GET", &target, &[("range", "bytes=10-109"), ("if-range", &etag)]).await;
        assert_eq!((part.status.as_u16(), part.body.as_ref()), (206, &whole.body[10..110]), "{format}");
        let head = fetch(&app, "HEAD", &target, &[]).await;
        assert_eq!((head.header("content-length"), head.body.len()), (whole.header("content-length"), 0));
        assert_eq!(fetch(&app, "GET", &target, &[("if-none-match", &etag)]).await.status.as_u16(), 304);
        let outside = fetch(&app, "GET", &target, &[("range", "bytes=99999999-")]).await;
        assert_eq!(outside.header("content-range"), format!("bytes */{}", whole.body.len()));
    }
    let tags = ["wav", "mp3"].map(|format| format!("{target}?format={format}"));
    let [wav, mp3] = [fetch(&app, "HEAD", &tags[0], &[]).await, fetch(&app, "HEAD", &tags[1], &[]).await];
    assert_ne!(wav.header("etag"), mp3.header("etag"));
    let aac = fetch(&app, "GET", &format!("{target}?format=aac"), &[]).await;
    assert_eq!(aac.code(), "request_invalid");
    assert!(aac.json()["detail"].as_str().unwrap().contains("wav, pcm, flac, opus, mp3"), "{aac:?}");
}
