//! Tokens that have a place in a status list.

use super::{Store, StoreError, on_db, on_writer};

/// A token that is about to be signed.
#[derive(Clone, Copy, Debug)]
pub struct IssuedToken<'a> {
    /// Its `jti`.
    pub jti: &'a str,
    /// Its `sid`.
    pub sid: &'a str,
    /// Its `iat`, seconds since the epoch.
    pub issued_at: i64,
    /// When it has run out for everybody, milliseconds since the epoch.
    pub expires_at: i64,
}

/// A token that was withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct WithdrawnToken {
    /// Its place over all lists.
    pub place: i64,
    /// Its `iat`, seconds since the epoch.
    pub issued_at: i64,
    /// When it has run out for everybody, milliseconds since the epoch.
    pub expires_at: i64,
    /// The serial of the control plane at which it was withdrawn.
    pub withdrawn: i64,
}

/// Queries on them.
pub struct Issued<'a> {
    store: &'a Store,
}

impl<'a> Issued<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// Gives a token its place over all lists.
    ///
    /// # Errors
    /// The database failed.
    pub async fn add(&self, token: IssuedToken<'_>) -> Result<i64, StoreError> {
        const SQL: &str = "INSERT INTO issued_tokens (jti, sid, issued_at, expires_at) VALUES ($1, $2, $3, $4) \
                           RETURNING place";
        Ok(on_writer!(&self.store.writer, pool => {
            sqlx::query_scalar(SQL)
                .bind(token.jti)
                .bind(token.sid)
                .bind(token.issued_at)
                .bind(token.expires_at)
                .fetch_one(pool)
                .await?
        }))
    }

    /// What was withdrawn after a serial and has not run out, in order; at most `limit` behind the
    /// one that is named by its serial and place.
    ///
    /// # Errors
    /// The database failed.
    pub async fn withdrawn_after(
        &self,
        (serial, place): (i64, i64),
        now_ms: i64,
        limit: i64,
    ) -> Result<Vec<WithdrawnToken>, StoreError> {
        const SQL: &str = "SELECT place, issued_at, expires_at, withdrawn FROM issued_tokens \
                           WHERE withdrawn IS NOT NULL AND (withdrawn, place) > ($1, $2) AND expires_at > $3 \
                           ORDER BY withdrawn, place LIMIT $4";
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_as(SQL).bind(serial).bind(place).bind(now_ms).bind(limit).fetch_all(pool).await?
        }))
    }

    /// Forgets tokens that have run out.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget(&self, now_ms: i64) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM issued_tokens WHERE expires_at <= $1";
        Ok(on_writer!(&self.store.writer, pool => sqlx::query(SQL).bind(now_ms).execute(pool).await?.rows_affected()))
    }
}
