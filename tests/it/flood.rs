//! Tokens by the ten thousand: all refused, and Envoy keeps its size.

use serde_json::json;
use tests::attack::mint::{ALGORITHMS, Mint, claims, header, part, signed_by_attacker};
use tests::attack::run::run;
use tests::attack::{Case, Family, Goal, Shot, Site, edges, wire};
use tests::echo::Echo;

const FLOOD: Family = Family { name: "flood", through: "the token is accepted" };
/// How much larger Envoy may become.
const MOST_KB: u64 = 32 * 1024;

fn case(site: &Site, name: &str, token: &str) -> Case {
    let request = wire::request("GET", &site.path, &site.host).bearer(Some(token));
    // Whoever sends more than there is room for is cut off.
    let shot = if token.len() > 30_000 { Shot::Raw(request.close().bytes()) } else { Shot::Http1(request.bytes()) };
    Case { family: &FLOOD, name: name.to_owned(), shot, goal: Goal::Arrive, code: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_thousand_tokens_are_refused_and_leave_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let (echo, mint) = (Echo::start().await, Mint::default());
    let edge = edges::cosygate(folder.path(), echo.address).await;
    let site = edges::site(&edge, &mint);
    let algorithm = &ALGORITHMS[0];
    let (head, body) = (part(json!(header(algorithm)).to_string()), part(json!(claims(algorithm)).to_string()));

    // What the edge needs for ordinary work it has before anything is measured: memory of sound tokens, too.
    let sound = |number: u32| {
        mint.token(algorithm, |_, claims| drop(claims.insert("jti".to_owned(), json!(number.to_string()))))
    };
    let usual: Vec<Case> = (0..2000).map(|number| case(&site, "sound", &sound(number))).collect();
    let report = run(&site, &usual, Some(&echo)).await;
    assert!(report.outcomes.iter().all(|outcome| outcome.answers[0].status == 200));
    let before = edge.envoy.memory_kib("VmRSS");

    let mut flood = Vec::new();
    for number in 0..20 {
        let long = signed_by_attacker(&format!("{head}.{}", part("x".repeat(48 * 1024 + number))));
        flood.push(case(&site, "64 kB", &long));
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            // As deep as a header of this edge can be, and far beyond.
            for depth in [1000, 10_000 + number] {
                let deep = part(format!("{}1{}", open.repeat(depth), close.repeat(depth)));
                flood.push(case(&site, "deep header", &signed_by_attacker(&format!("{deep}.{body}"))));
                flood.push(case(&site, "deep claims", &signed_by_attacker(&format!("{head}.{deep}"))));
            }
        }
    }
    let signature = part([7; 64]);
    for number in 0..20_000 {
        let head = part(json!({"alg": "EdDSA", "typ": "at+jwt", "kid": format!("unknown-{number}")}).to_string());
        flood.push(case(&site, "unknown kid", &format!("{head}.{body}.{signature}")));
    }
    for number in 0..20_000_u64 {
        let signature = part([&number.to_be_bytes()[..], &[7; 56]].concat());
        flood.push(case(&site, "invalid", &format!("{head}.{body}.{signature}")));
    }
    let report = run(&site, &flood, Some(&echo)).await;
    for (case, outcome) in flood.iter().zip(&report.outcomes) {
        let status = outcome.answers.first().map_or(0, |answer| answer.status);
        assert!((400..500).contains(&status), "{}: {status}", case.name);
        assert!(outcome.arrived.is_empty(), "{}", case.name);
    }
    let after = edge.envoy.memory_kib("VmRSS");
    println!("envoy: {} bad tokens, {before} KiB resident before and {after} KiB after", flood.len());
    assert!(after <= before + MOST_KB, "{before} KiB became {after} KiB");
    let still = run(&site, &usual[..100], Some(&echo)).await;
    assert!(still.outcomes.iter().all(|outcome| outcome.answers[0].status == 200), "and it serves as before");
}
