//! What takes minutes, or a quiet machine, and is run by hand; docs/PERFORMANCE.md has the figures:
//! `cargo test --release -p origin --lib guessing::measure -- --ignored --nocapture --test-threads=1`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::tests::{attempt, visit};
use super::*;
use crate::accounts::{PasswordSettings, Passwords};
use crate::test_app::TestApp;

/// With hashes of this cost.
async fn app(settings: PasswordSettings) -> TestApp {
    let mut app = TestApp::new().await;
    app.passwords_mut(Passwords::new(&settings).unwrap());
    app.register("ada").await;
    app
}

/// Welch's t of two samples: how many standard errors their means are apart.
fn welch(one: &[f64], other: &[f64]) -> f64 {
    let mean = |sample: &[f64]| sample.iter().sum::<f64>() / sample.len() as f64;
    let error = |sample: &[f64]| {
        let squares = sample.iter().map(|value| (value - mean(sample)).powi(2)).sum::<f64>();
        squares / (sample.len() as f64 - 1.0) / sample.len() as f64
    };
    (mean(one) - mean(other)) / (error(one) + error(other)).sqrt()
}

#[tokio::test]
#[ignore = "takes minutes"]
async fn time_tells_nobody_which_names_exist() {
    for memory_kib in [64, PasswordSettings::default().memory_kib] {
        let app = app(PasswordSettings { memory_kib, ..PasswordSettings::default() }).await;
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for n in 0..4000_u32 {
            // Never too many.
            app.app.clock.advance(600_000);
            let is_known = rand::random::<bool>();
            let began = Instant::now();
            let refusal =
                log_in(&app.app, &visit(n), attempt(if is_known { "ada" } else { "bob" }, "wrong horse")).await;
            let micros = began.elapsed().as_secs_f64() * 1e6;
            assert_eq!(refusal.unwrap_err().problem.code, Code::TokenInvalid);
            if is_known { &mut known } else { &mut unknown }.push(micros);
        }
        let median = |sample: &mut Vec<f64>| {
            sample.sort_by(f64::total_cmp);
            sample[sample.len() / 2]
        };
        let t = welch(&known, &unknown);
        println!(
            "{memory_kib} KiB: {} known, median {:.0} µs; {} unknown, median {:.0} µs; t = {t:.2}",
            known.len(),
            median(&mut known),
            unknown.len(),
            median(&mut unknown)
        );
        assert!(t.abs() < 4.5);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures the memory of the whole process"]
async fn memory_is_bounded() {
    let memory_kib = |name: &str| -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let app = Arc::new(app(PasswordSettings::default()).await);
    for at_once in [1, 64, 400] {
        let (began, before) = (Instant::now(), memory_kib("VmRSS"));
        let logins = (0..at_once).map(|n| {
            let app = Arc::clone(&app);
            tokio::spawn(async move {
                let began = Instant::now();
                let right = Attempt { username: "ada", password: "correct horse", device: None };
                let device = app.app.guard.device_token(
                    &app.app.store.accounts().by_username("ada").await.unwrap().unwrap(),
                    app.app.clock.now_s(),
                );
                let code = match log_in(&app.app, &visit(n), Attempt { device: Some(&device), ..right }).await {
                    Ok(_) => "ok",
                    Err(refusal) => refusal.problem.code.as_str(),
                };
                (code, began.elapsed())
            })
        });
        let ended: Vec<(&str, Duration)> =
            futures::future::join_all(logins).await.into_iter().map(Result::unwrap).collect();
        let of = |code: &str| ended.iter().filter(|(ended, _)| *ended == code).count();
        let slowest = |code: &str| ended.iter().filter(|(ended, _)| *ended == code).map(|(_, took)| *took).max();
        println!(
            "{at_once} at once in {:?}: {} ok (slowest {:?}), {} overloaded (slowest {:?}), {} others; \
             RSS {before} KiB before, {} KiB at most since the start",
            began.elapsed(),
            of("ok"),
            slowest("ok"),
            of("overloaded"),
            slowest("overloaded"),
            ended.len() - of("ok") - of("overloaded"),
            memory_kib("VmHWM")
        );
    }
}
