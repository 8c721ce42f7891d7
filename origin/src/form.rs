//! Forms with files (`multipart/form-data`, RFC 7578), bounded field by field while they arrive.

use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use bytes::Bytes;
use gate::Code;
use multer::{Constraints, Multipart, SizeLimit};
use serde_json::{Value, json};

use crate::app::App;
use crate::caller::Caller;
use crate::problem::Refusal;

/// How long a form may take to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

/// A field that a form may have, once.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// The largest content.
    pub most_bytes: u64,
    /// A form without it is refused.
    pub is_required: bool,
    /// It is a file.
    pub is_file: bool,
}

impl Field {
    /// A text.
    pub const fn text(name: &'static str, is_required: bool) -> Self {
        Self { name, most_bytes: 4 * 1024, is_required, is_file: false }
    }

    /// A file that must be there.
    pub const fn file(name: &'static str, most_bytes: u64) -> Self {
        Self { name, most_bytes, is_required: true, is_file: true }
    }

    /// Its form, for the description.
    pub fn schema(&self) -> Value {
        match self.is_file {
            true => json!({"type": "string", "contentMediaType": "application/octet-stream"}),
            false => json!({"type": "string", "maxLength": self.most_bytes}),
        }
    }
}

/// Reads a form; each field is there once, or not at all.
///
/// # Errors
/// It is no form, has other fields or one twice, is too large or takes too long.
pub async fn read<const N: usize>(
    app: &App,
    caller: &Caller,
    request: Request,
    fields: &[Field; N],
) -> Result<[Option<Bytes>; N], Refusal> {
    let limit = app.policy.now().body_bytes(caller.role(), request.method().as_str(), request.uri().path())?;
    let too_large = || Refusal::new(Code::BodyTooLarge, format!("A body may have {} KiB here.", limit / 1024));
    let announced = header(&request, CONTENT_LENGTH).parse::<u64>();
    if announced.is_ok_and(|length| length > limit) {
        return Err(too_large());
    }
    let boundary = multer::parse_boundary(header(&request, CONTENT_TYPE))
        .map_err(|_| Refusal::new(Code::UnsupportedMedia, "Send the body as multipart/form-data."))?;
    let sizes = fields.iter().fold(SizeLimit::new().whole_stream(limit).per_field(0), |sizes, field| {
        sizes.for_field(field.name, field.most_bytes)
    });
    let constraints = Constraints::new().size_limit(sizes).allowed_fields(fields.map(|field| field.name).to_vec());
    let form = Multipart::with_constraints(request.into_body().into_data_stream(), boundary, constraints);
    match tokio::time::timeout(PATIENCE, collect(form, fields)).await {
        Ok(collected) => collected.map_err(|error| refusal(&error, too_large)),
        Err(_) => Err(Refusal::new(Code::RequestInvalid, "The body took too long to arrive.")),
    }
}

fn header(request: &Request, name: HeaderName) -> &str {
    request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

async fn collect<const N: usize>(
    mut form: Multipart<'_>,
    fields: &[Field; N],
) -> Result<[Option<Bytes>; N], FormError> {
    let mut contents = [const { None }; N];
    while let Some(field) = form.next_field().await? {
        let name = field.name().unwrap_or_default();
        let place = contents.iter_mut().zip(fields).find(|(_, known)| known.name == name);
        match place {
            Some((content @ None, _)) => *content = Some(field.bytes().await?),
            Some((Some(_), known)) => return Err(FormError::Twice(known.name)),
            None => return Err(FormError::Form(multer::Error::UnknownField { field_name: None })),
        }
    }
    match contents.iter().zip(fields).find(|(content, field)| field.is_required && content.is_none()) {
        Some((_, missing)) => Err(FormError::Missing(missing.name)),
        None => Ok(contents),
    }
}

enum FormError {
    Form(multer::Error),
    Twice(&'static str),
    Missing(&'static str),
}

impl From<multer::Error> for FormError {
    fn from(error: multer::Error) -> Self {
        Self::Form(error)
    }
}

fn refusal(error: &FormError, too_large: impl Fn() -> Refusal) -> Refusal {
    use multer::Error::{FieldSizeExceeded, StreamSizeExceeded, UnknownField};
    let detail = match error {
        FormError::Form(StreamSizeExceeded { .. }) => return too_large(),
        FormError::Form(FieldSizeExceeded { field_name, limit }) => {
            let field = field_name.as_deref().unwrap_or("a field");
            return Refusal::new(Code::BodyTooLarge, format!("{field} may have {} KiB.", limit / 1024));
        }
        FormError::Form(UnknownField { .. }) => "The form has a field that is not known here.".to_owned(),
        FormError::Form(_) => "The form is damaged or broke off.".to_owned(),
        FormError::Missing(name) => format!("{name} is missing."),
        FormError::Twice(name) => format!("The form has {name} twice."),
    };
    Refusal::new(Code::RequestInvalid, detail)
}

/// The text of a field that must be there.
///
/// # Errors
/// It is not, or is no text.
pub fn required(name: &str, content: Option<Bytes>) -> Result<String, Refusal> {
    let content = content.ok_or_else(|| Refusal::new(Code::RequestInvalid, format!("{name} is missing.")))?;
    text(name, &content)
}

/// The text of a field.
///
/// # Errors
/// It is not UTF-8.
pub fn text(name: &str, content: &[u8]) -> Result<String, Refusal> {
    match std::str::from_utf8(content) {
        Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
        Ok(_) => Err(Refusal::new(Code::RequestInvalid, format!("{name} has the character U+0000."))),
        Err(_) => Err(Refusal::new(Code::RequestInvalid, format!("{name} is not UTF-8."))),
    }
}
