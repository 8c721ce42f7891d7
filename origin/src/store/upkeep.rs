//! What has run out, over all users. The one place besides [`super::Owned`] that touches outputs,
//! and only by age.

use super::audit::insert_audits;
use super::outputs::discard;
use super::{AuditEntry, Store, StoreError, in_transaction, on_db, on_writer};

/// How many rows one step handles, so that no transaction is long.
const STEP: i64 = 200;

/// Audio that waits for removal.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Discarded {
    /// Its id.
    pub id: String,
    /// Whose it was.
    pub user_id: String,
}

/// Queries of the housekeeper.
pub struct Upkeep<'a> {
    pub(super) store: &'a Store,
}

impl<'a> Upkeep<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// Removes outputs of users of `role` that were made before `before_ms`, and marks their
    /// audio. The role is the one the account has now; users of other issuers have the role with
    /// which they made the output. Returns how many; call again while it is not 0.
    ///
    /// # Errors
    /// The database failed.
    pub async fn retire_outputs(&self, role: &str, before_ms: i64, now_ms: i64) -> Result<usize, StoreError> {
        const OLD: &str = "SELECT outputs.id, outputs.user_id FROM outputs LEFT JOIN users \
                           ON users.id = outputs.user_id WHERE outputs.created_at < $1 \
                           AND COALESCE(users.role, outputs.role) = $2 LIMIT $3";
        Ok(in_transaction!(&self.store.writer, transaction => {
            let old: Vec<Discarded> =
                sqlx::query_as(OLD).bind(before_ms).bind(role).bind(STEP).fetch_all(&mut *transaction).await?;
            let mut audits = Vec::with_capacity(old.len());
            for Discarded { id, user_id } in &old {
                sqlx::query("DELETE FROM outputs WHERE user_id = $1 AND id = $2")
                    .bind(user_id)
                    .bind(id)
                    .execute(&mut *transaction)
                    .await?;
                discard!(&mut *transaction, id, user_id, now_ms);
                audits.push(AuditEntry::of_system(now_ms, "retire").on(id).by(user_id));
            }
            insert_audits!(&mut *transaction, &audits);
            old.len()
        }))
    }

    /// Audio that waits for removal since before `before_ms`, at most a step of it.
    ///
    /// # Errors
    /// The database failed.
    pub async fn discarded(&self, before_ms: i64) -> Result<Vec<Discarded>, StoreError> {
        const SQL: &str = "SELECT id, user_id FROM discarded_blobs WHERE discarded_at <= $1 \
                           ORDER BY discarded_at LIMIT $2";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).bind(before_ms).bind(STEP).fetch_all(pool).await?))
    }

    /// Forgets audio that is gone.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget(&self, discarded: &Discarded) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM discarded_blobs WHERE id = $1";
        on_writer!(&self.store.writer, pool => { sqlx::query(SQL).bind(&discarded.id).execute(pool).await?; });
        Ok(())
    }

    /// Forgets jobs that ended before `before_ms`, with their idempotency keys. Returns how many;
    /// call again while it is not 0.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget_jobs(&self, before_ms: i64) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE ended_at < $1 LIMIT $2)";
        Ok(on_writer!(&self.store.writer, pool => {
            sqlx::query(SQL).bind(before_ms).bind(STEP).execute(pool).await?.rows_affected()
        }))
    }

    /// Drops usage and books of days before `day`; nothing reads them any more.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget_usage_before(&self, day: &str) -> Result<(), StoreError> {
        in_transaction!(&self.store.writer, transaction => {
            for sql in ["DELETE FROM daily_usage WHERE day < $1", "DELETE FROM deliveries WHERE day < $1"] {
                sqlx::query(sql).bind(day).execute(&mut *transaction).await?;
            }
        });
        Ok(())
    }
}
