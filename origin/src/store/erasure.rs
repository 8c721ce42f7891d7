//! Erasing a user.

use sqlx::AssertSqlSafe;

use super::accounts::is_last_admin;
use super::audit::insert_audit;
use super::control::revoke;
use super::personal_tokens::end_tokens;
use super::tables::{Erasure, TABLES};
use super::{AuditEntry, Changed, Db, Ended, RevocationRecord, Store, StoreError, in_transaction, on_db};

/// How long after an erasure its second pass comes, in milliseconds. A request that was under way
/// has ended by then, whatever it left behind.
const SECOND_PASS_MS: i64 = 10 * 60 * 1000;
/// How many users one round of the second pass takes.
const STEP: i64 = 100;

/// Queries of erasure.
pub struct Erasures<'a> {
    store: &'a Store,
}

/// Removes what the list of tables says, within a transaction. The audit keeps what was done; whose
/// it was is forgotten.
macro_rules! remove_rows {
    ($executor:expr, $user_id:expr, $audit:expr) => {{
        let user_id: &str = $user_id;
        for table in TABLES {
            if let (Erasure::Removed, Some(owner)) = (table.erasure, table.owner) {
                let sql = format!("DELETE FROM {} WHERE {owner} = $1", table.name);
                sqlx::query(AssertSqlSafe(sql)).bind(user_id).execute($executor).await?;
            }
            for author in table.authors {
                let sql = format!("UPDATE {} SET {author} = 'erased' WHERE {author} = $1", table.name);
                sqlx::query(AssertSqlSafe(sql)).bind(user_id).execute($executor).await?;
            }
        }
        insert_audit!($executor, $audit);
        sqlx::query(FORGET_PERSONAL).bind(user_id).execute($executor).await?;
        sqlx::query("DELETE FROM audit_subjects WHERE user_id = $1").bind(user_id).execute($executor).await?;
    }};
}

const FORGET_PERSONAL: &str = "UPDATE audit SET personal = NULL, salt = NULL WHERE personal IS NOT NULL \
     AND subject = (SELECT subject FROM audit_subjects WHERE user_id = $1)";

impl<'a> Erasures<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// Removes everything that is the user's, all or nothing, and withdraws the tokens, personal ones
    /// each by its own id. The files are the caller's to remove.
    ///
    /// # Errors
    /// The database failed.
    pub async fn erase(
        &self,
        user_id: &str,
        withdrawn: &RevocationRecord,
        audit: &AuditEntry,
    ) -> Result<Changed, StoreError> {
        const NOTE: &str = "INSERT INTO erasures (user_id, due_at) VALUES ($1, $2) \
                            ON CONFLICT (user_id) DO UPDATE SET due_at = excluded.due_at";
        let audit = audit.clone().on_user(user_id);
        let changed = in_transaction!(&self.store.writer, transaction => {
            if is_last_admin!(&mut *transaction, user_id) {
                Changed::LastAdmin
            } else {
                revoke!(&mut *transaction, withdrawn);
                end_tokens!(transaction, withdrawn, Ended::Revoked);
                sqlx::query(NOTE)
                    .bind(user_id)
                    .bind(audit.at.saturating_add(SECOND_PASS_MS))
                    .execute(&mut *transaction)
                    .await?;
                remove_rows!(&mut *transaction, user_id, &audit);
                Changed::Done
            }
        });
        if changed == Changed::Done {
            self.overwrite().await?;
        }
        Ok(changed)
    }

    /// Whether anything here is this user's.
    ///
    /// # Errors
    /// The database failed.
    pub async fn is_known(&self, user_id: &str) -> Result<bool, StoreError> {
        let mut snapshot = self.store.snapshot().await?;
        for table in TABLES {
            if matches!(table.erasure, Erasure::Removed | Erasure::Last) && snapshot.count(table, user_id).await? > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Users whose second pass has not come.
    ///
    /// # Errors
    /// The database failed.
    pub async fn pending(&self, due_until_ms: i64) -> Result<Vec<String>, StoreError> {
        const SQL: &str = "SELECT user_id FROM erasures WHERE due_at <= $1 ORDER BY due_at LIMIT $2";
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_scalar(SQL).bind(due_until_ms).bind(STEP).fetch_all(pool).await?
        }))
    }

    /// The second pass: removes what requests that were under way have left, and the note of the
    /// erasure.
    ///
    /// # Errors
    /// The database failed.
    pub async fn finish(&self, user_id: &str, now_ms: i64) -> Result<(), StoreError> {
        let audit = AuditEntry::of_system(now_ms, "erase").on_user(user_id);
        in_transaction!(&self.store.writer, transaction => {
            let noted = sqlx::query("DELETE FROM erasures WHERE user_id = $1")
                .bind(user_id)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            // Another origin may have been faster.
            if noted == 1 {
                remove_rows!(&mut *transaction, user_id, &audit);
            }
        });
        self.overwrite().await
    }

    /// What was removed is overwritten in SQLite's file (`secure_delete`), and here the journal is
    /// emptied, where it still stands. Postgres does its own with the next vacuum.
    async fn overwrite(&self) -> Result<(), StoreError> {
        if let Db::Sqlite(pool, _) = &self.store.writer {
            // A reader that still needs the journal is no error: the second pass comes by again. No
            // writer should wait for it.
            let mut writer = pool.acquire().await?;
            for pragma in ["busy_timeout = 200", "wal_checkpoint(TRUNCATE)", "busy_timeout = 10000"] {
                sqlx::query(AssertSqlSafe(format!("PRAGMA {pragma}"))).execute(&mut *writer).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
