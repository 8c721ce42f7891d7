//! The gRPC of the stub: what CosyVoice's `server.py` answers, with its statuses.
//!
//! The messages stand here a second time, apart from those of the adapter, so that one does not
//! agree with its own mistakes.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures::future::{Ready, ready};
use futures::{Stream, StreamExt};
use tonic::Status;
use tonic::server::{Grpc, ServerStreamingService};
use tonic_prost::ProstCodec;

use super::play::{Answering, perform};
use super::wire::plan;
use super::{Mode, Seen, Shared};

pub(super) const INFERENCE: &str = "/cosyvoice.CosyVoice/Inference";
const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

#[derive(Clone, PartialEq, prost::Message)]
struct Inference {
    #[prost(oneof = "Payload", tags = "1, 2, 3, 4")]
    payload: Option<Payload>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Payload {
    #[prost(message, tag = "1")]
    Sft(Texts),
    #[prost(message, tag = "2")]
    ZeroShot(ZeroShot),
    #[prost(message, tag = "3")]
    CrossLingual(CrossLingual),
    #[prost(message, tag = "4")]
    Instruct(Texts),
}

/// Of a sft request, `spk_id` and `tts_text`; of an instruct request, `tts_text`, `spk_id`, and
/// `instruct_text`.
#[derive(Clone, PartialEq, prost::Message)]
struct Texts {
    #[prost(string, tag = "1")]
    first: String,
    #[prost(string, tag = "2")]
    second: String,
    #[prost(string, tag = "3")]
    third: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ZeroShot {
    #[prost(string, tag = "1")]
    tts_text: String,
    #[prost(string, tag = "2")]
    prompt_text: String,
    #[prost(bytes = "bytes", tag = "3")]
    prompt_audio: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CrossLingual {
    #[prost(string, tag = "1")]
    tts_text: String,
    #[prost(bytes = "bytes", tag = "2")]
    prompt_audio: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Audio {
    #[prost(bytes = "bytes", tag = "1")]
    tts_audio: Bytes,
}

struct Speaking(Arc<Shared>);

pub(super) async fn speak(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let codec = ProstCodec::<Audio, Inference>::default();
    let mut grpc = Grpc::new(codec).max_decoding_message_size(MAX_MESSAGE_BYTES);
    grpc.server_streaming(Speaking(shared), request).await.map(Body::new)
}

impl ServerStreamingService<Inference> for Speaking {
    type Response = Audio;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<Audio, Status>> + Send>>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Inference>) -> Self::Future {
        ready(answer(&self.0, request.into_inner()).map(tonic::Response::new))
    }
}

type Answer = Pin<Box<dyn Stream<Item = Result<Audio, Status>> + Send>>;

fn answer(shared: &Arc<Shared>, inference: Inference) -> Result<Answer, Status> {
    let answering = Answering::new(shared);
    let seen = seen(inference);
    shared.remember(seen.clone());
    let mode = *shared.mode.lock().unwrap();
    let has_half_a_sample = seen.prompt_wav.as_ref().is_some_and(|audio| audio.len() % 2 == 1);
    let refused = match mode {
        _ if has_half_a_sample => Some(exception("buffer size must be a multiple of element size")),
        Mode::ServerError => Some(exception("as it was told")),
        Mode::Unprocessable => Some(Status::invalid_argument("as it was told")),
        Mode::QueueFull => Some(Status::resource_exhausted("Concurrent RPC limit exceeded!")),
        Mode::TooLarge => Some(Status::resource_exhausted("Received message larger than max (5000021 vs. 4194304)")),
        _ => None,
    };
    if let Some(status) = refused {
        answering.finish();
        return Err(status);
    }
    let steps = plan(shared, mode, &seen);
    let pieces = perform(steps, answering, shared.stopped.subscribe());
    Ok(pieces.map(|piece| piece.map(|tts_audio| Audio { tts_audio }).map_err(exception)).boxed())
}

/// What becomes of any exception.
fn exception(message: &str) -> Status {
    Status::unknown(format!("Exception iterating responses: {message}"))
}

/// The request as if it had come over HTTP.
fn seen(inference: Inference) -> Seen {
    let (path, fields, prompt_wav): (&str, Vec<(&str, String)>, _) = match inference.payload {
        Some(Payload::Sft(texts)) => {
            ("/inference_sft", vec![("spk_id", texts.first), ("tts_text", texts.second)], None)
        }
        Some(Payload::ZeroShot(message)) => {
            let fields = vec![("tts_text", message.tts_text), ("prompt_text", message.prompt_text)];
            ("/inference_zero_shot", fields, Some(message.prompt_audio))
        }
        Some(Payload::CrossLingual(message)) => {
            ("/inference_cross_lingual", vec![("tts_text", message.tts_text)], Some(message.prompt_audio))
        }
        // An empty request ends up here, too.
        payload => {
            let texts = if let Some(Payload::Instruct(texts)) = payload { texts } else { Texts::default() };
            let fields = vec![("tts_text", texts.first), ("spk_id", texts.second), ("instruct_text", texts.third)];
            ("/inference_instruct", fields, None)
        }
    };
    let fields: BTreeMap<String, String> = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Seen { path: path.to_owned(), fields, prompt_wav }
}
