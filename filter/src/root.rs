//! One configuration: read once, shared by every request.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gate::Gate;
use gate::bundle::{Bundle, Standing};
use gate::cache::TokenCache;
use gate::identity::{Begun, KeyRing};
use gate::policy::{Document, PolicyError};
use gate::status::Withdrawn;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::control::{Follower, Settings};
use crate::held::Held;
use crate::host;
use crate::http::Exchange;
use crate::keys::Fetcher;
use crate::metrics::{Counts, Names, label};
use crate::worker::WORKER;

/// The variable with the keys of the sealed header; see [`KeyRing::parse`].
const IDENTITY_KEYS: &str = "COSYGATE_IDENTITY_KEYS";
/// How often a worker looks after keys, leases and counts.
const TICK_MS: u32 = 250;
/// The same until it has heard of the control plane.
const FIRST_TICK_MS: u32 = 20;
/// How many differences between policy and shadow are logged between two ticks.
const LOGGED_DIFFERENCES: u32 = 5;

/// What an edge is configured with: a policy that stands as it is, or a control plane to follow.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Configuration<'a> {
    region: String,
    #[serde(borrow, default)]
    policy: Option<&'a RawValue>,
    #[serde(default)]
    control: Option<Settings>,
    /// A signed bundle to begin with.
    #[serde(default)]
    seed: Option<String>,
}

/// Everything a request needs; lives as long as the last request that was judged by it.
pub(crate) struct Edge {
    /// The policy in force. Another one takes its place when other keys have come.
    gate: RefCell<Rc<Gate>>,
    /// Its text.
    policy: Box<str>,
    /// How far it can be relied on.
    pub(crate) standing: Cell<Standing>,
    pub(crate) cache: RefCell<TokenCache>,
    pub(crate) shadow_cache: RefCell<TokenCache>,
    pub(crate) ring: KeyRing,
    /// `edge:<region>`, the issuer of what it seals.
    pub(crate) name: String,
    /// The seal of nobody in particular, as far as it is always the same.
    pub(crate) nobody: OnceCell<Begun>,
    pub(crate) held: Held,
    pub(crate) counts: Counts,
    /// How many more differences may be logged until the next tick.
    log_left: Cell<u32>,
    /// Random per configuration and worker; with the counter it makes one-time ids.
    nonce: String,
    counter: Cell<u64>,
}

impl Edge {
    /// Compiles a policy. Whether it is accepted depends on nothing but the text and the
    /// environment, so every worker of an Envoy comes to the same end.
    fn new(
        policy: &str,
        withdrawn: Withdrawn,
        region: &str,
        ring: &KeyRing,
        fetcher: &mut Fetcher,
    ) -> Result<Self, PolicyError> {
        let document = Document::parse(policy.as_bytes())?;
        let gate = Gate::new(&document, &|name| std::env::var(name).ok())?.withdrawing(withdrawn);
        let random = || RandomState::new().build_hasher().finish();
        Ok(Self {
            counts: Counts::new(&gate),
            policy: policy.into(),
            standing: Cell::default(),
            // Keys that were fetched under an earlier policy serve this one, too.
            gate: RefCell::new(Rc::new(fetcher.load(&gate).unwrap_or(gate))),
            cache: RefCell::default(),
            shadow_cache: RefCell::default(),
            ring: ring.clone(),
            name: format!("edge:{region}"),
            nobody: OnceCell::new(),
            held: Held::default(),
            log_left: Cell::new(LOGGED_DIFFERENCES),
            nonce: format!("{}-", URL_SAFE_NO_PAD.encode(random().to_le_bytes())),
            counter: Cell::new(0),
        })
    }

    /// The policy as it is now.
    pub(crate) fn gate(&self) -> Rc<Gate> {
        Rc::clone(&self.gate.borrow())
    }

    fn replace_gate(&self, gate: Gate) {
        *self.gate.borrow_mut() = Rc::new(gate);
        // What was verified was verified with other keys.
        self.cache.take();
        self.shadow_cache.take();
    }

    /// Takes over what was withdrawn since. Whatever else is known of tokens stays known.
    fn withdraw(&self, withdrawn: Withdrawn) {
        let gate = Gate::clone(&self.gate.borrow()).withdrawing(withdrawn);
        self.cache.borrow_mut().retain(|verified| !verified.is_revoked(&gate));
        *self.gate.borrow_mut() = Rc::new(gate);
    }

    /// An id that no other request gets, here or at another worker, while seals of its time hold.
    pub(crate) fn one_time_id(&self) -> String {
        let count = self.counter.get().wrapping_add(1);
        self.counter.set(count);
        let mut id = String::with_capacity(24);
        id.push_str(&self.nonce);
        let mut rest = count;
        while rest > 0 {
            id.push(char::from_digit((rest % 32) as u32, 32).unwrap_or('0'));
            rest /= 32;
        }
        id
    }

    /// Whether one more difference may be logged now.
    pub(crate) fn may_log(&self) -> bool {
        let left = self.log_left.get();
        self.log_left.set(left.saturating_sub(1));
        left > 0
    }

    fn flush(&self, names: &Names) {
        let gate = self.gate();
        self.counts.flush(&gate, names);
        let cache = &mut *self.cache.borrow_mut();
        names.count("cosygate_edge_token_cache_total|outcome=hit|", std::mem::take(&mut cache.hits));
        names.count("cosygate_edge_token_cache_total|outcome=miss|", std::mem::take(&mut cache.misses));
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        WORKER.with(|worker| self.flush(&worker.names));
    }
}

/// The plugin within one VM, under one configuration.
#[derive(Default)]
pub(crate) struct Root {
    context: u32,
    region: String,
    ring: Option<KeyRing>,
    edge: Option<Rc<Edge>>,
    follower: Option<Follower>,
    fetcher: Fetcher,
    generation: u64,
}

impl Root {
    pub(crate) fn new(context: u32) -> Self {
        Self { context, ..Self::default() }
    }

    fn configure(&mut self, text: &[u8]) -> Result<(), String> {
        let configuration: Configuration<'_> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let keys = std::env::var(IDENTITY_KEYS).map_err(|_| format!("{IDENTITY_KEYS} is not set"))?;
        let ring = KeyRing::parse(&keys)?;
        let mut edge = |policy: &str, withdrawn| {
            let edge = Edge::new(policy, withdrawn, &configuration.region, &ring, &mut self.fetcher);
            edge.map(Rc::new).map_err(|error| error.to_string())
        };
        let (edge, follower) = match (configuration.policy, configuration.control) {
            (Some(policy), None) => (Some(edge(policy.get(), Withdrawn::default())?), None),
            (None, Some(control)) => {
                let (mut follower, seed) =
                    Follower::new(control, &configuration.region, configuration.seed.as_deref())?;
                // Under an earlier configuration this Envoy may have got further.
                let newer = follower.newer().inspect(|newer| follower.take(newer));
                let bundle = newer.or(seed);
                let edge = bundle.map(|bundle| edge(bundle.policy.get(), follower.withdrawn(&bundle))).transpose()?;
                (edge, Some(follower))
            }
            _ => return Err("it needs either a `policy` or a `control`".to_owned()),
        };
        (self.edge, self.follower) = (edge, follower);
        (self.region, self.ring) = (configuration.region, Some(ring));
        self.stand();
        Ok(())
    }

    /// Judges by a bundle from now on, and ends what it withdrew.
    fn adopt(&mut self, bundle: &Bundle) -> Result<(), PolicyError> {
        let (Some(ring), Some(follower)) = (&self.ring, &mut self.follower) else { return Ok(()) };
        let withdrawn = follower.withdrawn(bundle);
        let edge = match self.edge.take_if(|edge| *edge.policy == *bundle.policy.get()) {
            Some(edge) => {
                edge.withdraw(withdrawn);
                edge
            }
            None => {
                let edge = Edge::new(bundle.policy.get(), withdrawn, &self.region, ring, &mut self.fetcher)?;
                log::info!("cosygate: policy {} in force", bundle.rev);
                Rc::new(edge)
            }
        };
        let gate = edge.gate();
        self.edge = Some(edge);
        follower.take(bundle);
        WORKER.with(|worker| {
            let ended = worker.cut(&gate, self.context);
            worker.names.count("cosygate_edge_streams_ended_total", u64::try_from(ended).unwrap_or_default());
        });
        Ok(())
    }

    fn is_caught_up(&self) -> bool {
        self.follower.as_ref().is_none_or(|follower| follower.standing().is_caught_up)
    }

    /// Looks whether another worker has put a newer bundle in place.
    fn follow(&mut self, now_ms: u64) {
        let was_caught_up = self.is_caught_up();
        if let Some(bundle) = self.follower.as_mut().and_then(Follower::newer)
            && let Err(error) = self.adopt(&bundle)
        {
            // The leader judges by it, so this cannot be; what is in force stays.
            log::error!("cosygate: bundle {} refused: {error}", bundle.serial);
        }
        if let (Some(follower), Some(ring)) = (&mut self.follower, &self.ring) {
            WORKER.with(|worker| follower.tick(worker.id(), ring, now_ms));
            follower.gauge();
        }
        if self.is_caught_up() && !was_caught_up {
            let _ = host::set_tick_period_ms(TICK_MS);
        }
        self.stand();
    }

    /// Lets requests know how far the policy can be relied on.
    fn stand(&self) {
        if let (Some(edge), Some(follower)) = (&self.edge, &self.follower) {
            edge.standing.set(follower.standing());
        }
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, call: u32, _headers: usize, body_size: usize, _trailers: usize) {
        let now_ms = host::now_ns().unwrap_or_default() / 1_000_000;
        let (Some(follower), Some(ring)) = (&mut self.follower, &self.ring) else {
            return self.fetcher.answered(call, body_size);
        };
        let complete = if follower.asked(call, now_ms) {
            let answer = follower.answered(body_size, now_ms);
            answer.and_then(|(bundle, text)| follower.gather(bundle, text, ring, now_ms))
        } else if let Some(gathered) = follower.listed(call, body_size, now_ms) {
            gathered
        } else {
            return self.fetcher.answered(call, body_size);
        };
        if let Some((bundle, text)) = complete {
            let adopted = self.adopt(&bundle);
            if let Some(follower) = &mut self.follower {
                match adopted {
                    Ok(()) => follower.publish(&bundle, &text, now_ms),
                    Err(error) => follower.failed("policy", error.to_string(), now_ms),
                }
            }
        }
        // Asks again at once, so that the next change finds a question waiting.
        self.follow(now_ms);
    }
}

impl RootContext for Root {
    /// Refusing makes Envoy keep what it had: the last good policy, or at first start the filter
    /// that denies everything.
    fn on_configure(&mut self, _size: usize) -> bool {
        let text = host::configuration().map_err(|error| format!("{error:?}"));
        match text.and_then(|text| self.configure(&text)) {
            Ok(()) => {
                match &self.edge {
                    Some(edge) => log::info!("cosygate: policy {} in force", edge.gate().rev),
                    None => log::info!("cosygate: no policy yet"),
                }
                self.generation = WORKER.with(|worker| worker.next_generation());
                // Without a tick nothing is fetched, renewed or counted, and all that fails closed.
                let _ = host::set_tick_period_ms(if self.is_caught_up() { TICK_MS } else { FIRST_TICK_MS });
                true
            }
            Err(reason) => {
                log::error!("cosygate: configuration refused: {reason}");
                false
            }
        }
    }

    fn on_tick(&mut self) {
        let Ok(now_ns) = host::now_ns() else { return };
        let now_s = now_ns / 1_000_000_000;
        // An older configuration ticks on while a stream of its time lives.
        if WORKER.with(|worker| worker.generation() == self.generation) {
            self.follow(now_ns / 1_000_000);
        }
        let Some(edge) = &self.edge else { return };
        WORKER.with(|worker| {
            edge.flush(&worker.names);
            if worker.generation() != self.generation {
                return;
            }
            worker.flush();
            worker.renew_leases(now_s);
            edge.log_left.set(LOGGED_DIFFERENCES);
            let gate = edge.gate();
            self.fetcher.refresh(&gate, now_s);
            if let Some(changed) = self.fetcher.load(&gate) {
                edge.replace_gate(changed);
            }
            worker.names.gauge("cosygate_edge_policy_rev", gate.rev);
            for issuer in &gate.issuers {
                if let (Some(source), Some(fetched_at)) = (&issuer.source, issuer.fetched_at) {
                    let name = label(&issuer.settings.issuer);
                    let age = now_s.saturating_sub(fetched_at);
                    worker.names.gauge(&format!("cosygate_edge_keys_age_seconds|issuer={name}|"), age);
                    let bound = format!("cosygate_edge_keys_max_stale_seconds|issuer={name}|");
                    worker.names.gauge(&bound, source.max_stale_s);
                }
            }
        });
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Exchange::new(context, self.edge.clone())))
    }
}
