//! The attack corpus against our edge: nothing gets through, and what passes is sealed.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use gate::identity::{HEADER, KeyRing};
use tests::attack::lure::Lure;
use tests::attack::mint::{Mint, now};
use tests::attack::run::{Outcome, is_through, run};
use tests::attack::wire::{self, Answer};
use tests::attack::{
    Case, Family, Goal, SMUGGLED, Shot, Site, damaged, edges, identity, others, smuggled, spoofed, tokens,
};
use tests::echo::{Echo, Received};
use tests::edge::{Edge, IDENTITY_KEYS};

use crate::wycheproof::vectors::{self, Vector};

/// Our edge before an echo, and what the corpus has to know of it.
struct Place {
    edge: Edge,
    echo: Echo,
    site: Site,
    mint: Mint,
}

async fn place(folder: &Path) -> Place {
    let (echo, mint) = (Echo::start().await, Mint::default());
    let edge = edges::cosygate(folder, echo.address).await;
    edges::check(&edge, &mint).await.unwrap();
    let site = edges::site(&edge, &mint);
    echo.take();
    Place { edge, echo, site, mint }
}

impl Place {
    /// Runs the cases. None may get through, every request that arrives must be sealed for what
    /// it is, and the filter must not have stumbled.
    async fn survives(&self, cases: Vec<Case>) -> Vec<(Case, Outcome)> {
        let report = run(&self.site, &cases, Some(&self.echo)).await;
        assert!(report.strays.is_empty(), "nobody sent these: {:#?}", report.strays);
        let ring = KeyRing::parse(IDENTITY_KEYS).unwrap();
        let mut through = Vec::new();
        for (case, outcome) in cases.iter().zip(&report.outcomes) {
            if is_through(&self.site, case, outcome) {
                through.push(format!("{}: {}", case.family.name, case.name));
            }
            outcome.arrived.iter().for_each(|received| is_sealed_once(&ring, received, case));
        }
        assert!(through.is_empty(), "{} got through:\n{}", through.len(), through.join("\n"));
        let log = self.edge.envoy.log();
        assert!(!log.contains("Function: proxy_on"), "the filter must not have trapped:\n{log}");
        cases.into_iter().zip(report.outcomes).collect()
    }
}

/// One seal, made for this request; what else speaks of the caller says the same.
fn is_sealed_once(ring: &KeyRing, received: &Received, case: &Case) {
    let seals = received.values(HEADER);
    assert_eq!(seals.len(), 1, "{}: {received:?}", case.name);
    let sealed = ring.open(seals[0], &received.method, &received.target, now()).unwrap();
    let stated = |name: &str| received.values(name).first().map(|value| (*value).to_owned());
    assert_eq!(stated("x-user-id").as_deref(), sealed.sub.as_deref(), "{}: {received:?}", case.name);
    assert_eq!(stated("x-user-role").as_deref(), sealed.role.as_deref(), "{}: {received:?}", case.name);
    let expected = if sealed.sub.is_some() { 3 } else { 1 };
    assert_eq!(identity(received).len(), expected, "{}: {received:?}", case.name);
}

fn status(outcome: &Outcome) -> u16 {
    outcome.answers.first().map_or(0, |answer| answer.status)
}

/// How many cases of each family were answered with which status.
fn statuses(results: &[(Case, Outcome)]) -> BTreeMap<(&'static str, u16), usize> {
    let mut counts = BTreeMap::new();
    for (case, outcome) in results {
        *counts.entry((case.family.name, status(outcome))).or_default() += 1;
    }
    counts
}

fn bytes(case: &Case) -> &[u8] {
    match &case.shot {
        Shot::Http1(bytes) | Shot::Raw(bytes) => bytes,
        Shot::Http2(_) => &[],
    }
}

#[tokio::test]
async fn no_damage_leaves_a_token_sound() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path()).await;
    let results = place.survives(damaged(&place.site, &place.mint)).await;
    println!("envoy: {} damaged tokens of 12 algorithms, {:?}", results.len(), statuses(&results));
    let distinct: HashSet<&[u8]> = results.iter().map(|(case, _)| bytes(case)).collect();
    assert!((10_000..20_000).contains(&distinct.len()), "{}", distinct.len());
    for (case, outcome) in &results {
        // What cannot stand in a header is refused before anybody looks for a token.
        let expected = if case.code == Some("request_invalid") { 400 } else { 401 };
        assert_eq!(status(outcome), expected, "{}: {}", case.family.name, case.name);
        assert!(outcome.arrived.is_empty());
    }
}

#[tokio::test]
async fn tokens_as_in_rfc_8725_get_their_exact_code_and_nobody_is_called() {
    let folder = tempfile::tempdir().unwrap();
    let (place, lure) = (place(folder.path()).await, Lure::start().await);
    let results = place.survives(tokens(&place.site, &place.mint, lure.address)).await;
    let families: BTreeMap<&str, usize> = results.iter().fold(BTreeMap::new(), |mut counts, (case, _)| {
        *counts.entry(case.family.name).or_default() += 1;
        counts
    });
    println!("envoy: {} hostile tokens, {families:?}", results.len());
    assert!(results.len() >= 300 && families.len() >= 19);
    for (case, outcome) in &results {
        let code = outcome.answers.first().and_then(Answer::code);
        match case.code {
            Some(expected) => assert_eq!(code.as_deref(), Some(expected), "{}: {}", case.family.name, case.name),
            // Sound, and only names a place; the place must not have been called.
            None => assert_eq!(status(outcome), 200, "{}: {}", case.family.name, case.name),
        }
    }
    assert_eq!(lure.visits(), 0);
}

#[tokio::test]
async fn a_claimed_identity_never_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path()).await;
    let results = place.survives(spoofed(&place.site)).await;
    let arrived: usize = results.iter().map(|(_, outcome)| outcome.arrived.len()).sum();
    println!("envoy: {} claims of an identity, {arrived} requests arrived without them", results.len());
    for protocol in ["HTTP/1.1", "HTTP/2"] {
        let cases: Vec<_> = results.iter().filter(|(case, _)| case.family.name.contains(protocol)).collect();
        assert!(cases.len() >= 257, "{protocol}: {}", cases.len());
        // Nothing is shown by requests that are all refused.
        assert!(cases.iter().any(|(_, outcome)| !outcome.arrived.is_empty()), "{protocol}");
    }
    assert!(arrived > 500, "{arrived}");
    assert!(!place.edge.envoy.log().contains(tests::attack::CANARY), "not even the access log repeats it");
}

#[tokio::test]
async fn one_request_stays_one() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path()).await;
    let results = place.survives(smuggled(&place.site)).await;
    let codings = results.iter().filter(|(case, _)| case.family.name.ends_with("CL.TE")).count();
    assert!(codings >= 600, "{codings}");
    let (mut answered, mut cut, mut arrived) = (0, 0, 0);
    for (case, outcome) in &results {
        assert!(!outcome.arrived.iter().any(|received| received.target.contains(SMUGGLED)), "{}", case.name);
        // The echo's answers are its own words; the edge's are problems.
        let is_echo = |answer: &&Answer| serde_json::from_slice::<Received>(&answer.body).is_ok();
        let echoes = outcome.answers.iter().filter(is_echo).count();
        // A body that proves to be malformed on its way is answered by the edge, which hangs up on the origin.
        let is_cut = echoes == 0 && outcome.arrived.len() == 1 && matches!(status(outcome), 0 | 400);
        assert!(is_cut || outcome.arrived.len() == echoes, "{}: {outcome:?}", case.name);
        answered += echoes;
        cut += usize::from(is_cut);
        arrived += outcome.arrived.len();
    }
    println!(
        "envoy: {} ways to hide a request; the origin saw {arrived}: {answered} answered, {cut} cut short by the edge",
        results.len()
    );
    assert!(answered > 100, "some of these are fine and must pass");
}

#[tokio::test]
async fn no_detour_leads_around_the_gate() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path()).await;
    let results = place.survives(others(&place.site, &place.mint, IDENTITY_KEYS)).await;
    println!("envoy: {} other attacks, {:?}", results.len(), statuses(&results));
    assert!(results.len() > 1000);
    for (case, outcome) in &results {
        assert!(status(outcome) < 500, "{}: {}: {}", case.family.name, case.name, status(outcome));
    }
}

/// What no server reads as the attacker wishes gets through no Envoy at all; it stays in the corpus for others.
const STOPPED_BY_ENVOY: [&str; 3] =
    ["line breaks and odd names, HTTP/2", "smuggling, CL.TE", "smuggling, HTTP/2 to HTTP/1.1"];

#[tokio::test]
async fn without_a_gate_every_kind_gets_through() {
    let folder = tempfile::tempdir().unwrap();
    let (echo, mint, lure) = (Echo::start().await, Mint::default(), Lure::start().await);
    let edge = edges::open(folder.path(), echo.address).await;
    let site = edges::site(&edge, &mint);
    echo.take();
    let mut cases = tokens(&site, &mint, lure.address);
    cases.extend(spoofed(&site));
    cases.extend(smuggled(&site));
    cases.extend(others(&site, &mint, IDENTITY_KEYS));
    let report = run(&site, &cases, Some(&echo)).await;
    let mut through: BTreeMap<&str, usize> = BTreeMap::new();
    for (case, outcome) in cases.iter().zip(&report.outcomes) {
        *through.entry(case.family.name).or_default() += usize::from(is_through(&site, case, outcome));
    }
    println!("envoy without a gate: {through:?}");
    for (family, count) in through {
        assert!(count > 0 || STOPPED_BY_ENVOY.contains(&family), "{family}: the corpus would show nothing");
    }
}

const SIGNATURES: Family = Family { name: "Wycheproof", through: "the signature is accepted" };

#[tokio::test]
async fn none_of_wycheproofs_signatures_opens_the_door() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path()).await;
    let case = |vector: Vector| {
        let request = wire::request("GET", &place.site.path, &place.site.host);
        let shot = Shot::Raw(request.bearer(Some(&vector.text)).close().bytes());
        Case { family: &SIGNATURES, name: vector.id.to_string(), shot, goal: Goal::Arrive, code: None }
    };
    let cases = vectors::groups().into_iter().flat_map(|group| group.vectors).map(case).collect();
    let results = place.survives(cases).await;
    for (case, outcome) in &results {
        assert!(matches!(status(outcome), 400 | 401), "{}: {}", case.name, status(outcome));
    }
    println!("envoy: {} signatures of Wycheproof refused over HTTP", results.len());
    assert_eq!(results.len(), vectors::COUNT);
}
