use gate::bundle::Standing;
use gate::cache::TokenCache;
use gate::headers::{Headers, Seen};
use gate::policy::{Document, PolicyError};
use gate::{Gate, Problem, Request, Verdict};

/// A request as the client sends it, names in lower case.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names and values.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// It goes on to the origin.
    pub passes: bool,
    /// The route is public; of what passes only.
    pub public: bool,
    /// Who it was, as far as that was proved.
    pub user: Option<String>,
    /// In which role.
    pub role: Option<String>,
    /// The code of the refusal; empty if there is none.
    pub code: &'static str,
    /// All of it, to compare.
    pub text: String,
}

/// Compiles a document, with the one secret that the golden table knows.
pub fn compile(document: &Document) -> Result<Gate, PolicyError> {
    Gate::new(document, &|name| (name == "CASES_SECRET").then(cases::secret))
}

/// Judges a request.
pub fn judge(gate: &Gate, cache: &mut TokenCache, asked: &Asked, now: u64) -> Outcome {
    let headers = with_pseudo_headers(asked);
    let seen = Seen::new(&headers);
    let request = Request { seen: &seen, address: &|| "192.0.2.1".to_owned(), used_up: &|_| None, standing: Standing::default() };
    let verdict = gate::judge(gate, cache, request, now);
    let text = format!("{verdict:?}");
    let (passes, public, caller, code) = match verdict {
        Verdict::Pass(pass) => (true, pass.route.public, pass.caller, ""),
        Verdict::Preflight(_) => (false, false, None, "preflight"),
        Verdict::Refuse(refusal) => {
            let Problem { code, .. } = refusal.problem;
            (false, false, refusal.caller, code.as_str())
        }
    };
    let user = caller.as_ref().map(|caller| caller.user_id.clone());
    Outcome { passes, public, user, role: caller.map(|caller| caller.role.clone()), code, text }
}

/// Judges a request that nobody has seen before.
pub fn judge_afresh(gate: &Gate, asked: &Asked, now: u64) -> Outcome {
    judge(gate, &mut TokenCache::default(), asked, now)
}

/// What the edge does to the headers of a request that passes, as `filter` does it.
pub fn hand_on(asked: &Asked) -> Asked {
    let headers = with_pseudo_headers(asked);
    let seen = Seen::new(&headers);
    let removed = seen.to_remove();
    let mut kept: Vec<(String, Vec<u8>)> =
        asked.headers.iter().filter(|(name, _)| !removed.contains(&name.as_str())).cloned().collect();
    if let Some(left) = seen.cookie_without_credential() {
        kept.retain(|(name, _)| name != "cookie");
        if !left.is_empty() {
            kept.push(("cookie".to_owned(), left));
        }
    }
    Asked { headers: kept, ..asked.clone() }
}

/// Method, target and authority first, as Envoy does it. Pseudo-headers of the client's own do not exist.
fn with_pseudo_headers(asked: &Asked) -> Vec<(&str, &[u8])> {
    let first: &Headers<'_> =
        &[(":method", asked.method.as_bytes()), (":path", asked.target.as_bytes()), (":authority", b"gate.example")];
    let own = asked.headers.iter().filter(|(name, _)| !name.starts_with(':'));
    first.iter().copied().chain(own.map(|(name, value)| (name.as_str(), value.as_slice()))).collect()
}
