use std::collections::BTreeSet;

use cases::{Case, Suite};
use gate::Gate;
use gate::cache::TokenCache;
use gate::keys::Algorithm;
use gate::policy::Document;

use crate::door::{self, Asked};

/// When everything is judged, in seconds since the epoch.
pub const NOW: u64 = 1_800_000_000;

/// One file of the golden table, compiled.
pub struct Table {
    /// The file.
    pub name: &'static str,
    /// As it is written.
    pub suite: Suite,
    /// Its policy, compiled.
    pub gate: Gate,
    /// Every token of any file by which somebody is recognised here; the files share keys.
    pub tokens: BTreeSet<String>,
}

thread_local! {
    static TABLES: &'static [Table] = compile_all().leak();
}

/// The whole golden table.
pub fn tables() -> &'static [Table] {
    TABLES.with(|tables| *tables)
}

fn compile_all() -> Vec<Table> {
    let suites = cases::suites(NOW);
    let issued: BTreeSet<String> = suites.iter().flat_map(|(_, suite)| &suite.cases).flat_map(tokens_of).collect();
    suites.into_iter().map(|(name, suite)| compile(name, suite, &issued)).collect()
}

fn compile(name: &'static str, suite: Suite, issued: &BTreeSet<String>) -> Table {
    let document = Document::parse(suite.policy.to_string().as_bytes()).unwrap();
    let gate = door::compile(&document).unwrap();
    let is_known = |token: &&String| door::judge_afresh(&gate, &bearer(token), NOW).user.is_some();
    let tokens = issued.iter().filter(is_known).cloned().collect();
    Table { name, suite, gate, tokens }
}

impl Table {
    /// Whether a token was issued. An RSA-PSS signature is another one each time, so of such a
    /// token only what was signed can be known.
    pub fn has_issued(&self, token: &str) -> bool {
        let differs_in_its_salt = |issued: &String| {
            gate::token::parse(issued).is_ok_and(|jws| {
                matches!(jws.algorithm, Algorithm::PS256 | Algorithm::PS384 | Algorithm::PS512)
                    && token.strip_prefix(jws.signed).is_some_and(|rest| rest.starts_with('.'))
            })
        };
        self.tokens.contains(token) || self.tokens.iter().any(differs_in_its_salt)
    }

    /// A cache that knows every token of the table.
    pub fn warm_cache(&self) -> TokenCache {
        let mut cache = TokenCache::default();
        for token in &self.tokens {
            door::judge(&self.gate, &mut cache, &bearer(token), NOW);
        }
        cache
    }
}

/// A call that every policy of the table knows, with this token.
pub fn bearer(token: &str) -> Asked {
    call("authorization", format!("Bearer {token}"))
}

/// The same call as a browser makes it.
pub fn cookie(token: &str) -> Asked {
    call("cookie", format!("cosygate={token}"))
}

fn call(name: &str, value: String) -> Asked {
    let headers = vec![(name.to_owned(), value.into_bytes())];
    Asked { method: "GET".to_owned(), target: "/api/me".to_owned(), headers }
}

/// A case's request.
pub fn asked(case: &Case) -> Asked {
    let headers = case.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone().into_bytes())).collect();
    Asked { method: case.method.clone(), target: case.target.clone(), headers }
}

/// The tokens in a case's headers.
pub fn tokens_of(case: &Case) -> Vec<String> {
    case.headers
        .iter()
        .flat_map(|(_, value)| value.split([' ', ';']))
        .map(|word| word.strip_prefix("cosygate=").unwrap_or(word))
        .filter(|word| word.contains('.'))
        .map(str::to_owned)
        .collect()
}
