//! The description of the API (OpenAPI 3.1), made of the handlers themselves.
//!
//! A handler's signature says what it reads, what it answers and how its parts refuse
//! (`signature`); an [`About`] beside the handler says the rest. A route takes both (`api`), so none
//! is served that is not described.

/// Routes that are described.
mod api;
/// The document around the operations.
mod document;
/// What a signature says.
mod signature;

use gate::Code;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use crate::form::Field;
use crate::openai;

pub use self::api::{Api, Methods, delete, get, post};
pub use self::signature::{Accepted, Created, Input, Output, Signature};

/// What every route may refuse with: the edge before it, the server around it.
const ALWAYS: [Code; 7] = [
    Code::RequestInvalid,
    Code::BodyTooLarge,
    Code::RateLimited,
    Code::PolicyUnavailable,
    Code::OriginUnavailable,
    Code::Overloaded,
    Code::Internal,
];
/// What every route may refuse with that asks who is calling.
const TO_CALLERS: [Code; 9] = [
    Code::TokenMissing,
    Code::TokenInvalid,
    Code::TokenExpired,
    Code::TokenRevoked,
    Code::StepUpRequired,
    Code::RoleForbidden,
    Code::ScopeMissing,
    Code::ConcurrencyExceeded,
    Code::KeysUnavailable,
];

/// Under which heading an operation stands, in the order of docs/API.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Accounts and logins.
    Accounts,
    /// Generations, voices, outputs.
    Speech,
    /// The dialect of OpenAI's API.
    OpenAi,
    /// Links for people without an account.
    Links,
    /// What administrators do.
    Administration,
    /// The page, and this description.
    Other,
}

impl Section {
    const ALL: [Self; 6] = [Self::Accounts, Self::Speech, Self::OpenAi, Self::Links, Self::Administration, Self::Other];

    fn name(self) -> &'static str {
        match self {
            Self::Accounts => "Accounts",
            Self::Speech => "Speech",
            Self::OpenAi => "OpenAI's API",
            Self::Links => "Shared links",
            Self::Administration => "Administration",
            Self::Other => "Other",
        }
    }
}

/// What a handler's signature does not say.
#[derive(Clone, Copy)]
pub struct About {
    section: Section,
    summary: &'static str,
    answers: &'static [Gives],
    refuses: &'static [Code],
    headers: &'static [Header],
    form: &'static [Field],
}

impl About {
    /// What it does, in a sentence without a full stop.
    pub const fn new(section: Section, summary: &'static str) -> Self {
        Self { section, summary, answers: &[], refuses: &[], headers: &[], form: &[] }
    }

    /// Answers that the signature does not name: of a handler that builds its response itself.
    pub const fn answers(self, answers: &'static [Gives]) -> Self {
        Self { answers, ..self }
    }

    /// Why it refuses, beyond what its parts refuse.
    pub const fn refuses(self, refuses: &'static [Code]) -> Self {
        Self { refuses, ..self }
    }

    /// Headers that it reads.
    pub const fn reads(self, headers: &'static [Header]) -> Self {
        Self { headers, ..self }
    }

    /// The form that it reads.
    pub const fn form(self, form: &'static [Field]) -> Self {
        Self { form, ..self }
    }
}

/// A response that is no refusal.
#[derive(Clone, Copy)]
pub struct Gives {
    status: u16,
    what: &'static str,
    json: Option<fn(&mut SchemaGenerator) -> Schema>,
    media: &'static [&'static str],
}

impl Gives {
    /// Without a body.
    pub const fn empty(status: u16, what: &'static str) -> Self {
        Self { status, what, json: None, media: &[] }
    }

    /// JSON of this type.
    pub const fn json<T: JsonSchema>(status: u16, what: &'static str) -> Self {
        Self { status, what, json: Some(SchemaGenerator::subschema_for::<T>), media: &["application/json"] }
    }

    /// Something that is no JSON, of one of these kinds.
    pub const fn media(status: u16, media: &'static [&'static str], what: &'static str) -> Self {
        Self { status, what, json: None, media }
    }

    /// As well as something of one of these kinds.
    pub const fn or(self, media: &'static [&'static str]) -> Self {
        Self { media, ..self }
    }
}

/// A request header with a meaning for one operation.
#[derive(Clone, Copy)]
pub struct Header {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
    /// Whether the request is refused without it.
    pub is_required: bool,
    /// A regular expression, if not every text will do.
    pub pattern: Option<&'static str>,
}

impl Header {
    /// One that may be absent.
    pub const fn new(name: &'static str, what: &'static str) -> Self {
        Self { name, what, is_required: false, pattern: None }
    }
}

/// An operation while it is described.
pub struct Operation<'a> {
    path: &'a str,
    schemas: &'a mut Schemas,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: Vec<(u16, Value)>,
    codes: Vec<Code>,
    is_personal: bool,
}

/// Both sides of one set of schemas: what is read stands where it is used, what is answered by name.
struct Schemas {
    read: SchemaGenerator,
    answered: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        let inline = settings().with(|settings| settings.inline_subschemas = true);
        Self { read: inline.for_deserialize().into_generator(), answered: settings().for_serialize().into_generator() }
    }
}

impl<'a> Operation<'a> {
    fn new(path: &'a str, schemas: &'a mut Schemas) -> Self {
        let (parameters, answers) = (Vec::new(), Vec::new());
        Self { path, schemas, parameters, body: None, answers, codes: ALWAYS.to_vec(), is_personal: false }
    }

    /// Somebody has to be logged in.
    pub fn is_personal(&mut self) {
        self.is_personal = true;
        self.refuses(&TO_CALLERS);
    }

    /// More reasons to refuse.
    pub fn refuses(&mut self, codes: &[Code]) {
        self.codes.extend(codes);
    }

    /// The part of the path in braces, as a text of this form.
    pub fn path_parameter(&mut self, schema: Value) {
        let names = self.path.split(['{', '}']).skip(1).step_by(2).map(|name| name.trim_start_matches('*'));
        let parameter = |name| json!({"name": name, "in": "path", "required": true, "schema": schema});
        self.parameters.extend(names.map(parameter));
    }

    /// The members of this type as parameters of the query.
    pub fn query<T: JsonSchema>(&mut self) {
        let schema = self.schemas.read.subschema_for::<T>();
        let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        let members = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        for (name, mut schema) in members {
            let is_required = required.iter().any(|other| *other == name);
            let what = schema.as_object_mut().and_then(|schema| schema.remove("description"));
            without_null(&mut schema);
            let mut parameter = json!({"name": name, "in": "query", "required": is_required, "schema": schema});
            insert(&mut parameter, "description", what);
            self.parameters.push(parameter);
        }
    }

    /// A JSON body of this type.
    pub fn body<T: JsonSchema>(&mut self, is_required: bool) {
        let schema = self.schemas.read.subschema_for::<T>();
        self.body_of("application/json", schema.to_value(), is_required);
    }

    /// A body of this kind.
    pub fn body_of(&mut self, kind: &str, schema: Value, is_required: bool) {
        self.refuses(&[Code::UnsupportedMedia]);
        self.body = Some(json!({"required": is_required, "content": {kind: {"schema": schema}}}));
    }

    /// A response that is no refusal.
    pub fn answers(&mut self, answer: &Gives) {
        let schema = answer.json.map(|schema| schema(&mut self.schemas.answered).to_value());
        let mut response = json!({"description": answer.what});
        if !answer.media.is_empty() {
            let content = answer.media.iter().map(|kind| match &schema {
                Some(schema) if *kind == "application/json" => ((*kind).to_owned(), json!({"schema": schema})),
                _ => ((*kind).to_owned(), json!({})),
            });
            insert(&mut response, "content", Some(Value::Object(content.collect())));
        }
        self.answers.push((answer.status, response));
    }

    fn about(&mut self, about: &About, is_unsafe: bool) {
        self.refuses(about.refuses);
        if is_unsafe {
            self.refuses(&[Code::CsrfRefused, Code::StorageFull]);
        }
        about.answers.iter().for_each(|answer| self.answers(answer));
        for header in about.headers {
            let mut schema = json!({"type": "string"});
            insert(&mut schema, "pattern", header.pattern.map(Value::from));
            self.parameters.push(json!({"name": header.name, "in": "header", "required": header.is_required,
                "description": header.what, "schema": schema}));
        }
        if !about.form.is_empty() {
            let members = about.form.iter().map(|field| (field.name.to_owned(), field.schema()));
            let required: Vec<&str> =
                about.form.iter().filter(|field| field.is_required).map(|field| field.name).collect();
            let members: Map<String, Value> = members.collect();
            let schema = json!({"type": "object", "properties": members, "required": required,
                "additionalProperties": false});
            self.body_of("multipart/form-data", schema, true);
        }
    }

    fn finish(self, method: &str, about: &About) -> Value {
        let mut responses: Map<String, Value> =
            self.answers.iter().map(|(status, answer)| (status.to_string(), answer.clone())).collect();
        let is_openai = self.path.starts_with(openai::PREFIX);
        let codes = || Code::all().filter(|code| self.codes.contains(code));
        for code in codes() {
            let names: Vec<String> = codes()
                .filter(|other| other.status() == code.status())
                .map(|code| format!("`{}`", code.as_str()))
                .collect();
            responses.insert(code.status().to_string(), refusal(code.status(), &names.join(", "), is_openai));
        }
        let mut operation = json!({
            "operationId": operation_id(method, self.path),
            "tags": [about.section.name()],
            "summary": about.summary,
            "responses": responses,
            "security": if self.is_personal { json!([{"bearer": []}, {"cookie": []}]) } else { json!([]) },
        });
        insert(&mut operation, "parameters", Some(self.parameters.into()).filter(|it: &Value| *it != json!([])));
        insert(&mut operation, "requestBody", self.body);
        operation
    }
}

fn refusal(status: u16, codes: &str, is_openai: bool) -> Value {
    let problem = json!({"schema": {"$ref": "#/components/schemas/Problem"}});
    let mut content = json!({"application/problem+json": problem});
    if is_openai {
        let error = json!({"schema": {"$ref": "#/components/schemas/OpenAiError"}});
        insert(&mut content, "application/json", Some(error));
    }
    json!({"description": format!("{} {codes}", reason(status)).trim(), "content": content})
}

/// As in `Moved Permanently`.
fn reason(status: u16) -> &'static str {
    axum::http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default()
}

/// `get_api_voices_id_preview`.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}

fn insert(object: &mut Value, name: &str, value: Option<Value>) {
    if let (Some(object), Some(value)) = (object.as_object_mut(), value) {
        object.insert(name.to_owned(), value);
    }
}

/// What is absent from a query is absent, not null.
fn without_null(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    if schema.get("default") == Some(&Value::Null) {
        schema.remove("default");
    }
    if let Some(Value::Array(kinds)) = schema.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [kind] = kinds.as_slice() {
            let kind = kind.clone();
            schema.insert("type".to_owned(), kind);
        }
    }
}

/// Holds what tests of routes are answered against the description.
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use self::conformance::assert_described;
