//! Booking what is done.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::charge;
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
    // An output belongs to the day on which it was asked for, even if midnight passed since.
    const END: &str = "UPDATE jobs SET state = 'done', request = '', answer = $5, ended_at = $6, worker = NULL, \
                       sentences_done = sentences_total WHERE id = $1 AND user_id = $2 AND state = 'running' \
                       AND worker = $3 AND attempts = $4 RETURNING day";
    const KEEP: &str = "INSERT INTO outputs (id, user_id, role, text, voice, engine, characters, frames, \
                        sample_rate, bytes, sha256, project_id, created_at, is_booked) \
                        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 1)";
    Box::pin(async move {
        // In one order for all, so that no two transactions wait for each other's users.
        let mut places: Vec<usize> = (0..made.len()).collect();
        places.sort_by_key(|place| made.get(*place).map(|made| made.owner.user_id()));
        Ok(in_transaction!(&store.writer, transaction => {
            let mut is_mine = vec![false; made.len()];
            let mut audits = Vec::new();
            for place in &places {
                let Some((Made { owner, claimed, output, answer, audit }, is_mine)) =
                    made.get(*place).zip(is_mine.get_mut(*place)) else { continue };
                let day: Option<String> = sqlx::query_scalar(END)
                    .bind(&output.id)
                    .bind(owner.user_id())
                    .bind(&claimed.worker)
                    .bind(claimed.job.attempts)
                    .bind(answer)
                    .bind(audit.at)
                    .fetch_optional(&mut *transaction)
                    .await?;
                let Some(day) = day else { continue };
                charge!(
                    &mut *transaction, &output.id, owner.user_id(), &day, "kept", output.characters,
                    output.milliseconds(), &output.project_id, audit.at
                );
                sqlx::query(KEEP)
                    .bind(&output.id)
                    .bind(owner.user_id())
                    .bind(owner.role())
                    .bind(&output.text)
                    .bind(&output.voice)
                    .bind(&output.engine)
                    .bind(output.characters)
                    .bind(output.frames)
                    .bind(output.sample_rate)
                    .bind(output.bytes)
                    .bind(&output.sha256)
                    .bind(&output.project_id)
                    .bind(output.created_at)
                    .execute(&mut *transaction)
                    .await?;
                audits.push(audit.clone());
                *is_mine = true;
            }
            insert_audits!(&mut *transaction, &audits);
            is_mine
        }))
    })
}
