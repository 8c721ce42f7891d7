use std::sync::Arc;

use axum::Json;
use axum::extract::{Form, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use axum::response::{IntoResponse, NoContent, Response};
use gate::Code;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::{Gives, Operation};
use crate::app::App;
use crate::caller::{Admin, Caller, LoggedIn, Visit};
use crate::clock::ID_PATTERN;
use crate::input::{JsonBody, JsonText, ObjectId, Parameters, UserId};
use crate::problem::Refusal;

/// A part of a request that a handler takes.
pub trait Input {
    /// Says what it reads and why it refuses.
    fn describe(operation: &mut Operation<'_>);
}

/// What a handler gives.
pub trait Output {
    /// Says which answers it may be.
    fn describe(operation: &mut Operation<'_>);
}

/// A handler with these arguments.
pub trait Signature<Arguments> {
    /// Says what it takes and gives.
    fn describe(operation: &mut Operation<'_>);
}

/// `201` with what was made.
pub struct Created<T>(pub T);

/// `202` with what has begun.
pub struct Accepted<T>(pub T);

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, Json(self.0)).into_response()
    }
}

impl<T: Serialize> IntoResponse for Accepted<T> {
    fn into_response(self) -> Response {
        (StatusCode::ACCEPTED, Json(self.0)).into_response()
    }
}

/// Parts that every handler may take without a word to the client.
macro_rules! silent {
    ($($part:ty),*) => {
        $(impl Input for $part {
            fn describe(_: &mut Operation<'_>) {}
        })*
    };
}

silent!(State<Arc<App>>, HeaderMap, Method, Uri, Visit, Request, Option<LoggedIn>);

impl Input for Caller {
    fn describe(operation: &mut Operation<'_>) {
        operation.is_personal();
    }
}

impl Input for LoggedIn {
    fn describe(operation: &mut Operation<'_>) {
        operation.is_personal();
    }
}

impl Input for Admin {
    fn describe(operation: &mut Operation<'_>) {
        operation.is_personal();
    }
}

impl Input for ObjectId {
    fn describe(operation: &mut Operation<'_>) {
        operation.path_parameter(json!({"type": "string", "pattern": ID_PATTERN}));
        operation.refuses(&[Code::NotFound]);
    }
}

impl Input for UserId {
    fn describe(operation: &mut Operation<'_>) {
        operation.path_parameter(json!({"type": "string"}));
        operation.refuses(&[Code::NotFound]);
    }
}

impl Input for Path<String> {
    fn describe(operation: &mut Operation<'_>) {
        operation.path_parameter(json!({"type": "string"}));
        operation.refuses(&[Code::NotFound]);
    }
}

impl<T: JsonSchema> Input for Parameters<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.query::<T>();
    }
}

impl<T: JsonSchema> Input for JsonBody<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.body::<T>(true);
    }
}

impl Input for JsonText {
    fn describe(operation: &mut Operation<'_>) {
        operation.body_of("application/json", json!({"type": "object"}), true);
    }
}

impl<T: JsonSchema> Input for Form<T> {
    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schemas.read.subschema_for::<T>();
        operation.body_of("application/x-www-form-urlencoded", schema.to_value(), true);
    }
}

/// Handlers that build their responses themselves say in their `About` what these are.
impl Output for Response {
    fn describe(_: &mut Operation<'_>) {}
}

impl<T: Output> Output for Result<T, Refusal> {
    fn describe(operation: &mut Operation<'_>) {
        T::describe(operation);
    }
}

impl<T: Output, V, const N: usize> Output for ([(HeaderName, V); N], T) {
    fn describe(operation: &mut Operation<'_>) {
        T::describe(operation);
    }
}

impl<T: JsonSchema> Output for Json<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers(&Gives::json::<T>(200, "OK"));
    }
}

impl<T: JsonSchema> Output for Created<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers(&Gives::json::<T>(201, "Created"));
    }
}

impl<T: JsonSchema> Output for Accepted<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers(&Gives::json::<T>(202, "Accepted"));
    }
}

impl Output for NoContent {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers(&Gives::empty(204, "Done"));
    }
}

macro_rules! signature {
    ($($argument:ident)*) => {
        impl<F, Answered, $($argument,)*> Signature<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> Answered,
            Answered: Future<Output: Output>,
            $($argument: Input,)*
        {
            fn describe(operation: &mut Operation<'_>) {
                $($argument::describe(operation);)*
                <Answered::Output as Output>::describe(operation);
            }
        }
    };
}

signature!();
signature!(A);
signature!(A B);
signature!(A B C);
signature!(A B C D);
signature!(A B C D E);
signature!(A B C D E G);
