//! One configuration: read once, shared by every request.

use std::cell::{Cell, RefCell};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;

use gate::Gate;
use gate::cache::TokenCache;
use gate::identity::KeyRing;
use gate::policy::Document;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::host;
use crate::http::Exchange;

/// The variable with the keys of the sealed header; see [`KeyRing::parse`].
const IDENTITY_KEYS: &str = "COSYGATE_IDENTITY_KEYS";

/// What the control plane hands to an edge.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Configuration<'a> {
    region: String,
    #[serde(borrow)]
    policy: &'a RawValue,
}

/// Everything a request needs; lives as long as the last request that was judged by it.
pub(crate) struct Edge {
    pub(crate) gate: Gate,
    pub(crate) cache: RefCell<TokenCache>,
    pub(crate) ring: KeyRing,
    /// `edge:<region>`, the issuer of what it seals.
    pub(crate) name: String,
    /// Random per configuration and worker; with the counter it makes one-time ids.
    nonce: [u64; 2],
    counter: Cell<u64>,
}

impl Edge {
    /// Reads a configuration. The outcome depends on nothing but the text and the environment, so
    /// every worker of an Envoy comes to the same one.
    fn new(configuration: &[u8]) -> Result<Self, String> {
        let configuration: Configuration<'_> =
            serde_json::from_slice(configuration).map_err(|error| error.to_string())?;
        let document = Document::parse(configuration.policy.get().as_bytes()).map_err(|error| error.to_string())?;
        let gate = Gate::new(&document, &|name| std::env::var(name).ok()).map_err(|error| error.to_string())?;
        let keys = std::env::var(IDENTITY_KEYS).map_err(|_| format!("{IDENTITY_KEYS} is not set"))?;
        let random = || RandomState::new().build_hasher().finish();
        Ok(Self {
            gate,
            cache: RefCell::default(),
            ring: KeyRing::parse(&keys)?,
            name: format!("edge:{}", configuration.region),
            nonce: [random(), random()],
            counter: Cell::new(0),
        })
    }

    pub(crate) fn one_time_id(&self) -> String {
        let count = self.counter.get().wrapping_add(1);
        self.counter.set(count);
        format!("{:016x}{:016x}-{count:x}", self.nonce[0], self.nonce[1])
    }
}

/// The plugin within one VM.
#[derive(Default)]
pub(crate) struct Root {
    edge: Option<Rc<Edge>>,
}

impl Context for Root {}

impl RootContext for Root {
    /// Refusing makes Envoy keep what it had: the last good policy, or at first start the filter
    /// that denies everything.
    fn on_configure(&mut self, _size: usize) -> bool {
        let read = host::configuration().map_err(|error| format!("{error:?}")).and_then(|text| Edge::new(&text));
        match read {
            Ok(edge) => {
                log::info!("cosygate: policy {} in force", edge.gate.rev);
                self.edge = Some(Rc::new(edge));
                true
            }
            Err(reason) => {
                log::error!("cosygate: configuration refused: {reason}");
                false
            }
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _context: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Exchange::new(self.edge.clone())))
    }
}
