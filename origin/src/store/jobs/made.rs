//! Booking what is done.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use sqlx::QueryBuilder;

use super::charge::{Charge, charge};
use crate::caller::Caller;
use crate::store::audit::insert_audits;
use crate::store::queue::Claimed;
use crate::store::{AuditEntry, Output, Store, StoreError, in_transaction};

/// A job that is done.
#[derive(Clone, Debug)]
pub(in crate::store) struct Made {
    pub(super) owner: Caller,
    pub(super) claimed: Claimed,
    pub(super) output: Output,
    pub(super) answer: String,
    pub(super) audit: AuditEntry,
}

/// [`super::Owned::complete`] for some at once.
pub(in crate::store) fn complete(store: Store, made: Arc<[Made]>) -> BoxFuture<'static, Result<Vec<bool>, StoreError>> {
    const END: &str = "UPDATE jobs SET state = 'done', request = '', answer = made.column5, ended_at = made.column6, \
                       worker = NULL, sentences_done = sentences_total FROM (";
    // An output belongs to the day on which it was asked for, even if midnight passed since.
    const END_MINE: &str = ") AS made WHERE id = made.column1 AND user_id = made.column2 AND state = 'running' \
                            AND worker = made.column3 AND attempts = made.column4 RETURNING id, day";
    const KEEP: &str = "INSERT INTO outputs (id, user_id, role, text, voice, engine, characters, frames, \
                        sample_rate, bytes, sha256, project_id, created_at, is_booked) ";
    Box::pin(async move {
        Ok(in_transaction!(&store.writer, transaction => {
            let mut end = QueryBuilder::new(END);
            end.push_values(&*made, |mut row, Made { owner, claimed, output, answer, audit }| {
                row.push_bind(&output.id)
                    .push_bind(owner.user_id())
                    .push_bind(&claimed.worker)
                    .push_bind(claimed.job.attempts)
                    .push_bind(answer)
                    .push_bind(audit.at);
            });
            let end = end.push(END_MINE).build_query_as().persistent(made.len() == 1);
            let days: Vec<(String, String)> = end.fetch_all(&mut *transaction).await?;
            let days: HashMap<String, String> = days.into_iter().collect();
            let booked = || made.iter().filter_map(|made| Some((made, days.get(&made.output.id)?)));
            let charges: Vec<Charge<'_>> = booked().map(|(made, day)| made.charge(day)).collect();
            if !charges.is_empty() {
                charge!(&mut *transaction, &charges);
                let mut keep = QueryBuilder::new(KEEP);
                keep.push_values(booked(), |mut row, (Made { owner, output, .. }, _)| {
                    row.push_bind(&output.id)
                        .push_bind(owner.user_id())
                        .push_bind(owner.role())
                        .push_bind(&output.text)
                        .push_bind(&output.voice)
                        .push_bind(&output.engine)
                        .push_bind(output.characters)
                        .push_bind(output.frames)
                        .push_bind(output.sample_rate)
                        .push_bind(output.bytes)
                        .push_bind(&output.sha256)
                        .push_bind(&output.project_id)
                        .push_bind(output.created_at)
                        .push_bind(1_i64);
                });
                keep.build().persistent(charges.len() == 1).execute(&mut *transaction).await?;
                let audits: Vec<AuditEntry> = booked().map(|(made, _)| made.audit.clone()).collect();
                insert_audits!(&mut *transaction, &audits);
            }
            made.iter().map(|made| days.contains_key(&made.output.id)).collect()
        }))
    })
}

impl Made {
    fn charge<'a>(&'a self, day: &'a str) -> Charge<'a> {
        let Self { owner, output, audit, .. } = self;
        Charge {
            id: &output.id,
            owner: owner.user_id(),
            day,
            kind: "kept",
            characters: output.characters,
            audio_ms: output.milliseconds(),
            project_id: output.project_id.as_deref(),
            at: audit.at,
        }
    }
}
