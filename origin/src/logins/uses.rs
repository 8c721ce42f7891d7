//! When each login and each personal access token was used last.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::clock::is_id;

/// How coarse the time of the last use is, in milliseconds.
const GRAIN_MS: i64 = 60_000;
/// How many are remembered between two rounds of the housekeeper.
const MAX_REMEMBERED: usize = 100_000;

/// Uses since the housekeeper came by last, so that a request writes nothing.
#[derive(Default)]
pub struct Uses(Mutex<HashMap<String, i64>>);

impl Uses {
    /// Notes a use. What is no id of ours, or more than can be remembered, is left out.
    pub fn note(&self, id: &str, now_ms: i64) {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = now_ms / GRAIN_MS * GRAIN_MS;
        if let Some(known) = uses.get_mut(id) {
            *known = at.max(*known);
        } else if is_id(id) && uses.len() < MAX_REMEMBERED {
            uses.insert(id.to_owned(), at);
        }
    }

    /// Hands over what was noted, and forgets it.
    pub fn take(&self) -> Vec<(String, i64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drain().collect()
    }
}
