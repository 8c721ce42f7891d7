//! Secrets that let somebody in who has no account or no password: invitations and resets.

use super::audit::insert_audit;
use super::{AuditEntry, Store, StoreError, in_transaction, on_db, on_writer};

/// A secret with which accounts are made.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Invitation {
    /// A ULID.
    pub id: String,
    /// SHA-256 of the secret, in hexadecimal digits.
    pub secret_hash: String,
    /// The role of the accounts.
    pub role: String,
    /// How many accounts can still be made.
    pub uses_left: i64,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// Milliseconds since the epoch.
    pub expires_at: i64,
    /// A user id or `cli:<name>`.
    pub author: String,
}

/// A secret with which a new password is set, once.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Reset {
    /// Whose password.
    pub user_id: String,
    /// SHA-256 of the secret, in hexadecimal digits.
    pub secret_hash: String,
    /// Milliseconds since the epoch.
    pub expires_at: i64,
}

/// Queries on invitations and resets.
pub struct Invitations<'a> {
    store: &'a Store,
}

impl<'a> Invitations<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// Adds an invitation.
    ///
    /// # Errors
    /// The database failed.
    pub async fn add(&self, invitation: &Invitation, audit: &AuditEntry) -> Result<(), StoreError> {
        in_transaction!(&self.store.writer, transaction => {
            sqlx::query(
                "INSERT INTO invitations (id, secret_hash, role, uses_left, created_at, expires_at, author) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(&invitation.id)
            .bind(&invitation.secret_hash)
            .bind(&invitation.role)
            .bind(invitation.uses_left)
            .bind(invitation.created_at)
            .bind(invitation.expires_at)
            .bind(&invitation.author)
            .execute(&mut *transaction)
            .await?;
            insert_audit!(&mut *transaction, audit);
        });
        Ok(())
    }

    /// The invitation of this secret, if it still holds.
    ///
    /// # Errors
    /// The database failed.
    pub async fn by_secret(&self, secret_hash: &str, now_ms: i64) -> Result<Option<Invitation>, StoreError> {
        const SQL: &str = "SELECT id, secret_hash, role, uses_left, created_at, expires_at, author FROM invitations \
                           WHERE secret_hash = $1 AND uses_left > 0 AND expires_at > $2";
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_as(SQL).bind(secret_hash).bind(now_ms).fetch_optional(pool).await?
        }))
    }

    /// Those that still hold, the newest first, at most `limit`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn list(&self, now_ms: i64, limit: i64) -> Result<Vec<Invitation>, StoreError> {
        const SQL: &str = "SELECT id, secret_hash, role, uses_left, created_at, expires_at, author FROM invitations \
                           WHERE uses_left > 0 AND expires_at > $1 ORDER BY id DESC LIMIT $2";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).bind(now_ms).bind(limit).fetch_all(pool).await?))
    }

    /// Takes an invitation back; false if there is none.
    ///
    /// # Errors
    /// The database failed.
    pub async fn withdraw(&self, id: &str, audit: &AuditEntry) -> Result<bool, StoreError> {
        Ok(in_transaction!(&self.store.writer, transaction => {
            let gone = sqlx::query("DELETE FROM invitations WHERE id = $1").bind(id).execute(&mut *transaction).await?;
            let is_gone = gone.rows_affected() == 1;
            if is_gone {
                insert_audit!(&mut *transaction, audit);
            }
            is_gone
        }))
    }

    /// Offers a user to set a new password; an earlier offer ends.
    ///
    /// # Errors
    /// The database failed.
    pub async fn offer_reset(&self, reset: &Reset, audit: &AuditEntry) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO password_resets (user_id, secret_hash, expires_at) VALUES ($1, $2, $3) \
                           ON CONFLICT (user_id) DO UPDATE SET secret_hash = excluded.secret_hash, \
                           expires_at = excluded.expires_at";
        in_transaction!(&self.store.writer, transaction => {
            sqlx::query(SQL)
                .bind(&reset.user_id)
                .bind(&reset.secret_hash)
                .bind(reset.expires_at)
                .execute(&mut *transaction)
                .await?;
            insert_audit!(&mut *transaction, audit);
        });
        Ok(())
    }

    /// The offer of this secret, if it still holds.
    ///
    /// # Errors
    /// The database failed.
    pub async fn reset_by_secret(&self, secret_hash: &str, now_ms: i64) -> Result<Option<Reset>, StoreError> {
        const SQL: &str = "SELECT user_id, secret_hash, expires_at FROM password_resets \
                           WHERE secret_hash = $1 AND expires_at > $2";
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_as(SQL).bind(secret_hash).bind(now_ms).fetch_optional(pool).await?
        }))
    }

    /// Forgets what holds no longer.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget(&self, now_ms: i64) -> Result<(), StoreError> {
        on_writer!(&self.store.writer, pool => {
            sqlx::query("DELETE FROM invitations WHERE expires_at <= $1 OR uses_left <= 0")
                .bind(now_ms)
                .execute(pool)
                .await?;
            sqlx::query("DELETE FROM password_resets WHERE expires_at <= $1").bind(now_ms).execute(pool).await?;
        });
        Ok(())
    }
}
