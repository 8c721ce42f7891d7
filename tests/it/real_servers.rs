//! The adapters against CosyVoice's own servers, unchanged, with a model of ours that only pretends
//! (tests/rig). Runs where `COSYVOICE_DIR` names a checkout of CosyVoice; `COSYVOICE_PYTHON` is a
//! Python with tests/rig/requirements.txt. ffmpeg must be there for the page.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::process::{Program, free_port, workspace};
use tests::world::{User, World};

use crate::adapters::{FAILED, UNAVAILABLE, fails, world_of, world_with};
use crate::engines::recording;

const TEXT: &str = "Hello there. 第二句话。";
const SENTENCES: [&str; 2] = ["Hello there", "第二句话"];
const CONSENT: &str = "This is a recording of my own voice, and I agree that a synthetic voice is made of it.";
/// Samples for each half of a bit.
const HALF: usize = 40;
const MAGIC: u32 = u32::from_be_bytes(*b"RIG!");

/// One of the servers; ends when dropped.
struct Real {
    program: Program,
    url: String,
    _folder: tempfile::TempDir,
}

/// Whose voice and which words, as the pretending model says them.
type Said = ([u8; 8], [u8; 8]);

fn checkout() -> Option<PathBuf> {
    let checkout = std::env::var_os("COSYVOICE_DIR").filter(|path| !path.is_empty());
    if checkout.is_none() {
        println!("skipped: COSYVOICE_DIR names no checkout of CosyVoice, so its own servers are not run");
    }
    checkout.map(PathBuf::from)
}

impl Real {
    async fn start(checkout: &Path, server: &str, settings: &[(&str, &str)]) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let python = std::env::var_os("COSYVOICE_PYTHON").unwrap_or_else(|| "python3".into());
        let mut command = Command::new(python);
        command
            .arg(workspace().join("tests/rig/serve.py"))
            .args([server, &port.to_string()])
            .arg(folder.path())
            .env("COSYVOICE_DIR", checkout)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(settings.iter().copied());
        let mut program = Program::start(&mut command, &folder.path().join("log"));
        let end = Instant::now() + Duration::from_secs(120);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(program.is_running() && Instant::now() < end, "{server} did not start:\n{}", program.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Self { program, url: format!("http://127.0.0.1:{port}"), _folder: folder }
    }
}

fn hash(bytes: &[u8]) -> [u8; 8] {
    Sha256::digest(bytes)[..8].try_into().unwrap()
}

fn said(voice: &[u8]) -> Vec<Said> {
    SENTENCES.iter().map(|sentence| (hash(voice), hash(sentence.as_bytes()))).collect()
}

/// All markers in a PCM; see tests/rig/fake. They survive what AAC does to them.
fn markers(pcm: &[u8]) -> Vec<Said> {
    let mut sums = vec![0_i64];
    for sample in pcm.chunks_exact(2) {
        sums.push(sums.last().unwrap() + i64::from(i16::from_le_bytes(sample.try_into().unwrap())));
    }
    let level = |at: usize| 2 * sums[at + HALF] - sums[at] - sums[at + 2 * HALF];
    let is_magic = |at: usize| (0..32).all(|bit| (level(at + 2 * HALF * bit) > 0) == (MAGIC >> (31 - bit) & 1 == 1));
    let clarity = |at: usize| (0..32).map(|bit| level(at + 2 * HALF * bit).abs()).sum::<i64>();
    let length = 160 * 2 * HALF;
    let mut found = Vec::new();
    let mut at = 0;
    while at + length < sums.len() {
        if !is_magic(at) {
            at += 1;
            continue;
        }
        let end = (at + HALF).min(sums.len() - length);
        let start = (at..end).max_by_key(|at| clarity(*at)).unwrap_or(at);
        let byte = |byte: usize| {
            (0..8).fold(0_u8, |sum, bit| sum << 1 | u8::from(level(start + 2 * HALF * (byte * 8 + bit)) > 0))
        };
        let eight = |from: usize| std::array::from_fn(|index| byte(from + index));
        found.push((eight(4), eight(12)));
        at = start + length;
    }
    found
}

async fn spoken(world: &World, user: &User, body: Value) -> Vec<Said> {
    let response = world.post_as(user, "/api/generate", body.clone()).await;
    let status = response.status();
    let answer: Value = response.json().await.unwrap();
    assert_eq!(status, 200, "{body}: {answer}\n{}", world.origin.log());
    let wav = world.get_as(user, answer["audio_url"].as_str().unwrap()).await.bytes().await.unwrap();
    markers(&wav[44..])
}

/// Adds a voice and returns the samples that the origin keeps of it.
async fn own_voice(world: &World, user: &User) -> Vec<u8> {
    let texts = [("name", "mine"), ("transcript", "Good morning."), ("consent", CONSENT)];
    let form = texts.iter().fold(Form::new(), |form, (name, value)| form.text(*name, *value));
    let form = form.part("sample", Part::bytes(recording(4)).file_name("me.wav"));
    let made =
        world.request(Method::POST, "/api/voices").bearer_auth(&user.token).multipart(form).send().await.unwrap();
    let made: Value = made.json().await.unwrap();
    let preview = world.get_as(user, made["preview_url"].as_str().unwrap()).await.bytes().await.unwrap();
    preview[44..].to_vec()
}

const PATIENCE: &str = "deadline_seconds = 20\nfirst_byte_seconds = 15\nidle_seconds = 10\nconcurrency = 8";

#[tokio::test]
async fn the_servers_of_cosyvoice_speak_and_fail_as_the_adapters_expect() {
    let Some(checkout) = checkout() else { return };
    for (server, kind, takes) in
        [("fastapi", "cosyvoice-http", "tensor"), ("grpc", "cosyvoice-grpc", "tensor"), ("gradio", "gradio", "path")]
    {
        let real = Real::start(&checkout, server, &[("RIG_TAKES", takes)]).await;
        for mode in ["zero_shot", "cross_lingual"] {
            let folder = tempfile::tempdir().unwrap();
            let more = format!("mode = \"{mode}\"\n{PATIENCE}");
            let (world, sample) = world_of(kind, std::slice::from_ref(&real.url), folder.path(), &more).await;
            let ada = world.user("ada").await;
            assert_eq!(spoken(&world, &ada, json!({"text": TEXT})).await, said(&sample[44..]), "{kind} {mode}");
            let own = own_voice(&world, &ada).await;
            let with_own = spoken(&world, &ada, json!({"text": TEXT, "voice": "mine"})).await;
            if kind == "cosyvoice-grpc" {
                // It was brought to 16 kHz on its way, so its hash is another one.
                let texts: Vec<[u8; 8]> = with_own.iter().map(|(_, text)| *text).collect();
                assert_eq!(texts, SENTENCES.map(|sentence| hash(sentence.as_bytes())));
                assert_ne!(with_own[0].0, hash(&sample[44..]));
            } else {
                assert_eq!(with_own, said(&own), "{kind} {mode}");
            }
            if kind == "cosyvoice-http" {
                let styled = json!({"text": TEXT, "instruct": "cantonese"});
                assert_eq!(spoken(&world, &ada, styled).await, said(&sample[44..]), "{mode}");
            }
            let history: Value = world.get_as(&ada, "/api/outputs").await.json().await.unwrap();
            for output in history["outputs"].as_array().unwrap() {
                world.delete_as(&ada, &format!("/api/outputs/{}", output["id"].as_str().unwrap())).await;
            }
            let bob = world.user("bob").await;
            for text in ["Fine so far. Now pretend to fail.", "Pretend to be silent, pretend to be silent."] {
                let response = world.post_as(&bob, "/api/generate", json!({"text": text})).await;
                let (status, body): (u16, Value) = (response.status().as_u16(), response.json().await.unwrap());
                assert_eq!((status, body["code"].as_str().unwrap()), FAILED, "{kind} {mode}: {body}");
            }
            let history: Value = world.get_as(&bob, "/api/outputs").await.json().await.unwrap();
            assert_eq!(history["outputs"], json!([]));
            let usage: Value = world.get_as(&bob, "/api/me/usage").await.json().await.unwrap();
            assert_eq!(usage["characters"]["used"], 0);
        }
    }
}

#[tokio::test]
async fn a_server_that_has_too_much_to_do_says_so() {
    let Some(checkout) = checkout() else { return };
    for (server, kind, takes, reason) in [
        ("grpc", "cosyvoice-grpc", "tensor", "as many calls as it takes (RESOURCE_EXHAUSTED)"),
        ("gradio", "gradio", "path", "503"),
    ] {
        let real = Real::start(&checkout, server, &[("RIG_TAKES", takes)]).await;
        let folder = tempfile::tempdir().unwrap();
        let more = format!("{PATIENCE}\nhealth_seconds = 0");
        let (world, _) = world_of(kind, std::slice::from_ref(&real.url), folder.path(), &more).await;
        let mut users = Vec::new();
        for name in ["ada", "bob", "cid"] {
            users.push(world.user(name).await);
        }
        // Three times four at once; the gRPC server takes four, the page two and four that wait.
        let asked = users.iter().flat_map(|user| [user; 4]).map(async |user| {
            let response = world.post_as(user, "/api/generate", json!({"text": "Now pretend to hang."})).await;
            let body: Value = response.json().await.unwrap();
            body["code"].as_str().unwrap().to_owned()
        });
        let codes = join_all(asked).await;
        assert!(codes.iter().all(|code| code == UNAVAILABLE.1), "{kind}: {codes:?}");
        assert!(world.origin.log().contains(reason), "{kind}:\n{}", world.origin.log());
        assert!(world.blobs().is_empty());
    }
}

#[tokio::test]
async fn the_newest_servers_fail_with_recordings_and_that_is_told() {
    let Some(checkout) = checkout() else { return };
    for (server, kind) in [("fastapi", "cosyvoice-http"), ("grpc", "cosyvoice-grpc")] {
        let real = Real::start(&checkout, server, &[("RIG_TAKES", "path")]).await;
        let folder = tempfile::tempdir().unwrap();
        let (world, _) = world_of(kind, std::slice::from_ref(&real.url), folder.path(), PATIENCE).await;
        let ada = world.user("ada").await;
        fails(&world, &ada, TEXT, FAILED, kind).await;
        if kind == "cosyvoice-grpc" {
            assert!(world.origin.log().contains("fails with every recording"), "{}", world.origin.log());
        }
    }
}

#[tokio::test]
async fn presets_of_the_old_model_speak_and_unknown_ones_fail() {
    let Some(checkout) = checkout() else { return };
    let settings = [("RIG_MODEL", "cosyvoice"), ("RIG_TAKES", "path")];
    for (server, kind) in [("fastapi", "cosyvoice-http"), ("grpc", "cosyvoice-grpc"), ("gradio", "gradio")] {
        let mut real = Real::start(&checkout, server, &settings).await;
        let more = format!("model = \"cosyvoice\"\nmode = \"sft\"\n{PATIENCE}");
        for (speaker, is_known) in [("中文女", true), ("nobody", false)] {
            let source = format!("{{ kind = \"preset\", speaker_id = \"{speaker}\" }}");
            let world = world_with(kind, std::slice::from_ref(&real.url), &more, &source).await;
            let ada = world.user("ada").await;
            if is_known {
                assert_eq!(spoken(&world, &ada, json!({"text": TEXT})).await, said(speaker.as_bytes()), "{kind}");
            } else {
                fails(&world, &ada, TEXT, FAILED, kind).await;
            }
        }
        assert!(real.program.is_running(), "{kind}:\n{}", real.program.log());
    }
}
