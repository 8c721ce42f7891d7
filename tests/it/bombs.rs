//! Uploads that are meant to harm, through the edge: too large, without an end, small ones that become
//! hours of sound, and broken ones. They are refused, take no room and leave nothing.

mod broken;
mod made;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde_json::{Value, json};
use tests::process::workspace;
use tests::world::{User, World, roomy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::engines::recording;

/// `body_kb` of the route in the shipped policy.
const LIMIT: usize = 10_240 * 1024;
/// How much more memory the origin may ever have had, whatever is sent.
const MOST_KIB: u64 = 64 * 1024;
/// What is promised; a busy machine may take longer.
const PROMISED: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(20);
/// How many upload at the same time.
const AT_ONCE: usize = 6;

/// A world that has done all that it usually does once, so that what comes can be compared.
struct Scene {
    world: World,
    ada: User,
    temporary: tempfile::TempDir,
    files: BTreeSet<PathBuf>,
    memory_kib: u64,
}

/// What was answered how often, and how long the slowest one took.
#[derive(Default)]
struct Seen {
    statuses: BTreeMap<u16, usize>,
    slowest: Duration,
}

impl Seen {
    fn count(&self, status: u16) -> usize {
        self.statuses.get(&status).copied().unwrap_or_default()
    }
}

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { BTreeSet::from([path]) }).collect()
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(workspace().join("origin/src/audio/fixtures").join(name)).unwrap()
}

impl Scene {
    async fn start() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let many = |policy: &mut Value| {
            roomy(policy);
            policy["roles"]["free"]["voices"] = json!(2000);
        };
        let world = World::with(many, &[("TMPDIR", temporary.path().to_str().unwrap())]).await;
        let ada = world.user("ada").await;
        for number in 0..AT_ONCE {
            let usual = crate::voices::upload(&world, &ada, &format!("usual {number}"), recording(29)).await;
            assert_eq!(usual.status(), 201);
        }
        let (files, memory_kib) = (files(&world.data()), world.origin.memory_kib("VmHWM"));
        Self { world, ada, temporary, files, memory_kib }
    }

    /// Uploads all of them, some at a time; every answer is a refusal in words, or the voice is made.
    async fn upload(&self, uploads: Vec<(String, Vec<u8>)>) -> Seen {
        let each = uploads.into_iter().enumerate().map(async |(number, (name, file))| {
            let began = Instant::now();
            let answer = crate::voices::upload(&self.world, &self.ada, &format!("{name} {number}"), file).await;
            let (status, took) = (answer.status().as_u16(), began.elapsed());
            let body = answer.text().await.unwrap();
            assert!([201, 400, 413, 415, 422].contains(&status), "{name}: {status} {body}");
            assert!(took < PATIENCE, "{name}: {took:?}");
            (status, took)
        });
        let mut seen = Seen::default();
        let mut answers = futures::stream::iter(each).buffer_unordered(AT_ONCE);
        while let Some((status, took)) = answers.next().await {
            *seen.statuses.entry(status).or_default() += 1;
            seen.slowest = seen.slowest.max(took);
        }
        seen
    }

    /// The origin is as it was, but for so many voices that were made.
    async fn assert_unharmed(&mut self, what: &str, seen: &Seen, made: usize) {
        let grown = self.world.origin.memory_kib("VmHWM").saturating_sub(self.memory_kib);
        println!("{what}: {:?}, slowest {:.1?} ({PROMISED:?} promised), {grown} KiB more", seen.statuses, seen.slowest);
        assert!(grown <= MOST_KIB, "{what}: {grown} KiB more than before");
        assert!(self.world.origin.is_running(), "{}", self.world.origin.log());
        assert!(!self.world.origin.log().contains("panicked"), "{}", self.world.origin.log());
        let left: Vec<PathBuf> = files(&self.world.data()).difference(&self.files).cloned().collect();
        let blobs = self.world.data().join("blobs/users");
        assert!(left.iter().all(|file| file.starts_with(&blobs)), "{what}: {left:?}");
        assert_eq!(left.len(), made, "{what}: {left:?}");
        assert_eq!(files(self.temporary.path()), BTreeSet::new(), "{what}: temporary files are left");
        let voices: Value = self.world.get_as(&self.ada, "/api/voices").await.json().await.unwrap();
        assert_eq!(voices["own"].as_array().unwrap().len(), AT_ONCE + made, "{what}");
    }
}

/// The head of an upload with this line about its length, and the beginning of its form.
fn head(user: &User, length: &str) -> Vec<u8> {
    format!(
        "POST /api/voices HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
         content-type: multipart/form-data; boundary=x\r\n{length}\r\n\r\n",
        user.token
    )
    .into_bytes()
}

const FORM: &[u8] = b"--x\r\ncontent-disposition: form-data; name=\"sample\"; filename=\"me.wav\"\r\n\r\n";

/// Sends these pieces until there is an answer; its status, and how many bytes went out before.
async fn send(world: &World, head: Vec<u8>, pieces: impl Iterator<Item = Vec<u8>>) -> (u16, usize) {
    let stream = TcpStream::connect(world.edge.address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let answer = tokio::spawn(async move {
        let mut answer = [0; 12];
        reader.read_exact(&mut answer).await.map(|_| String::from_utf8_lossy(&answer[9..]).parse().unwrap())
    });
    let mut sent = 0;
    for piece in std::iter::once(head).chain(pieces) {
        if answer.is_finished() || writer.write_all(&piece).await.is_err() {
            break;
        }
        sent += piece.len();
    }
    let answer = tokio::time::timeout(PATIENCE, answer).await.expect("an answer").unwrap();
    (answer.expect("an answer before the connection ends"), sent)
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_may_have_its_limit_and_not_one_byte_more() {
    let mut scene = Scene::start().await;
    let (world, ada) = (&scene.world, &scene.ada);
    let whole = |size: usize| {
        let end = b"\r\n--x--\r\n";
        [FORM, &vec![0; size - FORM.len() - end.len()], end].concat()
    };
    // The form lacks its other fields. That is another refusal, and comes only after all of it was read.
    for (size, expected) in [(LIMIT, 400), (LIMIT + 1, 413)] {
        let body = whole(size);
        let said = head(ada, &format!("content-length: {size}"));
        let (status, _) = send(world, said, std::iter::once(body.clone())).await;
        assert_eq!(status, expected, "{size} bytes, said before");
        let pieces = body.chunks(60_000).map(chunk).chain(std::iter::once(b"0\r\n\r\n".to_vec()));
        let (status, _) = send(world, head(ada, "transfer-encoding: chunked"), pieces).await;
        assert_eq!(status, expected, "{size} bytes in chunks");
    }
    // One that is only announced is refused before any of it is there.
    let began = Instant::now();
    let (status, sent) = send(world, head(ada, &format!("content-length: {}", LIMIT + 1)), std::iter::empty()).await;
    assert_eq!(status, 413);
    println!("one byte too many, announced: 413 after {sent} bytes and {:.1?}", began.elapsed());
    // And one that never ends.
    let (began, piece) = (Instant::now(), chunk(&[0; 60_000]));
    let endless = std::iter::once(chunk(FORM)).chain(std::iter::repeat_n(piece, 20 * LIMIT / 60_000));
    let (status, sent) = send(world, head(ada, "transfer-encoding: chunked"), endless).await;
    assert_eq!(status, 413);
    println!("endless: 413 after {sent} bytes and {:.1?}", began.elapsed());
    assert!(sent < 2 * LIMIT, "{sent} bytes were taken");
    scene.assert_unharmed("too large", &Seen::default(), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_megabyte_that_becomes_hours_is_refused_at_once() {
    let mut scene = Scene::start().await;
    let bombs = made::bombs(&fixture("tone.m4a"));
    for bomb in &bombs {
        println!("{}: {} bytes, {:.1} hours", bomb.name, bomb.file.len(), bomb.hours);
        assert!(bomb.hours > 2.0 && bomb.file.len() < 1_200_000, "{} is no bomb", bomb.name);
        // Refused for its length, not for its form: it is sound as far as it was looked at.
        let answer = crate::voices::upload(&scene.world, &scene.ada, bomb.name, bomb.file.clone()).await;
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        assert_eq!(status, 400, "{}: {body}", bomb.name);
        assert!(body["detail"].as_str().unwrap().contains("longer than 30 seconds"), "{}: {body}", bomb.name);
    }
    let all = bombs.iter().flat_map(|bomb| (0..8).map(|_| (bomb.name.to_owned(), bomb.file.clone())));
    let seen = scene.upload(all.collect()).await;
    assert_eq!(seen.count(201), 0);
    scene.assert_unharmed("bombs", &seen, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_lies_about_itself_is_not_believed() {
    let mut scene = Scene::start().await;
    let mut files = made::lying_wavs(&recording(3));
    files.extend(made::lying_m4a(&fixture("tone.m4a")));
    let seen = scene.upload(files).await;
    let made = seen.count(201);
    scene.assert_unharmed("lies", &seen, made).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_broken_recordings_harm_nothing() {
    let mut scene = Scene::start().await;
    let spoken = scene.world.generate(&scene.ada, "This is spoken and then broken.").await;
    scene.files = files(&scene.world.data());
    let mut sound = Vec::new();
    for format in ["wav", "flac", "opus", "mp3"] {
        let path = format!("{}?format={format}", spoken["audio_url"].as_str().unwrap());
        let file = scene.world.get_as(&scene.ada, &path).await.bytes().await.unwrap();
        assert_eq!(crate::voices::upload(&scene.world, &scene.ada, format, file.to_vec()).await.status(), 201);
        sound.push(file.to_vec());
    }
    sound.extend(["tone.m4a", "tone.ogg", "tone.webm"].map(fixture));
    let broken = broken::broken(&sound, 1000).into_iter().map(|file| ("broken".to_owned(), file)).collect();
    let seen = scene.upload(broken).await;
    let made = seen.count(201);
    assert!(made < 700, "{made} of them are sound: this breaks nothing");
    scene.assert_unharmed("broken", &seen, made + 4).await;
}
