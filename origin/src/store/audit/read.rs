//! Reading the audit, and what is kept beside the chain.

use serde::{Deserialize, Serialize};

use super::AuditRow;
use crate::store::{Store, StoreError, on_db, on_writer};

/// Rows with their users; parameters are the place to begin at, the time, action and request, and
/// how many.
macro_rules! select {
    ($join:literal, $beside:literal, $rest:literal) => {
        concat!(
            "SELECT audit.seq, audit.at, request_id, audit.subject, via, action, object, result, duration_ms, \
             policy_rev, personal, audit.salt, personal_hash, hash, audit_subjects.user_id FROM audit ",
            $join,
            " audit_subjects ON audit_subjects.subject = audit.subject WHERE audit.seq ",
            $beside,
            " $1 AND audit.at >= $2 AND (CAST($3 AS TEXT) IS NULL OR action = CAST($3 AS TEXT)) \
             AND (CAST($4 AS TEXT) IS NULL OR request_id = CAST($4 AS TEXT)) ",
            $rest,
            " LIMIT $5"
        )
    };
}

/// Queries on the audit.
pub struct AuditTrail<'a> {
    store: &'a Store,
}

/// The newest row.
#[derive(Clone, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Head {
    /// Its place; 0 if there is none.
    pub seq: i64,
    /// Its hash.
    pub hash: String,
}

/// Whose a pseudonym is.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Subject {
    /// The user.
    pub user_id: String,
    /// What is hashed before the user's id.
    pub salt: String,
    /// The pseudonym.
    pub subject: String,
}

/// What the chain was at a moment, signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct Checkpoint {
    /// The newest row of that moment.
    pub seq: i64,
    /// Milliseconds since the epoch.
    pub at: i64,
    /// A compact JWS (RFC 7515) over both and the row's hash.
    pub jws: String,
}

/// A row, and whose it is as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct TrailRow {
    /// The user who did it.
    pub user_id: Option<String>,
    /// The row.
    #[sqlx(flatten)]
    pub row: AuditRow,
}

/// Which rows are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Not before, milliseconds since the epoch.
    pub since_ms: i64,
    /// Done by this user.
    pub user_id: Option<String>,
    /// This action.
    pub action: Option<String>,
    /// Asked for by this request.
    pub request_id: Option<String>,
}

impl<'a> AuditTrail<'a> {
    pub(in crate::store) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// The newest row of the chain.
    ///
    /// # Errors
    /// The database failed.
    pub async fn head(&self) -> Result<Head, StoreError> {
        const SQL: &str = "SELECT seq, hash FROM audit_head";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).fetch_one(pool).await?))
    }

    /// Up to `limit` rows after `after` and up to `until`, in the order of the chain.
    ///
    /// # Errors
    /// The database failed.
    pub async fn rows(&self, after: i64, until: i64, limit: i64) -> Result<Vec<AuditRow>, StoreError> {
        const SQL: &str = "SELECT seq, at, request_id, subject, via, action, object, result, duration_ms, policy_rev, \
                           personal, salt, personal_hash, hash FROM audit WHERE seq > $1 AND seq <= $2 \
                           ORDER BY seq LIMIT $3";
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_as(SQL).bind(after).bind(until).bind(limit).fetch_all(pool).await?
        }))
    }

    /// Up to `limit` rows before the one at `before`, the newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn page(&self, filter: &AuditFilter, before: i64, limit: i64) -> Result<Vec<TrailRow>, StoreError> {
        const ALL: &str = select!("LEFT JOIN", "<", "ORDER BY audit.seq DESC");
        const OF_USER: &str = select!("JOIN", "<", "AND audit_subjects.user_id = $6 ORDER BY audit.seq DESC");
        self.select(ALL, OF_USER, filter, before, limit).await
    }

    /// Up to `limit` rows after the one at `after`, the oldest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn after(&self, filter: &AuditFilter, after: i64, limit: i64) -> Result<Vec<TrailRow>, StoreError> {
        const ALL: &str = select!("LEFT JOIN", ">", "ORDER BY audit.seq");
        const OF_USER: &str = select!("JOIN", ">", "AND audit_subjects.user_id = $6 ORDER BY audit.seq");
        self.select(ALL, OF_USER, filter, after, limit).await
    }

    async fn select(
        &self,
        all: &'static str,
        of_user: &'static str,
        filter: &AuditFilter,
        seq: i64,
        limit: i64,
    ) -> Result<Vec<TrailRow>, StoreError> {
        let sql = if filter.user_id.is_some() { of_user } else { all };
        Ok(on_db!(&self.store.reader, pool => {
            let rows = sqlx::query_as(sql)
                .bind(seq)
                .bind(filter.since_ms)
                .bind(&filter.action)
                .bind(&filter.request_id)
                .bind(limit);
            match &filter.user_id {
                Some(user_id) => rows.bind(user_id).fetch_all(pool).await?,
                None => rows.fetch_all(pool).await?,
            }
        }))
    }

    /// Up to `limit` pseudonyms, of users after `after`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn subjects(&self, after: &str, limit: i64) -> Result<Vec<Subject>, StoreError> {
        const SQL: &str = "SELECT user_id, salt, subject FROM audit_subjects WHERE user_id > $1 \
                           ORDER BY user_id LIMIT $2";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).bind(after).bind(limit).fetch_all(pool).await?))
    }

    /// Keeps a checkpoint, unless there is one for its row.
    ///
    /// # Errors
    /// The database failed.
    pub async fn add_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO audit_checkpoints (seq, at, jws) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        on_writer!(&self.store.writer, pool => {
            sqlx::query(SQL).bind(checkpoint.seq).bind(checkpoint.at).bind(&checkpoint.jws).execute(pool).await?;
        });
        Ok(())
    }

    /// Up to `limit` checkpoints after the one at `after`, the oldest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn checkpoints(&self, after: i64, limit: i64) -> Result<Vec<Checkpoint>, StoreError> {
        const SQL: &str = "SELECT seq, at, jws FROM audit_checkpoints WHERE seq > $1 ORDER BY seq LIMIT $2";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).bind(after).bind(limit).fetch_all(pool).await?))
    }

    /// The row of the newest checkpoint; 0 if there is none.
    ///
    /// # Errors
    /// The database failed.
    pub async fn last_checkpoint(&self) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COALESCE(MAX(seq), 0) FROM audit_checkpoints";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_scalar(SQL).fetch_one(pool).await?))
    }

    /// Forgets what is personal in rows of before a moment, at most `limit` of them, and returns of
    /// how many. The chain stays whole.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget_personal(&self, before_ms: i64, limit: i64) -> Result<u64, StoreError> {
        const SQL: &str = "UPDATE audit SET personal = NULL, salt = NULL WHERE seq IN \
                           (SELECT seq FROM audit WHERE personal IS NOT NULL AND at < $1 LIMIT $2)";
        Ok(on_writer!(&self.store.writer, pool => {
            sqlx::query(SQL).bind(before_ms).bind(limit).execute(pool).await?.rows_affected()
        }))
    }
}
