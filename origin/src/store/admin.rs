//! What only administrators see.

use super::{AuditEntry, EdgeRecord, PolicyRecord, Progress, RevocationRecord, Store, StoreError};

/// Queries of administrators.
pub struct Administration<'a> {
    store: &'a Store,
}

impl<'a> Administration<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// The newest revision of the policy.
    ///
    /// # Errors
    /// The database failed.
    pub async fn policy(&self) -> Result<Option<PolicyRecord>, StoreError> {
        self.store.policies().latest().await
    }

    /// The newest revisions, at most `limit`, the newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn policies(&self, limit: i64) -> Result<Vec<PolicyRecord>, StoreError> {
        self.store.policies().history(limit).await
    }

    /// How far the control plane has come, and the edges that asked since a moment, at most
    /// `limit`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn edges(&self, since_ms: i64, limit: i64) -> Result<(Progress, Vec<EdgeRecord>), StoreError> {
        let control = self.store.control();
        Ok((control.progress().await?, control.edges(since_ms, limit).await?))
    }

    /// What is withdrawn and may still be around, at most `limit`, the newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn revocations(&self, now_ms: i64, limit: i64) -> Result<Vec<RevocationRecord>, StoreError> {
        self.store.control().revocations(now_ms, limit).await
    }

    /// Withdraws tokens.
    ///
    /// # Errors
    /// The database failed.
    pub async fn revoke(&self, revocation: &RevocationRecord, audit: &AuditEntry) -> Result<(), StoreError> {
        self.store.control().revoke(revocation, audit).await
    }
}
