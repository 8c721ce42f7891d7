//! The result, as a table.

use super::run::{Outcome, Report, is_through};
use super::{Case, Family, Site};

/// What one edge made of one family.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// How many got what they wanted.
    pub through: usize,
    /// How many did not.
    pub stopped: usize,
    /// The status of one that got through, or else the highest of a refusal; 0 for a connection
    /// that just ended.
    pub worst: u16,
}

/// One edge with its result.
pub struct Column {
    /// Its name.
    pub name: String,
    tallies: Vec<(&'static Family, Tally)>,
    /// Every case that got through, with what came of it.
    pub through: Vec<(Case, Outcome)>,
    strays: usize,
    visits: Option<usize>,
}

impl Column {
    /// Counts. `visits` is how many connections the lure got.
    pub fn new(name: &str, site: &Site, cases: &[Case], report: Report, visits: Option<usize>) -> Self {
        let mut tallies: Vec<(&'static Family, Tally)> = Vec::new();
        let mut through = Vec::new();
        for (case, outcome) in cases.iter().zip(report.outcomes) {
            let place = tallies.iter().position(|(family, _)| *family == case.family).unwrap_or_else(|| {
                tallies.push((case.family, Tally::default()));
                tallies.len() - 1
            });
            let tally = &mut tallies[place].1;
            let status = outcome.answers.iter().map(|answer| answer.status).max().unwrap_or_default();
            if is_through(site, case, &outcome) {
                tally.worst = if tally.through == 0 { status } else { tally.worst };
                tally.through += 1;
                through.push((case.clone(), outcome));
            } else {
                tally.stopped += 1;
                // What passed without what the attacker wanted is no refusal.
                if tally.through == 0 && outcome.arrived.is_empty() {
                    tally.worst = tally.worst.max(status);
                }
            }
        }
        Self { name: name.to_owned(), tallies, through, strays: report.strays.len(), visits }
    }

    /// How many things happened that must not.
    pub fn failures(&self) -> usize {
        self.through.len() + self.strays + self.visits.unwrap_or_default()
    }
}

/// The table in Markdown, one row for each family.
pub fn markdown(columns: &[Column]) -> String {
    let mut head = "| attack | requests |".to_owned();
    let mut rule = "|---|---:|".to_owned();
    for column in columns {
        head += &format!(" {}: through | stopped | worst status |", column.name);
        rule += "---:|---:|---|";
    }
    let mut lines = vec![format!("{head} what \"through\" means |"), format!("{rule}---|")];
    let Some(first) = columns.first() else { return String::new() };
    let mut sums = vec![Tally::default(); columns.len()];
    for (place, (family, tally)) in first.tallies.iter().enumerate() {
        let mut line = format!("| {} | {} |", family.name, tally.through + tally.stopped);
        for (column, sum) in columns.iter().zip(&mut sums) {
            let tally = column.tallies[place].1;
            let worst = if tally.worst == 0 { "none".to_owned() } else { tally.worst.to_string() };
            line += &format!(" {} | {} | {worst} |", tally.through, tally.stopped);
            sum.through += tally.through;
            sum.stopped += tally.stopped;
        }
        lines.push(format!("{line} {} |", family.through));
    }
    let mut line = format!("| **all** | **{}** |", sums[0].through + sums[0].stopped);
    for sum in &sums {
        line += &format!(" **{}** | {} | |", sum.through, sum.stopped);
    }
    lines.push(format!("{line} |"));
    for (name, count, meaning) in [
        ("requests that no case sent so", Column::strays as fn(&Column) -> Option<usize>, "seen by the origin"),
        ("calls to the address in a token", Column::visits, "the edge fetches what an attacker names"),
    ] {
        if columns.iter().any(|column| count(column).is_some()) {
            let cells: String =
                columns.iter().map(|column| format!(" {} | | |", count(column).unwrap_or_default())).collect();
            lines.push(format!("| {name} | |{cells} {meaning} |"));
        }
    }
    lines.join("\n")
}

impl Column {
    fn strays(&self) -> Option<usize> {
        (self.strays > 0).then_some(self.strays)
    }

    fn visits(&self) -> Option<usize> {
        self.visits
    }
}
