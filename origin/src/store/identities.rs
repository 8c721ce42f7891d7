//! Who somebody is elsewhere, and accounts that came from there.

use super::accounts::User;
use super::audit::insert_audit;
use super::outputs::Owned;
use super::{AuditEntry, Store, StoreError, in_transaction, on_db, on_writer};
use crate::accounts::skeleton;

/// How many identities of one user there may be.
const MOST: i64 = 20;
/// How many rows one step of the housekeeper removes.
const STEP: i64 = 1000;

/// Who a user is at a provider.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Identity {
    /// A ULID.
    pub id: String,
    /// Whose it is here.
    pub user_id: String,
    /// The provider, exactly.
    pub issuer: String,
    /// Who it is there, for ever.
    pub subject: String,
    /// What it was called there when it was linked; empty if the provider did not say.
    pub label: String,
    /// Milliseconds since the epoch.
    pub created_at: i64,
}

/// What came of linking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    /// It is the user's, now or already.
    Done,
    /// It is somebody else's.
    Taken,
    /// The user has as many as there may be.
    Full,
    /// The account is gone or disabled.
    NoUser,
}

/// What came of unlinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlinked {
    /// It is nobody's any more.
    Done,
    /// The user has no such identity.
    NotFound,
    /// There would be no way left to log in.
    LastWay,
}

const ADD: &str = "INSERT INTO identities (id, user_id, issuer, subject, label, created_at) \
                   VALUES ($1, $2, $3, $4, $5, $6)";

macro_rules! add {
    ($executor:expr, $identity:expr) => {
        sqlx::query(ADD)
            .bind(&$identity.id)
            .bind(&$identity.user_id)
            .bind(&$identity.issuer)
            .bind(&$identity.subject)
            .bind(&$identity.label)
            .bind($identity.created_at)
            .execute($executor)
            .await?
    };
}

/// Queries on identities for whoever logs somebody in.
pub struct Identities<'a> {
    store: &'a Store,
}

impl<'a> Identities<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// Whose identity this is.
    ///
    /// # Errors
    /// The database failed.
    pub async fn user_of(&self, issuer: &str, subject: &str) -> Result<Option<String>, StoreError> {
        const SQL: &str = "SELECT user_id FROM identities WHERE issuer = $1 AND subject = $2";
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_scalar(SQL).bind(issuer).bind(subject).fetch_optional(pool).await?
        }))
    }

    /// Adds an account together with the identity that it was made for.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the name is taken or looks like one that is, or the identity is
    /// somebody's by now.
    pub async fn sign_up(&self, user: &User, identity: &Identity, audit: &AuditEntry) -> Result<(), StoreError> {
        const USER: &str = "INSERT INTO users (id, username, skeleton, password_hash, role, created_at) \
                            VALUES ($1, $2, $3, $4, $5, $6)";
        in_transaction!(&self.store.writer, transaction => {
            sqlx::query(USER)
                .bind(&user.id)
                .bind(&user.username)
                .bind(skeleton(&user.username))
                .bind(&user.password_hash)
                .bind(&user.role)
                .bind(user.created_at)
                .execute(&mut *transaction)
                .await?;
            add!(&mut *transaction, identity);
            insert_audit!(&mut *transaction, audit);
        });
        Ok(())
    }

    /// Makes an identity a user's.
    ///
    /// # Errors
    /// The database failed.
    pub async fn link(&self, identity: &Identity, audit: &AuditEntry) -> Result<Linked, StoreError> {
        // Whoever links or unlinks of one user waits here for the others.
        const LOCK: &str = "UPDATE users SET role = role WHERE id = $1 AND disabled_at IS NULL";
        const WHOSE: &str = "SELECT user_id FROM identities WHERE issuer = $1 AND subject = $2";
        const COUNT: &str = "SELECT COUNT(*) FROM identities WHERE user_id = $1";
        let linked = async {
            Ok(in_transaction!(&self.store.writer, transaction => {
                let user = sqlx::query(LOCK).bind(&identity.user_id).execute(&mut *transaction).await?.rows_affected();
                let whose: Option<String> = sqlx::query_scalar(WHOSE)
                    .bind(&identity.issuer)
                    .bind(&identity.subject)
                    .fetch_optional(&mut *transaction)
                    .await?;
                let count: i64 =
                    sqlx::query_scalar(COUNT).bind(&identity.user_id).fetch_one(&mut *transaction).await?;
                match whose {
                    _ if user == 0 => Linked::NoUser,
                    Some(whose) if whose == identity.user_id => Linked::Done,
                    Some(_) => Linked::Taken,
                    None if count >= MOST => Linked::Full,
                    None => {
                        add!(&mut *transaction, identity);
                        insert_audit!(&mut *transaction, audit);
                        Linked::Done
                    }
                }
            }))
        };
        match linked.await {
            // Another user was faster.
            Err(StoreError::Conflict) => Ok(Linked::Taken),
            other => other,
        }
    }

    /// Uses something up that holds until a moment; false if it was used before.
    ///
    /// # Errors
    /// The database failed.
    pub async fn use_up(&self, hash: &str, until_ms: i64) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO used_secrets (hash, until) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING";
        Ok(on_writer!(&self.store.writer, pool => {
            sqlx::query(SQL).bind(hash).bind(until_ms).execute(pool).await?.rows_affected() == 1
        }))
    }

    /// Forgets what was used up and would not hold any more. Returns how many; call again while it is
    /// not 0.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget(&self, now_ms: i64) -> Result<u64, StoreError> {
        const SQL: &str =
            "DELETE FROM used_secrets WHERE hash IN (SELECT hash FROM used_secrets WHERE until <= $1 LIMIT $2)";
        Ok(on_writer!(&self.store.writer, pool => {
            sqlx::query(SQL).bind(now_ms).bind(STEP).execute(pool).await?.rows_affected()
        }))
    }

    /// Adds an account for a user of another issuer, unless there is one; true if it was added. Its
    /// name is its id, which no name of an account here can be, and looks like no other.
    ///
    /// # Errors
    /// The database failed.
    pub async fn first_use(&self, user_id: &str, role: &str, audit: &AuditEntry) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO users (id, username, skeleton, password_hash, role, created_at) \
                           VALUES ($1, $1, $2, '', $3, $4) ON CONFLICT DO NOTHING";
        Ok(in_transaction!(&self.store.writer, transaction => {
            let added = sqlx::query(SQL)
                .bind(user_id)
                .bind(format!("of another issuer: {user_id}"))
                .bind(role)
                .bind(audit.at)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if added == 1 {
                insert_audit!(&mut *transaction, audit);
            }
            added == 1
        }))
    }
}

impl Owned<'_> {
    /// Who the user is elsewhere, the oldest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn identities(&self) -> Result<Vec<Identity>, StoreError> {
        const SQL: &str = "SELECT * FROM identities WHERE user_id = $1 ORDER BY id";
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_as(SQL).bind(self.owner.user_id()).fetch_all(pool).await?
        }))
    }

    /// Removes an identity, unless the user could then not log in: with a password, or by way of one
    /// of these issuers.
    ///
    /// # Errors
    /// The database failed.
    pub async fn unlink(&self, id: &str, issuers: &[&str], audit: &AuditEntry) -> Result<Unlinked, StoreError> {
        const LOCK: &str = "UPDATE users SET role = role WHERE id = $1";
        const PASSWORD: &str = "SELECT password_hash FROM users WHERE id = $1";
        const ALL: &str = "SELECT * FROM identities WHERE user_id = $1";
        let user_id = self.owner.user_id();
        Ok(in_transaction!(&self.store.writer, transaction => {
            sqlx::query(LOCK).bind(user_id).execute(&mut *transaction).await?;
            let password: Option<String> =
                sqlx::query_scalar(PASSWORD).bind(user_id).fetch_optional(&mut *transaction).await?;
            let all: Vec<Identity> = sqlx::query_as(ALL).bind(user_id).fetch_all(&mut *transaction).await?;
            let (meant, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|identity| identity.id == id);
            let has_password = password.is_some_and(|hash| !hash.is_empty());
            if meant.is_empty() {
                Unlinked::NotFound
            } else if !has_password && !others.iter().any(|other| issuers.contains(&other.issuer.as_str())) {
                Unlinked::LastWay
            } else {
                sqlx::query("DELETE FROM identities WHERE id = $1").bind(id).execute(&mut *transaction).await?;
                insert_audit!(&mut *transaction, audit);
                Unlinked::Done
            }
        }))
    }
}
