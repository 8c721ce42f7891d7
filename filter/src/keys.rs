//! Keys that are fetched from an issuer, once for all workers.
//!
//! The worker that finds a fetch due and wins the lease asks; what it gets it puts into shared
//! data, where every worker finds it at its next tick. Only a set that was read and found sound
//! gets there, so whatever an issuer's server answers, the last good set stays.

use std::collections::HashMap;
use std::time::Duration;

use gate::Gate;
use gate::fetch::{self, Board, Source};
use gate::keys::KeySet;
use gate::policy::CompiledIssuer;

use crate::host::{self, Map};
use crate::metrics::label;
use crate::shared;
use crate::worker::WORKER;

/// What one configuration knows of the places that keys come from.
#[derive(Default)]
pub(crate) struct Fetcher {
    /// When the set in use was fetched, by place.
    known: HashMap<String, u64>,
    /// Fetches under way.
    calls: HashMap<u32, Source>,
}

/// All places that a policy and its shadow fetch keys from, each once.
fn sources(gate: &Gate) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for issuer in gate.issuers.iter().chain(gate.shadow.iter().flat_map(|shadow| &shadow.issuers)) {
        if let Some(source) = &issuer.source
            && !sources.iter().any(|known| known.place() == source.place())
        {
            sources.push(source.clone());
        }
    }
    sources
}

fn board_name(place: &str) -> String {
    format!("cosygate/1/keys/board/{place}")
}

fn set_name(place: &str) -> String {
    format!("cosygate/1/keys/set/{place}")
}

/// Tells all workers that a token named a key that an issuer's set lacks.
pub(crate) fn miss(issuer: &CompiledIssuer, now_s: u64) {
    let Some(source) = &issuer.source else { return };
    // If it cannot be told, the next such token tells it.
    let _ = shared::update(&board_name(&source.place()), |cell| {
        ((), Board::read(cell).missed(now_s).map(|board| board.write()))
    });
}

impl Fetcher {
    /// Begins every fetch that is due and that no other worker has begun.
    pub(crate) fn refresh(&mut self, gate: &Gate, now_s: u64) {
        for source in sources(gate) {
            let place = source.place();
            let Ok((cell, version)) = shared::read(&board_name(&place)) else { continue };
            if let Some(taken) = Board::read(&cell).take_up(&source, now_s)
                && host::set_shared(&board_name(&place), &taken.write(), version).is_ok()
            {
                self.fetch(source, &place);
            }
        }
    }

    /// The policy with the keys that have come since, if any have.
    pub(crate) fn load(&mut self, gate: &Gate) -> Option<Gate> {
        let mut changed: Option<Gate> = None;
        for source in sources(gate) {
            let place = source.place();
            let Ok((cell, _)) = shared::read(&board_name(&place)) else { continue };
            let fetched_at = Board::read(&cell).fetched_at;
            if fetched_at == 0 || self.known.get(&place) == Some(&fetched_at) {
                continue;
            }
            let Ok((text, _)) = shared::read(&set_name(&place)) else { continue };
            let Ok(keys) = KeySet::from_published(&text) else { continue };
            self.known.insert(place.clone(), fetched_at);
            let gate = changed.get_or_insert_with(|| gate.clone());
            let shadow = gate.shadow.iter_mut().flat_map(|shadow| &mut shadow.issuers);
            for issuer in gate.issuers.iter_mut().chain(shadow) {
                if issuer.source.as_ref().is_some_and(|other| other.place() == place) {
                    issuer.keys.clone_from(&keys);
                    issuer.fetched_at = Some(fetched_at);
                }
            }
        }
        changed
    }

    fn fetch(&mut self, source: Source, place: &str) {
        let timeout = Duration::from_secs(fetch::TIMEOUT_S);
        match host::call(&source.cluster, &source.authority, &source.path, &[("accept", "application/json")], timeout) {
            Some(call) => {
                self.calls.insert(call, source);
            }
            None => finish(place, Err("this Envoy has no such cluster")),
        }
    }

    /// Takes an answer to a fetch of ours.
    pub(crate) fn answered(&mut self, call: u32, size: usize) {
        let Some(source) = self.calls.remove(&call) else { return };
        finish(&source.place(), answer(size));
    }
}

/// The text of the set that was sent, if it is sound.
fn answer(size: usize) -> Result<Vec<u8>, String> {
    let status = host::header(Map::CallResponse, ":status").unwrap_or_default();
    if status != b"200" {
        return Err(if status.is_empty() {
            "no answer in time".to_owned()
        } else {
            format!("status {}", String::from_utf8_lossy(&status))
        });
    }
    if size > fetch::MAX_BYTES {
        return Err(format!("{size} bytes are too many"));
    }
    let text = host::call_response_body(size).map_err(|error| format!("{error:?}"))?;
    KeySet::from_published(&text)?;
    Ok(text)
}

/// Publishes what came of a fetch.
fn finish(place: &str, answer: Result<Vec<u8>, impl std::fmt::Display>) {
    let outcome = match answer {
        Ok(text) => {
            let known = shared::read(&set_name(place)).is_ok_and(|(known, _)| known == text);
            // The text first: who reads the board finds it there.
            if !known && host::set_shared(&set_name(place), &text, host::ANY).is_err() {
                return;
            }
            if known { "unchanged" } else { "fetched" }
        }
        Err(reason) => {
            log::warn!("cosygate: no keys from {place}: {reason}");
            "failed"
        }
    };
    let now_s = host::now_ns().unwrap_or_default() / 1_000_000_000;
    let _ = shared::update(&board_name(place), |cell| {
        let board = Board::read(cell);
        let board = if outcome == "failed" { board.failed() } else { board.succeeded(now_s) };
        ((), Some(board.write()))
    });
    let from = label(place);
    WORKER.with(|worker| {
        worker.names.count(&format!("cosygate_edge_key_fetches_total|source={from}|outcome={outcome}|"), 1);
    });
}
