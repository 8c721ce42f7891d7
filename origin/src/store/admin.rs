//! What only administrators see.

use super::{PolicyRecord, Store, StoreError};

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
}
