//! Second factors: secrets for one-time codes, and the recovery codes that stand in for them.

use super::audit::insert_audit;
use super::outputs::Owned;
use super::{AuditEntry, Store, StoreError, in_transaction, on_db};

/// A second factor as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct SecondFactor {
    /// The secret, encrypted.
    pub sealed: String,
    /// When it was offered, milliseconds since the epoch.
    pub created_at: i64,
    /// Since when it counts; none while no code has confirmed it.
    pub confirmed_at: Option<i64>,
    /// How many recovery codes are left.
    pub codes_left: i64,
}

/// Queries on second factors for whoever logs somebody in.
pub struct SecondFactors<'a> {
    store: &'a Store,
}

impl<'a> SecondFactors<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// The second factor of a user, also one that was offered and not confirmed yet.
    ///
    /// # Errors
    /// The database failed.
    pub async fn of_user(&self, user_id: &str) -> Result<Option<SecondFactor>, StoreError> {
        const SQL: &str = "SELECT sealed, created_at, confirmed_at, \
                           (SELECT COUNT(*) FROM recovery_codes WHERE recovery_codes.user_id = $1) AS codes_left \
                           FROM second_factors WHERE user_id = $1";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).bind(user_id).fetch_optional(pool).await?))
    }

    /// Uses the code of a time step up; false if this one or a later one was used, or the secret is
    /// another one by now.
    ///
    /// # Errors
    /// The database failed.
    pub async fn use_step(&self, user_id: &str, sealed: &str, step: i64) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE second_factors SET last_step = $1 \
                           WHERE user_id = $2 AND sealed = $3 AND confirmed_at IS NOT NULL AND last_step < $1";
        Ok(on_db!(&self.store.writer, pool => {
            sqlx::query(SQL).bind(step).bind(user_id).bind(sealed).execute(pool).await?.rows_affected() == 1
        }))
    }

    /// Uses a recovery code up; false if there is none of this hash.
    ///
    /// # Errors
    /// The database failed.
    pub async fn use_code(&self, user_id: &str, hash: &str, audit: &AuditEntry) -> Result<bool, StoreError> {
        const SQL: &str = "DELETE FROM recovery_codes WHERE user_id = $1 AND hash = $2";
        Ok(in_transaction!(&self.store.writer, transaction => {
            let used = sqlx::query(SQL).bind(user_id).bind(hash).execute(&mut *transaction).await?.rows_affected();
            if used == 1 {
                insert_audit!(&mut *transaction, audit);
            }
            used == 1
        }))
    }

    /// Removes a user's second factor and recovery codes; false if there was none.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove(&self, user_id: &str, audit: &AuditEntry) -> Result<bool, StoreError> {
        Ok(in_transaction!(&self.store.writer, transaction => {
            let removed = sqlx::query("DELETE FROM second_factors WHERE user_id = $1")
                .bind(user_id)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            sqlx::query("DELETE FROM recovery_codes WHERE user_id = $1").bind(user_id).execute(&mut *transaction).await?;
            if removed == 1 {
                insert_audit!(&mut *transaction, audit);
            }
            removed == 1
        }))
    }
}

impl Owned<'_> {
    /// Keeps a secret that is to become the second factor, in place of one that was not confirmed;
    /// false if there is one that counts.
    ///
    /// # Errors
    /// The database failed.
    pub async fn offer_second_factor(&self, sealed: &str, audit: &AuditEntry) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO second_factors (user_id, sealed, created_at, last_step) VALUES ($1, $2, $3, 0) \
                           ON CONFLICT (user_id) DO UPDATE SET sealed = $2, created_at = $3 \
                           WHERE second_factors.confirmed_at IS NULL";
        Ok(in_transaction!(&self.store.writer, transaction => {
            let query = sqlx::query(SQL).bind(self.owner.user_id()).bind(sealed).bind(audit.at);
            let offered = query.execute(&mut *transaction).await?.rows_affected();
            if offered == 1 {
                insert_audit!(&mut *transaction, audit);
            }
            offered == 1
        }))
    }

    /// Lets the offered secret count from now on: the code of this time step has confirmed it. With
    /// it come the recovery codes of these hashes. False if it is another one by now, or counts.
    ///
    /// # Errors
    /// The database failed.
    pub async fn confirm_second_factor(
        &self,
        sealed: &str,
        step: i64,
        hashes: &[String],
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE second_factors SET confirmed_at = $1, last_step = $2 \
                           WHERE user_id = $3 AND sealed = $4 AND confirmed_at IS NULL";
        Ok(in_transaction!(&self.store.writer, transaction => {
            let user_id = self.owner.user_id();
            let query = sqlx::query(SQL).bind(audit.at).bind(step).bind(user_id).bind(sealed);
            let confirmed = query.execute(&mut *transaction).await?.rows_affected();
            if confirmed == 1 {
                for hash in hashes {
                    sqlx::query("INSERT INTO recovery_codes (user_id, hash) VALUES ($1, $2)")
                        .bind(user_id)
                        .bind(hash)
                        .execute(&mut *transaction)
                        .await?;
                }
                insert_audit!(&mut *transaction, audit);
            }
            confirmed == 1
        }))
    }
}
