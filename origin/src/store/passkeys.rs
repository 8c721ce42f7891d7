//! Passkeys, and challenges that wait for their answer.

use super::audit::insert_audit;
use super::outputs::Owned;
use super::second_factors::{drop_idle_codes, renew_codes};
use super::{AuditEntry, Store, StoreError, in_transaction, on_db, on_writer};

/// How often a passkey looks for a free slot while others of the user take it.
const TRIES: u32 = 5;

/// A passkey as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Passkey {
    /// A ULID.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// SHA-256 of the id that the device gave it, hexadecimal.
    pub credential_id: String,
    /// Public key and state, as JSON.
    pub credential: String,
    /// The counter of its last signature; 0 if the device does not count.
    pub counter: i64,
    /// Milliseconds since the epoch, like all times here.
    pub created_at: i64,
    /// When it proved something last.
    pub used_at: Option<i64>,
}

/// What became of a new passkey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewPasskey {
    /// It counts. `codes` tells whether the recovery codes that came along do.
    Added {
        /// The user had none left.
        codes: bool,
    },
    /// It belongs to an account already.
    Known,
    /// The user has as many as there may be.
    TooMany,
}

/// A challenge that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub struct Ceremony<'a> {
    /// SHA-256 of the challenge, hexadecimal.
    pub id: &'a str,
    /// Who was asked.
    pub user_id: &'a str,
    /// What for.
    pub purpose: &'static str,
    /// What the answer is held against, as JSON.
    pub state: &'a str,
    /// Until when it may be answered.
    pub expires_at: i64,
}

/// Queries on passkeys for whoever logs somebody in.
pub struct Passkeys<'a> {
    store: &'a Store,
}

impl<'a> Passkeys<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// A user's passkeys, the first made first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn of_user(&self, user_id: &str) -> Result<Vec<Passkey>, StoreError> {
        const SQL: &str = "SELECT id, name, credential_id, credential, counter, created_at, used_at FROM passkeys \
                           WHERE user_id = $1 ORDER BY created_at, id";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).bind(user_id).fetch_all(pool).await?))
    }

    /// Keeps a challenge. Of one user and purpose at most `most` wait; the oldest gives way.
    ///
    /// # Errors
    /// The database failed.
    pub async fn begin(&self, ceremony: &Ceremony<'_>, most: u32) -> Result<(), StoreError> {
        const MAKE_ROOM: &str = "DELETE FROM passkey_ceremonies WHERE user_id = $1 AND purpose = $2 AND id NOT IN \
                                 (SELECT id FROM passkey_ceremonies WHERE user_id = $1 AND purpose = $2 \
                                 ORDER BY expires_at DESC, id LIMIT $3)";
        const ADD: &str = "INSERT INTO passkey_ceremonies (id, user_id, purpose, state, expires_at) \
                           VALUES ($1, $2, $3, $4, $5)";
        in_transaction!(&self.store.writer, transaction => {
            sqlx::query(MAKE_ROOM)
                .bind(ceremony.user_id)
                .bind(ceremony.purpose)
                .bind(i64::from(most.saturating_sub(1)))
                .execute(&mut *transaction)
                .await?;
            sqlx::query(ADD)
                .bind(ceremony.id)
                .bind(ceremony.user_id)
                .bind(ceremony.purpose)
                .bind(ceremony.state)
                .bind(ceremony.expires_at)
                .execute(&mut *transaction)
                .await?;
        });
        Ok(())
    }

    /// Uses a challenge of this user and purpose up; what its answer is held against, if it is not
    /// too late. However many answers come at once, one gets it.
    ///
    /// # Errors
    /// The database failed.
    pub async fn take(
        &self,
        id: &str,
        user_id: &str,
        purpose: &str,
        now_ms: i64,
    ) -> Result<Option<String>, StoreError> {
        const SQL: &str = "DELETE FROM passkey_ceremonies WHERE id = $1 AND user_id = $2 AND purpose = $3 \
                           RETURNING state, expires_at";
        let taken: Option<(String, i64)> = on_writer!(&self.store.writer, pool => {
            sqlx::query_as(SQL).bind(id).bind(user_id).bind(purpose).fetch_optional(pool).await?
        });
        Ok(taken.filter(|(_, expires_at)| *expires_at > now_ms).map(|(state, _)| state))
    }

    /// Notes that a passkey of the user proved something, with the state that it is in now. False,
    /// and nothing is noted, if it is gone or has signed with this counter or a later one.
    ///
    /// # Errors
    /// The database failed.
    pub async fn note_use(&self, user_id: &str, used: &Passkey, audit: &AuditEntry) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE passkeys SET credential = $1, counter = $2, used_at = $3 WHERE user_id = $4 \
                           AND id = $5 AND (counter < $2 OR (counter = 0 AND CAST($2 AS BIGINT) = 0))";
        Ok(in_transaction!(&self.store.writer, transaction => {
            let query = sqlx::query(SQL).bind(&used.credential).bind(used.counter).bind(audit.at);
            let noted = query.bind(user_id).bind(&used.id).execute(&mut *transaction).await?.rows_affected();
            if noted == 1 {
                insert_audit!(&mut *transaction, audit);
            }
            noted == 1
        }))
    }

    /// Forgets challenges that nobody answered in time.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget(&self, now_ms: i64) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM passkey_ceremonies WHERE expires_at <= $1";
        Ok(on_writer!(&self.store.writer, pool => sqlx::query(SQL).bind(now_ms).execute(pool).await?.rows_affected()))
    }

    /// How many challenges wait.
    #[cfg(test)]
    pub(crate) async fn waiting(&self) -> i64 {
        let sql = "SELECT COUNT(*) FROM passkey_ceremonies";
        on_db!(&self.store.reader, pool => sqlx::query_scalar(sql).fetch_one(pool).await.unwrap())
    }
}

impl Owned<'_> {
    /// Lets a passkey count, if the user has fewer than `most`. Where the user has no recovery codes
    /// left, those of these hashes come with it.
    ///
    /// # Errors
    /// The database failed; nothing has changed.
    pub async fn add_passkey(
        &self,
        passkey: &Passkey,
        most: u32,
        hashes: &[String],
        audit: &AuditEntry,
    ) -> Result<NewPasskey, StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_passkey(passkey, i64::from(most), hashes, audit).await {
                // Another request took the slot, or added the same passkey: look again.
                Err(StoreError::Conflict) if tries < TRIES => {}
                other => return other,
            }
        }
    }

    async fn try_passkey(
        &self,
        passkey: &Passkey,
        most: i64,
        hashes: &[String],
        audit: &AuditEntry,
    ) -> Result<NewPasskey, StoreError> {
        const KNOWN: &str = "SELECT COUNT(*) FROM passkeys WHERE credential_id = $1";
        const TAKEN: &str = "SELECT slot FROM passkeys WHERE user_id = $1";
        const KEPT: &str = "SELECT COUNT(*) FROM recovery_codes WHERE user_id = $1 \
                            AND (EXISTS (SELECT 1 FROM passkeys WHERE user_id = $1) OR EXISTS \
                            (SELECT 1 FROM second_factors WHERE user_id = $1 AND confirmed_at IS NOT NULL))";
        const ADD: &str = "INSERT INTO passkeys (id, user_id, slot, name, credential_id, credential, counter, \
                           created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let owner = self.owner.user_id();
        Ok(in_transaction!(&self.store.writer, transaction => {
            let known: i64 =
                sqlx::query_scalar(KNOWN).bind(&passkey.credential_id).fetch_one(&mut *transaction).await?;
            let taken: Vec<i64> = sqlx::query_scalar(TAKEN).bind(owner).fetch_all(&mut *transaction).await?;
            match (0..most).find(|slot| !taken.contains(slot)) {
                _ if known > 0 => NewPasskey::Known,
                None => NewPasskey::TooMany,
                Some(slot) => {
                    let codes = renew_codes!(&mut *transaction, KEPT, owner, hashes);
                    sqlx::query(ADD)
                        .bind(&passkey.id)
                        .bind(owner)
                        .bind(slot)
                        .bind(&passkey.name)
                        .bind(&passkey.credential_id)
                        .bind(&passkey.credential)
                        .bind(passkey.counter)
                        .bind(passkey.created_at)
                        .execute(&mut *transaction)
                        .await?;
                    insert_audit!(&mut *transaction, audit);
                    NewPasskey::Added { codes }
                }
            }
        }))
    }

    /// Removes a passkey, and the recovery codes with the last second factor; false if the user has
    /// none of this id.
    ///
    /// # Errors
    /// The database failed; nothing has changed.
    pub async fn remove_passkey(&self, id: &str, audit: &AuditEntry) -> Result<bool, StoreError> {
        const SQL: &str = "DELETE FROM passkeys WHERE user_id = $1 AND id = $2";
        let owner = self.owner.user_id();
        Ok(in_transaction!(&self.store.writer, transaction => {
            let removed = sqlx::query(SQL).bind(owner).bind(id).execute(&mut *transaction).await?.rows_affected();
            if removed == 1 {
                drop_idle_codes!(&mut *transaction, owner);
                insert_audit!(&mut *transaction, audit);
            }
            removed == 1
        }))
    }
}
