//! Problem details (RFC 9457) with the codes that clients rely on.

use serde::Serialize;

/// A reason to refuse, in the words of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// No credential came with the request.
    TokenMissing,
    /// The credential does not hold.
    TokenInvalid,
    /// The credential held once.
    TokenExpired,
    /// The credential was withdrawn.
    TokenRevoked,
    /// The route asks for a more recent login (RFC 9470).
    StepUpRequired,
    /// A cookie was used from another origin.
    CsrfRefused,
    /// Pages of this site may not call from a browser.
    CorsRefused,
    /// The role does not reach this route.
    RoleForbidden,
    /// The token's scopes do not reach this route.
    ScopeMissing,
    /// No such route or object, or not yours.
    NotFound,
    /// The route exists, the method does not.
    MethodNotAllowed,
    /// The name is taken.
    Conflict,
    /// What the request was meant to change has changed meanwhile (RFC 9110, section 13.1.1).
    PreconditionFailed,
    /// The request cannot be understood.
    RequestInvalid,
    /// The body is larger than the role allows.
    BodyTooLarge,
    /// The body is of a kind that is not read here.
    UnsupportedMedia,
    /// The range lies outside the file (RFC 9110, section 15.5.17).
    RangeInvalid,
    /// Too many requests in a short time.
    RateLimited,
    /// Too many requests at the same time.
    ConcurrencyExceeded,
    /// The allowance of the day is used up.
    QuotaExhausted,
    /// The same idempotency key came with another body.
    IdempotencyConflict,
    /// Keys to verify the token with are not at hand.
    KeysUnavailable,
    /// There is no policy to judge by.
    PolicyUnavailable,
    /// The origin cannot be reached.
    OriginUnavailable,
    /// The speech engine cannot be reached or is busy.
    EngineUnavailable,
    /// The speech engine failed on this text.
    EngineFailed,
    /// There is no room for more work.
    Overloaded,
    /// There is no room for more data.
    StorageFull,
    /// A fault of ours.
    Internal,
}

impl Code {
    /// Every code with its name on the wire, its status and its title.
    const TABLE: &'static [(Code, &'static str, u16, &'static str)] = &[
        (Code::TokenMissing, "token_missing", 401, "Unauthorized"),
        (Code::TokenInvalid, "token_invalid", 401, "Unauthorized"),
        (Code::TokenExpired, "token_expired", 401, "Unauthorized"),
        (Code::TokenRevoked, "token_revoked", 401, "Unauthorized"),
        (Code::StepUpRequired, "step_up_required", 401, "Unauthorized"),
        (Code::CsrfRefused, "csrf_refused", 403, "Forbidden"),
        (Code::CorsRefused, "cors_refused", 403, "Forbidden"),
        (Code::RoleForbidden, "role_forbidden", 403, "Forbidden"),
        (Code::ScopeMissing, "scope_missing", 403, "Forbidden"),
        (Code::NotFound, "not_found", 404, "Not Found"),
        (Code::MethodNotAllowed, "method_not_allowed", 405, "Method Not Allowed"),
        (Code::Conflict, "conflict", 409, "Conflict"),
        (Code::PreconditionFailed, "precondition_failed", 412, "Precondition Failed"),
        (Code::RequestInvalid, "request_invalid", 400, "Bad Request"),
        (Code::BodyTooLarge, "body_too_large", 413, "Content Too Large"),
        (Code::UnsupportedMedia, "unsupported_media", 415, "Unsupported Media Type"),
        (Code::RangeInvalid, "range_invalid", 416, "Range Not Satisfiable"),
        (Code::RateLimited, "rate_limited", 429, "Too Many Requests"),
        (Code::ConcurrencyExceeded, "concurrency_exceeded", 429, "Too Many Requests"),
        (Code::QuotaExhausted, "quota_exhausted", 429, "Too Many Requests"),
        (Code::IdempotencyConflict, "idempotency_conflict", 409, "Conflict"),
        (Code::KeysUnavailable, "keys_unavailable", 503, "Service Unavailable"),
        (Code::PolicyUnavailable, "policy_unavailable", 503, "Service Unavailable"),
        (Code::OriginUnavailable, "origin_unavailable", 503, "Service Unavailable"),
        (Code::EngineUnavailable, "engine_unavailable", 503, "Service Unavailable"),
        (Code::EngineFailed, "engine_failed", 502, "Bad Gateway"),
        (Code::Overloaded, "overloaded", 503, "Service Unavailable"),
        (Code::StorageFull, "storage_full", 507, "Insufficient Storage"),
        (Code::Internal, "internal", 500, "Internal Server Error"),
    ];

    fn row(self) -> (&'static str, u16, &'static str) {
        Self::TABLE
            .iter()
            .find(|row| row.0 == self)
            .map_or(("internal", 500, "Internal Server Error"), |row| (row.1, row.2, row.3))
    }

    /// The name on the wire, for example `rate_limited`.
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        self.row().1
    }

    /// Every code, for documentation and tests.
    pub fn all() -> impl Iterator<Item = Code> {
        Self::TABLE.iter().map(|row| row.0)
    }
}

/// A refusal: what the client is told, and nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Why.
    pub code: Code,
    /// One sentence or two for a person. Never contains internal text.
    pub detail: String,
    /// When to come back, in whole seconds; sent as `Retry-After` (RFC 9110, section 10.2.3).
    pub retry_after_s: Option<u32>,
    /// The header `WWW-Authenticate` of a 401 or 403 (RFC 6750, section 3).
    pub challenge: Option<String>,
    /// The header `Allow` of a 405 (RFC 9110, section 10.2.1).
    pub allow: Option<String>,
    /// The exact cause for the operator's log; the client never sees it.
    pub cause: &'static str,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: &'a str,
    error: &'a str,
    request_id: &'a str,
}

impl Problem {
    /// A refusal with a sentence for the client.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let challenge = match code {
            Code::TokenMissing => Some("Bearer realm=\"cosygate\"".to_owned()),
            Code::TokenInvalid | Code::TokenExpired | Code::TokenRevoked => Some(format!(
                "Bearer realm=\"cosygate\", error=\"invalid_token\", error_description=\"{}\"",
                code.as_str()
            )),
            _ => None,
        };
        Self { code, detail: detail.into(), retry_after_s: None, challenge, allow: None, cause: code.as_str() }
    }

    /// There is no such path.
    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "There is nothing here.")
    }

    /// The path has other methods; `allow` lists them.
    pub fn method_not_allowed(allow: String) -> Self {
        Self {
            allow: Some(allow.clone()),
            ..Self::new(Code::MethodNotAllowed, format!("This path answers to {allow}."))
        }
    }

    /// Tells the client when to come back; at least one second.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds.max(1));
        self
    }

    /// Replaces the challenge.
    pub fn challenge(mut self, challenge: String) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// Names the cause for the operator's log.
    pub fn because(mut self, cause: &'static str) -> Self {
        self.cause = cause;
        self
    }

    /// The body, as `application/problem+json`.
    pub fn body(&self, request_id: &str) -> Vec<u8> {
        let (code, status, title) = self.code.row();
        let body =
            Body { kind: "about:blank", title, status, code, detail: &self.detail, error: &self.detail, request_id };
        serde_json::to_vec(&body).unwrap_or_default()
    }

    /// The headers that go with the body.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers =
            vec![("content-type", "application/problem+json".to_owned()), ("cache-control", "no-store".to_owned())];
        if let Some(seconds) = self.retry_after_s {
            headers.push(("retry-after", seconds.to_string()));
        }
        if let Some(challenge) = &self.challenge {
            headers.push(("www-authenticate", challenge.clone()));
        }
        if let Some(allow) = &self.allow {
            headers.push(("allow", allow.clone()));
        }
        headers
    }
}
