//! The revisions of the policy that were in force.

use super::audit::insert_audit;
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
}

/// Queries on policies.
pub struct Policies<'a> {
    store: &'a Store,
}

const LATEST: &str = "SELECT rev, sha256, document, published_at FROM policies ORDER BY rev DESC LIMIT 1";

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

    /// Records a document under the next revision: one more than the newest, or `wanted_rev` if
    /// that is more. The newest revision itself, if the document is the same.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when another origin recorded one in the same moment; try again.
    pub async fn record(
        &self,
        document: &str,
        sha256: &str,
        wanted_rev: i64,
        now_ms: i64,
    ) -> Result<PolicyRecord, StoreError> {
        Ok(in_transaction!(&self.store.writer, transaction => {
            let latest: Option<PolicyRecord> = sqlx::query_as(LATEST).fetch_optional(&mut *transaction).await?;
            match latest {
                Some(latest) if latest.sha256 == sha256 => latest,
                latest => {
                    let next = latest.map_or(1, |latest| latest.rev.saturating_add(1));
                    let rev = next.max(wanted_rev);
                    sqlx::query(
                        "INSERT INTO policies (rev, sha256, document, published_at) VALUES ($1, $2, $3, $4)",
                    )
                    .bind(rev)
                    .bind(sha256)
                    .bind(document)
                    .bind(now_ms)
                    .execute(&mut *transaction)
                    .await?;
                    let audit = AuditEntry::of_system(now_ms, "policy_change").on(rev.to_string());
                    insert_audit!(&mut *transaction, &AuditEntry { policy_rev: rev, ..audit });
                    PolicyRecord {
                        rev,
                        sha256: sha256.to_owned(),
                        document: document.to_owned(),
                        published_at: now_ms,
                    }
                }
            }
        }))
    }
}
