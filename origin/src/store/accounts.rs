//! Names, passwords and roles of the users that log in here.

use super::audit::insert_audit;
use super::control::revoke;
use super::logins::end_logins;
use super::personal_tokens::end_tokens;
use super::{AuditEntry, Ended, RevocationRecord, Store, StoreError, in_transaction, on_db};

/// A user with an account here.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct User {
    /// A ULID.
    pub id: String,
    /// Folded; see `accounts::fold_username`.
    pub username: String,
    /// A PHC string (argon2id).
    pub password_hash: String,
    /// The role that new tokens state.
    pub role: String,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// Since when the user cannot log in.
    pub disabled_at: Option<i64>,
}

/// Changes one account, withdraws its tokens, personal ones for the reason that comes first, and,
/// where a second one is given, ends its logins, all or nothing; whether there was one.
macro_rules! change {
    ($store:expr, $update:expr, $withdrawn:expr, $audit:expr, $tokens:expr $(, $logins:expr)?) => {
        Ok(in_transaction!(&$store.writer, transaction => {
            let changed = $update.execute(&mut *transaction).await?.rows_affected();
            if changed == 1 {
                revoke!(&mut *transaction, $withdrawn);
                end_tokens!(transaction, $withdrawn, $tokens);
                $(end_logins!(&mut *transaction, $withdrawn, $logins);)?
                insert_audit!(&mut *transaction, $audit);
            }
            changed == 1
        }))
    };
}

/// Queries on accounts.
pub struct Accounts<'a> {
    store: &'a Store,
}

impl<'a> Accounts<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// Adds an account.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the name is taken.
    pub async fn add(&self, user: &User, audit: &AuditEntry) -> Result<(), StoreError> {
        in_transaction!(&self.store.writer, transaction => {
            sqlx::query(
                "INSERT INTO users (id, username, password_hash, role, created_at) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(&user.id)
            .bind(&user.username)
            .bind(&user.password_hash)
            .bind(&user.role)
            .bind(user.created_at)
            .execute(&mut *transaction)
            .await?;
            insert_audit!(&mut *transaction, audit);
        });
        Ok(())
    }

    /// The account of this folded name.
    ///
    /// # Errors
    /// The database failed.
    pub async fn by_username(&self, username: &str) -> Result<Option<User>, StoreError> {
        const SQL: &str = "SELECT id, username, password_hash, role, created_at, disabled_at \
                           FROM users WHERE username = $1";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).bind(username).fetch_optional(pool).await?))
    }

    /// The account of this id.
    ///
    /// # Errors
    /// The database failed.
    pub async fn by_id(&self, id: &str) -> Result<Option<User>, StoreError> {
        const SQL: &str = "SELECT id, username, password_hash, role, created_at, disabled_at \
                           FROM users WHERE id = $1";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).bind(id).fetch_optional(pool).await?))
    }

    /// All accounts by name, at most `limit`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn list(&self, limit: i64) -> Result<Vec<User>, StoreError> {
        const SQL: &str = "SELECT id, username, password_hash, role, created_at, disabled_at \
                           FROM users ORDER BY username LIMIT $1";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).bind(limit).fetch_all(pool).await?))
    }

    /// How many accounts have this role.
    ///
    /// # Errors
    /// The database failed.
    pub async fn count_of_role(&self, role: &str) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM users WHERE role = $1";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_scalar(SQL).bind(role).fetch_one(pool).await?))
    }

    /// Changes a role and withdraws the tokens that state the old one, personal ones too; logins go
    /// on, and the next refresh states the new one. False if there is no such user.
    ///
    /// # Errors
    /// The database failed.
    pub async fn set_role(
        &self,
        username: &str,
        role: &str,
        withdrawn: &RevocationRecord,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE users SET role = $1 WHERE username = $2";
        change!(self.store, sqlx::query(SQL).bind(role).bind(username), withdrawn, audit, Ended::RoleChanged)
    }

    /// Disables an account since a moment, or, with none, enables it again, withdraws all its tokens
    /// and ends its logins; false if there is no such user.
    ///
    /// # Errors
    /// The database failed.
    pub async fn set_disabled(
        &self,
        username: &str,
        since_ms: Option<i64>,
        withdrawn: &RevocationRecord,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE users SET disabled_at = $1 WHERE username = $2";
        change!(
            self.store,
            sqlx::query(SQL).bind(since_ms).bind(username),
            withdrawn,
            audit,
            Ended::Disabled,
            Ended::Disabled
        )
    }
}
