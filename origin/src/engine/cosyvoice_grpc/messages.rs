//! The messages of `runtime/python/grpc/cosyvoice.proto`, written by hand: five small ones are less
//! than a compiler for them.

use prost::{Message, Oneof};

/// The one method.
pub(super) const INFERENCE: &str = "/cosyvoice.CosyVoice/Inference";

#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(oneof = "Payload", tags = "1, 2, 3")]
    pub(super) payload: Option<Payload>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Payload {
    #[prost(message, tag = "1")]
    Sft(Sft),
    #[prost(message, tag = "2")]
    ZeroShot(ZeroShot),
    #[prost(message, tag = "3")]
    CrossLingual(CrossLingual),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Sft {
    #[prost(string, tag = "1")]
    pub(super) spk_id: String,
    #[prost(string, tag = "2")]
    pub(super) tts_text: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ZeroShot {
    #[prost(string, tag = "1")]
    pub(super) tts_text: String,
    #[prost(string, tag = "2")]
    pub(super) prompt_text: String,
    /// 16-bit mono PCM at 16 kHz, without a header.
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) prompt_audio: bytes::Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CrossLingual {
    #[prost(string, tag = "1")]
    pub(super) tts_text: String,
    /// As above.
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) prompt_audio: bytes::Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Response {
    /// 16-bit mono PCM at the model's rate.
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) tts_audio: bytes::Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As protoc's Python code writes them (checked against it).
    #[test]
    fn the_bytes_are_those_of_the_schema() {
        let zero_shot = ZeroShot { tts_text: "a".into(), prompt_text: "b".into(), prompt_audio: vec![1, 2].into() };
        let request = Request { payload: Some(Payload::ZeroShot(zero_shot)) };
        assert_eq!(request.encode_to_vec(), b"\x12\x0a\x0a\x01a\x12\x01b\x1a\x02\x01\x02");
        let sft = Sft { spk_id: "s".into(), tts_text: "t".into() };
        assert_eq!(Request { payload: Some(Payload::Sft(sft)) }.encode_to_vec(), b"\x0a\x06\x0a\x01s\x12\x01t");
        let cross = CrossLingual { tts_text: "t".into(), prompt_audio: vec![3].into() };
        let request = Request { payload: Some(Payload::CrossLingual(cross)) };
        assert_eq!(request.encode_to_vec(), b"\x1a\x06\x0a\x01t\x12\x01\x03");
        assert_eq!(Response::decode(b"\x0a\x02\x05\x06".as_slice()).unwrap().tts_audio.as_ref(), [5, 6]);
    }
}
