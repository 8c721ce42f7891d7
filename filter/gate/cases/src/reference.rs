//! The reference library, Envoy's own JWT library with the filter that uses it, test by test.
//!
//! Nothing of it is here but the names of its tests, as `family/name`. Each stands beside a case
//! of ours that is about the same, with what the library does there, or in `reference.json` with
//! the reason why no case can be.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use crate::{sets, suites};

/// What the library does with a case, by which of its tests.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// The tests in which it accepts; or the one word `source`, where its code says so and no test.
    #[serde(default)]
    pub accepts: BTreeSet<String>,
    /// The tests in which it refuses.
    #[serde(default)]
    pub refuses: BTreeSet<String>,
    /// The kind of difference, where our verdict is the other one.
    #[serde(default)]
    pub differs: Option<String>,
}

/// The file beside this crate.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// What the file is about.
    pub about: String,
    /// The library's tests by family.
    pub families: BTreeMap<String, Family>,
    /// The kinds of difference and their reasons.
    pub differences: BTreeMap<String, Difference>,
    /// Settings that are refused before any request is judged.
    pub policies: Vec<Policy>,
    /// Tests that no case can stand for, by reason.
    pub not_applicable: BTreeMap<String, BTreeSet<String>>,
}

/// A family of tests.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// What they are about.
    pub about: String,
    /// How many there are.
    pub tests: usize,
}

/// Where the two do not agree.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// Which of the two accepts it.
    pub accepted_by: Side,
    /// Why ours is so.
    pub because: String,
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The reference library.
    Reference,
    /// This gate.
    Gate,
}

/// A setting of an issuer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// What it shows.
    pub name: String,
    /// Members that the first issuer of `parity.json` gets.
    pub issuer: serde_json::Map<String, Value>,
    /// A part of the reason with which the policy is refused.
    pub refused: String,
    /// What the library does.
    pub reference: Reference,
}

/// Reads the file.
pub fn inventory() -> Inventory {
    serde_json::from_str(include_str!("../reference.json")).unwrap()
}

/// Everything of ours that a test of the library is about: what it is, whether we accept it, and
/// what the library does.
pub fn compared() -> Vec<(String, bool, Reference)> {
    let requests = suites(0).into_iter().flat_map(|(file, suite)| {
        suite
            .cases
            .into_iter()
            .map(move |case| (format!("{file}: {}", case.name), case.expect.code.is_none(), case.reference))
    });
    let sets =
        sets::all().into_iter().map(|set| (format!("key set: {}", set.name), set.refused.is_none(), set.reference));
    let policies = inventory()
        .policies
        .into_iter()
        .map(|policy| (format!("policy: {}", policy.name), false, Some(policy.reference)));
    requests.chain(sets).chain(policies).filter_map(|(name, ours, theirs)| Some((name, ours, theirs?))).collect()
}
