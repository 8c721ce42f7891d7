//! The gRPC of one utterance: a call for each piece of text.

use std::sync::Arc;
use std::time::Duration;

use axum::http::uri::PathAndQuery;
use bytes::Bytes;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;

use super::super::SettingsError;
use super::super::pool::{Pool, Probe};
use super::super::prompt::{Speaker, system_prompt};
use super::super::session::{Fault, Wire};
use super::super::{CosyVoiceMode, CosyVoiceModel};
use super::messages::{CrossLingual, INFERENCE, Payload, Request, Response, Sft, ZeroShot};

/// The server takes no larger message and sends none.
const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// The server is told a deadline a little behind ours, so that ours is what ends the call.
const MARGIN: Duration = Duration::from_secs(1);

/// Where the servers are.
#[derive(Clone)]
pub(super) struct Servers(Arc<[Endpoint]>);

/// A call but for the text.
pub(super) struct Prompt {
    pub(super) model: CosyVoiceModel,
    pub(super) mode: CosyVoiceMode,
    /// Its recording as the message wants it, without a header.
    pub(super) speaker: Speaker,
}

/// One call for each piece.
pub(super) struct Calls(pub(super) Servers, pub(super) Prompt);

impl Servers {
    pub(super) fn new(pool: &Pool) -> Result<Self, SettingsError> {
        let endpoint = |address: &String| {
            let endpoint = Endpoint::from_shared(address.clone());
            let endpoint = endpoint.map_err(|error| SettingsError::new(format!("engine.urls: {error}")))?;
            Ok(endpoint.connect_timeout(pool.limits.connect).tcp_nodelay(true))
        };
        Ok(Self(pool.addresses.iter().map(endpoint).collect::<Result<_, _>>()?))
    }

    fn endpoint(&self, address: usize) -> Result<&Endpoint, Fault> {
        self.0.get(address).ok_or_else(|| Fault::broken("it has no address"))
    }
}

impl Probe for Servers {
    /// The server has no health service; that it takes a connection has to do.
    async fn probe(&self, address: usize) -> Result<(), String> {
        let endpoint = self.endpoint(address).map_err(|_| String::new())?;
        endpoint.connect().await.map(drop).map_err(|error| describe(&error))
    }
}

impl Prompt {
    fn message(&self, text: &str) -> Request {
        let system_prompt = system_prompt(self.model);
        let payload = match (&self.speaker, self.mode) {
            (Speaker::Preset { speaker_id }, _) => {
                Payload::Sft(Sft { spk_id: speaker_id.clone(), tts_text: text.to_owned() })
            }
            (Speaker::Reference { audio, .. }, CosyVoiceMode::CrossLingual) => Payload::CrossLingual(CrossLingual {
                tts_text: format!("{system_prompt}{text}"),
                prompt_audio: audio.clone(),
            }),
            (Speaker::Reference { audio, transcript }, _) => Payload::ZeroShot(ZeroShot {
                tts_text: text.to_owned(),
                prompt_text: format!("{system_prompt}{transcript}"),
                prompt_audio: audio.clone(),
            }),
        };
        Request { payload: Some(payload) }
    }
}

impl Wire for Calls {
    /// Dropped, it takes the call back.
    type Reply = Streaming<Response>;

    async fn ask(&mut self, address: usize, text: &str, ends: Instant) -> Result<Streaming<Response>, Fault> {
        let Self(servers, prompt) = self;
        // A connection for each call, as over HTTP: it costs nothing beside speech, and none is
        // ever found broken.
        let channel = servers.endpoint(address)?.connect().await;
        let channel = channel.map_err(|error| Fault::Unreachable(describe(&error)))?;
        let mut grpc = Grpc::new(channel)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        grpc.ready().await.map_err(|error| Fault::Unreachable(describe(&error)))?;
        let mut request = tonic::Request::new(prompt.message(text));
        request.set_timeout(ends.saturating_duration_since(Instant::now()) + MARGIN);
        let codec = ProstCodec::<Request, Response>::default();
        let answer = grpc.server_streaming(request, PathAndQuery::from_static(INFERENCE), codec).await;
        answer.map(tonic::Response::into_inner).map_err(|status| fault(&status))
    }

    async fn more(&mut self, answer: &mut Streaming<Response>) -> Result<Option<Bytes>, Fault> {
        let message = answer.message().await.map_err(|status| fault(&status))?;
        Ok(message.map(|message| message.tts_audio))
    }
}

/// What a status means. Its message may repeat what the user wrote or even samples of a recording,
/// so only what is known of it is told.
fn fault(status: &Status) -> Fault {
    let message = status.message();
    match status.code() {
        Code::ResourceExhausted if message.contains("larger than max") => {
            Fault::Refused("it takes no message as large as this (RESOURCE_EXHAUSTED)".to_owned())
        }
        Code::ResourceExhausted => {
            Fault::Unreachable("it has as many calls as it takes (RESOURCE_EXHAUSTED)".to_owned())
        }
        Code::Unavailable => Fault::Unreachable("it is not available (UNAVAILABLE)".to_owned()),
        Code::DeadlineExceeded | Code::Cancelled => {
            Fault::Silent(format!("it did not answer in time ({:?})", status.code()))
        }
        Code::Unknown if message.contains("Invalid file") => {
            let reason = "its revision of CosyVoice fails with every recording (UNKNOWN: Invalid file)";
            Fault::Broken(reason.to_owned())
        }
        Code::Unknown if message.starts_with("Exception iterating responses") => {
            Fault::Broken("an exception ended its answer (UNKNOWN); its own log says which".to_owned())
        }
        code @ (Code::InvalidArgument
        | Code::Unimplemented
        | Code::NotFound
        | Code::Unauthenticated
        | Code::PermissionDenied) => Fault::Refused(format!("it refused the request ({code:?})")),
        code => Fault::Broken(format!("its answer was cut off ({code:?})")),
    }
}

/// The whole chain of causes on one line.
fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    line
}
