//! Files in part, through the edge: the bytes of the source and never more of them than there are.

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tests::world::{User, World, roomy};

/// What a range asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wanted {
    Whole,
    Part(usize, usize),
    Outside,
}

use Wanted::{Outside, Part, Whole};

/// A file that somebody may read, as it is in one piece.
struct Source {
    path: String,
    bytes: Vec<u8>,
    tag: String,
    date: String,
}

async fn ask(world: &World, user: &User, method: Method, path: &str, headers: &[(&'static str, &str)]) -> Response {
    let sent: HeaderMap =
        headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect();
    world.request(method, path).bearer_auth(&user.token).headers(sent).send().await.unwrap()
}

fn text(response: &Response, name: &str) -> String {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

/// Every kind of file there is, each of them hers.
async fn sources(world: &World, ada: &User) -> Vec<Source> {
    let output = world.generate(ada, "Something that is long enough to be cut into pieces.").await;
    let id = output["id"].as_str().unwrap();
    let voice = crate::voices::added(world, ada, 4).await;
    let share = world.post_as(ada, &format!("/api/outputs/{id}/share"), json!({"expires_in_s": 3600})).await;
    let share: Value = share.json().await.unwrap();
    let mut sources = Vec::new();
    for path in [
        format!("/download/{id}"),
        format!("/download/{id}?format=flac"),
        format!("/download/{id}?format=mp3&download=1"),
        voice["preview_url"].as_str().unwrap().to_owned(),
        format!("{}/audio", share["path"].as_str().unwrap()),
    ] {
        let whole = ask(world, ada, Method::GET, &path, &[]).await;
        assert_eq!(whole.status(), StatusCode::OK, "{path}");
        assert_eq!(text(&whole, "accept-ranges"), "bytes", "{path}");
        let (tag, date) = (text(&whole, "etag"), text(&whole, "last-modified"));
        sources.push(Source { path, tag, date, bytes: whole.bytes().await.unwrap().to_vec() });
    }
    sources
}

/// Asks by these headers, by GET and by HEAD, and compares every byte that comes.
async fn expect(world: &World, user: &User, source: &Source, headers: &[(&'static str, &str)], wanted: Wanted) {
    let size = source.bytes.len();
    let what = format!("{} {}", source.path, format!("{headers:?}").chars().take(200).collect::<String>());
    let (status, range, bytes) = match wanted {
        Whole => (200, String::new(), &source.bytes[..]),
        Part(start, end) => (206, format!("bytes {start}-{}/{size}", end - 1), &source.bytes[start..end]),
        Outside => (416, format!("bytes */{size}"), &[][..]),
    };
    let got = ask(world, user, Method::GET, &source.path, headers).await;
    assert_eq!((got.status().as_u16(), text(&got, "content-range")), (status, range), "{what}");
    let head = ask(world, user, Method::HEAD, &source.path, headers).await;
    assert_eq!(head.status(), got.status(), "HEAD {what}");
    for name in ["etag", "content-range", "content-length", "content-type", "content-disposition"] {
        // The problem says which request it was about, and HEAD has none.
        assert!(wanted == Outside || text(&head, name) == text(&got, name), "HEAD {what}: {name}");
    }
    assert!(head.bytes().await.unwrap().is_empty(), "HEAD {what}");
    if wanted == Outside {
        assert_eq!(got.json::<Value>().await.unwrap()["code"], "range_invalid", "{what}");
        return;
    }
    assert_eq!((text(&got, "etag"), text(&got, "content-length")), (source.tag.clone(), bytes.len().to_string()));
    // Not assert_eq!, which would print all of them.
    assert!(got.bytes().await.unwrap() == bytes, "{what}: other bytes than the source's");
}

#[tokio::test]
async fn a_part_is_made_of_the_bytes_of_the_whole() {
    let world = World::with(roomy, &[]).await;
    let ada = world.user("ada").await;
    let mut asked = 0;
    for source in sources(&world, &ada).await {
        let size = source.bytes.len();
        let far = "9".repeat(40);
        let mut cases = vec![
            ("bytes=0-0".to_owned(), Part(0, 1)),
            ("bytes=-1".to_owned(), Part(size - 1, size)),
            ("bytes=0-".to_owned(), Part(0, size)),
            (format!("bytes=0-{}", size - 1), Part(0, size)),
            (format!("bytes=0-{size}"), Part(0, size)),
            (format!("bytes={}-", size - 1), Part(size - 1, size)),
            (format!("bytes=5-{far}"), Part(5, size)),
            (format!("bytes=-{far}"), Part(0, size)),
            (format!("bytes={size}-"), Outside),
            (format!("bytes={size}-{}", size + 10), Outside),
            (format!("bytes={far}-"), Outside),
            ("bytes=-0".to_owned(), Outside),
            // What is not understood is passed over, and the whole is sent once.
            ("bytes=9-0".to_owned(), Whole),
            ("bytes=".to_owned(), Whole),
            ("bytes=--1".to_owned(), Whole),
            ("bytes=0x0-0x9".to_owned(), Whole),
            ("pages=0-1".to_owned(), Whole),
            ("bytes=0-9,20-29".to_owned(), Whole),
            ("bytes=0-99,50-149".to_owned(), Whole),
            ("bytes=0-,0-,0-,0-".to_owned(), Whole),
            ("bytes=0-0,-1".to_owned(), Whole),
            (format!("bytes={}", vec!["0-"; 1000].join(",")), Whole),
            (format!("bytes={}", (0..1000).map(|n| format!("{n}-{n}")).collect::<Vec<_>>().join(",")), Whole),
        ];
        // Here and there, without a pattern.
        for number in 1..=40 {
            let (one, other) = (number * 7919 % size, number * 104_729 % size);
            let (start, end) = (one.min(other), one.max(other));
            cases.push((format!("bytes={start}-{end}"), Part(start, end + 1)));
        }
        for (range, wanted) in &cases {
            expect(&world, &ada, &source, &[("range", range)], *wanted).await;
        }
        expect(&world, &ada, &source, &[("range", "bytes=0-9"), ("range", "bytes=20-29")], Whole).await;
        asked += cases.len() + 1;
        // A player that reads one piece after the other has the file.
        let mut heard = Vec::new();
        while heard.len() < size {
            let range = format!("bytes={}-{}", heard.len(), heard.len() + size / 7);
            let piece = ask(&world, &ada, Method::GET, &source.path, &[("range", &range)]).await;
            assert_eq!(piece.status(), StatusCode::PARTIAL_CONTENT);
            heard.extend_from_slice(&piece.bytes().await.unwrap());
        }
        assert!(heard == source.bytes, "{}: the pieces are not the file", source.path);
    }
    println!("{asked} ranges, each by GET and by HEAD");
}

#[tokio::test]
async fn a_part_of_another_version_is_never_sent() {
    let world = World::with(roomy, &[]).await;
    let ada = world.user("ada").await;
    for source in sources(&world, &ada).await {
        let (weak, several) = (format!("W/{}", source.tag), format!("{0}, {0}", source.tag));
        for (validator, wanted) in [
            (source.tag.as_str(), Part(1, 5)),
            (source.date.as_str(), Part(1, 5)),
            ("\"another\"", Whole),
            (weak.as_str(), Whole),
            (several.as_str(), Whole),
            ("*", Whole),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Whole),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Whole),
            ("yesterday", Whole),
        ] {
            expect(&world, &ada, &source, &[("range", "bytes=1-4"), ("if-range", validator)], wanted).await;
        }
        // Outside, but of another version: the whole.
        let far = format!("bytes={}-", source.bytes.len());
        expect(&world, &ada, &source, &[("range", &far), ("if-range", "\"another\"")], Whole).await;
        expect(&world, &ada, &source, &[("range", &far), ("if-range", &source.tag)], Outside).await;
        let both = [("range", "bytes=1-4"), ("if-none-match", source.tag.as_str())];
        let unchanged = ask(&world, &ada, Method::GET, &source.path, &both).await;
        assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
        assert!(unchanged.bytes().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_range_of_somebody_elses_file_is_a_range_of_nothing() {
    let world = World::with(roomy, &[]).await;
    let (ada, bob, admin) = (world.user("ada").await, world.user("bob").await, world.admin().await);
    let mut sources = sources(&world, &ada).await;
    // Whoever has a link may read what it leads to.
    sources.retain(|source| !source.path.starts_with("/s/"));
    for source in &sources {
        let id = source.path.split(['/', '?']).find(|part| part.len() == 26).unwrap();
        let unknown = source.path.replace(id, &format!("{}0000000000", &id[..16]));
        for user in [&bob, &admin] {
            for range in ["bytes=0-0", "bytes=-1", "bytes=0-", "bytes=999999999-", "bytes=0-1,2-3", "nonsense"] {
                for method in [Method::GET, Method::HEAD] {
                    let mut said = Vec::new();
                    for path in [&source.path, &unknown] {
                        let headers = [("range", range), ("if-range", source.tag.as_str())];
                        let got = ask(&world, user, method.clone(), path, &headers).await;
                        assert_eq!(got.status(), StatusCode::NOT_FOUND, "{method} {path} {range}");
                        for name in ["content-range", "etag", "accept-ranges", "last-modified"] {
                            assert_eq!(text(&got, name), "", "{method} {path} {range}: {name}");
                        }
                        let request_id = text(&got, "x-request-id");
                        said.push(got.text().await.unwrap().replace(&request_id, ""));
                    }
                    assert_eq!(said[0], said[1], "{method} {} {range}", source.path);
                }
            }
        }
    }
}
