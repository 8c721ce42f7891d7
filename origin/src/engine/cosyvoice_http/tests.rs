//! Against servers that answer with exactly the bytes a test wants, down to the cut.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::engine::{
    self, CosyVoiceMode, CosyVoiceModel, EngineError, EngineKind, EngineSettings, Utterance, VoiceSettings,
    VoiceSource, wav,
};

mod abilities;

const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const END: &[u8] = b"0\r\n\r\n";

/// What a server does after it has read a request.
#[derive(Clone)]
pub(crate) enum Act {
    Send(Vec<u8>),
    Wait(Duration),
    /// Waits until the client hangs up.
    AwaitHangUp,
}

pub(crate) fn send(bytes: &[u8]) -> Act {
    Act::Send(bytes.to_vec())
}

fn chunk(data: &[u8]) -> Act {
    Act::Send([format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat())
}

pub(crate) fn good(pcm: &[u8]) -> Vec<Act> {
    vec![send(CHUNKED), chunk(pcm), send(END)]
}

pub(crate) fn status(line: &str, body: &str) -> Vec<Act> {
    let length = body.len();
    vec![send(format!("HTTP/1.1 {line}\r\ncontent-length: {length}\r\n\r\n{body}").as_bytes())]
}

/// A server with one play for each request; the last one is repeated.
pub(crate) struct Server {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
    hang_ups: Arc<Mutex<usize>>,
}

impl Server {
    pub(crate) async fn start(plays: Vec<Vec<Act>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { url, requests: Arc::default(), hang_ups: Arc::default() };
        let (requests, hang_ups) = (Arc::clone(&server.requests), Arc::clone(&server.hang_ups));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (requests, hang_ups) = (Arc::clone(&requests), Arc::clone(&hang_ups));
                let number = requests.lock().unwrap().len();
                requests.lock().unwrap().push(String::new());
                let play = plays[number.min(plays.len() - 1)].clone();
                tokio::spawn(async move {
                    perform(stream, play, number, &requests, &hang_ups).await;
                });
            }
        });
        server
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn perform(
    mut stream: TcpStream,
    play: Vec<Act>,
    number: usize,
    requests: &Mutex<Vec<String>>,
    hang_ups: &Mutex<usize>,
) {
    let request = read_request(&mut stream).await;
    requests.lock().unwrap()[number] = request;
    for act in play {
        match act {
            Act::Send(bytes) => stream.write_all(&bytes).await.unwrap(),
            Act::Wait(duration) => tokio::time::sleep(duration).await,
            Act::AwaitHangUp => {
                while !matches!(stream.read(&mut [0; 64]).await, Ok(0) | Err(_)) {}
                *hang_ups.lock().unwrap() += 1;
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.unwrap();
        request.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        if request.len() >= head.len() + 4 + length || count == 0 {
            return text;
        }
    }
}

/// Settings with one reference voice, `anna`; the recording lives as long as the directory.
pub(crate) fn settings(urls: &[&Server]) -> (tempfile::TempDir, EngineSettings) {
    let directory = tempfile::tempdir().unwrap();
    let audio_path = directory.path().join("anna.wav");
    std::fs::write(&audio_path, wav::file(&[0; 32_000], 16_000).unwrap()).unwrap();
    let source = VoiceSource::Reference { audio_path, transcript: "Good morning.".into() };
    let settings = EngineSettings {
        kind: EngineKind::CosyVoiceHttp,
        urls: urls.iter().map(|server| server.url.clone()).collect(),
        deadline_seconds: 5,
        deadline_per_audio_second: 0.0,
        first_byte_seconds: 2,
        idle_seconds: 1,
        voices: vec![voice(source)],
        ..Default::default()
    };
    (directory, settings)
}

pub(crate) fn voice(source: VoiceSource) -> VoiceSettings {
    VoiceSettings { id: "anna".into(), name: "Anna".into(), languages: vec![], description: String::new(), source }
}

pub(crate) fn say(text: &str) -> Utterance {
    Utterance { text: text.into(), voice: "anna".into(), reference: None, instruct: None, speed: 1.0 }
}

pub(crate) async fn spoken(settings: &EngineSettings, utterance: Utterance) -> Result<Vec<u8>, EngineError> {
    engine::build(settings).unwrap().speak(utterance).await?.collect(1_000_000).await
}

async fn outcome(play: Vec<Act>) -> Result<Vec<u8>, EngineError> {
    let server = Server::start(vec![play]).await;
    let (_directory, settings) = settings(&[&server]);
    spoken(&settings, say("Hello")).await
}

/// Name and value of each form field of a recorded request.
fn fields(request: &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    for part in request.split("form-data; name=\"").skip(1) {
        let (name, rest) = part.split_once('"').unwrap();
        let (_, value) = rest.split_once("\r\n\r\n").unwrap();
        let value = value.split("\r\n--").next().unwrap();
        fields.push((name.to_owned(), value.to_owned()));
    }
    fields
}

#[tokio::test]
async fn good_audio_arrives_unchanged() {
    assert_eq!(outcome(good(&[1, 2, 3, 4])).await, Ok(vec![1, 2, 3, 4]));
    let halves = vec![send(CHUNKED), chunk(&[1]), chunk(&[2, 3]), chunk(&[4]), send(END)];
    assert_eq!(outcome(halves).await, Ok(vec![1, 2, 3, 4]));
    assert_eq!(outcome(status("200 OK", "abcd")).await, Ok(b"abcd".to_vec()));
}

#[tokio::test]
async fn an_answer_that_is_not_whole_is_a_failure() {
    let pcm = [7; 1000];
    let cases = [
        ("no last chunk", vec![send(CHUNKED), chunk(&pcm)], "cut off"),
        ("cut inside a chunk", vec![send(CHUNKED), chunk(&pcm), send(b"ff\r\nabc")], "cut off"),
        ("cut before any audio", vec![send(CHUNKED)], "cut off"),
        ("cut against its length", vec![send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1234")], "cut off"),
        ("zero bytes", vec![send(CHUNKED), send(END)], "without any audio"),
        ("half a sample", good(&[1, 2, 3]), "half sample"),
        ("one byte", good(&[1]), "half sample"),
        ("no length", vec![send(b"HTTP/1.1 200 OK\r\n\r\n1234")], "has no length"),
        ("too long", good(&[0; 1_000_002]), "longer than"),
        ("silence in the middle", vec![send(CHUNKED), chunk(&pcm), Act::AwaitHangUp], "fell silent"),
        ("500", status("500 Internal Server Error", "Internal Server Error"), "500"),
        ("404", status("404 Not Found", "{}"), "404"),
        ("redirect", status("302 Found", ""), "302"),
        ("a page", vec![send(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nhi")], "text"),
    ];
    for (name, play, expected) in cases {
        let error = outcome(play).await.unwrap_err();
        assert!(matches!(error, EngineError::Failed(_)), "{name}: {error}");
        assert!(error.to_string().contains(expected), "{name}: {error}");
    }
}

#[tokio::test]
async fn the_own_deadline_ends_an_endless_answer() {
    let dribble = (0..100).flat_map(|_| [chunk(&[0, 0]), Act::Wait(Duration::from_millis(300))]);
    let error = outcome([send(CHUNKED)].into_iter().chain(dribble).collect()).await.unwrap_err();
    assert_eq!(error, EngineError::failed("it did not finish in time"));
}

#[tokio::test]
async fn what_is_not_there_is_unavailable() {
    for (name, play) in [
        ("no answer", vec![Act::AwaitHangUp]),
        ("no first byte", vec![send(CHUNKED), Act::AwaitHangUp]),
        ("closed at once", vec![]),
        ("503", status("503 Service Unavailable", "")),
    ] {
        let error = outcome(play).await.unwrap_err();
        assert!(matches!(error, EngineError::Unavailable { .. }), "{name}: {error}");
    }
    let server = Server::start(vec![vec![]]).await;
    let (_directory, mut settings) = settings(&[&server]);
    assert!(engine::build(&settings).unwrap().check().await.is_err());
    settings.urls = vec!["http://127.0.0.1:9".into()];
    let engine = engine::build(&settings).unwrap();
    for error in [engine.speak(say("Hello")).await.err(), engine.check().await.err()] {
        assert!(matches!(error, Some(EngineError::Unavailable { .. })), "{error:?}");
    }
}

#[tokio::test]
async fn a_validation_error_is_told_without_the_text() {
    let body = r#"{"detail":[{"type":"missing","loc":["body","spk_id"],"msg":"x","input":{"tts_text":"Hello"}}]}"#;
    let error = outcome(status("422 Unprocessable Entity", body)).await.unwrap_err();
    assert_eq!(error, EngineError::failed("it refused the request (422): missing at body.spk_id"));
}

#[tokio::test]
async fn asks_once_more_before_the_first_byte_only() {
    let closed = || vec![];
    let server = Server::start(vec![closed(), good(&[1, 2])]).await;
    let (_directory, one) = settings(&[&server]);
    assert_eq!(spoken(&one, say("Hello")).await, Ok(vec![1, 2]));

    let server = Server::start(vec![closed(), closed(), good(&[1, 2])]).await;
    let (_directory, one) = settings(&[&server]);
    assert!(spoken(&one, say("Hello")).await.is_err());

    let late = Server::start(vec![vec![send(CHUNKED), chunk(&[1, 2])], good(&[1, 2])]).await;
    let (_directory, one) = settings(&[&late]);
    assert!(spoken(&one, say("Hello")).await.is_err());
    assert_eq!(late.requests().len(), 1);
}

#[tokio::test]
async fn asks_the_other_address_if_there_is_one() {
    for play in [vec![Act::AwaitHangUp], vec![send(CHUNKED)], status("500 Oops", "")] {
        let (bad, fine) = (Server::start(vec![play]).await, Server::start(vec![good(&[1, 2])]).await);
        let (_directory, two) = settings(&[&bad, &fine]);
        assert_eq!(spoken(&two, say("Hello")).await, Ok(vec![1, 2]));
        assert_eq!((bad.requests().len(), fine.requests().len()), (1, 1));
    }
    let refusing = Server::start(vec![status("422 Unprocessable Entity", "")]).await;
    let fine = Server::start(vec![good(&[1, 2])]).await;
    let (_directory, two) = settings(&[&refusing, &fine]);
    assert!(spoken(&two, say("Hello")).await.is_err());
    assert_eq!(fine.requests().len(), 0);
}

#[tokio::test]
async fn each_mode_has_its_fields() {
    use CosyVoiceMode::{CrossLingual, Instruct2, Sft, ZeroShot};
    use CosyVoiceModel::{CosyVoice, CosyVoice2, CosyVoice3};
    const PREFIX: &str = "You are a helpful assistant.<|endofprompt|>";
    let wav = "RIFF";
    for (model, mode, path, expected) in [
        (CosyVoice, Sft, "inference_sft", vec![("tts_text", "Hi there"), ("spk_id", "中文女")]),
        (
            CosyVoice2,
            ZeroShot,
            "inference_zero_shot",
            vec![("tts_text", "Hi there"), ("prompt_text", "Good morning."), ("prompt_wav", wav)],
        ),
        (
            CosyVoice3,
            ZeroShot,
            "inference_zero_shot",
            vec![("tts_text", "Hi there"), ("prompt_text", &format!("{PREFIX}Good morning.")), ("prompt_wav", wav)],
        ),
        (CosyVoice2, CrossLingual, "inference_cross_lingual", vec![("tts_text", "Hi there"), ("prompt_wav", wav)]),
        (
            CosyVoice3,
            CrossLingual,
            "inference_cross_lingual",
            vec![("tts_text", &format!("{PREFIX}Hi there")), ("prompt_wav", wav)],
        ),
        (
            CosyVoice3,
            Instruct2,
            "inference_instruct2",
            vec![
                ("tts_text", "Hi there"),
                ("instruct_text", "You are a helpful assistant. Whisper.<|endofprompt|>"),
                ("prompt_wav", wav),
            ],
        ),
    ] {
        let server = Server::start(vec![good(&[1, 2])]).await;
        let (_directory, mut settings) = settings(&[&server]);
        (settings.model, settings.mode) = (model, mode);
        let mut utterance = say("Hi<|im_end|>there");
        if mode == Sft {
            settings.voices = vec![voice(VoiceSource::Preset { speaker_id: "中文女".into() })];
        }
        if mode == Instruct2 {
            utterance.instruct = Some("<|im_end|>Whisper.".into());
        }
        spoken(&settings, utterance).await.unwrap();
        let request = server.requests().remove(0);
        assert!(request.starts_with(&format!("POST /{path} HTTP/1.1")), "{request}");
        let fields = fields(&request);
        assert_eq!(fields.len(), expected.len(), "{fields:?}");
        for ((name, value), (expected_name, expected_value)) in fields.iter().zip(expected) {
            let is_right = if name == "prompt_wav" { value.starts_with("RIFF") } else { value == expected_value };
            assert!(name == expected_name && is_right, "{name}: {value}");
        }
    }
}

#[tokio::test]
async fn a_long_text_is_spoken_piece_by_piece() {
    let server = Server::start(vec![good(&[1, 0]), good(&[2, 0]), good(&[3, 0])]).await;
    let (_directory, settings) = settings(&[&server]);
    let text = format!("{}. {}. {}.", "a".repeat(200), "b".repeat(200), "c".repeat(200));
    assert_eq!(spoken(&settings, say(&text)).await, Ok(vec![1, 0, 2, 0, 3, 0]));
    let texts: Vec<char> = server.requests().iter().map(|r| fields(r)[0].1.chars().next().unwrap()).collect();
    assert_eq!(texts, ['a', 'b', 'c']);
}

#[tokio::test]
async fn a_later_piece_that_fails_fails_everything() {
    let server = Server::start(vec![good(&[1, 0]), vec![send(CHUNKED), send(END)]]).await;
    let (_directory, settings) = settings(&[&server]);
    let text = format!("{}. {}.", "a".repeat(200), "b".repeat(200));
    assert!(matches!(spoken(&settings, say(&text)).await, Err(EngineError::Failed(_))));
}

#[tokio::test]
async fn dropping_the_speech_hangs_up_and_frees_the_slot() {
    let stays = vec![send(CHUNKED), chunk(&[1, 2]), Act::AwaitHangUp];
    let server = Server::start(vec![stays, good(&[3, 4])]).await;
    let (_directory, mut settings) = settings(&[&server]);
    settings.queue_length = 0;
    let engine = engine::build(&settings).unwrap();
    let mut speech = engine.speak(say("Hello")).await.unwrap();
    assert_eq!(speech.pcm.next().await.unwrap().unwrap().as_ref(), [1, 2]);
    let refused = engine.speak(say("Hello")).await.err();
    assert!(matches!(refused, Some(EngineError::Unavailable { .. })), "{refused:?}");

    drop(speech);
    assert_eq!(engine.speak(say("Hello")).await.unwrap().collect(9).await, Ok(vec![3, 4]));
    for _ in 0..50 {
        if *server.hang_ups.lock().unwrap() == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the connection is still open");
}

#[tokio::test]
async fn what_the_server_cannot_do_is_rejected() {
    let server = Server::start(vec![good(&[1, 2])]).await;
    let (_directory, settings) = settings(&[&server]);
    for utterance in [
        Utterance { speed: 1.5, ..say("Hello") },
        Utterance { voice: "nobody".into(), ..say("Hello") },
        say("<|endofprompt|>"),
        say("…"),
    ] {
        let error = spoken(&settings, utterance).await.unwrap_err();
        assert!(matches!(error, EngineError::Rejected(_)), "{error}");
    }
    let old = EngineSettings { model: CosyVoiceModel::CosyVoice, ..settings };
    let error = spoken(&old, Utterance { instruct: Some("Whisper.".into()), ..say("Hello") }).await.unwrap_err();
    assert!(matches!(error, EngineError::Rejected(_)), "{error}");
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn a_longer_text_has_a_later_end() {
    let slow = vec![send(CHUNKED), Act::Wait(Duration::from_millis(1500)), chunk(&[1, 2]), send(END)];
    let server = Server::start(vec![slow]).await;
    let (_directory, mut settings) = settings(&[&server]);
    settings.first_byte_seconds = 1;
    assert!(matches!(spoken(&settings, say("Hello")).await, Err(EngineError::Unavailable { .. })));
    settings.deadline_per_audio_second = 10.0;
    assert_eq!(spoken(&settings, say("Hello")).await, Ok(vec![1, 2]));
}
