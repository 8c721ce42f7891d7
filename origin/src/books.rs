//! Whether what was charged is what was delivered, for every user and day, down to the bytes of
//! the audio.

use crate::blobs::{BlobError, Blobs};
use crate::clock::Clock;
use crate::days::KEPT_DAYS;
use crate::store::{Mistake, Store, StoreError};

const DAY_MS: i64 = 86_400_000;
/// How many outputs are looked at in one go.
const STEP: i64 = 200;

/// What was looked at, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verdict {
    /// Days of users with use.
    pub days: i64,
    /// Deliveries.
    pub deliveries: i64,
    /// Outputs whose audio was read.
    pub outputs: u64,
    /// What does not agree.
    pub mistakes: Vec<Mistake>,
}

/// Why the books could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BooksError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The audio.
    #[error(transparent)]
    Blobs(#[from] BlobError),
}

/// Compares charges, deliveries, outputs, jobs and the audio on the disk. May run beside a server.
///
/// # Errors
/// The database or the disk failed.
pub async fn verify(store: &Store, blobs: &Blobs, clock: &Clock) -> Result<Verdict, BooksError> {
    let books = store.books();
    let (days, deliveries) = books.size().await?;
    // The books forget earlier than some roles forget their outputs. A day's margin on either side.
    let since_ms = clock.now_ms().saturating_sub(i64::from(KEPT_DAYS - 2) * DAY_MS);
    let mut verdict = Verdict { days, deliveries, outputs: 0, mistakes: books.mistakes(since_ms).await? };
    let mut after = String::new();
    loop {
        let step = books.audio(&after, STEP).await?;
        let Some(last) = step.last() else { return Ok(verdict) };
        after.clone_from(&last.id);
        for record in step {
            verdict.outputs += 1;
            let wanted = format!("{} bytes, {}", record.bytes, record.sha256);
            let found = blobs.inspect(&record.user_id, &record.id).await?;
            let found = found.map_or("nothing".to_owned(), |(bytes, sha256)| format!("{bytes} bytes, {sha256}"));
            // It may have been deleted since it was listed.
            if found != wanted && books.has_output(&record.id).await? {
                let (user_id, place) = (record.user_id, record.id);
                verdict.mistakes.push(Mistake { user_id, place, charged: wanted, delivered: found });
            }
        }
    }
}
