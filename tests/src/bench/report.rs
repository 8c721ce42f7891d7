//! Medians, as a table and as JSON.

use serde::Serialize;

use super::load::Load;

/// Everything that is known of one variant.
#[derive(Serialize)]
pub struct Row {
    /// What is sent.
    pub what: String,
    /// What handles it.
    pub by: &'static str,
    /// Processor time per request, in microseconds.
    pub cpu_us: f64,
    /// The part of it that the filters cost, in microseconds: what is left without "no filter".
    pub above_no_filter_us: f64,
    /// Responses per second.
    pub requests_per_second: f64,
    /// `above_no_filter_us` against the peer's. Below 1 is less work than the peer. Absent without
    /// a peer, and where the noise of a round was larger than what was to be measured.
    pub ratio: Option<f64>,
    /// The rounds.
    pub rounds: Vec<Load>,
}

impl Row {
    /// Medians over rounds. Differences and ratios are taken within each round, because a machine
    /// is seldom equally fast all the time.
    pub fn new(what: String, by: &'static str, rounds: Vec<Load>, no_filter: &[Load], peer: Option<&[Load]>) -> Self {
        let above = |loads: &[Load]| -> Vec<f64> {
            loads.iter().zip(no_filter).map(|(load, base)| load.cpu_us - base.cpu_us).collect()
        };
        let own = above(&rounds);
        let ratio = peer.map(above).filter(|peer| own.iter().chain(peer).all(|above| *above > 0.0));
        let ratio = ratio.map(|peer| median(own.iter().zip(peer).map(|(own, peer)| own / peer)));
        Self {
            what,
            by,
            cpu_us: median(rounds.iter().map(|load| load.cpu_us)),
            above_no_filter_us: median(own.iter().copied()),
            requests_per_second: median(rounds.iter().map(|load| load.requests_per_second)),
            ratio,
            rounds,
        }
    }
}

/// The table, with a line for each row.
pub fn table(rows: &[Row]) -> String {
    let mut lines = vec![format!(
        "{:<26}{:<17}{:>15}{:>18}{:>12}{:>10}",
        "tokens", "handled by", "CPU us/request", "above no filter", "requests/s", "ratio"
    )];
    for row in rows {
        let ratio = row.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        lines.push(format!(
            "{:<26}{:<17}{:>15.1}{:>18.1}{:>12.0}{ratio:>10}",
            row.what, row.by, row.cpu_us, row.above_no_filter_us, row.requests_per_second
        ));
    }
    lines.join("\n")
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}
