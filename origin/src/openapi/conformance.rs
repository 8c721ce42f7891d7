use axum::http::Response;
use serde_json::{Value, json};

use crate::routes::DESCRIPTION;

/// What the description has under a path.
fn described(path: &str) -> Option<&'static Value> {
    let paths = DESCRIPTION["paths"].as_object().unwrap();
    let fits = |template: &str| {
        let (mut wanted, mut given) = (template.split('/'), path.split('/'));
        loop {
            match (wanted.next(), given.next()) {
                (None, None) => return true,
                (Some("{path}"), Some(_)) => return true,
                (Some(part), Some(given)) if part == given || (part.starts_with('{') && !given.is_empty()) => {}
                _ => return false,
            }
        }
    };
    // A path without places is looked for first, as the router does.
    let exact = paths.get(path);
    exact.or_else(|| paths.iter().find(|(template, _)| fits(template)).map(|(_, methods)| methods))
}

/// The status of an answer, and the kind of its body, are among those that are described.
pub(crate) fn assert_described<B>(method: &str, path: &str, response: &Response<B>) {
    let method = if method == "HEAD" { "get".to_owned() } else { method.to_lowercase() };
    let Some(operation) = described(path).and_then(|methods| methods.get(&method)) else { return };
    let status = response.status().as_u16();
    if status == 401 && operation["security"] == json!([]) {
        // It did not come through an edge; who does not, reads no description.
        return;
    }
    let said = &operation["responses"][status.to_string()];
    assert!(said.is_object(), "{method} {path}: {status} is not described");
    if let Some(kind) = response.headers().get("content-type") {
        let kind = kind.to_str().unwrap().split(';').next().unwrap();
        assert!(said["content"].get(kind).is_some(), "{method} {path}: {status} {kind} is not described");
    }
}
