//! The verifier: whether the audit is what was written.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use serde_json::Value;

use super::{PERSONAL_DAYS, open};
use crate::store::{AuditRow, Checkpoint, FIRST_HASH, Head, Store, StoreError, personal_hash, subject_of, user_object};

const STEP: i64 = 1000;
const DAY_MS: i64 = 86_400_000;
/// How many findings are told one by one; beyond that they are counted.
const MAX_TOLD: usize = 1000;

/// What the verifier found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How many rows the chain has.
    pub rows: i64,
    /// How many checkpoints were held against them.
    pub checkpoints: usize,
    /// The newest row that a checkpoint covers.
    pub signed_up_to: i64,
    /// How many findings there are.
    pub count: usize,
    /// The findings, at most 1000.
    pub findings: Vec<Finding>,
}

/// One thing that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The row, if it concerns one.
    pub seq: Option<i64>,
    /// What is wrong.
    pub what: String,
}

impl Report {
    /// Whether the audit is what was written.
    pub fn is_sound(&self) -> bool {
        self.count == 0
    }

    fn find(&mut self, seq: impl Into<Option<i64>>, what: impl Into<String>) {
        self.count += 1;
        if self.findings.len() < MAX_TOLD {
            self.findings.push(Finding { seq: seq.into(), what: what.into() });
        }
    }
}

/// Holds all rows against their chain, against the checkpoints of the database and against those of
/// a file, `kept`. Without a file, a tail that was cut off together with its checkpoints is not
/// found.
///
/// # Errors
/// The database failed.
pub async fn verify(store: &Store, kept: &[Checkpoint], now_ms: i64) -> Result<Report, StoreError> {
    let trail = store.trail();
    // First the head: rows that are written meanwhile come after it.
    let head = trail.head().await?;
    let mut report = Report { rows: head.seq, ..Report::default() };
    let mut signed = Signed::collect(store, kept, &mut report).await?;
    let mut reader = Reader { last: Head { seq: 0, hash: FIRST_HASH.to_owned() }, ..Reader::default() };
    loop {
        let rows = trail.rows(reader.last.seq, head.seq, STEP).await?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            reader.check(&row, now_ms, &mut report);
            signed.check(&row, &mut report);
            reader.last = Head { seq: row.seq, hash: row.hash };
        }
    }
    if reader.last.seq < head.seq {
        report.find(reader.last.seq + 1, gone(reader.last.seq + 1, head.seq));
    } else if reader.last != head {
        report.find(head.seq, "the head of the chain is not its newest row");
    }
    if !trail.rows(head.seq, i64::MAX, 1).await?.is_empty() && trail.head().await?.seq == head.seq {
        report.find(head.seq + 1, "there are rows behind the head of the chain");
    }
    signed.end(head.seq, &mut report);
    reader.check_subjects(store, &mut report).await?;
    Ok(report)
}

fn gone(first: i64, last: i64) -> String {
    if first == last { format!("row {first} is missing") } else { format!("rows {first} to {last} are missing") }
}

/// What was signed for, by row.
#[derive(Default)]
struct Signed {
    hashes: HashMap<i64, String>,
}

impl Signed {
    async fn collect(store: &Store, kept: &[Checkpoint], report: &mut Report) -> Result<Self, StoreError> {
        let keys = crate::keys::of_audit(store).await?;
        let mut signed = Self::default();
        let mut known = HashSet::new();
        let mut after = 0;
        loop {
            let checkpoints = store.trail().checkpoints(after, STEP).await?;
            let Some(last) = checkpoints.last() else { break };
            after = last.seq;
            for checkpoint in &checkpoints {
                known.insert(checkpoint.jws.clone());
                signed.add(checkpoint, &keys, "a checkpoint of the database", report);
            }
        }
        for checkpoint in kept {
            if known.insert(checkpoint.jws.clone()) {
                signed.add(checkpoint, &keys, "a checkpoint of the file", report);
                report.find(checkpoint.seq, "a checkpoint of the file is missing in the database");
            }
        }
        report.checkpoints = known.len();
        Ok(signed)
    }

    fn add(&mut self, checkpoint: &Checkpoint, keys: &[Value], whose: &str, report: &mut Report) {
        match open(&checkpoint.jws, keys) {
            Some(claims) if claims.seq == checkpoint.seq && claims.iat == checkpoint.at / 1000 => {
                report.signed_up_to = report.signed_up_to.max(claims.seq);
                if self.hashes.insert(claims.seq, claims.hash.clone()).is_some_and(|other| other != claims.hash) {
                    report.find(claims.seq, "two checkpoints contradict each other");
                }
            }
            _ => report.find(checkpoint.seq, format!("{whose} is not signed by a key of the audit, or was changed")),
        }
    }

    fn check(&mut self, row: &AuditRow, report: &mut Report) {
        if self.hashes.remove(&row.seq).is_some_and(|hash| hash != row.hash) {
            report.find(row.seq, "the row is not the one that was signed for");
        }
    }

    /// What is left was signed for and is not there.
    fn end(self, newest: i64, report: &mut Report) {
        let mut left: Vec<i64> = self.hashes.into_keys().filter(|seq| *seq > newest).collect();
        left.sort_unstable();
        if let Some(last) = left.last() {
            report.find(newest + 1, format!("{}: a checkpoint tells of them", gone(newest + 1, *last)));
        }
    }
}

/// What is known while the rows are read in their order.
#[derive(Default)]
struct Reader {
    last: Head,
    /// Pseudonyms that stand in rows, and the first row of each.
    named: HashMap<String, i64>,
    /// As objects of rows that say so.
    erased: HashSet<String>,
    /// Rows whose personal part is gone before its time, by pseudonym.
    forgotten: HashMap<String, i64>,
}

impl Reader {
    fn check(&mut self, row: &AuditRow, now_ms: i64, report: &mut Report) {
        if row.seq != self.last.seq + 1 {
            report.find(self.last.seq + 1, gone(self.last.seq + 1, row.seq - 1));
        } else if row.hash != row.expected_hash(&self.last.hash) {
            report.find(row.seq, "the row was changed, or put in");
        }
        if let Some(subject) = &row.subject {
            self.named.entry(subject.clone()).or_insert(row.seq);
        }
        if let Some(subject) = row.object.as_deref().and_then(|object| object.strip_prefix("user:")) {
            self.named.entry(subject.to_owned()).or_insert(row.seq);
            if row.action == "erase" {
                self.erased.insert(subject.to_owned());
            }
        }
        self.check_personal(row, now_ms, report);
    }

    fn check_personal(&mut self, row: &AuditRow, now_ms: i64, report: &mut Report) {
        match (&row.salt, &row.personal, &row.personal_hash) {
            (Some(salt), Some(personal), Some(hash)) if personal_hash(salt, personal) == *hash => {}
            (None, None, None) => {}
            (None, None, Some(_)) if row.at < now_ms - PERSONAL_DAYS * DAY_MS => {}
            (None, None, Some(_)) => match &row.subject {
                Some(subject) => {
                    self.forgotten.entry(subject.clone()).or_insert(row.seq);
                }
                None => report.find(row.seq, "what was personal in the row is gone before its time"),
            },
            _ => report.find(row.seq, "what is personal in the row was changed"),
        }
    }

    /// Whether each pseudonym is that of its user, and whose is nobody's was erased.
    async fn check_subjects(mut self, store: &Store, report: &mut Report) -> Result<(), StoreError> {
        let mut after = String::new();
        loop {
            let subjects = store.trail().subjects(&after, STEP).await?;
            let Some(last) = subjects.last() else { break };
            after.clone_from(&last.user_id);
            for known in subjects {
                self.named.remove(&known.subject);
                if subject_of(&known.salt, &known.user_id) != known.subject {
                    let short: String = known.subject.chars().take(12).collect();
                    report.find(None, format!("the pseudonym {short}… is not that of its user"));
                }
                if let Some(seq) = self.forgotten.remove(&known.subject) {
                    report.find(seq, "what was personal in the row is gone before its time");
                }
            }
        }
        let mut unknown: Vec<(String, i64)> = self.named.into_iter().collect();
        unknown.sort_by_key(|(_, seq)| *seq);
        for (subject, seq) in unknown {
            if !self.erased.contains(&subject) {
                report
                    .find(seq, format!("nobody knows whose {} is, and no erasure tells of it", user_object(&subject)));
            }
        }
        Ok(())
    }
}
