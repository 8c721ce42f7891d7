//! The reference library's tests against our verdicts, and hostile key sets, natively and in node.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cases::reference::{self, Side};
use cases::sets;
use gate::Gate;
use gate::keys::{Algorithm, KeySet};
use gate::policy::Document;
use serde_json::Value;
use wasm_bindgen_test::wasm_bindgen_test;

const SIGNED: &str = "eyJhbGciOiJub3QgbG9va2VkIGF0In0.e30";

/// Says more than whether: which keys and algorithms the set is good for, no others.
#[wasm_bindgen_test(unsupported = test)]
fn every_key_set_is_good_for_what_it_says() {
    let signatures: Vec<(&str, &str, Vec<u8>)> = sets::PAIRS
        .iter()
        .map(|(key, name)| (*key, *name, URL_SAFE_NO_PAD.decode(sets::signature(key, name, SIGNED)).unwrap()))
        .collect();
    let (mut good, mut refused) = (0, 0);
    for set in sets::all() {
        let text = set.text();
        let check = |outcome: Result<KeySet, String>, refused: Option<&String>| match (outcome, refused) {
            (Ok(keys), None) => {
                for (key, name, signature) in &signatures {
                    let algorithm = Algorithm::from_name(name).unwrap();
                    let got = keys.verify(algorithm, Some(key), SIGNED, signature);
                    assert_eq!(got, set.holds(key, name), "{}: {key} {name}", set.name);
                }
            }
            (Err(reason), Some(wanted)) => assert!(reason.contains(wanted), "{}: {reason}", set.name),
            (outcome, wanted) => panic!("{}: {:?} instead of {wanted:?}", set.name, outcome.map(|_| "good")),
        };
        check(KeySet::from_published(text.as_bytes()), set.refused.as_ref());
        // A policy is read as strictly before its keys are.
        if set.refused.as_deref() != Some("not one strict JSON object") {
            let jwks: Value = serde_json::from_str(&text).unwrap();
            check(KeySet::from_jwks(&jwks), set.in_policy.as_ref().or(set.refused.as_ref()));
        }
        if set.refused.is_none() { good += 1 } else { refused += 1 }
    }
    println!("{good} key sets are good, {refused} are refused");
    says(&format!("the {} key sets", good + refused));
    assert!(good >= 15 && refused >= 65, "{good} {refused}");
}

#[wasm_bindgen_test(unsupported = test)]
fn what_the_library_takes_for_any_is_no_policy() {
    let suite = cases::suites(1).into_iter().find(|(file, _)| *file == "parity.json").unwrap().1;
    for policy in reference::inventory().policies {
        let mut changed = suite.policy.clone();
        for (name, value) in policy.issuer {
            changed["issuers"][0][name] = value;
        }
        let refusal = Document::parse(changed.to_string().as_bytes())
            .and_then(|document| Gate::new(&document, &|_| Some(cases::secret())))
            .err()
            .unwrap_or_else(|| panic!("{}: not refused", policy.name));
        assert!(refusal.to_string().contains(&policy.refused), "{}: {refusal}", policy.name);
    }
}

/// Every one of its tests is considered; and wherever a case of ours is about the same, the two
/// agree, or the difference is one of those that are written down, in the direction that is
/// written down.
#[wasm_bindgen_test(unsupported = test)]
fn accepted_and_refused_as_the_reference_library_does() {
    let inventory = reference::inventory();
    let (mut agreed, mut different): (BTreeSet<String>, BTreeMap<String, BTreeSet<String>>) = Default::default();
    for (name, ours, theirs) in reference::compared() {
        assert!(theirs.accepts.is_empty() != theirs.refuses.is_empty(), "{name}: one of the two");
        let accepts = !theirs.accepts.is_empty();
        let tests = theirs.accepts.into_iter().chain(theirs.refuses);
        match theirs.differs {
            None => {
                assert_eq!(ours, accepts, "{name}: a difference that is not written down");
                agreed.extend(tests);
            }
            Some(kind) => {
                let written = inventory.differences.get(&kind).unwrap_or_else(|| panic!("{name}: what is {kind}?"));
                assert_eq!(ours, written.accepted_by == Side::Gate, "{name}");
                assert_eq!(accepts, written.accepted_by == Side::Reference, "{name}");
                different.entry(kind).or_default().extend(tests);
            }
        }
    }
    assert!(different.keys().eq(inventory.differences.keys()), "a kind of difference that no case shows");
    let ours_only = inventory.differences.values().filter(|difference| difference.accepted_by == Side::Gate).count();
    assert!(ours_only <= 1 && different.len() - ours_only <= 10, "{different:?}");

    for (kind, difference) in &inventory.differences {
        let tests = different[kind].iter().filter(|test| *test != "source").count();
        match difference.accepted_by {
            Side::Reference => says(&format!("| {tests} | {} |", difference.because)),
            Side::Gate => says(&difference.because),
        }
    }
    for (reason, tests) in &inventory.not_applicable {
        says(&format!("| {} | {reason} |", tests.len()));
    }

    let apart: BTreeSet<String> = different.into_values().flatten().filter(|test| test != "source").collect();
    let agreed: BTreeSet<String> = agreed.into_iter().filter(|test| test != "source").collect();
    let not_applicable: BTreeSet<String> = inventory.not_applicable.into_values().flatten().collect();
    let compared: BTreeSet<&String> = agreed.union(&apart).collect();
    assert!(not_applicable.iter().all(|test| !compared.contains(test)), "either has a case or has none");
    for (name, family) in &inventory.families {
        let of_family = |test: &&String| test.split_once('/').is_some_and(|(prefix, _)| prefix == name);
        let count = compared.iter().copied().chain(&not_applicable).filter(of_family).count();
        assert_eq!(count, family.tests, "{name}: {}", family.about);
    }
    let total: usize = inventory.families.values().map(|family| family.tests).sum();
    assert_eq!(total, compared.len() + not_applicable.len(), "a test of no family");
    let (same, apart) = (agreed.difference(&apart).count(), apart.len());
    println!(
        "{total} tests of the reference library: {same} agree, {apart} show a difference that is written down, {} not applicable",
        not_applicable.len()
    );
    says(&format!("{total} in all"));
    says(&format!("in {same} both accept, or both refuse; {apart} show one"));
    says(&format!("{} are not applicable", not_applicable.len()));
}

fn says(text: &str) {
    assert!(include_str!("../../../docs/SECURITY.md").contains(text), "docs/SECURITY.md does not say: {text}");
}
