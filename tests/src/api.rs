//! The routes, as the server's own description of itself lists them.

use std::process::Command;

use serde_json::{Value, json};

use crate::process::artefact;

/// One method of one path.
#[derive(Clone, Debug)]
pub struct Operation {
    /// In capitals.
    pub method: String,
    /// With braces.
    pub path: String,
    /// What the description says of it.
    pub about: Value,
}

/// All of a description.
pub fn operations(description: &Value) -> Vec<Operation> {
    let paths = description["paths"].as_object().unwrap().iter();
    let all = paths.flat_map(|(path, methods)| {
        methods.as_object().unwrap().iter().map(|(method, about)| Operation {
            method: method.to_uppercase(),
            path: path.clone(),
            about: about.clone(),
        })
    });
    let all: Vec<Operation> = all.collect();
    assert!(all.len() > 60, "only {} operations", all.len());
    all
}

/// The description that the program prints.
pub fn printed() -> Value {
    let program = artefact("COSYGATE_BIN", "target/release/cosygate");
    let output = Command::new(program).arg("openapi").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

impl Operation {
    /// As in `GET /api/me`.
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The names in braces.
    pub fn placeholders(&self) -> Vec<&str> {
        self.path.split(['{', '}']).skip(1).step_by(2).collect()
    }

    /// The path with `value` in place of the braces.
    ///
    /// # Panics
    /// There are several, and nobody has said yet what to put into them.
    pub fn filled(&self, value: &str) -> String {
        let names = self.placeholders();
        assert!(names.len() <= 1, "{}: several places to fill", self.name());
        names.first().map_or(self.path.clone(), |name| self.path.replace(&format!("{{{name}}}"), value))
    }

    /// A JSON body that fits, if it takes one.
    pub fn body(&self) -> Option<Value> {
        let content = &self.about["requestBody"]["content"];
        content.get("application/json").map(|json| fitting(&json["schema"], &self.name()))
    }
}

/// Something of this schema.
///
/// # Panics
/// Nothing is known that would fit.
fn fitting(schema: &Value, whose: &str) -> Value {
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    if let Some(first) = schema["anyOf"].get(0) {
        return fitting(first, whose);
    }
    let kind = schema["type"].as_str().or(schema["type"][0].as_str());
    match kind {
        // Made by a device; without it, the request is whole.
        Some("object") if schema["properties"].is_null() && schema["type"].is_array() => Value::Null,
        Some("object") => {
            let members = schema["properties"].as_object().cloned().unwrap_or_default();
            members.iter().map(|(name, member)| (name.clone(), fitting(member, whose))).collect()
        }
        Some("array") => json!([fitting(&schema["items"], whose)]),
        Some("string") => json!("abc"),
        Some("integer" | "number") => json!(schema["minimum"].as_i64().unwrap_or(1).max(1)),
        Some("boolean") => json!(false),
        _ => panic!("{whose}: nothing is known that fits {schema}"),
    }
}
