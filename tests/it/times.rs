//! The moments at which a token begins and ceases to hold, to the second.

use std::time::Duration;

use serde_json::{Value, json};
use tests::attack::mint::{ALGORITHMS, Mint, now};
use tests::attack::{Site, edges};
use tests::echo::Echo;

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
