//! What belongs to one user. The owner stands in every query here; there is no other door to
//! outputs for a request.

use super::audit::insert_audit;
use super::{AuditEntry, Store, StoreError, in_transaction, on_db, on_writer};
use crate::caller::Caller;

/// Marks audio for removal.
macro_rules! discard {
    ($executor:expr, $id:expr, $owner:expr, $now_ms:expr) => {
        sqlx::query(
            "INSERT INTO discarded_blobs (id, user_id, discarded_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        )
        .bind($id)
        .bind($owner)
        .bind($now_ms)
        .execute($executor)
        .await?
    };
}

pub(super) use discard;

/// One piece of speech that a user made.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Output {
    /// A ULID; its audio has the same id.
    pub id: String,
    /// What was spoken.
    pub text: String,
    /// The voice's id.
    pub voice: String,
    /// The engine's name.
    pub engine: String,
    /// Unicode scalar values of the text.
    pub characters: i64,
    /// Samples of the one channel.
    pub frames: i64,
    /// Frames a second.
    pub sample_rate: i64,
    /// Size of the file.
    pub bytes: i64,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// The user's own label.
    pub project_id: Option<String>,
    /// Milliseconds since the epoch.
    pub created_at: i64,
}

/// What a user has used of a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of texts.
    pub characters: i64,
    /// How many.
    pub generations: i64,
    /// Milliseconds of audio.
    pub audio_ms: i64,
}

/// Which outputs are looked for; what is none does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputFilter {
    /// A part of the text; of the letters that ASCII has, small and capital ones are alike.
    pub text: Option<String>,
    /// The user's own label.
    pub project_id: Option<String>,
    /// The voice's id.
    pub voice: Option<String>,
    /// Not made before this, in milliseconds since the epoch.
    pub since_ms: Option<i64>,
    /// Made before this.
    pub until_ms: Option<i64>,
}

impl OutputFilter {
    /// What LIKE is told: the text is only a text, whatever signs it has.
    fn pattern(&self) -> String {
        let text = self.text.as_deref().unwrap_or_default();
        format!("%{}%", text.replace('!', "!!").replace('%', "!%").replace('_', "!_"))
    }
}

/// Queries on what belongs to one user.
pub struct Owned<'a> {
    pub(super) store: &'a Store,
    pub(super) owner: &'a Caller,
}

impl<'a> Owned<'a> {
    pub(super) fn new(store: &'a Store, owner: &'a Caller) -> Self {
        Self { store, owner }
    }

    /// One output.
    ///
    /// # Errors
    /// The database failed.
    pub async fn output(&self, id: &str) -> Result<Option<Output>, StoreError> {
        const SQL: &str = "SELECT id, text, voice, engine, characters, frames, sample_rate, bytes, sha256, \
                           project_id, created_at FROM outputs WHERE user_id = $1 AND id = $2";
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_as(SQL).bind(self.owner.user_id()).bind(id).fetch_optional(pool).await?
        }))
    }

    /// Up to `limit` outputs, newest first, older than the one named `before`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn outputs(&self, before: Option<&str>, limit: i64) -> Result<Vec<Output>, StoreError> {
        // Ids are ULIDs, so the order of ids is the order of time; `~` comes after all of them.
        const SQL: &str = "SELECT id, text, voice, engine, characters, frames, sample_rate, bytes, sha256, \
                           project_id, created_at FROM outputs WHERE user_id = $1 AND id < $2 \
                           ORDER BY id DESC LIMIT $3";
        Ok(on_db!(&self.store.reader, pool => {
            let before = before.unwrap_or("~");
            sqlx::query_as(SQL).bind(self.owner.user_id()).bind(before).bind(limit).fetch_all(pool).await?
        }))
    }

    /// As [`Self::outputs`], of those that `wanted` names.
    ///
    /// # Errors
    /// The database failed.
    pub async fn search(
        &self,
        wanted: &OutputFilter,
        before: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Output>, StoreError> {
        // Both sides are made small by the database, so that they agree on what a small letter is.
        const SQL: &str = "SELECT id, text, voice, engine, characters, frames, sample_rate, bytes, sha256, \
                           project_id, created_at FROM outputs WHERE user_id = $1 AND id < $2 \
                           AND created_at >= $3 AND created_at < $4 \
                           AND LOWER(text) LIKE LOWER($5) ESCAPE '!' \
                           AND voice = COALESCE($6, voice) \
                           AND COALESCE(project_id, '') = COALESCE($7, project_id, '') \
                           ORDER BY id DESC LIMIT $8";
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_as(SQL)
                .bind(self.owner.user_id())
                .bind(before.unwrap_or("~"))
                .bind(wanted.since_ms.unwrap_or(i64::MIN))
                .bind(wanted.until_ms.unwrap_or(i64::MAX))
                .bind(wanted.pattern())
                .bind(&wanted.voice)
                .bind(&wanted.project_id)
                .bind(limit)
                .fetch_all(pool)
                .await?
        }))
    }

    /// The time zone, if the user has set one, and what was used on each day since the one of this
    /// name, without what is still under way; days on which nothing was used are left out.
    ///
    /// # Errors
    /// The database failed.
    pub async fn used_since(&self, day: &str) -> Result<(Option<String>, Vec<(String, Usage)>), StoreError> {
        const SQL: &str = "SELECT zone.name, used.day, used.characters, used.generations, used.audio_ms \
                           FROM (SELECT 1) AS always LEFT JOIN time_zones AS zone ON zone.user_id = $1 \
                           LEFT JOIN daily_usage AS used ON used.user_id = $1 AND used.day >= $2";
        type Row = (Option<String>, Option<String>, Option<i64>, Option<i64>, Option<i64>);
        let rows: Vec<Row> = on_db!(&self.store.reader, pool => {
            sqlx::query_as(SQL).bind(self.owner.user_id()).bind(day).fetch_all(pool).await?
        });
        let zone = rows.first().and_then(|(zone, ..)| zone.clone());
        let used = rows.into_iter().filter_map(|(_, day, characters, generations, audio_ms)| {
            Some((day?, Usage { characters: characters?, generations: generations?, audio_ms: audio_ms? }))
        });
        Ok((zone, used.collect()))
    }

    /// Bytes of audio that are kept.
    ///
    /// # Errors
    /// The database failed.
    pub async fn stored_bytes(&self) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM outputs WHERE user_id = $1";
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_scalar(SQL).bind(self.owner.user_id()).fetch_one(pool).await?
        }))
    }

    /// Removes an output; false if there is none of this id. Its audio is marked for removal in
    /// the same transaction, so that a crash leaves nothing behind.
    ///
    /// # Errors
    /// The database failed; nothing has changed.
    pub async fn delete_output(&self, id: &str, audit: &AuditEntry) -> Result<bool, StoreError> {
        let owner = self.owner.user_id();
        Ok(in_transaction!(&self.store.writer, transaction => {
            let deleted = sqlx::query("DELETE FROM outputs WHERE user_id = $1 AND id = $2")
                .bind(owner)
                .bind(id)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if deleted == 1 {
                discard!(&mut *transaction, id, owner, audit.at);
                insert_audit!(&mut *transaction, audit);
            }
            deleted == 1
        }))
    }

    /// Forgets a mark once the audio is gone.
    ///
    /// # Errors
    /// The database failed; the housekeeper will find the mark.
    pub async fn forget_discarded(&self, id: &str) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM discarded_blobs WHERE id = $1 AND user_id = $2";
        on_writer!(&self.store.writer, pool => {
            sqlx::query(SQL).bind(id).bind(self.owner.user_id()).execute(pool).await?;
        });
        Ok(())
    }
}

impl Output {
    /// How long it plays, in milliseconds, begun ones included.
    pub fn milliseconds(&self) -> i64 {
        audio_ms(self.frames, self.sample_rate)
    }

    /// How long it plays, in seconds, to a hundredth.
    pub fn seconds(&self) -> f64 {
        let seconds = self.frames as f64 / self.sample_rate.max(1) as f64;
        (seconds * 100.0).round() / 100.0
    }
}

/// How long so many frames play, in milliseconds, begun ones included.
pub fn audio_ms(frames: i64, sample_rate: i64) -> i64 {
    let (frames, sample_rate) = (frames.max(0), sample_rate.max(1));
    frames.saturating_mul(1000).saturating_add(sample_rate - 1) / sample_rate
}
