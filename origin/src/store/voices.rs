//! Voices that users made of recordings. The owner stands in every query.

use super::audit::insert_audit;
use super::outputs::{Owned, discard};
use super::{AuditEntry, StoreError, in_transaction, on_db, on_writer};

/// How often a voice is tried to be added while others of the same user are.
const TRIES: usize = 3;

/// A voice that one user made of a recording.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct OwnVoice {
    /// A ULID; its recording has the same id.
    pub id: String,
    /// The user's own name for it; no two of one user are alike.
    pub name: String,
    /// What is said in the recording.
    pub transcript: String,
    /// BCP 47, if given.
    pub language: Option<String>,
    /// The sentence that the user agreed to.
    pub consent: String,
    /// When, in milliseconds since the epoch.
    pub consented_at: i64,
    /// Samples of the one channel.
    pub frames: i64,
    /// Frames a second.
    pub sample_rate: i64,
    /// Size of the recording's file.
    pub bytes: i64,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Milliseconds since the epoch.
    pub created_at: i64,
}

/// What became of a new voice, or of a new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoiceChange {
    /// It is as wanted.
    Done,
    /// There is no voice of this id.
    Unknown,
    /// Another voice of the user has the name.
    NameTaken,
    /// The user has as many as allowed.
    TooMany,
}

impl OwnVoice {
    /// How long the recording plays, in seconds, to a hundredth.
    pub fn seconds(&self) -> f64 {
        let seconds = self.frames as f64 / self.sample_rate.max(1) as f64;
        (seconds * 100.0).round() / 100.0
    }
}

impl Owned<'_> {
    /// All voices of the user, the oldest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn voices(&self) -> Result<Vec<OwnVoice>, StoreError> {
        const SQL: &str = "SELECT id, name, transcript, language, consent, consented_at, frames, sample_rate, bytes, \
                           sha256, created_at FROM voices WHERE user_id = $1 ORDER BY id";
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_as(SQL).bind(self.owner.user_id()).fetch_all(pool).await?
        }))
    }

    /// The voice of this id.
    ///
    /// # Errors
    /// The database failed.
    pub async fn voice(&self, id: &str) -> Result<Option<OwnVoice>, StoreError> {
        const SQL: &str = "SELECT id, name, transcript, language, consent, consented_at, frames, sample_rate, bytes, \
                           sha256, created_at FROM voices WHERE user_id = $1 AND id = $2";
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_as(SQL).bind(self.owner.user_id()).bind(id).fetch_optional(pool).await?
        }))
    }

    /// The voice of this name.
    ///
    /// # Errors
    /// The database failed.
    pub async fn voice_named(&self, name: &str) -> Result<Option<OwnVoice>, StoreError> {
        const SQL: &str = "SELECT id, name, transcript, language, consent, consented_at, frames, sample_rate, bytes, \
                           sha256, created_at FROM voices WHERE user_id = $1 AND name = $2";
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_as(SQL).bind(self.owner.user_id()).bind(name).fetch_optional(pool).await?
        }))
    }

    /// Marks a recording that is about to be written, so that it does not stay if its voice never
    /// comes to be.
    ///
    /// # Errors
    /// The database failed.
    pub async fn expect_recording(&self, id: &str, now_ms: i64) -> Result<(), StoreError> {
        on_writer!(&self.store.writer, pool => { discard!(pool, id, self.owner.user_id(), now_ms); });
        Ok(())
    }

    /// Adds a voice whose recording was expected and is there, if the user has fewer than `most`.
    /// Otherwise the recording stays marked for removal.
    ///
    /// # Errors
    /// [`StoreError::RecordingGone`] if the mark is gone, and the recording with it; the
    /// database failed.
    pub async fn add_voice(&self, voice: &OwnVoice, most: u32, audit: &AuditEntry) -> Result<VoiceChange, StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_to_add(voice, i64::from(most), audit).await {
                // Another request of the user took the slot or the name: look again.
                Err(StoreError::Conflict) if tries < TRIES => {}
                other => return other,
            }
        }
    }

    async fn try_to_add(&self, voice: &OwnVoice, most: i64, audit: &AuditEntry) -> Result<VoiceChange, StoreError> {
        const TAKEN: &str = "SELECT slot, name FROM voices WHERE user_id = $1";
        const UNMARK: &str = "DELETE FROM discarded_blobs WHERE id = $1 AND user_id = $2";
        const ADD: &str = "INSERT INTO voices (id, user_id, slot, name, transcript, language, consent, consented_at, \
                           frames, sample_rate, bytes, sha256, created_at) \
                           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
        let owner = self.owner.user_id();
        Ok(in_transaction!(&self.store.writer, transaction => {
            let taken: Vec<(i64, String)> = sqlx::query_as(TAKEN).bind(owner).fetch_all(&mut *transaction).await?;
            let slot = (0..most).find(|slot| taken.iter().all(|(other, _)| other != slot));
            if taken.iter().any(|(_, name)| *name == voice.name) {
                VoiceChange::NameTaken
            } else if let Some(slot) = slot {
                let unmarked = sqlx::query(UNMARK).bind(&voice.id).bind(owner).execute(&mut *transaction).await?;
                if unmarked.rows_affected() != 1 {
                    return Err(StoreError::RecordingGone);
                }
                sqlx::query(ADD)
                    .bind(&voice.id)
                    .bind(owner)
                    .bind(slot)
                    .bind(&voice.name)
                    .bind(&voice.transcript)
                    .bind(&voice.language)
                    .bind(&voice.consent)
                    .bind(voice.consented_at)
                    .bind(voice.frames)
                    .bind(voice.sample_rate)
                    .bind(voice.bytes)
                    .bind(&voice.sha256)
                    .bind(voice.created_at)
                    .execute(&mut *transaction)
                    .await?;
                insert_audit!(&mut *transaction, audit);
                VoiceChange::Done
            } else {
                VoiceChange::TooMany
            }
        }))
    }

    /// Gives a voice another name, or its recording another transcript; `None` leaves it as it is.
    ///
    /// # Errors
    /// The database failed; nothing has changed.
    pub async fn change_voice(
        &self,
        id: &str,
        name: Option<&str>,
        transcript: Option<&str>,
        audit: &AuditEntry,
    ) -> Result<VoiceChange, StoreError> {
        const CHANGE: &str = "UPDATE voices SET name = COALESCE($1, name), transcript = COALESCE($2, transcript) \
                              WHERE user_id = $3 AND id = $4";
        let changed = async {
            Ok(in_transaction!(&self.store.writer, transaction => {
                let changed = sqlx::query(CHANGE)
                    .bind(name)
                    .bind(transcript)
                    .bind(self.owner.user_id())
                    .bind(id)
                    .execute(&mut *transaction)
                    .await?
                    .rows_affected();
                if changed == 1 {
                    insert_audit!(&mut *transaction, audit);
                    VoiceChange::Done
                } else {
                    VoiceChange::Unknown
                }
            }))
        };
        match changed.await {
            Err(StoreError::Conflict) => Ok(VoiceChange::NameTaken),
            other => other,
        }
    }

    /// Removes a voice; false if there is none of this id. Its recording is marked for removal in
    /// the same transaction.
    ///
    /// # Errors
    /// The database failed; nothing has changed.
    pub async fn delete_voice(&self, id: &str, audit: &AuditEntry) -> Result<bool, StoreError> {
        const DELETE: &str = "DELETE FROM voices WHERE user_id = $1 AND id = $2";
        let owner = self.owner.user_id();
        Ok(in_transaction!(&self.store.writer, transaction => {
            let deleted = sqlx::query(DELETE).bind(owner).bind(id).execute(&mut *transaction).await?.rows_affected();
            if deleted == 1 {
                discard!(&mut *transaction, id, owner, audit.at);
                insert_audit!(&mut *transaction, audit);
            }
            deleted == 1
        }))
    }
}
