//! Project Wycheproof's signatures and what must become of each. The gate's tests read this
//! natively and in node, the end-to-end tests for the program, so there is one expectation.

use serde_json::Value;

const SIGNATURES: &str = include_str!("json_web_signature_test.json");

/// How many signatures there are.
pub(crate) const COUNT: usize = 401;

/// Marked valid although their HMAC does not match the text.
const MISMARKED: [u64; 2] = [372, 373];

/// Marked invalid although their text is, byte for byte, that of case 357, which is valid.
const TWINS_OF_VALID: [u64; 2] = [367, 370];

/// The key is bound to PS256 by its `alg`, and the text is signed with PS384; we hold keys to
/// what they say.
const STRICTER: [u64; 2] = [346, 350];

/// Valid, with keys on P-521, which is not supported.
const UNSUPPORTED: [u64; 2] = [347, 351];

/// Texts that are judged by one key.
pub(crate) struct Group {
    /// As an issuer would publish it; of a symmetric key, the secret itself.
    pub(crate) key: Value,
    /// The texts.
    pub(crate) vectors: Vec<Vector>,
}

/// One text.
pub(crate) struct Vector {
    /// Its number.
    pub(crate) id: u64,
    /// What it shows.
    pub(crate) comment: String,
    /// Mostly in the compact serialisation; some are only meant to look like it.
    pub(crate) text: String,
    /// Whether its signature must hold.
    pub(crate) holds: bool,
}

/// Every signature, by key.
pub(crate) fn groups() -> Vec<Group> {
    let vectors: Value = serde_json::from_str(SIGNATURES).unwrap();
    vectors.get("testGroups").and_then(Value::as_array).unwrap().iter().map(group).collect()
}

fn group(group: &Value) -> Group {
    let key = if group["public"].is_object() { &group["public"] } else { &group["private"] };
    let vectors = group["tests"].as_array().unwrap().iter().map(vector).collect();
    Group { key: key.clone(), vectors }
}

fn vector(test: &Value) -> Vector {
    let id = test["tcId"].as_u64().unwrap();
    let valid = (test["result"] == "valid" && !MISMARKED.contains(&id)) || TWINS_OF_VALID.contains(&id);
    Vector {
        id,
        comment: test["comment"].as_str().unwrap().to_owned(),
        text: test["jws"].as_str().unwrap().to_owned(),
        holds: valid && !STRICTER.contains(&id) && !UNSUPPORTED.contains(&id),
    }
}
