use arbitrary::Arbitrary;
use gate::cache::TokenCache;
use gate::headers::is_removed;
use gate::route::canonical_path;

use crate::door::{self, Asked, Outcome};
use crate::percent_decoded;
use crate::table::{NOW, Table, asked, tables};

/// A request of the golden table and what is changed about it.
#[derive(Arbitrary, Debug)]
pub struct Input {
    /// Which request, counted over all files.
    pub case: u16,
    /// When it is sent a second time, in seconds.
    pub later_s: u16,
    method: Option<Method>,
    target: Option<Target>,
    edits: Vec<Edit>,
}

#[derive(Arbitrary, Debug)]
enum Method {
    Known(u8),
    Free(String),
}

#[derive(Arbitrary, Debug)]
enum Target {
    /// Of another request.
    Known(u16),
    /// After that of the request itself.
    After(String),
    Free(String),
}

#[derive(Arbitrary, Debug)]
enum Edit {
    Add(Name, Value),
    Repeat(u8),
    Drop(u8),
    Rename(u8, Name),
    Append(u8, Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum Name {
    Known(u8),
    /// With capitals where bits are set, and with underscores.
    Spelled(u8, u32, bool),
    Free(String),
}

#[derive(Arbitrary, Debug)]
enum Value {
    Known(u8),
    /// A sound token after the scheme, in the cookie, or bare.
    Token(u8, u8),
    Cookies(Vec<(u8, Vec<u8>)>),
    Free(Vec<u8>),
}

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW", "get", ""];
const NAMES: &[&str] = &[
    "authorization",
    "cookie",
    "content-length",
    "sec-fetch-site",
    "origin",
    "x-user-id",
    "x-user-role",
    "x-user",
    "x-cosygate-identity",
    "x-cosygate",
    "proxy-authorization",
    "host",
    "x-request-id",
    "x-forwarded-for",
    "access-control-request-method",
    "upgrade",
    "connection",
    "te",
];
const VALUES: &[&str] = &[
    "",
    "0",
    "65536",
    "65537",
    "18446744073709551616",
    "+1",
    "-1",
    "same-origin",
    "cross-site",
    "same-site",
    "none",
    "https://gate.example",
    "http://gate.example",
    "https://evil.example",
    "null",
    "Bearer ",
    "Basic YTpi",
    "admin",
    "websocket",
    "POST",
];
const COOKIES: &[&str] =
    &["cosygate", "Cosygate", "cosygate ", "__Host-cosygate", "cosygate-refresh", "theme", "cosygatex", ""];

/// Judges the changed request, on its own target, on a public route and on a protected one.
pub fn check(input: &Input) {
    let places: Vec<(&Table, usize)> =
        tables().iter().flat_map(|table| (0..table.suite.cases.len()).map(move |case| (table, case))).collect();
    let (table, case) = places[usize::from(input.case) % places.len()];
    let mut request = asked(&table.suite.cases[case]);
    input.change(&mut request, table);
    let routes = tables().iter().find(|table| table.name == "routes.json").unwrap();
    let (public, protected) = (at("GET", "/", &request), at("GET", "/api/me", &request));
    for (table, request) in [(table, &request), (routes, &request), (routes, &public), (routes, &protected)] {
        let outcome = is_judged_one_way(table, request, NOW + u64::from(input.later_s));
        if outcome.passes {
            assert!(canonical_path(&request.target).is_some(), "{request:?}: {outcome:?}");
            assert_eq!(outcome.public, outcome.user.is_none(), "{request:?}: {outcome:?}");
            assert!(outcome.public || carries_a_token_of(table, request), "{request:?}: {outcome:?}");
        }
    }
    has_one_reading(&request.target);
    loses_what_it_may_not_keep(routes, &protected);
}

/// Neither the cache, nor time that passes, nor a claimed identity, nor the order of the headers
/// matters. Without time between, the two that know of nothing say whether chance matters.
fn is_judged_one_way(table: &Table, request: &Asked, later: u64) -> Outcome {
    let gate = &table.gate;
    let mut cache = TokenCache::default();
    let first = door::judge(gate, &mut cache, request, NOW);
    assert_eq!(first, door::judge(gate, &mut cache, request, NOW), "with the cache: {request:?}");
    let unclaimed = Asked {
        headers: request.headers.iter().filter(|(name, _)| !claims_identity(name)).cloned().collect(),
        ..request.clone()
    };
    assert_eq!(first, door::judge(gate, &mut cache, &unclaimed, NOW), "a claimed identity counts: {request:?}");
    let lengths = request.headers.iter().filter(|(name, _)| name == "content-length").count();
    // Two lengths never get here: Envoy refuses them.
    if lengths < 2 {
        let mut reversed = request.clone();
        reversed.headers.reverse();
        let reversed = door::judge(gate, &mut cache, &reversed, NOW);
        assert_eq!((first.passes, first.code), (reversed.passes, reversed.code), "the order counts: {request:?}");
    }
    let cold = door::judge_afresh(gate, request, later);
    assert_eq!(cold, door::judge(gate, &mut cache, request, later), "with the cache, at {later}: {request:?}");
    assert!(later > NOW || cold == first, "judged in two ways: {request:?}");
    first
}

/// Any program that decodes a canonical path, at whatever stage, sees the same segments.
fn has_one_reading(target: &str) {
    let Some(path) = canonical_path(target) else { return };
    assert!(target == path || target.strip_prefix(path).unwrap().starts_with('?'), "{target}");
    assert_eq!(canonical_path(path), Some(path));
    assert!(path.starts_with('/') && path.is_ascii() && !path.contains(['\\', ';', '#', '?']), "{path}");
    let decoded = percent_decoded(path);
    let slashes = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'/').count();
    assert_eq!(slashes(&decoded), slashes(path.as_bytes()), "{path}");
    assert!(!decoded.iter().any(|byte| byte.is_ascii_control() || matches!(byte, b'%' | b'\\' | b';')), "{path}");
    let segments: Vec<&[u8]> = decoded.split(|byte| *byte == b'/').collect();
    let inner = &segments[1..segments.len() - 1];
    assert!(inner.iter().all(|segment| !segment.is_empty()), "{path}");
    assert!(segments.iter().all(|segment| *segment != b"." && *segment != b".."), "{path}");
}

/// The origin must see neither a credential nor an identity that the client made up.
fn loses_what_it_may_not_keep(table: &Table, protected: &Asked) {
    let handed_on = door::hand_on(protected);
    for (name, value) in &handed_on.headers {
        assert!(!is_removed(name) && !is_credential(name) && !claims_identity(name), "{name} remains");
        if name == "cookie" {
            let names: [&[u8]; 2] = [b"cosygate=", b"__Host-cosygate="];
            let ours = |pair: &[u8]| names.iter().any(|name| pair.trim_ascii().starts_with(name));
            assert!(!value.split(|byte| *byte == b';').any(ours), "a credential remains: {handed_on:?}");
        }
    }
    let verdict = door::judge_afresh(&table.gate, &handed_on, NOW);
    // An upgrade that the route does not know is refused before any credential is looked for.
    let is_refused = matches!(verdict.code, "token_missing" | "request_invalid" | "cors_refused" | "preflight");
    assert!(is_refused, "a credential remains: {handed_on:?}: {verdict:?}");
    let twice = door::hand_on(&handed_on);
    assert_eq!(twice.headers, handed_on.headers, "not all was removed at once");
    let others = |asked: &Asked| {
        let kept = |name: &str| !is_credential(name) && !claims_identity(name) && name != "cookie";
        asked.headers.iter().filter(|(name, _)| kept(name)).cloned().collect::<Vec<_>>()
    };
    assert_eq!(others(protected), others(&handed_on), "too much was removed");
}

fn carries_a_token_of(table: &Table, request: &Asked) -> bool {
    let carries = |token: &String| {
        request.headers.iter().any(|(_, value)| value.windows(token.len()).any(|part| part == token.as_bytes()))
    };
    table.tokens.iter().any(carries)
}

fn plain(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

fn claims_identity(name: &str) -> bool {
    let name = plain(name);
    let about = |what: &str| name.strip_prefix(what).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    about("x-user") || about("x-cosygate")
}

fn is_credential(name: &str) -> bool {
    matches!(plain(name).as_str(), "authorization" | "proxy-authorization")
}

fn at(method: &str, target: &str, request: &Asked) -> Asked {
    Asked { method: method.to_owned(), target: target.to_owned(), headers: request.headers.clone() }
}

fn pick<T: Copy>(from: &[T], which: u8) -> T {
    from[usize::from(which) % from.len()]
}

impl Input {
    fn change(&self, request: &mut Asked, table: &Table) {
        match &self.method {
            None => {}
            Some(Method::Known(which)) => request.method = pick(METHODS, *which).to_owned(),
            Some(Method::Free(method)) => request.method.clone_from(method),
        }
        match &self.target {
            None => {}
            Some(Target::Known(which)) => {
                let cases: Vec<_> = tables().iter().flat_map(|table| &table.suite.cases).collect();
                request.target.clone_from(&cases[usize::from(*which) % cases.len()].target);
            }
            Some(Target::After(more)) => request.target.push_str(more),
            Some(Target::Free(target)) => request.target.clone_from(target),
        }
        for edit in &self.edits {
            edit.apply(&mut request.headers, table);
        }
    }
}

impl Edit {
    fn apply(&self, headers: &mut Vec<(String, Vec<u8>)>, table: &Table) {
        let place = |which: u8| (!headers.is_empty()).then(|| usize::from(which) % headers.len());
        match self {
            Self::Add(name, value) => headers.push((name.text(), value.bytes(table))),
            Self::Repeat(which) => headers.extend(place(*which).map(|place| headers[place].clone())),
            Self::Drop(which) => drop(place(*which).map(|place| headers.remove(place))),
            Self::Rename(which, name) => {
                if let Some(place) = place(*which) {
                    headers[place].0 = name.text();
                }
            }
            Self::Append(which, more) => {
                if let Some(place) = place(*which) {
                    headers[place].1.extend(more);
                }
            }
        }
    }
}

impl Name {
    fn text(&self) -> String {
        match self {
            Self::Known(which) => pick(NAMES, *which).to_owned(),
            Self::Free(name) => name.clone(),
            Self::Spelled(which, capitals, underscores) => {
                let spell = |(place, letter): (usize, char)| match letter {
                    '-' if *underscores => '_',
                    letter if capitals >> (place % 32) & 1 == 1 => letter.to_ascii_uppercase(),
                    letter => letter,
                };
                pick(NAMES, *which).chars().enumerate().map(spell).collect()
            }
        }
    }
}

impl Value {
    fn bytes(&self, table: &Table) -> Vec<u8> {
        match self {
            Self::Known(which) => pick(VALUES, *which).as_bytes().to_vec(),
            Self::Free(value) => value.clone(),
            Self::Token(which, form) => {
                let tokens: Vec<&String> = table.tokens.iter().collect();
                format!("{}{}", pick(&["Bearer ", "cosygate=", "", "bearer "], *form), pick(&tokens, *which))
                    .into_bytes()
            }
            Self::Cookies(pairs) => {
                let pair = |(name, value): &(u8, Vec<u8>)| [pick(COOKIES, *name).as_bytes(), b"=", value].concat();
                pairs.iter().map(pair).collect::<Vec<_>>().join(&b"; "[..])
            }
        }
    }
}
