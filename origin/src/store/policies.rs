//! The revisions of the policy that were in force.

use super::audit::insert_audit;
use super::control::count_up;
use super::{AuditEntry, Store, StoreError, in_transaction, on_db};

/// A revision of the policy.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct PolicyRecord {
    /// Counts up by at least one.
    pub rev: i64,
    /// SHA-256 of the document, hexadecimal.
    pub sha256: String,
    /// The document, exactly as it was read.
    pub document: String,
    /// Milliseconds since the epoch.
    pub published_at: i64,
    /// Who published it: a user id, `cli:<name>` or `file`.
    pub author: String,
    /// Why, in the author's words.
    pub reason: String,
    /// At which edges it was tried, as JSON; none if it was published.
    pub trial: Option<String>,
}

/// A document that is to be in force.
#[derive(Clone, Copy, Debug)]
pub struct NewPolicy<'a> {
    /// The document.
    pub document: &'a str,
    /// Its SHA-256, hexadecimal.
    pub sha256: &'a str,
    /// The revision that it should at least have.
    pub wanted_rev: i64,
    /// The revision that it is meant to follow; any if none.
    pub after: Option<i64>,
    /// Who publishes it.
    pub author: &'a str,
    /// Why.
    pub reason: &'a str,
}

/// Why a document was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Somebody else published one in between.
    #[error("revision {newest} is in force by now; look at it and publish again")]
    Overtaken {
        /// The newest revision.
        newest: i64,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for PublishError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Inserts a document under the next revision, published or on trial.
macro_rules! insert {
    ($executor:expr, $new:expr, $trial:expr, $now_ms:expr) => {{
        let new: &NewPolicy<'_> = $new;
        let trial: Option<String> = $trial;
        let last: Option<i64> = sqlx::query_scalar("SELECT MAX(rev) FROM policies").fetch_one($executor).await?;
        let rev = last.unwrap_or_default().saturating_add(1).max(new.wanted_rev);
        sqlx::query(
            "INSERT INTO policies (rev, sha256, document, published_at, author, reason, trial) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(rev)
        .bind(new.sha256)
        .bind(new.document)
        .bind($now_ms)
        .bind(new.author)
        .bind(new.reason)
        .bind(&trial)
        .execute($executor)
        .await?;
        PolicyRecord {
            rev,
            sha256: new.sha256.to_owned(),
            document: new.document.to_owned(),
            published_at: $now_ms,
            author: new.author.to_owned(),
            reason: new.reason.to_owned(),
            trial,
        }
    }};
}

/// Queries on policies.
pub struct Policies<'a> {
    store: &'a Store,
}

const LATEST: &str = "SELECT rev, sha256, document, published_at, author, reason, trial FROM policies WHERE trial IS NULL \
     ORDER BY rev DESC LIMIT 1";

impl<'a> Policies<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// The newest revision.
    ///
    /// # Errors
    /// The database failed.
    pub async fn latest(&self) -> Result<Option<PolicyRecord>, StoreError> {
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(LATEST).fetch_optional(pool).await?))
    }

    /// A revision by its number.
    ///
    /// # Errors
    /// The database failed.
    pub async fn by_rev(&self, rev: i64) -> Result<Option<PolicyRecord>, StoreError> {
        const SQL: &str =
            "SELECT rev, sha256, document, published_at, author, reason, trial FROM policies WHERE rev = $1";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).bind(rev).fetch_optional(pool).await?))
    }

    /// The newest revisions, at most `limit`, the newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn history(&self, limit: i64) -> Result<Vec<PolicyRecord>, StoreError> {
        const SQL: &str = "SELECT rev, sha256, document, published_at, author, reason, trial FROM policies \
                           ORDER BY rev DESC LIMIT $1";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).bind(limit).fetch_all(pool).await?))
    }

    /// Whether a document of this hash was ever in force.
    ///
    /// # Errors
    /// The database failed.
    pub async fn knows(&self, sha256: &str) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM policies WHERE sha256 = $1 AND trial IS NULL";
        let count: i64 =
            on_db!(&self.store.reader, pool => sqlx::query_scalar(SQL).bind(sha256).fetch_one(pool).await?);
        Ok(count > 0)
    }

    /// Records a document under the next revision: one more than the newest, or the wanted one if
    /// that is more. The newest revision itself, if the document is the same. A trial ends with it. The audit gets the
    /// revision.
    ///
    /// # Errors
    /// [`PublishError::Overtaken`] when the newest is not the one it is meant to follow.
    pub async fn publish(&self, new: NewPolicy<'_>, audit: &AuditEntry) -> Result<PolicyRecord, PublishError> {
        let now_ms = audit.at;
        Ok(in_transaction!(&self.store.writer, transaction => {
            // First, because its row is what several origins queue for.
            count_up!(&mut *transaction, now_ms);
            let latest: Option<PolicyRecord> = sqlx::query_as(LATEST).fetch_optional(&mut *transaction).await?;
            let newest = latest.as_ref().map_or(0, |latest| latest.rev);
            if new.after.is_some_and(|after| after != newest) {
                return Err(PublishError::Overtaken { newest });
            }
            sqlx::query("UPDATE control SET trial_rev = NULL").execute(&mut *transaction).await?;
            match latest {
                Some(latest) if latest.sha256 == new.sha256 => latest,
                _ => {
                    let record = insert!(&mut *transaction, &new, None, now_ms);
                    let audit = AuditEntry { policy_rev: record.rev, ..audit.clone() }.on(record.rev.to_string());
                    insert_audit!(&mut *transaction, &audit);
                    record
                }
            }
        }))
    }

    /// The revision that is on trial now.
    ///
    /// # Errors
    /// The database failed.
    pub async fn on_trial(&self) -> Result<Option<PolicyRecord>, StoreError> {
        const SQL: &str = "SELECT rev, sha256, document, published_at, author, reason, trial FROM policies \
                           WHERE rev = (SELECT trial_rev FROM control)";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).fetch_optional(pool).await?))
    }

    /// Records a document as one on trial, in place of any other that is. `trial` says where, as
    /// JSON.
    ///
    /// # Errors
    /// The database failed.
    pub async fn begin_trial(
        &self,
        new: NewPolicy<'_>,
        trial: &str,
        audit: &AuditEntry,
    ) -> Result<PolicyRecord, StoreError> {
        Ok(in_transaction!(&self.store.writer, transaction => {
            count_up!(&mut *transaction, audit.at);
            let record = insert!(&mut *transaction, &new, Some(trial.to_owned()), audit.at);
            sqlx::query("UPDATE control SET trial_rev = $1").bind(record.rev).execute(&mut *transaction).await?;
            let audit = AuditEntry { policy_rev: record.rev, ..audit.clone() }.on(record.rev.to_string());
            insert_audit!(&mut *transaction, &audit);
            record
        }))
    }

    /// Ends a trial; false if there is none.
    ///
    /// # Errors
    /// The database failed.
    pub async fn end_trial(&self, audit: &AuditEntry) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE control SET trial_rev = NULL WHERE trial_rev IS NOT NULL";
        Ok(in_transaction!(&self.store.writer, transaction => {
            let ended = sqlx::query(SQL).execute(&mut *transaction).await?.rows_affected();
            if ended > 0 {
                count_up!(&mut *transaction, audit.at);
                insert_audit!(&mut *transaction, audit);
            }
            ended > 0
        }))
    }
}
