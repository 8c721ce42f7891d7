//! Writes what the fuzzer starts from into a folder: `seeds FOLDER`.
//!
//! `FOLDER/TARGET/…` are inputs out of the golden table, `FOLDER/TARGET.dict` the words that occur
//! in them.

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gate::keys::MAX_KEYS;
use gate_fuzz::table::{tables, tokens_of};
use serde_json::{Value, json};

const SHIPPED: &str = include_str!("../../../../../envoy/policy.json");
const SCHEMA: &str = include_str!("../../../../../envoy/policy.schema.json");
const WYCHEPROOF: [&str; 2] = [
    include_str!("../../../tests/wycheproof/json_web_key_test.json"),
    include_str!("../../../tests/wycheproof/json_web_signature_test.json"),
];
/// The longest word that is worth offering.
const MAX_WORD_BYTES: usize = 48;

fn main() {
    let folder = std::env::args_os().nth(1).expect("usage: seeds FOLDER");
    let folder = Path::new(&folder);
    let (tokens, claims) = tokens();
    write(folder, "token", tokens.into_iter().chain(claims.iter().map(Value::to_string)).map(String::into_bytes));
    write_words(folder, "token", &claims);
    let key_sets = key_sets();
    write(folder, "jwks", key_sets.iter().map(|set| set.to_string().into_bytes()));
    write_words(folder, "jwks", &key_sets);
    let policies = policies();
    write(folder, "policy", policies.iter().map(|policy| policy.to_string().into_bytes()));
    write_words(folder, "policy", &[&policies[..], &[serde_json::from_str(SCHEMA).unwrap()]].concat());
    // The first field of the input says which request of the table it starts from; zeros change nothing about it.
    let requests: usize = tables().iter().map(|table| table.suite.cases.len()).sum();
    let input = |case: usize| [&u16::try_from(case).unwrap().to_le_bytes()[..], &[0; 14]].concat();
    write(folder, "headers", (0..requests).map(input));
}

/// Every token of the table, sound or not, and the claims of those that can be read.
fn tokens() -> (BTreeSet<String>, Vec<Value>) {
    let tokens: BTreeSet<String> = tables().iter().flat_map(|table| &table.suite.cases).flat_map(tokens_of).collect();
    let payload = |token: &String| URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok();
    let claims = tokens.iter().filter_map(payload).filter_map(|bytes| serde_json::from_slice(&bytes).ok()).collect();
    (tokens, claims)
}

fn key_sets() -> Vec<Value> {
    let ours = tables().iter().flat_map(|table| table.suite.policy["issuers"].as_array().unwrap());
    let mut sets: Vec<Value> = ours.map(|issuer| issuer["keys"]["jwks"].clone()).filter(Value::is_object).collect();
    for file in WYCHEPROOF {
        let file: Value = serde_json::from_str(file).unwrap();
        for group in file["testGroups"].as_array().unwrap() {
            for key in [&group["public"], &group["private"]] {
                let is_set = key["keys"].is_array();
                sets.push(if is_set { key.clone() } else { json!({ "keys": [key] }) });
            }
        }
    }
    sets.extend(weak_keys().map(|key| json!({ "keys": [key] })));
    // As many keys as there may be, and one more.
    let key = &tables()[0].suite.policy["issuers"][0]["keys"]["jwks"]["keys"][0];
    for count in [MAX_KEYS, MAX_KEYS + 1] {
        let named =
            |number: usize| json!({"kty": key["kty"], "crv": key["crv"], "x": key["x"], "kid": number.to_string()});
        sets.push(json!({ "keys": (0..count).map(named).collect::<Vec<_>>() }));
    }
    sets
}

/// Keys for which anybody can sign, and some that are only strange.
fn weak_keys() -> impl Iterator<Item = Value> {
    let bytes = |first: u8, middle: u8, last: u8, size: usize| {
        let mut bytes = vec![middle; size];
        (bytes[0], bytes[size - 1]) = (first, last);
        URL_SAFE_NO_PAD.encode(bytes)
    };
    let points = [bytes(0, 0, 0, 32), bytes(1, 0, 0, 32), bytes(1, 0, 0x80, 32), bytes(0xec, 0xff, 0x7f, 32)];
    let edwards = points.map(|x| json!({"kty": "OKP", "crv": "Ed25519", "x": x}));
    let zero = |size| bytes(0, 0, 0, size);
    let curves = [("P-256", 32), ("P-384", 48)]
        .map(|(curve, size)| json!({"kty": "EC", "crv": curve, "x": zero(size), "y": zero(size)}));
    let moduli = [bytes(0xab, 0xab, 0xab, 256), bytes(0xab, 0xab, 0xaa, 256), bytes(0x80, 0, 1, 256)];
    let rsa =
        moduli.into_iter().flat_map(|n| ["AQAB", "AQ", "Aw", "AQAA"].map(|e| json!({"kty": "RSA", "n": n, "e": e})));
    edwards.into_iter().chain(curves).chain(rsa)
}

fn policies() -> Vec<Value> {
    let shipped = serde_json::from_str(SHIPPED).unwrap();
    tables().iter().map(|table| table.suite.policy.clone()).chain([shipped]).collect()
}

fn write(folder: &Path, target: &str, seeds: impl Iterator<Item = Vec<u8>>) {
    let folder = folder.join(target);
    std::fs::create_dir_all(&folder).unwrap();
    for (number, seed) in seeds.enumerate() {
        std::fs::write(folder.join(format!("seed-{number:03}")), seed).unwrap();
    }
}

/// Member names and short strings, as libFuzzer reads a dictionary.
fn write_words(folder: &Path, target: &str, values: &[Value]) {
    let mut words = BTreeSet::new();
    for value in values {
        collect(value, &mut words);
    }
    let line = |word: &Value| format!("\"{}\"\n", word.to_string().replace('\\', "\\\\").replace('"', "\\\""));
    let text: String = words
        .iter()
        .filter(|word| word.len() <= MAX_WORD_BYTES && word.bytes().all(|byte| (0x20..0x7f).contains(&byte)))
        .map(|word| line(&json!(word)))
        .collect();
    std::fs::write(folder.join(format!("{target}.dict")), text).unwrap();
}

fn collect(value: &Value, words: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => drop(words.insert(text.clone())),
        Value::Array(values) => values.iter().for_each(|value| collect(value, words)),
        Value::Object(members) => {
            for (name, value) in members {
                words.insert(name.clone());
                collect(value, words);
            }
        }
        _ => {}
    }
}
