//! The moments at which a token begins and ceases to hold, to the second.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::attack::mint::{ALGORITHMS, Mint, now};
use tests::attack::{Site, edges};
use tests::echo::Echo;
use tests::edge::Edge;
use tests::process::workspace;
use tests::scripted::{everywhere, within};
use tests::world::World;

use crate::fleet::{another_edge, roomy};

/// The policy's default.
const SKEW: i64 = 30;
/// The same, longest life.
const LIFE: i64 = 7200;

/// Status and code of a call with a token of these times, relative to the second in which edge
/// and test both were: a call during which the clock goes on to the next second is made again.
async fn at_once(site: &Site, mint: &Mint, times: &[(&str, i64)]) -> (u16, Option<String>) {
    for _ in 0..20 {
        let second = now();
        let token = mint.token(&ALGORITHMS[0], |_, claims| {
            ["exp", "nbf", "iat"].iter().for_each(|name| drop(claims.remove(*name)));
            for (name, offset) in times {
                claims.insert((*name).to_owned(), json!(second.saturating_add_signed(*offset)));
            }
        });
        let answer = call(site, &token).await;
        if now() == second {
            return answer;
        }
    }
    panic!("twenty calls in a row took longer than a second");
}

async fn call(site: &Site, token: &str) -> (u16, Option<String>) {
    let response =
        reqwest::Client::new().get(format!("http://{}/api/me", site.address)).bearer_auth(token).send().await;
    let response = response.unwrap();
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    (status, body["code"].as_str().map(str::to_owned))
}

#[tokio::test]
async fn every_limit_of_time_is_exact_to_the_second() {
    let folder = tempfile::tempdir().unwrap();
    let mint = Mint::default();
    let edge = edges::cosygate(folder.path(), Echo::start().await.address).await;
    let site = edges::site(&edge, &mint);
    let passes = (200, None);
    let refused = |code: &str| (401, Some(code.to_owned()));
    let mut count = 0;
    for (offset, holds) in
        [(-SKEW - 1, false), (-SKEW, false), (1 - SKEW, true), (0, true), (SKEW - 1, true), (SKEW + 1, true)]
    {
        let got = at_once(&site, &mint, &[("iat", -100), ("exp", offset)]).await;
        assert_eq!(got, if holds { passes.clone() } else { refused("token_expired") }, "exp {offset}");
        count += 1;
    }
    for (offset, holds) in
        [(-SKEW - 1, true), (1 - SKEW, true), (0, true), (SKEW - 1, true), (SKEW, true), (SKEW + 1, false)]
    {
        for name in ["nbf", "iat"] {
            let mut times = vec![("exp", 600), (name, offset)];
            times.extend((name == "nbf").then_some(("iat", -100)));
            let got = at_once(&site, &mint, &times).await;
            assert_eq!(got, if holds { passes.clone() } else { refused("token_invalid") }, "{name} {offset}");
            count += 1;
        }
    }
    for (times, holds) in [
        ([("iat", -100), ("exp", LIFE - 100)], true),
        ([("iat", -100), ("exp", LIFE - 99)], false),
        ([("iat", SKEW), ("exp", LIFE + SKEW)], true),
        ([("iat", SKEW), ("exp", LIFE + SKEW + 1)], false),
    ] {
        let got = at_once(&site, &mint, &times).await;
        assert_eq!(got, if holds { passes.clone() } else { refused("token_invalid") }, "{times:?}");
        count += 1;
    }
    println!("envoy: {count} moments judged to the second");
}

#[tokio::test]
async fn a_token_that_the_edge_knows_ceases_and_begins_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mint = Mint::default();
    let edge = edges::cosygate(folder.path(), Echo::start().await.address).await;
    let site = edges::site(&edge, &mint);
    let (skew, end) = (SKEW.unsigned_abs(), now() + 3);
    let ending = mint.token(&ALGORITHMS[0], |_, claims| {
        claims.insert("iat".to_owned(), json!(end - 100));
        claims.insert("exp".to_owned(), json!(end - skew));
    });
    let beginning = mint.token(&ALGORITHMS[0], |_, claims| drop(claims.insert("nbf".to_owned(), json!(end + skew))));
    let mut before = 0;
    // Every call has a connection of its own, so both workers come to know both tokens.
    while now() < end {
        let (ends, begins) = (call(&site, &ending).await.0, call(&site, &beginning).await.0);
        if now() < end {
            assert_eq!((ends, begins), (200, 401));
            before += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(before > 0);
    for _ in 0..20 {
        assert_eq!(call(&site, &ending).await, (401, Some("token_expired".to_owned())));
        assert_eq!(call(&site, &beginning).await, (200, None));
    }
}

/// How soon an edge must know that its clock is wrong, or right again. The worker that asks and reports may still
/// wait for the answer to an earlier question.
const SOON: Duration = Duration::from_secs(30);

/// What `cosygate policy status` says of an edge.
fn status_line(world: &World, node: &str) -> String {
    let output = world.cosygate(&["policy", "status"]);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find(|line| line.contains(node)).unwrap_or_default().to_owned()
}

/// What gives a process a clock of its own; see clock.c.
pub(crate) fn clock_library(folder: &Path) -> PathBuf {
    let source = workspace().join("tests/it/times/clock.c");
    let library = folder.join("clock.so");
    let mut compiler = std::process::Command::new("cc");
    let made = compiler.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]).arg(&library).arg(source).status();
    assert!(made.unwrap().success());
    library
}

/// Sets the clock of a process that reads this file, and nobody else's.
pub(crate) fn set_clock(file: &Path, offset: &str) {
    tests::world::write_whole(file, offset.as_bytes());
}

async fn status(edge: &Edge, path: &str, token: &str) -> StatusCode {
    reqwest::Client::new().get(format!("{}{path}", edge.url)).bearer_auth(token).send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_with_a_wrong_clock_says_so_and_judges_nothing_until_it_is_right() {
    let world = World::with(roomy, &[]).await;
    let token = world.admin().await.token;
    let clock = world.data().join("clock");
    set_clock(&clock, "+0");
    let library = clock_library(&world.data());
    let variables = [("LD_PRELOAD", library.to_str().unwrap()), ("CLOCK_OFFSET_FILE", clock.to_str().unwrap())];
    let edge = another_edge(&world, "edge-2", &variables).await;
    for (offset, said) in [("+300", "300 seconds ahead of"), ("-300", "300 seconds behind")] {
        assert_eq!(status(&edge, "/api/me", &token).await, StatusCode::OK);
        let began = Instant::now();
        set_clock(&clock, offset);
        let refused = async || status(&edge, "/api/voices", &token).await == StatusCode::SERVICE_UNAVAILABLE;
        within(SOON, "noticed", async || everywhere(refused).await).await;
        within(SOON, "the report", async || {
            let line = status_line(&world, "edge-2");
            // A second may pass between question and answer.
            line.contains("clock: ") && (line.contains(said) || line.contains(&said.replace("300", "299")))
        })
        .await;
        println!("envoy: a clock {offset} s off is reported within {:.1?}", began.elapsed());
        // Public paths, too: the origin would not believe what is sealed at another time.
        assert_eq!(status(&edge, "/", "").await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status(&world.edge, "/api/me", &token).await, StatusCode::OK, "the other edge is well");
        let figures = reqwest::get(format!("{}/stats/prometheus", edge.metrics_url)).await.unwrap();
        let figures = figures.text().await.unwrap();
        let gauge = figures.lines().find(|line| line.starts_with("cosygate_edge_clock_offset_seconds")).unwrap();
        assert!(gauge.ends_with(" 300") || gauge.ends_with(" 299"), "{gauge}");

        set_clock(&clock, "+0");
        let passes = async || status(&edge, "/api/me", &token).await == StatusCode::OK;
        within(SOON, "the clock is right", async || everywhere(passes).await).await;
        within(SOON, "no complaint", async || !status_line(&world, "edge-2").contains("clock")).await;
    }
}
