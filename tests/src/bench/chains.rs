//! Chains of filters, each behind a port of its own.
//!
//! All of them run in one Envoy with one worker, so that they share everything but the filters.
//! Routes answer by themselves: there is no origin, only the edge counts.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};

use super::tokens::{ALGORITHMS, AUDIENCE, Algorithm};
use crate::edge::{IDENTITY_KEYS, configuration, typed_config};
use crate::process::{Program, artefact, free_port};

/// The core of Envoy's worker.
pub const ENVOY_CORE: &str = "0";

/// How one port treats its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chain {
    /// Lets everything pass: what Envoy costs by itself.
    NoFilter,
    /// Envoy's own filters for the same job: jwt_authn with claims copied to headers, rbac by
    /// role, local_ratelimit by role and user.
    BuiltIn,
    /// The same; jwt_authn remembers the tokens that it verified.
    BuiltInWithCache,
    /// This project's filter, told to do just the job above: no sealed identity, no word about
    /// limits.
    SameJob,
    /// The filter as it stands before an origin: it seals the caller's identity, too.
    Sealing,
    /// The filter as it is shipped: every answer also says what is left of the limit.
    Announcing,
}

impl Chain {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::NoFilter, Self::BuiltIn, Self::BuiltInWithCache, Self::SameJob, Self::Sealing, Self::Announcing];

    /// Whether it is this project's filter.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::SameJob | Self::Sealing | Self::Announcing)
    }
}

/// A role and its limit: requests a minute, and how many at once.
type Role = (&'static str, u32, u32);

/// The roles that may call. The first three are as fast as a policy allows, so that nothing is
/// refused; the last one shows that limits count.
const ROLES: [Role; 4] =
    [("free", 6_000_000, 100_000), ("premium", 6_000_000, 100_000), ("admin", 6_000_000, 100_000), METERED];

/// A role with one request a minute.
pub const METERED: Role = ("metered", 1, 1);

/// A running Envoy with all chains.
pub struct Chains {
    /// The process.
    pub envoy: Program,
    ports: BTreeMap<Chain, u16>,
}

impl Chains {
    /// Starts Envoy with its one worker bound to [`ENVOY_CORE`].
    ///
    /// # Errors
    /// Envoy refuses the configuration or does not answer within 30 seconds.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let ports: BTreeMap<Chain, u16> = Chain::ALL.into_iter().map(|chain| (chain, free_port())).collect();
        let listeners: Vec<Value> = ports.iter().map(|(chain, port)| listener(*chain, *port)).collect();
        let bootstrap = json!({
            "node": {"id": "bench", "cluster": "bench"},
            "static_resources": {"listeners": listeners},
        });
        let file = folder.join("envoy.json");
        std::fs::write(&file, bootstrap.to_string())?;
        let envoy = Program::start(
            Command::new("taskset")
                .args(["--cpu-list", ENVOY_CORE])
                .arg(artefact("ENVOY", ".tools/envoy-1.40.0/envoy"))
                .arg("--config-path")
                .arg(&file)
                .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"])
                .env("COSYGATE_IDENTITY_KEYS", IDENTITY_KEYS)
                .env("CASES_SECRET", cases::secret()),
            &folder.join("envoy.log"),
        );
        let mut chains = Self { envoy, ports };
        let end = Instant::now() + Duration::from_secs(30);
        while reqwest::get(chains.url(Chain::NoFilter, "/")).await.is_err() {
            if !chains.envoy.is_running() || Instant::now() > end {
                bail!("Envoy did not start:\n{}", chains.envoy.log());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(chains)
    }

    /// Where a path is, through a chain.
    pub fn url(&self, chain: Chain, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports[&chain])
    }

    /// The version of Envoy, as it names itself.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn version() -> anyhow::Result<String> {
        let output = Command::new(artefact("ENVOY", ".tools/envoy-1.40.0/envoy")).arg("--version").output()?;
        let text = String::from_utf8(output.stdout)?;
        // `… version: <commit>/<version>/<tree>/<build>/<TLS library>`
        let version = text.split("version: ").nth(1).and_then(|parts| parts.split('/').nth(1));
        Ok(version.context("Envoy does not tell its version")?.to_owned())
    }
}

fn listener(chain: Chain, port: u16) -> Value {
    let mut filters = match chain {
        Chain::NoFilter => vec![],
        Chain::BuiltIn => vec![jwt_authn(false), rbac(), local_ratelimit()],
        Chain::BuiltInWithCache => vec![jwt_authn(true), rbac(), local_ratelimit()],
        Chain::SameJob => vec![filter(chain, &policy(false, false))],
        Chain::Sealing => vec![filter(chain, &policy(true, false))],
        Chain::Announcing => vec![filter(chain, &policy(true, true))],
    };
    filters.push(json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}));
    let filters: Vec<Value> = filters
        .into_iter()
        .map(|filter| json!({"name": filter["@type"].as_str().unwrap().rsplit('.').next(), "typed_config": filter}))
        .collect();
    // What the origin would receive, for the checks.
    let received = ["x-user-id", "x-user-role", "x-cosygate-identity", "authorization"]
        .map(|name| json!({"header": {"key": format!("received-{name}"), "value": format!("%REQ({name})%")}}));
    let answer = json!({"status": 200, "body": {"inline_string": "ok"}});
    json!({
        "name": format!("{chain:?}"),
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": format!("{chain:?}"),
                "use_remote_address": true,
                "http_filters": filters,
                "route_config": {"virtual_hosts": [{"name": "bench", "domains": ["*"], "routes": [
                    {"match": {"prefix": "/speech/"}, "direct_response": answer},
                    {"match": {"prefix": "/check/"}, "direct_response": answer, "response_headers_to_add": received}
                ]}]}
            }
        }]}]
    })
}

/// This project's filter, in a VM of its own, so that the chains do not share their limits.
fn filter(chain: Chain, policy: &Value) -> Value {
    let mut filter = typed_config(&configuration(policy));
    filter["config"]["vm_config"]["vm_id"] = json!(format!("{chain:?}"));
    filter
}

/// The policy of the measured filter.
fn policy(sealed: bool, announce: bool) -> Value {
    let issuers = ALGORITHMS.map(|algorithm| {
        let keys = match algorithm.key {
            "secret" => json!({"secret_env": "CASES_SECRET"}),
            name => json!({"jwks": {"keys": [cases::public_key(name)]}}),
        };
        let mut issuer = json!({
            "issuer": algorithm.issuer,
            "audiences": [AUDIENCE],
            "algorithms": [algorithm.name],
            "keys": keys,
            "types": ["at+jwt"],
        });
        if algorithm.path != ALGORITHMS[0].path {
            issuer["user_prefix"] = json!(algorithm.path);
        }
        issuer
    });
    let role = |(name, per_minute, burst): &Role| {
        let role = json!({
            "requests": {"per_minute": per_minute, "burst": burst},
            "body_kb": 1024,
            "jobs_running": 1,
            "characters_per_request": 500,
            "characters_per_day": 5000,
            "generations_per_day": 50,
            "storage_mb": 200,
            "retention_days": 7,
        });
        ((*name).to_owned(), role)
    };
    let names = ROLES.map(|(name, ..)| name);
    let route = |prefix| json!({"prefix": prefix, "methods": ["GET"], "roles": names, "scopes": ["speech"]});
    json!({
        "rev": 1,
        "issuers": issuers,
        "roles": ROLES.iter().map(role).collect::<Map<String, Value>>(),
        "routes": [route("/speech/"), route("/check/")],
        "identity": {"sealed": sealed},
        "limits": {"announce": announce},
        "revocation": {"users": {"somebody": 1}, "sessions": {"gone": 1}, "tokens": {"token-gone": 1}},
    })
}

/// One provider for each issuer. Each has paths of its own, so that no token is tried with the
/// keys of another.
fn jwt_authn(cache: bool) -> Value {
    let provider = |algorithm: &Algorithm| {
        let key = match algorithm.key {
            "secret" => json!({"kty": "oct", "k": cases::secret(), "kid": "secret", "alg": "HS256"}),
            name => cases::public_key(name),
        };
        let mut provider = json!({
            "issuer": algorithm.issuer,
            "audiences": [AUDIENCE],
            "local_jwks": {"inline_string": json!({"keys": [key]}).to_string()},
            "clock_skew_seconds": 30,
            "require_expiration": true,
            "payload_in_metadata": "claims",
            "claim_to_headers": [
                {"header_name": "x-user-id", "claim_name": "sub"},
                {"header_name": "x-user-role", "claim_name": "role"}
            ],
        });
        if cache {
            provider["jwt_cache_config"] = json!({});
        }
        (algorithm.name.to_owned(), provider)
    };
    let rules: Vec<Value> = ALGORITHMS
        .iter()
        .flat_map(|algorithm| ["speech", "check"].map(|place| (algorithm, format!("/{place}/{}", algorithm.path))))
        .map(|(algorithm, path)| json!({"match": {"prefix": path}, "requires": {"provider_name": algorithm.name}}))
        .collect();
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        "providers": ALGORITHMS.iter().map(provider).collect::<Map<String, Value>>(),
        "rules": rules,
    })
}

fn rbac() -> Value {
    let principals = ROLES.map(|(name, ..)| {
        let role = json!({
            "filter": "envoy.filters.http.jwt_authn",
            "path": [{"key": "claims"}, {"key": "role"}],
            "value": {"string_match": {"exact": name}},
        });
        json!({"sourced_metadata": {"metadata_matcher": role, "metadata_source": "DYNAMIC"}})
    });
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
        "rules": {"action": "ALLOW", "policies": {"roles": {"permissions": [{"any": true}], "principals": principals}}},
    })
}

fn local_ratelimit() -> Value {
    let bucket = |per_minute: u32, burst: u32| {
        let (per_fill, seconds) = if per_minute >= 60 { (per_minute / 60, 1) } else { (per_minute, 60) };
        json!({"max_tokens": burst, "tokens_per_fill": per_fill, "fill_interval": format!("{seconds}s")})
    };
    let descriptors = ROLES.map(|(name, per_minute, burst)| {
        json!({
            // A key without a value stands for each value on its own.
            "entries": [{"key": "role", "value": name}, {"key": "user"}],
            "token_bucket": bucket(per_minute, burst),
        })
    });
    let always = json!({"default_value": {"numerator": 100, "denominator": "HUNDRED"}});
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "bench",
        "token_bucket": bucket(6_000_000, 100_000),
        "filter_enabled": always,
        "filter_enforced": always,
        "always_consume_default_token_bucket": false,
        "rate_limits": [{"actions": [
            {"request_headers": {"header_name": "x-user-role", "descriptor_key": "role"}},
            {"request_headers": {"header_name": "x-user-id", "descriptor_key": "user"}}
        ]}],
        "descriptors": descriptors,
    })
}
