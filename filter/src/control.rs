//! Following the control plane: one worker asks for bundles, all judge by what it gets.
//!
//! The worker that leads asks with a long poll, and what holds goes into shared data, where every
//! worker finds it at its next tick. What does not hold changes nothing: the last good policy
//! stays, and the next question tells the control plane why.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::{Duration, UNIX_EPOCH};

use gate::bundle::{self, Bundle, Refused, Standing, Version};
use gate::claims::percent_encoded;
use gate::follow::{self, Pointer};
use gate::identity::{self, CONTROL_AUDIENCE, KeyRing, Sealed};
use gate::keys::KeySet;
use gate::status::{self, Lists, MAX_LISTS, Withdrawn};
use serde::Deserialize;
use serde_json::Value;

use crate::host::{self, Map};
use crate::shared;
use crate::worker::WORKER;

/// How long the leader waits for the other workers before it asks again.
const SETTLE_MS: u64 = 1000;
/// How long a status list may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest error that is reported, in bytes.
const MAX_ERROR_BYTES: usize = 200;

/// Where the control plane is, and how it is known to be the right one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Envoy's name of the cluster.
    cluster: String,
    /// The host that is asked for.
    authority: String,
    /// The public root keys as a JWK Set: the current one, and the next one before it takes over.
    roots: Value,
}

/// What one worker knows of the control plane.
pub(crate) struct Follower {
    settings: Settings,
    roots: KeySet,
    region: String,
    /// The name of this Envoy.
    node: String,
    /// What is in force here, or the least that may be.
    version: Version,
    rev: u64,
    /// The bundle in force, by name; empty if there is none.
    tag: String,
    expires_at: u64,
    /// The status lists that it names, as far as they are here.
    lists: Lists,
    /// All of them are.
    has_lists: bool,
    is_caught_up: bool,
    /// Some worker of this Envoy has heard of the control plane.
    has_heard: bool,
    /// The question under way, and when it was asked, in seconds.
    call: Option<(u32, u64)>,
    /// How far the clock is ahead of the control plane's, in seconds.
    clock_offset_s: i64,
    /// A bundle that waits for status lists, and its text.
    waiting: Option<(Bundle, Vec<u8>)>,
    /// The questions for them that are under way, by the name of the list.
    list_calls: HashMap<u32, String>,
    /// Failures in a row.
    failures: u32,
    /// Not to ask before this.
    ask_at_ms: u64,
    /// Other workers are waited for until this.
    settled_at_ms: u64,
    /// What was wrong with the last bundle.
    error: String,
}

impl Follower {
    /// Reads the settings and the seed, a bundle that was signed when the configuration was
    /// written. Returns it, too: it is in force until there is a newer one, and nothing older
    /// will ever be.
    pub(crate) fn new(settings: Settings, region: &str, seed: Option<&str>) -> Result<(Self, Option<Bundle>), String> {
        let roots = KeySet::from_jwks(&settings.roots).map_err(|reason| format!("roots: {reason}"))?;
        let seed = seed.map(|seed| bundle::open(seed.as_bytes(), &roots, region)).transpose();
        let seed = seed.map_err(|refused| format!("seed: {refused}"))?;
        let node = host::property(&["xds", "node", "id"]).unwrap_or_default();
        let mut follower = Self {
            settings,
            roots,
            region: region.to_owned(),
            node: String::from_utf8_lossy(&node).into_owned(),
            version: Version::default(),
            rev: 0,
            tag: String::new(),
            expires_at: 0,
            lists: Lists::default(),
            has_lists: true,
            is_caught_up: false,
            has_heard: false,
            call: None,
            clock_offset_s: 0,
            waiting: None,
            list_calls: HashMap::new(),
            failures: 0,
            ask_at_ms: 0,
            settled_at_ms: 0,
            error: String::new(),
        };
        if let Some(seed) = &seed {
            follower.take(seed);
        }
        Ok((follower, seed))
    }

    /// How far the policy in force can be relied on.
    pub(crate) fn standing(&self) -> Standing {
        Standing { expires_at: self.expires_at, is_caught_up: self.is_caught_up, clock_offset_s: self.clock_offset_s }
    }

    /// What a bundle withdraws.
    pub(crate) fn withdrawn(&self, bundle: &Bundle) -> Withdrawn {
        let mut lists = self.lists.clone();
        lists.keep(&bundle.lists);
        Withdrawn { named: bundle.revocation.clone(), lists }
    }

    /// Notes that a bundle is in force here.
    pub(crate) fn take(&mut self, bundle: &Bundle) {
        self.lists.keep(&bundle.lists);
        self.has_lists = self.missing(bundle).is_empty();
        self.version = bundle.version();
        self.rev = bundle.rev;
        self.tag.clone_from(&bundle.jti);
        self.expires_at = bundle.exp;
        self.is_caught_up |= self.has_heard && self.has_lists;
    }

    /// The bundle that the leader has put in place since, if it has. [`Self::take`] it.
    pub(crate) fn newer(&mut self) -> Option<Bundle> {
        // Asked first: whoever knows that somebody has heard must find what was heard.
        self.has_heard |= shared::read(&self.name("heard")).is_ok_and(|(cell, _)| !cell.is_empty());
        if let Ok((cell, _)) = shared::read(&self.name("clock")) {
            self.clock_offset_s = follow::read_clock(&cell);
        }
        let (cell, _) = shared::read(&self.name("pointer")).ok()?;
        let pointer = Pointer::read(&cell);
        if pointer.version < self.version || pointer.version == self.version && self.has_lists {
            self.is_caught_up |= self.has_heard && self.has_lists;
            return None;
        }
        let (text, _) = shared::read(&self.slot(pointer)).ok()?;
        let bundle = bundle::open(&text, &self.roots, &self.region).ok()?;
        // Otherwise a slot has been written anew, and the pointer will follow.
        (bundle.version() == pointer.version && self.load_lists(&bundle)).then_some(bundle)
    }

    /// The status lists that a bundle names and that are not here, or too old.
    fn missing<'a>(&self, bundle: &'a Bundle) -> Vec<(&'a str, u64)> {
        let named = bundle.lists.iter().map(|(uri, serial)| (uri.as_str(), *serial));
        named.filter(|(uri, serial)| !self.lists.has(uri, *serial)).collect()
    }

    /// Takes over the lists that another worker has fetched for a bundle; whether all are here.
    fn load_lists(&mut self, bundle: &Bundle) -> bool {
        for (uri, _) in self.missing(bundle) {
            if let Ok((text, _)) = shared::read(&self.list_slot(uri))
                && let Ok(list) = status::open(&text, &self.roots, uri)
            {
                self.lists.put(uri, list);
            }
        }
        self.missing(bundle).is_empty()
    }

    /// Asks for the status lists that a bundle needs and nobody here has; gives it back if there
    /// are none.
    pub(crate) fn gather(
        &mut self,
        bundle: Bundle,
        text: Vec<u8>,
        ring: &KeyRing,
        now_ms: u64,
    ) -> Option<(Bundle, Vec<u8>)> {
        if self.load_lists(&bundle) {
            return Some((bundle, text));
        }
        for (uri, serial) in self.missing(&bundle) {
            let target = format!("/internal/edge/list?uri={}&serial={serial}", percent_encoded(uri));
            let call = self.call(&target, &[], LIST_TIMEOUT, ring, now_ms);
            // One that cannot be asked for is missed when the others have come.
            self.list_calls.extend(call.map(|call| (call, uri.to_owned())));
        }
        self.waiting = Some((bundle, text));
        self.gathered(now_ms)
    }

    /// Whether an answer is a status list that this worker asked for. If it was the last one, the
    /// bundle that has waited for it comes back.
    pub(crate) fn listed(&mut self, call: u32, size: usize, now_ms: u64) -> Option<Option<(Bundle, Vec<u8>)>> {
        let uri = self.list_calls.remove(&call)?;
        let text = host::call_response_body(size.min(status::MAX_TEXT_BYTES + 1)).unwrap_or_default();
        if let Ok(list) = status::open(&text, &self.roots, &uri) {
            self.lists.put(&uri, list);
            // Workers that do not find it there do not take over the bundle.
            let _ = host::set_shared(&self.list_slot(&uri), &text, host::ANY);
        }
        Some(self.gathered(now_ms))
    }

    fn gathered(&mut self, now_ms: u64) -> Option<(Bundle, Vec<u8>)> {
        if !self.list_calls.is_empty() {
            return None;
        }
        let (bundle, text) = self.waiting.take()?;
        let missing = self.missing(&bundle).first().map(|(uri, serial)| format!("{uri} at {serial}"));
        match missing {
            None => Some((bundle, text)),
            Some(missing) => {
                self.failed("list", missing, now_ms);
                None
            }
        }
    }

    /// Gives a sign of life, and asks if it is this worker's turn and time.
    pub(crate) fn tick(&mut self, worker: u32, ring: &KeyRing, now_ms: u64) {
        let roll = shared::update(&self.name("roll"), |cell| {
            let roll = follow::enrol(cell, worker, self.version, now_ms);
            (roll.clone(), Some(roll))
        });
        let leads = shared::update(&self.name("lead"), |cell| {
            let lease = follow::lead(cell, worker, now_ms);
            (lease.is_some(), lease)
        });
        if !matches!(leads, Ok(true)) || self.is_asking() || follow::is_ahead(self.ask_at_ms, now_ms) {
            return;
        }
        let oldest = roll.ok().and_then(|roll| follow::oldest(&roll, now_ms)).unwrap_or_default();
        if oldest < self.version && follow::is_ahead(self.settled_at_ms, now_ms) {
            return;
        }
        self.ask(oldest, ring, now_ms);
    }

    /// Asks for a newer bundle, and tells what all workers here judge by.
    fn ask(&mut self, oldest: Version, ring: &KeyRing, now_ms: u64) {
        let is_clock_sound = self.standing().is_clock_sound();
        let error = if is_clock_sound { &self.error } else { &self.clock_error() };
        let target = format!(
            "/internal/edge/bundle?node={}&serial={}&rev={}&error={}",
            percent_encoded(&self.node),
            oldest.serial,
            self.rev,
            percent_encoded(error),
        );
        let tag = format!("\"{}\"", self.tag);
        let wait = format!("wait={}", if is_clock_sound { follow::WAIT_S } else { 1 });
        let mut headers = vec![("prefer", wait.as_str())];
        // Only a bundle proves who answers, so the first answer has to be one.
        if self.is_caught_up {
            headers.push(("if-none-match", &tag));
        }
        let timeout = Duration::from_secs(follow::TIMEOUT_S);
        self.call = self.call(&target, &headers, timeout, ring, now_ms).map(|call| (call, now_ms / 1000));
        if self.call.is_none() {
            self.failed("no cluster", "this Envoy has no such cluster".to_owned(), now_ms);
        }
    }

    /// Whether an answer is waited for.
    fn is_asking(&self) -> bool {
        self.call.is_some() || !self.list_calls.is_empty()
    }

    /// Asks the control plane, sealed as this edge's own question.
    fn call(
        &self,
        target: &str,
        headers: &[(&str, &str)],
        timeout: Duration,
        ring: &KeyRing,
        now_ms: u64,
    ) -> Option<u32> {
        // The control plane listens only to seals of its own time.
        let now_s = (now_ms / 1000).saturating_add_signed(-self.clock_offset_s);
        let sealed = ring.seal(&Sealed {
            iss: bundle::audience(&self.region).into(),
            aud: CONTROL_AUDIENCE.into(),
            sub: None,
            sub_iss: None,
            role: None,
            scope: None,
            sid: None,
            auth_time: None,
            rev: self.rev,
            jti: random().to_string().into(),
            iat: now_s,
            exp: now_s + 30,
            htm: "GET".into(),
            htu: target.into(),
        })?;
        let headers = [&[(identity::HEADER, sealed.as_str())], headers].concat();
        host::call(&self.settings.cluster, &self.settings.authority, target, &headers, timeout)
    }

    /// Whether an answer is to a question of this worker's.
    pub(crate) fn asked(&mut self, call: u32, now_ms: u64) -> bool {
        let Some((_, asked_s)) = self.call.take_if(|(asked, _)| *asked == call) else { return false };
        self.compare_clocks(asked_s, now_ms / 1000);
        true
    }

    /// Compares the clock with that of whoever answered, whatever else the answer says.
    fn compare_clocks(&mut self, asked_s: u64, now_s: u64) {
        let date = host::header(Map::CallResponse, "date").unwrap_or_default();
        let date = std::str::from_utf8(&date).ok().and_then(|date| httpdate::parse_http_date(date).ok());
        let Some(date) = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok()) else { return };
        let was_sound = self.standing().is_clock_sound();
        self.clock_offset_s = follow::clock_offset_s(asked_s, now_s, date.as_secs());
        let _ = host::set_shared(&self.name("clock"), &follow::write_clock(self.clock_offset_s), host::ANY);
        match (was_sound, self.standing().is_clock_sound()) {
            (true, false) => log::error!("cosygate: everything is refused, {}", self.clock_error()),
            (false, true) => log::info!("cosygate: the clock is right again"),
            _ => {}
        }
    }

    fn clock_error(&self) -> String {
        let way = if self.clock_offset_s > 0 { "ahead of" } else { "behind" };
        format!("clock: {} seconds {way} the control plane", self.clock_offset_s.unsigned_abs())
    }

    /// The bundle of an answer, if it is newer and holds. [`Self::publish`] it, or say that it
    /// [`Self::failed`].
    pub(crate) fn answered(&mut self, size: usize, now_ms: u64) -> Option<(Bundle, Vec<u8>)> {
        let status = host::header(Map::CallResponse, ":status").unwrap_or_default();
        match status.as_slice() {
            b"200" => {}
            b"304" if self.is_caught_up => {
                self.heard("unchanged");
                return None;
            }
            b"" => {
                self.failed("unreachable", "no answer in time".to_owned(), now_ms);
                return None;
            }
            other => {
                self.failed("unreachable", format!("status {}", String::from_utf8_lossy(other)), now_ms);
                return None;
            }
        }
        match self.read(size, now_ms / 1000) {
            Ok((bundle, _)) if bundle.version() == self.version && self.has_lists => {
                // The same again: nothing to do, and no hurry to ask for more but at the start.
                let was_caught_up = self.is_caught_up;
                self.heard("unchanged");
                self.ask_at_ms = if was_caught_up { now_ms + SETTLE_MS } else { 0 };
                None
            }
            Ok(read) => Some(read),
            Err(Refused { reason, detail }) => {
                self.failed(reason, detail, now_ms);
                None
            }
        }
    }

    fn read(&self, size: usize, now_s: u64) -> Result<(Bundle, Vec<u8>), Refused> {
        // One byte more than may be is enough to see that it is too much.
        let text = host::call_response_body(size.min(bundle::MAX_BUNDLE_BYTES + 1))
            .map_err(|error| Refused { reason: "unreadable", detail: format!("{error:?}") })?;
        let bundle = bundle::open(&text, &self.roots, &self.region)?;
        bundle.check(self.version, now_s)?;
        Ok((bundle, text))
    }

    /// Puts a bundle that this worker judges by already where all find it.
    pub(crate) fn publish(&mut self, bundle: &Bundle, text: &[u8], now_ms: u64) {
        let known = shared::read(&self.name("pointer")).map(|(cell, _)| Pointer::read(&cell)).unwrap_or_default();
        if known.version < bundle.version() {
            let next = known.next(bundle.version());
            // The text first: who follows the pointer finds it there.
            let put = host::set_shared(&self.slot(next), text, host::ANY)
                .and_then(|()| host::set_shared(&self.name("pointer"), &next.write(), host::ANY));
            if put.is_err() {
                return self.failed("not shared", "shared data cannot be written".to_owned(), now_ms);
            }
        }
        self.settled_at_ms = now_ms + SETTLE_MS;
        self.heard("applied");
    }

    fn heard(&mut self, outcome: &str) {
        // Those who cannot read it ask the control plane themselves once they lead.
        let _ = host::set_shared(&self.name("heard"), b"1", host::ANY);
        self.has_heard = true;
        self.is_caught_up |= self.has_lists;
        self.failures = 0;
        self.ask_at_ms = 0;
        self.error.clear();
        count(outcome);
    }

    /// Notes why a question came to nothing; the last good policy stays.
    pub(crate) fn failed(&mut self, reason: &str, detail: String, now_ms: u64) {
        self.failures = self.failures.saturating_add(1);
        self.ask_at_ms = now_ms + follow::pause_ms(self.failures, random());
        let mut error = format!("{reason}: {detail}");
        while error.len() > MAX_ERROR_BYTES {
            error.pop();
        }
        if error != self.error {
            log::warn!("cosygate: no newer bundle: {error}");
            self.error = error;
        }
        count(&reason.replace(' ', "_"));
    }

    /// Hands Envoy what is known.
    pub(crate) fn gauge(&self) {
        WORKER.with(|worker| {
            worker.names.gauge("cosygate_edge_bundle_serial", self.version.serial);
            worker.names.gauge("cosygate_edge_bundle_expires_seconds", self.expires_at);
            worker.names.gauge("cosygate_edge_clock_offset_seconds", self.clock_offset_s.unsigned_abs());
        });
    }

    fn name(&self, what: &str) -> String {
        format!("cosygate/1/bundle/{}/{what}", self.region)
    }

    /// Where a status list lies. Lists are numbered one after another, so those of one bundle do not meet.
    fn list_slot(&self, uri: &str) -> String {
        let number = uri.rsplit('/').next().and_then(|number| number.parse::<usize>().ok()).unwrap_or_default();
        self.name(&format!("list/{}", number % MAX_LISTS))
    }

    fn slot(&self, pointer: Pointer) -> String {
        self.name(if pointer.slot == 0 { "slot/0" } else { "slot/1" })
    }
}

fn count(outcome: &str) {
    WORKER.with(|worker| worker.names.count(&format!("cosygate_edge_bundles_total|outcome={outcome}|"), 1));
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
