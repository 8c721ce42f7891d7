//! The dialect of `/v1`: names and errors as OpenAI's speech API has them, so that programs made
//! for it work with nothing changed but the address and the key.

use gate::{Code, Problem};
use serde_json::{Value, json};

/// Everything below it speaks the dialect.
pub const PREFIX: &str = "/v1/";

/// Models that programs ask for by habit; all of them are the one engine.
pub const MODELS: [&str; 3] = ["tts-1", "tts-1-hd", "gpt-4o-mini-tts"];

/// OpenAI's own voices. Programs have them built in, so each stands for a stock voice, in order.
pub const VOICES: [&str; 13] =
    ["alloy", "ash", "ballad", "coral", "echo", "fable", "onyx", "nova", "sage", "shimmer", "verse", "marin", "cedar"];

/// The rate at which programs play `pcm`, which has no header to say otherwise, in hertz.
pub const PCM_RATE: u32 = 24_000;

/// What `type` of an error may be.
const TYPES: [&str; 6] = [
    "insufficient_quota",
    "authentication_error",
    "permission_error",
    "rate_limit_error",
    "invalid_request_error",
    "server_error",
];

/// A problem as `{"error": {"message", "type", "param", "code"}}`. `code` is ours.
pub fn error_body(problem: &Problem, request_id: &str) -> String {
    let kind = match (problem.code, problem.code.status()) {
        (Code::QuotaExhausted, _) => "insufficient_quota",
        (_, 401) => "authentication_error",
        (_, 403) => "permission_error",
        (_, 429) => "rate_limit_error",
        (_, status) if status < 500 => "invalid_request_error",
        _ => "server_error",
    };
    json!({"error": {
        "message": problem.detail, "type": kind, "param": null, "code": problem.code.as_str(),
        "request_id": request_id,
    }})
    .to_string()
}

/// The form of [`error_body`].
pub fn error_schema() -> Value {
    let codes: Vec<&str> = Code::all().map(Code::as_str).collect();
    json!({
        "type": "object",
        "description": "Why a request was refused, as OpenAI's API has it.",
        "properties": {"error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string", "enum": TYPES},
                "param": {"type": "null"},
                "code": {"type": "string", "enum": codes},
                "request_id": {"type": "string"},
            },
            "required": ["message", "type", "param", "code", "request_id"],
        }},
        "required": ["error"],
    })
}
