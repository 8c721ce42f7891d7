//! A policy on trial: in force at some edges, or judged beside the one in force.

use gate::policy::Document;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Which edges try a policy, and how. An edge that any of the three names tries it; if none names
/// one, all do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// All edges of these regions.
    #[serde(default)]
    pub regions: Vec<String>,
    /// Edges of these names.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// So many of a hundred, always the same ones.
    #[serde(default)]
    pub percent: Option<u8>,
    /// As the shadow of the policy in force: judged and counted, never enforced.
    #[serde(default)]
    pub shadow: bool,
}

impl Trial {
    /// Whether the edge of this name in this region tries it.
    pub fn concerns(&self, region: &str, node: &str) -> bool {
        let is_for_all = self.regions.is_empty() && self.nodes.is_empty() && self.percent.is_none();
        is_for_all
            || self.regions.iter().any(|named| named == region)
            || self.nodes.iter().any(|named| named == node)
            || self.percent.is_some_and(|percent| lot(region, node) < percent)
    }

    /// What an edge on trial judges by, when `stable` is in force everywhere else.
    pub fn policy(&self, stable: &Document, tried: Document) -> Document {
        if !self.shadow {
            return tried;
        }
        let shadow = Some(Box::new(Document { shadow: None, ..tried }));
        Document { shadow, ..stable.clone() }
    }
}

/// The lot that an edge has drawn, 0 to 99.
fn lot(region: &str, node: &str) -> u8 {
    let drawn = Sha256::digest(format!("{region}/{node}"));
    let number = drawn.iter().take(4).fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
    u8::try_from(number % 100).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_is_on_trial_when_anything_names_it() {
        let all = Trial::default();
        assert!(all.concerns("north", "e1"));
        let some = Trial { regions: vec!["north".to_owned()], nodes: vec!["e7".to_owned()], ..Trial::default() };
        assert!(some.concerns("north", "e1") && some.concerns("south", "e7") && !some.concerns("south", "e1"));
        let of_a_hundred = |percent: u8| {
            let trial = Trial { percent: Some(percent), ..Trial::default() };
            (0..1000).filter(|number| trial.concerns("north", &number.to_string())).count()
        };
        assert_eq!((of_a_hundred(0), of_a_hundred(100)), (0, 1000));
        assert!((150..250).contains(&of_a_hundred(20)), "{}", of_a_hundred(20));
        // Whoever is in at ten of a hundred is in at twenty.
        let at = |percent| Trial { percent: Some(percent), ..Trial::default() };
        assert!(
            (0..100)
                .map(|number| number.to_string())
                .all(|node| !at(10).concerns("n", &node) || at(20).concerns("n", &node))
        );
    }
}
