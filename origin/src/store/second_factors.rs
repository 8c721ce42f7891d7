//! Second factors: secrets for one-time codes, what there is of all kinds, and the recovery codes
//! that stand in for them.

use super::audit::insert_audit;
use super::outputs::Owned;
use super::{AuditEntry, Store, StoreError, in_transaction, on_db, on_writer};

/// A second factor as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct SecondFactor {
    /// The secret, encrypted.
    pub sealed: String,
    /// When it was offered, milliseconds since the epoch.
    pub created_at: i64,
    /// Since when it counts; none while no code has confirmed it.
    pub confirmed_at: Option<i64>,
}

/// What stands beside a user's password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Factors {
    /// Since when one-time codes count, milliseconds since the epoch, if they do.
    pub totp_since: Option<i64>,
    /// How many passkeys there are.
    pub passkeys: i64,
    /// Since when there is a passkey.
    pub passkeys_since: Option<i64>,
    /// How many recovery codes are left.
    pub codes_left: i64,
}

impl Factors {
    /// Since when there is a second factor, if there is one.
    pub fn since(&self) -> Option<i64> {
        self.totp_since.into_iter().chain(self.passkeys_since).min()
    }
}

/// What became of a secret that a code confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// It is another one by now, or counts already.
    No,
    /// It counts. `codes` tells whether the recovery codes that came along do.
    Yes {
        /// The user had none left.
        codes: bool,
    },
}

/// Lets the recovery codes of these hashes count, unless the query finds some that stay; whether it did.
macro_rules! renew_codes {
    ($transaction:expr, $kept:expr, $user_id:expr, $hashes:expr) => {{
        let kept: i64 = sqlx::query_scalar($kept).bind($user_id).fetch_one($transaction).await?;
        if kept == 0 {
            sqlx::query("DELETE FROM recovery_codes WHERE user_id = $1").bind($user_id).execute($transaction).await?;
            for hash in $hashes {
                sqlx::query("INSERT INTO recovery_codes (user_id, hash) VALUES ($1, $2)")
                    .bind($user_id)
                    .bind(hash)
                    .execute($transaction)
                    .await?;
            }
        }
        kept == 0
    }};
}

/// Recovery codes stand in for a second factor: without one they go.
macro_rules! drop_idle_codes {
    ($transaction:expr, $user_id:expr) => {
        sqlx::query(
            "DELETE FROM recovery_codes WHERE user_id = $1 \
             AND NOT EXISTS (SELECT 1 FROM passkeys WHERE user_id = $1) \
             AND NOT EXISTS (SELECT 1 FROM second_factors WHERE user_id = $1 AND confirmed_at IS NOT NULL)",
        )
        .bind($user_id)
        .execute($transaction)
        .await?
    };
}

pub(super) use drop_idle_codes;
pub(super) use renew_codes;

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
        const SQL: &str = "SELECT sealed, created_at, confirmed_at FROM second_factors WHERE user_id = $1";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).bind(user_id).fetch_optional(pool).await?))
    }

    /// What there is of all kinds.
    ///
    /// # Errors
    /// The database failed.
    pub async fn factors(&self, user_id: &str) -> Result<Factors, StoreError> {
        const SQL: &str = "SELECT (SELECT confirmed_at FROM second_factors WHERE user_id = $1) AS totp_since, \
                           (SELECT COUNT(*) FROM passkeys WHERE user_id = $1) AS passkeys, \
                           (SELECT MIN(created_at) FROM passkeys WHERE user_id = $1) AS passkeys_since, \
                           (SELECT COUNT(*) FROM recovery_codes WHERE user_id = $1) AS codes_left";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).bind(user_id).fetch_one(pool).await?))
    }

    /// Uses the code of a time step up; false if this one or a later one was used, or the secret is
    /// another one by now.
    ///
    /// # Errors
    /// The database failed.
    pub async fn use_step(&self, user_id: &str, sealed: &str, step: i64) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE second_factors SET last_step = $1 \
                           WHERE user_id = $2 AND sealed = $3 AND confirmed_at IS NOT NULL AND last_step < $1";
        Ok(on_writer!(&self.store.writer, pool => {
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

    /// Removes a user's one-time codes, and the recovery codes with the last second factor; false if
    /// there were none.
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
            drop_idle_codes!(&mut *transaction, user_id);
            if removed == 1 {
                insert_audit!(&mut *transaction, audit);
            }
            removed == 1
        }))
    }

    /// Removes everything that stands beside a user's password; false if there was nothing.
    ///
    /// # Errors
    /// The database failed.
    pub async fn reset(&self, user_id: &str, audit: &AuditEntry) -> Result<bool, StoreError> {
        const ALL: [&str; 4] = [
            "DELETE FROM second_factors WHERE user_id = $1",
            "DELETE FROM passkeys WHERE user_id = $1",
            "DELETE FROM passkey_ceremonies WHERE user_id = $1",
            "DELETE FROM recovery_codes WHERE user_id = $1",
        ];
        Ok(in_transaction!(&self.store.writer, transaction => {
            let mut removed = 0;
            for sql in ALL {
                removed += sqlx::query(sql).bind(user_id).execute(&mut *transaction).await?.rows_affected();
            }
            if removed > 0 {
                insert_audit!(&mut *transaction, audit);
            }
            removed > 0
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

    /// Lets the offered secret count from now on: the code of this time step has confirmed it. Where
    /// the user has no recovery codes left, those of these hashes come with it.
    ///
    /// # Errors
    /// The database failed.
    pub async fn confirm_second_factor(
        &self,
        sealed: &str,
        step: i64,
        hashes: &[String],
        audit: &AuditEntry,
    ) -> Result<Confirmed, StoreError> {
        const SQL: &str = "UPDATE second_factors SET confirmed_at = $1, last_step = $2 \
                           WHERE user_id = $3 AND sealed = $4 AND confirmed_at IS NULL";
        const KEPT: &str = "SELECT COUNT(*) FROM recovery_codes WHERE user_id = $1 \
                            AND EXISTS (SELECT 1 FROM passkeys WHERE user_id = $1)";
        Ok(in_transaction!(&self.store.writer, transaction => {
            let user_id = self.owner.user_id();
            let query = sqlx::query(SQL).bind(audit.at).bind(step).bind(user_id).bind(sealed);
            if query.execute(&mut *transaction).await?.rows_affected() == 1 {
                let codes = renew_codes!(&mut *transaction, KEPT, user_id, hashes);
                insert_audit!(&mut *transaction, audit);
                Confirmed::Yes { codes }
            } else {
                Confirmed::No
            }
        }))
    }
}
