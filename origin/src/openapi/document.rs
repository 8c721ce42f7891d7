use gate::Code;
use serde_json::{Map, Value, json};

use super::{Schemas, Section};
use crate::openai;

/// The document around the operations.
pub(super) fn document(paths: Map<String, Value>, schemas: &mut Schemas) -> Value {
    let mut named = schemas.answered.take_definitions(true);
    named.insert("Problem".to_owned(), problem_schema());
    named.insert("OpenAiError".to_owned(), openai::error_schema());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "cosygate",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Speech for people who are logged in. Everything is reached through the edge; docs/API.md \
                says what stands behind each route.",
        },
        "servers": [{"url": "/"}],
        "tags": Section::ALL.map(|section| json!({"name": section.name()})),
        "paths": paths,
        "components": {
            "schemas": named,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "cosygate",
                    "description": "Over TLS `__Host-cosygate`. Unsafe methods only from the same origin."},
            },
        },
    })
}

/// RFC 9457, with the codes that clients rely on.
fn problem_schema() -> Value {
    let codes: Vec<&str> = Code::all().map(Code::as_str).collect();
    json!({
        "type": "object",
        "description": "Why a request was refused (RFC 9457).",
        "properties": {
            "type": {"type": "string", "const": "about:blank"},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "code": {"type": "string", "enum": codes},
            "detail": {"type": "string", "description": "For a person."},
            "error": {"type": "string", "description": "As `detail`."},
            "request_id": {"type": "string", "description": "As in `x-request-id`."},
        },
        "required": ["type", "title", "status", "code", "detail", "error", "request_id"],
    })
}
