//! Against a server that answers each call as a test wants it.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::post;
use bytes::Bytes;
use futures::future::{Ready, ready};
use futures::{Stream, StreamExt, stream};
use tokio::net::TcpListener;
use tonic::server::{Grpc, ServerStreamingService};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::messages::{INFERENCE, Payload, Request, Response};
use crate::engine::cosyvoice_http::tests::{say, settings, spoken, voice};
use crate::engine::{
    self, CosyVoiceMode, CosyVoiceModel, EngineError, EngineKind, EngineSettings, Reference, Utterance, VoiceSource,
    wav,
};

const PREFIX: &str = "You are a helpful assistant.<|endofprompt|>";

/// What a server does with a call.
#[derive(Clone)]
enum Play {
    Refuse(Status),
    /// These messages, and then the end or a status.
    Send(Vec<Vec<u8>>, Option<Status>),
    /// These messages, and then nothing.
    Hang(Vec<Vec<u8>>),
}

/// A server with one play for each call; the last one is repeated.
#[derive(Clone)]
struct Server(Arc<Shared>);

struct Shared {
    plays: Vec<Play>,
    calls: Mutex<Vec<(Request, String)>>,
    dropped: AtomicUsize,
}

/// Counts answers that nobody listens to any more.
struct Listened(Server);

impl Drop for Listened {
    fn drop(&mut self) {
        self.0.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

type Answer = Pin<Box<dyn Stream<Item = Result<Response, Status>> + Send>>;

impl ServerStreamingService<Request> for Server {
    type Response = Response;
    type ResponseStream = Answer;
    type Future = Ready<Result<tonic::Response<Answer>, Status>>;

    fn call(&mut self, request: tonic::Request<Request>) -> Self::Future {
        let deadline = request.metadata().get("grpc-timeout").map_or("", |value| value.to_str().unwrap()).to_owned();
        let mut calls = self.0.calls.lock().unwrap();
        let play = self.0.plays[calls.len().min(self.0.plays.len() - 1)].clone();
        calls.push((request.into_inner(), deadline));
        let audio = |pcm: Vec<u8>| Ok(Response { tts_audio: pcm.into() });
        let (messages, end): (Vec<Vec<u8>>, Answer) = match play {
            Play::Refuse(status) => return ready(Err(status)),
            Play::Send(messages, end) => (messages, stream::iter(end.map(Err)).boxed()),
            Play::Hang(messages) => (messages, stream::pending().boxed()),
        };
        let listened = Listened(self.clone());
        let answer = stream::iter(messages).map(audio).chain(end).map(move |message| {
            let _ = &listened;
            message
        });
        ready(Ok(tonic::Response::new(answer.boxed())))
    }
}

async fn start(plays: Vec<Play>) -> (Server, tempfile::TempDir, EngineSettings) {
    let server = Server(Arc::new(Shared { plays, calls: Mutex::default(), dropped: AtomicUsize::new(0) }));
    let served = server.clone();
    let answer = async move |request: axum::extract::Request| {
        let mut grpc = Grpc::new(ProstCodec::<Response, Request>::default()).max_encoding_message_size(usize::MAX);
        grpc.server_streaming(served, request).await.map(Body::new)
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route(INFERENCE, post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let (directory, settings) = settings(&[]);
    (server, directory, EngineSettings { kind: EngineKind::CosyVoiceGrpc, urls: vec![url], ..settings })
}

fn good(pcm: &[u8]) -> Play {
    Play::Send(vec![pcm.to_vec()], None)
}

#[tokio::test]
async fn audio_arrives_unchanged_and_the_call_has_a_deadline() {
    let (server, _directory, settings) = start(vec![Play::Send(vec![vec![1], vec![2, 3], vec![4]], None)]).await;
    assert_eq!(spoken(&settings, say("Hi<|im_end|>there")).await, Ok(vec![1, 2, 3, 4]));
    let (request, deadline) = server.0.calls.lock().unwrap().remove(0);
    let Some(Payload::ZeroShot(message)) = request.payload else { panic!("{request:?}") };
    assert_eq!((message.tts_text.as_str(), message.prompt_text), ("Hi there", format!("{PREFIX}Good morning.")));
    assert_eq!(message.prompt_audio, vec![0; 32_000], "the samples alone");
    assert!(!deadline.is_empty());
}

#[tokio::test]
async fn each_mode_has_its_message() {
    let (server, _directory, mut settings) = start(vec![good(&[1, 2])]).await;
    settings.mode = CosyVoiceMode::CrossLingual;
    spoken(&settings, say("Hello")).await.unwrap();
    (settings.mode, settings.model) = (CosyVoiceMode::Sft, CosyVoiceModel::CosyVoice);
    settings.voices = vec![voice(VoiceSource::Preset { speaker_id: "中文女".into() })];
    spoken(&settings, say("Hello")).await.unwrap();
    let calls = server.0.calls.lock().unwrap();
    let Some(Payload::CrossLingual(message)) = &calls[0].0.payload else { panic!("{:?}", calls[0]) };
    assert_eq!((message.tts_text.clone(), message.prompt_audio.len()), (format!("{PREFIX}Hello"), 32_000));
    let Some(Payload::Sft(message)) = &calls[1].0.payload else { panic!("{:?}", calls[1]) };
    assert_eq!((message.spk_id.as_str(), message.tts_text.as_str()), ("中文女", "Hello"));
}

#[tokio::test]
async fn recordings_go_at_the_rate_of_the_server() {
    let (server, _directory, settings) = start(vec![good(&[1, 2])]).await;
    let reference = Reference { wav: wav::file(&[0; 96_000], 24_000).unwrap().into(), transcript: "Hi.".to_owned() };
    spoken(&settings, Utterance { reference: Some(reference), ..say("Hello") }).await.unwrap();
    let broken = Reference { wav: Bytes::from_static(b"RIFF"), transcript: "Hi.".to_owned() };
    let error = spoken(&settings, Utterance { reference: Some(broken), ..say("Hello") }).await.unwrap_err();
    assert!(matches!(error, EngineError::Failed(_)), "{error}");
    let calls = server.0.calls.lock().unwrap();
    let Some(Payload::ZeroShot(message)) = &calls[0].0.payload else { panic!("{:?}", calls[0]) };
    assert_eq!((calls.len(), message.prompt_audio.len()), (1, 64_000));
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    let secret = "Exception iterating responses: what Ada wrote";
    for (code, message, is_now, expected) in [
        (Code::ResourceExhausted, "Concurrent RPC limit exceeded!", true, "as many calls as it takes"),
        (Code::ResourceExhausted, "Received message larger than max (5 vs. 4)", false, "no message as large"),
        (Code::Unavailable, "", true, "not available"),
        (Code::DeadlineExceeded, "", true, "in time"),
        (Code::Unknown, secret, false, "an exception ended"),
        (Code::Unknown, "Exception iterating responses: Invalid file: tensor([0.5])", false, "every recording"),
        (Code::InvalidArgument, secret, false, "refused"),
        (Code::Unimplemented, "", false, "refused"),
        (Code::Internal, "", false, "cut off"),
    ] {
        for play in [Play::Refuse(Status::new(code, message)), Play::Send(vec![], Some(Status::new(code, message)))] {
            let (_server, _directory, settings) = start(vec![play]).await;
            let error = spoken(&settings, say("Hello")).await.unwrap_err();
            assert_eq!(matches!(error, EngineError::Unavailable { .. }), is_now, "{code:?}: {error}");
            assert!(error.to_string().contains(expected), "{code:?}: {error}");
            assert!(!error.to_string().contains("Ada") && !error.to_string().contains("0.5"), "{error}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_not_whole_is_a_failure() {
    let cut = Some(Status::unknown("Exception iterating responses: x"));
    for (name, play, expected) in [
        ("a cut", Play::Send(vec![vec![1, 2]], cut), "an exception ended"),
        ("nothing", Play::Send(vec![], None), "without any audio"),
        ("half a sample", good(&[1, 2, 3]), "half sample"),
        // Both patiences end at about the same moment here.
        ("silence", Play::Hang(vec![vec![1, 2]]), "in time|fell silent"),
        ("too large a message", good(&[0; 5 * 1024 * 1024]), "cut off"),
        ("too much", good(&[0; 1_000_002]), "longer than"),
    ] {
        let (server, _directory, settings) = start(vec![play]).await;
        let error = spoken(&settings, say("Hello")).await.unwrap_err();
        assert!(matches!(error, EngineError::Failed(_)), "{name}: {error}");
        assert!(expected.split('|').any(|one| error.to_string().contains(one)), "{name}: {error}");
        assert_eq!(server.0.calls.lock().unwrap().len(), 1, "{name}");
    }
    let (_server, _directory, settings) = start(vec![Play::Hang(vec![])]).await;
    let error = spoken(&settings, say("Hello")).await.unwrap_err();
    assert!(matches!(error, EngineError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn a_full_server_is_asked_once_more() {
    let full = Play::Refuse(Status::resource_exhausted("Concurrent RPC limit exceeded!"));
    let (server, _directory, settings) = start(vec![full, good(&[1, 2])]).await;
    assert_eq!(spoken(&settings, say("Hello")).await, Ok(vec![1, 2]));
    assert_eq!(server.0.calls.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let (_server, _directory, mut settings) = start(vec![good(&[1, 2])]).await;
    assert_eq!(engine::build(&settings).unwrap().check().await, Ok(()));
    settings.urls = vec!["http://127.0.0.1:9".into()];
    let engine = engine::build(&settings).unwrap();
    for error in [engine.speak(say("Hello")).await.err(), engine.check().await.err()] {
        assert!(matches!(error, Some(EngineError::Unavailable { .. })), "{error:?}");
    }
}

#[tokio::test]
async fn dropping_the_speech_takes_the_call_back() {
    let (server, _directory, settings) = start(vec![Play::Hang(vec![vec![1, 2]])]).await;
    let mut speech = engine::build(&settings).unwrap().speak(say("Hello")).await.unwrap();
    assert_eq!(speech.pcm.next().await.unwrap().unwrap().as_ref(), [1, 2]);
    assert_eq!(server.0.dropped.load(Ordering::SeqCst), 0);
    drop(speech);
    for _ in 0..250 {
        if server.0.dropped.load(Ordering::SeqCst) == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the call goes on");
}
