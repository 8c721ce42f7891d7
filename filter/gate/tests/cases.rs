//! The golden table, natively and in node.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cases::{Case, Expect};
use gate::bundle::Standing;
use gate::cache::TokenCache;
use gate::headers::Seen;
use gate::policy::Document;
use gate::{Gate, Request, Verdict, judge, token};
use wasm_bindgen_test::wasm_bindgen_test;

const NOW: u64 = 1_800_000_000;

fn verdict(gate: &Gate, cache: &mut TokenCache, case: &Case) -> Expect {
    let lower: Vec<(String, &str)> =
        case.headers.iter().map(|(name, value)| (name.to_lowercase(), value.as_str())).collect();
    let pseudo = [(":method", case.method.as_str()), (":path", &case.target), (":authority", "gate.example")];
    let headers: Vec<(&str, &[u8])> = pseudo
        .into_iter()
        .chain(lower.iter().map(|(name, value)| (name.as_str(), *value)))
        .map(|(name, value)| (name, value.as_bytes()))
        .collect();
    let request = Request {
        seen: &Seen::new(&headers),
        address: &|| "192.0.2.1".to_owned(),
        used_up: &|_| None,
        standing: Standing::default(),
    };
    match judge(gate, cache, request, NOW) {
        Verdict::Pass(pass) => Expect {
            user: pass.caller.as_ref().map(|caller| caller.user_id.clone()),
            role: pass.caller.as_ref().map(|caller| caller.role.clone()),
            ..Expect::default()
        },
        Verdict::Preflight(_) => Expect { preflight: true, ..Expect::default() },
        Verdict::Refuse(refusal) => Expect {
            code: Some(refusal.problem.code.as_str().to_owned()),
            cause: Some(refusal.problem.cause.to_owned()),
            challenge: refusal.problem.challenge.or(refusal.problem.allow),
            ..Expect::default()
        },
    }
}

fn check(file: &str, case: &Case, mut got: Expect) {
    let wanted = case.expect.clone();
    if wanted.cause.is_none() {
        got.cause = None;
    }
    if got.challenge.as_deref().unwrap_or_default().contains(wanted.challenge.as_deref().unwrap_or_default()) {
        got.challenge = wanted.challenge.clone();
    }
    assert_eq!(got, wanted, "{file}: {}", case.name);
}

#[wasm_bindgen_test(unsupported = test)]
fn every_case_gets_its_verdict() {
    let mut count = 0;
    for (file, suite) in cases::suites(NOW) {
        let document = Document::parse(suite.policy.to_string().as_bytes()).unwrap();
        let secret = |name: &str| (name == "CASES_SECRET").then(cases::secret);
        let gate = Gate::new(&document, &secret).unwrap();
        for case in &suite.cases {
            let mut cache = TokenCache::default();
            check(file, case, verdict(&gate, &mut cache, case));
            // Again, with whatever the cache now remembers: the verdict must not change.
            check(file, case, verdict(&gate, &mut cache, case));
            count += 1;
        }
    }
    println!("{count} cases judged twice");
    assert!(count > 100);
}

/// Every character of a sound token, changed, must end it; cached or not.
#[wasm_bindgen_test(unsupported = test)]
fn every_changed_character_is_noticed() {
    let (_, suite) = cases::suites(NOW).into_iter().find(|(file, _)| *file == "tokens.json").unwrap();
    let gate = Gate::new(&Document::parse(suite.policy.to_string().as_bytes()).unwrap(), &|_| None).unwrap();
    let sound = &suite.cases[0];
    let mut cache = TokenCache::default();
    assert_eq!(verdict(&gate, &mut cache, sound).user.as_deref(), Some("alice"));
    let value = sound.headers[0].1.clone();
    for place in "Bearer ".len()..value.len() {
        let mut bytes = value.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        let mut changed = sound.clone();
        changed.headers[0].1 = String::from_utf8(bytes).unwrap();
        assert_eq!(verdict(&gate, &mut cache, &changed).user, None, "at {place}");
        changed.headers[0].1 = value[..place].to_owned();
        assert_eq!(verdict(&gate, &mut cache, &changed).user, None, "cut at {place}");
    }
}

/// A changed bit in any byte of a signature must end the token, and so must one byte more or less,
/// for every algorithm.
#[wasm_bindgen_test(unsupported = test)]
fn every_changed_signature_is_noticed() {
    let (_, suite) = cases::suites(NOW).into_iter().find(|(file, _)| *file == "parity.json").unwrap();
    let secret = |name: &str| (name == "CASES_SECRET").then(cases::secret);
    let gate = Gate::new(&Document::parse(suite.policy.to_string().as_bytes()).unwrap(), &secret).unwrap();
    let mut cache = TokenCache::default();
    let mut algorithms = BTreeSet::new();
    for case in suite.cases.iter().filter(|case| case.expect.code.is_none()) {
        let (signed, signature) = case.headers[0].1.rsplit_once('.').unwrap();
        let algorithm = token::parse(case.headers[0].1.strip_prefix("Bearer ").unwrap()).unwrap().algorithm;
        if !algorithms.insert(format!("{algorithm:?}")) {
            continue;
        }
        assert!(verdict(&gate, &mut cache, case).user.is_some(), "{}", case.name);
        let sound = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let flipped = (0..sound.len()).map(|place| {
            let mut bytes = sound.clone();
            bytes[place] ^= 1 << (place % 8);
            bytes
        });
        let others = [
            sound[1..].to_vec(),
            sound[..sound.len() - 1].to_vec(),
            [&sound[..], &[0]].concat(),
            [&[0], &sound[..]].concat(),
        ];
        for (number, bytes) in flipped.chain(others).enumerate() {
            let mut changed = case.clone();
            changed.headers[0].1 = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes));
            let got = verdict(&gate, &mut cache, &changed).cause;
            assert_eq!(got.as_deref(), Some("signature does not hold"), "{}: change {number}", case.name);
        }
    }
    assert_eq!(algorithms.len(), 12, "{algorithms:?}");
}

/// The list in the crate and the folder must not drift apart.
#[cfg(not(target_arch = "wasm32"))]
#[test]
fn no_file_is_forgotten() {
    let other = ["key-sets.json", "keys.json", "reference.json", "seals.json"];
    let mut found: Vec<String> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json") && !other.contains(&name.as_str()))
        .collect();
    found.sort();
    let listed: Vec<&str> = cases::FILES.iter().map(|(name, _)| *name).collect();
    assert_eq!(found, listed);
}
