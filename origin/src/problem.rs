//! How a handler refuses: a problem for the client, and the full cause for the log.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use gate::{Code, Problem};
use serde_json::{Map, Value};

use crate::blobs::BlobError;
use crate::policy::CenterError;
use crate::store::{PublishError, StoreError};

/// A refused request. The client sees the problem; the cause is logged once, where the response
/// leaves the server (`answer`).
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What the client is told.
    pub problem: Box<Problem>,
    /// What the client is told besides (RFC 9457, section 3.2).
    pub members: Map<String, Value>,
    /// Internal text, never sent.
    pub cause: Option<String>,
}

impl Refusal {
    /// A refusal with a sentence for the client.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Problem::new(code, detail).into()
    }

    /// Our own fault. `cause` goes to the log only.
    pub fn internal(cause: impl ToString) -> Self {
        Self::new(Code::Internal, "Something went wrong on our side.").because(cause)
    }

    /// The one answer for objects that do not exist and for objects of others.
    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "There is nothing here.")
    }

    /// There is no room for more work; come back in a second.
    pub fn overloaded() -> Self {
        Problem::new(Code::Overloaded, "Too much to do at the moment. Try again in a second.").retry_after(1).into()
    }

    /// The disk is full.
    pub fn storage_full(cause: impl ToString) -> Self {
        Self::new(Code::StorageFull, "There is no space left to store this.").because(cause)
    }

    /// Adds internal text for the log.
    pub fn because(mut self, cause: impl ToString) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Adds members to the problem, none of which it has already.
    pub fn with(mut self, members: Map<String, Value>) -> Self {
        self.members = members;
        self
    }

    /// The body, as `application/problem+json`.
    pub fn body(&self, request_id: &str) -> Vec<u8> {
        let body = self.problem.body(request_id);
        if self.members.is_empty() {
            return body;
        }
        let mut members: Map<String, Value> = serde_json::from_slice(&body).unwrap_or_default();
        members.extend(self.members.clone());
        serde_json::to_vec(&members).unwrap_or(body)
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), members: Map::new(), cause: None }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::storage_full("the database is full"),
            StoreError::Busy => Self::overloaded().because("the database is busy"),
            other => Self::internal(other),
        }
    }
}

impl From<CenterError> for Refusal {
    fn from(error: CenterError) -> Self {
        match error {
            CenterError::Invalid(_, error) => {
                Self::new(Code::RequestInvalid, format!("The policy is not valid: {error}."))
            }
            CenterError::Unpublished(error @ PublishError::Overtaken { .. }) => {
                Self::new(Code::PreconditionFailed, format!("Not published: {error}."))
            }
            CenterError::Unpublished(PublishError::Store(error)) | CenterError::Store(error) => error.into(),
            other => Self::internal(other),
        }
    }
}

impl From<BlobError> for Refusal {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Full => Self::storage_full("the disk is full"),
            other => Self::internal(other),
        }
    }
}

impl IntoResponse for Refusal {
    /// The body is written by `answer`, which knows the request id.
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}
