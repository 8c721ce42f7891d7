//! Quotas: what a generation may use is set aside before it starts and booked when it ends.

use super::audit::insert_audit;
use super::outputs::{Owned, discard};
use super::{AuditEntry, Output, StoreError, in_transaction};
use crate::clock;

/// What a generation wants to use.
#[derive(Clone, Debug)]
pub struct Reservation {
    /// The id of the output to come.
    pub id: String,
    /// How many characters.
    pub characters: i64,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
    /// When it lapses if nobody ends it, milliseconds since the epoch.
    pub expires_at: i64,
}

/// What a role allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Generations at the same time.
    pub running: i64,
    /// Characters of a day.
    pub characters: i64,
    /// Generations of a day.
    pub generations: i64,
    /// Bytes of audio that are kept.
    pub storage_bytes: i64,
    /// How many bytes of audio one character may become, about.
    pub bytes_per_character: i64,
}

/// What became of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// Set aside.
    Granted,
    /// As many generations as allowed are under way.
    TooManyRunning,
    /// The characters of the day do not suffice; so many are left.
    TooFewCharacters(i64),
    /// The generations of the day are used up.
    NoGenerations,
    /// The room for audio does not suffice.
    NoStorage,
}

impl Owned<'_> {
    /// Sets aside what a generation wants to use, in one transaction with the check.
    ///
    /// # Errors
    /// The database failed; nothing is set aside.
    pub async fn reserve(&self, wanted: &Reservation, limits: &Limits) -> Result<Reserved, StoreError> {
        // Touching the day's row first makes concurrent reservations of one user wait for each
        // other on Postgres; SQLite has one writer anyway.
        const LOCK_DAY: &str = "INSERT INTO daily_usage (user_id, day, characters, generations) \
                                VALUES ($1, $2, 0, 0) ON CONFLICT (user_id, day) \
                                DO UPDATE SET characters = daily_usage.characters RETURNING characters, generations";
        const UNDER_WAY: &str = "SELECT COUNT(*), CAST(COALESCE(SUM(characters), 0) AS BIGINT) FROM reservations \
                                 WHERE user_id = $1 AND expires_at > $2";
        const STORED: &str = "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM outputs WHERE user_id = $1";
        const RESERVE: &str = "INSERT INTO reservations (id, user_id, day, characters, created_at, expires_at) \
                               VALUES ($1, $2, $3, $4, $5, $6)";
        let owner = self.owner.user_id();
        let day = clock::day(wanted.now_ms);
        Ok(in_transaction!(&self.store.writer, transaction => {
            let (characters, generations): (i64, i64) =
                sqlx::query_as(LOCK_DAY).bind(owner).bind(&day).fetch_one(&mut *transaction).await?;
            let (running, promised): (i64, i64) =
                sqlx::query_as(UNDER_WAY).bind(owner).bind(wanted.now_ms).fetch_one(&mut *transaction).await?;
            let stored: i64 = sqlx::query_scalar(STORED).bind(owner).fetch_one(&mut *transaction).await?;
            let spoken_for = promised.saturating_add(wanted.characters);
            let left = limits.characters - characters - promised;
            if running >= limits.running {
                Reserved::TooManyRunning
            } else if wanted.characters > left {
                Reserved::TooFewCharacters(left.max(0))
            } else if generations + running >= limits.generations {
                Reserved::NoGenerations
            } else if stored.saturating_add(spoken_for * limits.bytes_per_character) > limits.storage_bytes {
                Reserved::NoStorage
            } else {
                sqlx::query(RESERVE)
                    .bind(&wanted.id)
                    .bind(owner)
                    .bind(&day)
                    .bind(wanted.characters)
                    .bind(wanted.now_ms)
                    .bind(wanted.expires_at)
                    .execute(&mut *transaction)
                    .await?;
                Reserved::Granted
            }
        }))
    }

    /// Books a reservation: the output is there, the day is charged, the audit knows. All or
    /// nothing.
    ///
    /// # Errors
    /// [`StoreError::ReservationGone`] when it lapsed before; the database failed.
    pub async fn complete(&self, output: &Output, audit: &AuditEntry) -> Result<(), StoreError> {
        // An output belongs to the day on which it was asked for, even if midnight passed since.
        const TAKE: &str = "DELETE FROM reservations WHERE id = $1 AND user_id = $2 AND expires_at > $3 \
                            RETURNING day";
        const CHARGE: &str = "INSERT INTO daily_usage (user_id, day, characters, generations) \
                              VALUES ($1, $2, $3, 1) ON CONFLICT (user_id, day) DO UPDATE SET \
                              characters = daily_usage.characters + excluded.characters, \
                              generations = daily_usage.generations + 1";
        const KEEP: &str = "INSERT INTO outputs (id, user_id, role, text, voice, engine, characters, frames, \
                            sample_rate, bytes, sha256, project_id, created_at) \
                            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
        let owner = self.owner.user_id();
        in_transaction!(&self.store.writer, transaction => {
            let day: Option<String> = sqlx::query_scalar(TAKE)
                .bind(&output.id)
                .bind(owner)
                .bind(audit.at)
                .fetch_optional(&mut *transaction)
                .await?;
            let day = day.ok_or(StoreError::ReservationGone)?;
            sqlx::query(CHARGE)
                .bind(owner)
                .bind(&day)
                .bind(output.characters)
                .execute(&mut *transaction)
                .await?;
            sqlx::query(KEEP)
                .bind(&output.id)
                .bind(owner)
                .bind(self.owner.role())
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
            insert_audit!(&mut *transaction, audit);
        });
        Ok(())
    }

    /// Gives a reservation back and marks its audio, if any, for removal. False if it is gone:
    /// then it was booked after all, or swept.
    ///
    /// # Errors
    /// The database failed; the reservation will lapse.
    pub async fn release(&self, id: &str, audit: &AuditEntry) -> Result<bool, StoreError> {
        let owner = self.owner.user_id();
        Ok(in_transaction!(&self.store.writer, transaction => {
            let released = sqlx::query("DELETE FROM reservations WHERE id = $1 AND user_id = $2")
                .bind(id)
                .bind(owner)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if released == 1 {
                discard!(&mut *transaction, id, owner, audit.at);
                insert_audit!(&mut *transaction, audit);
            }
            released == 1
        }))
    }
}
