//! Packed copies of everything that a user owns. One for each user at a time.

use super::outputs::Owned;
use super::upkeep::Upkeep;
use super::{AuditEntry, StoreError, in_transaction, on_db, on_writer};
use crate::store::audit::insert_audit;

/// How many rows one step handles.
const STEP: i64 = 100;

/// How far an export has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportState {
    /// It is being packed.
    Running,
    /// It can be fetched.
    Ready,
    /// It came to nothing.
    Failed,
}

impl ExportState {
    /// Its name in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }
}

/// One export.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Export {
    /// A ULID; its file has the same id.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// See [`ExportState`].
    pub state: String,
    /// How many rows and files are packed.
    pub done: i64,
    /// How many there are.
    pub total: i64,
    /// Size of the file, once it is ready.
    pub bytes: i64,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// When it is removed, or given up.
    pub expires_at: i64,
}

impl Owned<'_> {
    /// Begins an export in place of the one before; false while that is running.
    ///
    /// # Errors
    /// The database failed.
    pub async fn begin_export(&self, id: &str, expires_at: i64, audit: &AuditEntry) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO exports (id, user_id, state, done, total, bytes, created_at, expires_at) \
                           VALUES ($1, $2, 'running', 0, 0, 0, $3, $4) ON CONFLICT (user_id) DO UPDATE SET \
                           id = excluded.id, state = 'running', done = 0, total = 0, bytes = 0, \
                           created_at = excluded.created_at, expires_at = excluded.expires_at \
                           WHERE exports.state <> 'running' OR exports.expires_at <= excluded.created_at";
        Ok(in_transaction!(&self.store.writer, transaction => {
            let begun = sqlx::query(SQL)
                .bind(id)
                .bind(self.owner.user_id())
                .bind(audit.at)
                .bind(expires_at)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if begun == 1 {
                insert_audit!(&mut *transaction, audit);
            }
            begun == 1
        }))
    }

    /// The export, if there is one.
    ///
    /// # Errors
    /// The database failed.
    pub async fn export(&self) -> Result<Option<Export>, StoreError> {
        const SQL: &str = "SELECT id, user_id, state, done, total, bytes, created_at, expires_at FROM exports \
                           WHERE user_id = $1";
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_as(SQL).bind(self.owner.user_id()).fetch_optional(pool).await?
        }))
    }

    /// Notes how far an export has come; false if it is gone, or another has begun.
    ///
    /// # Errors
    /// The database failed.
    pub async fn note_export(&self, export: &Export) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE exports SET state = $1, done = $2, total = $3, bytes = $4, expires_at = $5 \
                           WHERE user_id = $6 AND id = $7 AND state = 'running'";
        Ok(on_writer!(&self.store.writer, pool => {
            sqlx::query(SQL)
                .bind(&export.state)
                .bind(export.done)
                .bind(export.total)
                .bind(export.bytes)
                .bind(export.expires_at)
                .bind(self.owner.user_id())
                .bind(&export.id)
                .execute(pool)
                .await?
                .rows_affected()
                == 1
        }))
    }
}

impl Upkeep<'_> {
    /// Exports that have run out until a moment, at most a step of them.
    ///
    /// # Errors
    /// The database failed.
    pub async fn old_exports(&self, until_ms: i64) -> Result<Vec<Export>, StoreError> {
        const SQL: &str = "SELECT id, user_id, state, done, total, bytes, created_at, expires_at FROM exports \
                           WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).bind(until_ms).bind(STEP).fetch_all(pool).await?))
    }

    /// Forgets an export whose file is gone.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget_export(&self, id: &str) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM exports WHERE id = $1";
        on_writer!(&self.store.writer, pool => { sqlx::query(SQL).bind(id).execute(pool).await?; });
        Ok(())
    }

    /// Ends what was being packed by a process that was killed. For the start of the only one.
    ///
    /// # Errors
    /// The database failed.
    pub async fn fail_running_exports(&self) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE exports SET state = 'failed' WHERE state = 'running'";
        on_writer!(&self.store.writer, pool => { sqlx::query(SQL).execute(pool).await?; });
        Ok(())
    }
}
