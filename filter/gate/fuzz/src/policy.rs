use std::sync::LazyLock;

use gate::cache::TokenCache;
use gate::policy::{Document, Route};
use gate::route::canonical_path;
use serde_json::Value;

use crate::door::{self, Asked, Outcome};
use crate::table::{NOW, asked, tables};

/// How many of a document's own routes are asked for.
const MAX_ROUTES: usize = 8;

/// Every seventh request of the golden table.
static REQUESTS: LazyLock<Vec<Asked>> =
    LazyLock::new(|| tables().iter().flat_map(|table| &table.suite.cases).step_by(7).map(asked).collect());

/// A sound token of each file.
static TOKENS: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
    let tokens = tables().iter().filter_map(|table| table.tokens.first());
    tokens.map(|token| ("authorization".to_owned(), format!("Bearer {token}").into_bytes())).collect()
});

/// Takes bytes for a policy.
pub fn check(bytes: &[u8]) {
    let Ok(document) = Document::parse(bytes) else { return };
    let written = serde_json::to_vec(&document).unwrap();
    let again = Document::parse(&written).expect("what was accepted is accepted when it is written down");
    if is_exact(&serde_json::from_slice(&written).unwrap()) {
        assert_eq!(document, again, "another policy after it was written down");
    }
    let (first, second, third) = (door::compile(&document), door::compile(&document), door::compile(&again));
    let (first, second, third) = match (first, second, third) {
        (Ok(first), Ok(second), Ok(third)) => (first, second, third),
        (Err(first), Err(second), Err(third)) => {
            assert_eq!((&first, &first), (&second, &third));
            assert!(first.at.is_empty() || first.at.starts_with('/'), "{first:?}");
            assert!(!first.message.is_empty());
            return;
        }
        _ => panic!("refused at one time and accepted at another"),
    };
    let mut cache = TokenCache::default();
    for request in REQUESTS.iter().cloned().chain(own_requests(&document)) {
        let verdict = door::judge_afresh(&first, &request, NOW);
        assert_eq!(verdict, door::judge_afresh(&second, &request, NOW), "{request:?}");
        assert_eq!(verdict, door::judge_afresh(&third, &request, NOW), "{request:?}");
        assert_eq!(verdict, door::judge(&first, &mut cache, &request, NOW), "{request:?}");
        is_as_written(&document, &request, &verdict);
    }
}

/// Whether every number is an integer. A fraction may change in its last digit when it is read
/// again; nothing in a policy is one but what nobody looks at in a key.
fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => !number.is_f64(),
        Value::Array(values) => values.iter().all(is_exact),
        Value::Object(members) => members.values().all(is_exact),
        _ => true,
    }
}

/// The document's own routes, called by nobody and by the bearers of sound tokens.
fn own_requests(document: &Document) -> Vec<Asked> {
    let mut requests = Vec::new();
    for route in document.routes.iter().take(MAX_ROUTES) {
        let target = match (&route.path, &route.prefix) {
            (Some(path), _) => path.clone(),
            (_, Some(prefix)) => format!("{prefix}x"),
            _ => continue,
        };
        for method in route.methods.iter().take(2) {
            let anonymous = Asked { method: method.clone(), target: target.clone(), headers: Vec::new() };
            requests.extend(TOKENS.iter().map(|token| Asked { headers: vec![token.clone()], ..anonymous.clone() }));
            requests.push(anonymous);
        }
    }
    requests
}

/// The verdict is what the document says in plain words: an exact path before a prefix, a longer
/// prefix before a shorter one, and then the method and the role.
fn is_as_written(document: &Document, request: &Asked, verdict: &Outcome) {
    // A question of a browser about another site's page is no call of the route.
    if matches!(verdict.code, "preflight" | "cors_refused") {
        assert!(!verdict.passes);
        return;
    }
    let Some(path) = canonical_path(&request.target) else {
        assert_eq!(verdict.code, "request_invalid");
        return;
    };
    let routes = &document.routes;
    let exact: Vec<&Route> = routes.iter().filter(|route| route.path.as_deref() == Some(path)).collect();
    let prefixes = routes.iter().filter_map(|route| route.prefix.as_deref());
    let longest = prefixes.filter(|prefix| path.starts_with(prefix)).max_by_key(|prefix| prefix.len());
    let prefixed = |route: &&Route| longest.is_some() && route.prefix.as_deref() == longest;
    let here = if exact.is_empty() { routes.iter().filter(prefixed).collect() } else { exact };
    assert_eq!(verdict.code == "not_found", here.is_empty(), "{request:?}: {verdict:?}");
    let method = if request.method == "HEAD" { "GET" } else { &request.method };
    let Some(route) = here.iter().find(|route| route.methods.iter().any(|known| known == method)) else {
        assert!(here.is_empty() || verdict.code == "method_not_allowed", "{request:?}: {verdict:?}");
        return;
    };
    assert_ne!(verdict.code, "method_not_allowed", "{request:?}: {verdict:?}");
    let may = verdict.role.as_ref().map_or(route.public, |role| route.roles.contains(role));
    assert!(!verdict.passes || may, "{request:?}: {verdict:?}");
    assert!(verdict.code != "role_forbidden" || !may, "{request:?}: {verdict:?}");
}
