//! Everywhere that a client's text is taken for the name of something, or may come back.

use serde_json::{Value, json};
use tests::attack::wire::{Request, request};
use tests::world::User;

const HOST: &str = "localhost";
const CONSENT: &str = "This is a recording of my own voice, and I agree that a synthetic voice is made of it.";

/// One of them: a request with a text in it.
pub(super) struct Place {
    pub(super) name: String,
    make: Box<dyn Fn(&str) -> Request + Send + Sync>,
}

impl Place {
    fn new(name: impl Into<String>, make: impl Fn(&str) -> Request + Send + Sync + 'static) -> Self {
        Self { name: name.into(), make: Box::new(make) }
    }

    /// The request, as bytes.
    pub(super) fn request(&self, text: &str) -> Request {
        (self.make)(text)
    }
}

/// A body with a text in it.
type Body = fn(&str) -> Value;

/// All of them, as somebody who has an output and a recording to send.
pub(super) fn places(user: &User, output: &str, recording: Vec<u8>) -> Vec<Place> {
    let mut places = Vec::new();
    let bearer = format!("Bearer {}", user.token);
    let asks = move |method: &str, target: &str| request(method, target, HOST).header("authorization", &bearer);
    for (method, target) in [
        ("GET", "/{}"),
        ("GET", "/download/{}"),
        ("HEAD", "/download/{}"),
        ("GET", "/download/{}?download=1"),
        ("DELETE", "/download/{}"),
        ("GET", "/api/outputs/{}"),
        ("DELETE", "/api/outputs/{}"),
        ("POST", "/api/outputs/{}/share"),
        ("GET", "/api/voices/{}"),
        ("GET", "/api/voices/{}/preview"),
        ("DELETE", "/api/voices/{}"),
        ("GET", "/api/jobs/{}"),
        ("GET", "/api/jobs/{}/events"),
        ("DELETE", "/api/shares/{}"),
        ("DELETE", "/api/tokens/{}"),
        ("GET", "/s/{}"),
        ("GET", "/s/{}/audio"),
        ("GET", "/assets/{}"),
        ("GET", "/status/{}"),
        ("GET", "/login/oidc/{}"),
        ("GET", "/login/oidc/{}/callback?state={}&code={}"),
        ("GET", "/api/outputs?before={}"),
        ("GET", "/api/outputs?project={}"),
        ("GET", "/download/<id>?format={}"),
        ("GET", "/api/me/audit?before={}"),
    ] {
        let (asks, target) = (asks.clone(), target.replace("<id>", output));
        places.push(Place::new(format!("{method} {target}"), move |text| asks(method, &target.replace("{}", text))));
    }
    for name in ["range", "if-range", "if-none-match"] {
        let (asks, target) = (asks.clone(), format!("/download/{output}"));
        places.push(Place::new(format!("{name} of a download"), move |text| asks("GET", &target).header(name, text)));
    }
    for name in [
        "x-request-id",
        "traceparent",
        "origin",
        "accept-language",
        "idempotency-key",
        "content-disposition",
        "x-original-url",
        "x-rewrite-url",
        "x-accel-redirect",
        "x-sendfile",
    ] {
        let (asks, target) = (asks.clone(), format!("/api/outputs/{output}"));
        places.push(Place::new(name, move |text| asks("GET", &target).header(name, text)));
    }
    let own = asks.clone();
    let target = format!("/download/{output}");
    places.push(Place::new("a name in a range", move |text| {
        own("GET", &target).header("range", format!("bytes={text}"))
    }));
    let bodies: [(&str, Body); 11] = [
        ("/api/outputs/delete", |text| json!({"ids": [text]})),
        ("/api/outputs/zip", |text| json!({"ids": [text]})),
        ("/api/generate", |text| json!({"text": "His.", "voice": text})),
        ("/api/generate", |text| json!({"text": "His.", "instruct": text})),
        ("/api/generate", |text| json!({"text": "His.", "project_id": text})),
        ("/v1/audio/speech", |text| json!({"model": "tts-1", "input": "His.", "voice": text})),
        ("/v1/audio/speech", |text| json!({"model": text, "input": "His.", "voice": "alloy"})),
        ("/api/tokens", |text| json!({"name": text, "expires_in_days": 0})),
        ("/api/me/password", |text| json!({"current": text, "new": text})),
        ("/register", |text| json!({"username": text, "password": "1"})),
        ("/api/me/passkeys/confirm", |text| json!({"name": text, "credential": {}})),
    ];
    for (target, body) in bodies {
        let asks = asks.clone();
        places.push(Place::new(format!("{target} {}", body("…")), move |text| {
            asks("POST", target).header("content-type", "application/json").body(body(text).to_string())
        }));
    }
    let own = asks.clone();
    places.push(Place::new("the key of a generation", move |text| {
        let asked = own("POST", "/api/generate").header("content-type", "application/json");
        asked.header("prefer", "respond-async").header("idempotency-key", text).body("{\"text\": \"\"}")
    }));
    // Always the same other fields, so that only the first is kept.
    for field in ["file name", "name", "transcript", "language"] {
        let (asks, recording) = (asks.clone(), recording.clone());
        places.push(Place::new(format!("{field} of a voice"), move |text| {
            asks("POST", "/api/voices")
                .header("content-type", "multipart/form-data; boundary=x")
                .body(form(field, text, &recording))
        }));
    }
    places
}

/// A voice, with a text in place of one field.
fn form(field: &str, text: &str, recording: &[u8]) -> Vec<u8> {
    let fields = [("name", "His"), ("transcript", "What he says."), ("language", "en"), ("consent", CONSENT)];
    let mut form = Vec::new();
    for (name, usual) in fields {
        let value = if name == field { text } else { usual };
        form.extend(format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes());
    }
    let name = if field == "file name" { text } else { "his.wav" };
    form.extend(format!("--x\r\ncontent-disposition: form-data; name=\"sample\"; filename=\"{name}\"\r\n\r\n").bytes());
    form.extend(recording);
    form.extend(b"\r\n--x--\r\n");
    form
}
