//! Names, passwords and roles of the users that log in here.

use super::audit::insert_audit;
use super::control::revoke;
use super::logins::end_logins;
use super::personal_tokens::end_tokens;
use super::{AuditEntry, Ended, RevocationRecord, Store, StoreError, in_transaction, on_db, on_writer};
use crate::accounts::skeleton;
use crate::caller::ADMIN_ROLE;

/// A user with an account here.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct User {
    /// A ULID.
    pub id: String,
    /// Folded; see `accounts::fold_username`.
    pub username: String,
    /// A PHC string (argon2id); empty if the account has no password.
    pub password_hash: String,
    /// The role that new tokens state.
    pub role: String,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// Since when the user cannot log in.
    pub disabled_at: Option<i64>,
}

impl User {
    /// The hash of the password, if the account has one.
    pub fn password(&self) -> Option<&str> {
        Some(self.password_hash.as_str()).filter(|hash| !hash.is_empty())
    }

    /// Whether tokens of another issuer are all that this user comes with. Such ids have the issuer's
    /// prefix; ids of accounts here have none.
    pub fn is_of_another_issuer(&self) -> bool {
        self.id.contains(':')
    }
}

/// A new state of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// Another role.
    Role(&'a str),
    /// Disabled since a moment, in milliseconds, or with none enabled again.
    Disabled(Option<i64>),
}

impl Change<'_> {
    /// Its name in the audit.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Role(_) => "user_role",
            Self::Disabled(Some(_)) => "user_disable",
            Self::Disabled(None) => "user_enable",
        }
    }

    /// Why what was begun under the old state ends.
    fn ended(&self) -> Ended {
        match self {
            Self::Role(_) => Ended::RoleChanged,
            Self::Disabled(_) => Ended::Disabled,
        }
    }

    /// Why the tokens are withdrawn.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Role(_) => "role changed",
            Self::Disabled(Some(_)) => "disabled",
            Self::Disabled(None) => "enabled",
        }
    }
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is made.
    Done,
    /// There is no such user.
    NoUser,
    /// Nobody who can log in would administer any more.
    LastAdmin,
}

/// By what a new password may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof<'a> {
    /// The old one was right, and this is its hash.
    Password(&'a str),
    /// The hash of the secret of a reset.
    Reset(&'a str),
}

const ADD: &str = "INSERT INTO users (id, username, skeleton, password_hash, role, created_at) \
                   VALUES ($1, $2, $3, $4, $5, $6)";

/// Adds an account within a transaction.
macro_rules! add {
    ($executor:expr, $user:expr) => {
        sqlx::query(ADD)
            .bind(&$user.id)
            .bind(&$user.username)
            .bind(skeleton(&$user.username))
            .bind(&$user.password_hash)
            .bind(&$user.role)
            .bind($user.created_at)
            .execute($executor)
            .await?
    };
}

/// Two who administer and can log in here: users of other issuers cannot.
pub(super) const ADMINS: &str =
    "SELECT id FROM users WHERE role = $1 AND disabled_at IS NULL AND id NOT LIKE '%:%' LIMIT 2";

/// Whether nobody who can log in would administer without this account, within a transaction. Whoever
/// changes an account waits here for the others, so no two can each leave the other one as the last.
macro_rules! is_last_admin {
    ($executor:expr, $id:expr) => {{
        sqlx::query("UPDATE control SET serial = serial").execute($executor).await?;
        let admins: Vec<String> = sqlx::query_scalar($crate::store::accounts::ADMINS)
            .bind($crate::caller::ADMIN_ROLE)
            .fetch_all($executor)
            .await?;
        admins == [$id]
    }};
}

pub(super) use is_last_admin;

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
    /// [`StoreError::Conflict`] when the name is taken or looks like one that is.
    pub async fn add(&self, user: &User, audit: &AuditEntry) -> Result<(), StoreError> {
        in_transaction!(&self.store.writer, transaction => {
            add!(&mut *transaction, user);
            insert_audit!(&mut *transaction, audit);
        });
        Ok(())
    }

    /// Adds an account for one use of an invitation; false if it holds no longer.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the name is taken or looks like one that is; then the
    /// invitation is not used.
    pub async fn add_invited(&self, user: &User, invitation: &str, audit: &AuditEntry) -> Result<bool, StoreError> {
        const USE: &str = "UPDATE invitations SET uses_left = uses_left - 1 \
                           WHERE id = $1 AND uses_left > 0 AND expires_at > $2";
        Ok(in_transaction!(&self.store.writer, transaction => {
            let used = sqlx::query(USE).bind(invitation).bind(audit.at).execute(&mut *transaction).await?;
            let is_used = used.rows_affected() == 1;
            if is_used {
                add!(&mut *transaction, user);
                insert_audit!(&mut *transaction, audit);
            }
            is_used
        }))
    }

    /// Whether a folded name is taken or looks like one that is.
    ///
    /// # Errors
    /// The database failed.
    pub async fn is_taken(&self, username: &str) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM users WHERE username = $1 OR skeleton = $2";
        let count: i64 = on_db!(&self.store.reader, pool => {
            sqlx::query_scalar(SQL).bind(username).bind(skeleton(username)).fetch_one(pool).await?
        });
        Ok(count > 0)
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

    /// Accounts by name, from the one after `after` on, at most `limit`: those whose name has
    /// `search` in it, or whose id it is.
    ///
    /// # Errors
    /// The database failed.
    pub async fn list(&self, search: &str, after: &str, limit: i64) -> Result<Vec<User>, StoreError> {
        const SQL: &str = "SELECT id, username, password_hash, role, created_at, disabled_at FROM users \
                           WHERE username > $1 AND (id = $2 OR username LIKE $3 ESCAPE '!') \
                           ORDER BY username LIMIT $4";
        let pattern = format!("%{}%", search.replace('!', "!!").replace('%', "!%").replace('_', "!_"));
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_as(SQL).bind(after).bind(search).bind(pattern).bind(limit).fetch_all(pool).await?
        }))
    }

    /// How many accounts that were made here have this role.
    ///
    /// # Errors
    /// The database failed.
    pub async fn count_of_role(&self, role: &str) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM users WHERE role = $1 AND id NOT LIKE '%:%'";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_scalar(SQL).bind(role).fetch_one(pool).await?))
    }

    /// Changes an account and withdraws all its tokens, personal ones too, all or nothing. Logins end
    /// with the account; with another role they go on, and the next refresh states it.
    ///
    /// # Errors
    /// The database failed.
    pub async fn change(
        &self,
        id: &str,
        change: Change<'_>,
        withdrawn: &RevocationRecord,
        audit: &AuditEntry,
    ) -> Result<Changed, StoreError> {
        let keeps_admin = match change {
            Change::Role(role) => role == ADMIN_ROLE,
            Change::Disabled(since) => since.is_none(),
        };
        Ok(in_transaction!(&self.store.writer, transaction => {
            if is_last_admin!(&mut *transaction, id) && !keeps_admin {
                Changed::LastAdmin
            } else {
                let update = match change {
                    Change::Role(role) => sqlx::query("UPDATE users SET role = $1 WHERE id = $2").bind(role),
                    Change::Disabled(since) => {
                        sqlx::query("UPDATE users SET disabled_at = $1 WHERE id = $2").bind(since)
                    }
                };
                let is_changed = update.bind(id).execute(&mut *transaction).await?.rows_affected() == 1;
                if is_changed {
                    revoke!(&mut *transaction, withdrawn);
                    end_tokens!(transaction, withdrawn, change.ended());
                    if change.ended() == Ended::Disabled {
                        end_logins!(&mut *transaction, withdrawn, Ended::Disabled);
                    }
                    insert_audit!(&mut *transaction, audit);
                }
                if is_changed { Changed::Done } else { Changed::NoUser }
            }
        }))
    }

    /// Sets a new password, ends all logins and withdraws all tokens, if the proof still holds; a reset
    /// that was offered ends. False if it does not hold.
    ///
    /// # Errors
    /// The database failed.
    pub async fn set_password(
        &self,
        id: &str,
        proof: Proof<'_>,
        hash: &str,
        withdrawn: &RevocationRecord,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        Ok(in_transaction!(&self.store.writer, transaction => {
            let set = match proof {
                Proof::Password(old) => sqlx::query(
                    "UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3",
                ).bind(hash).bind(id).bind(old),
                Proof::Reset(secret_hash) => sqlx::query(
                    "UPDATE users SET password_hash = $1 WHERE id = $2 AND EXISTS (SELECT 1 FROM password_resets \
                     WHERE user_id = $2 AND secret_hash = $3 AND expires_at > $4)",
                ).bind(hash).bind(id).bind(secret_hash).bind(audit.at),
            };
            let is_set = set.execute(&mut *transaction).await?.rows_affected() == 1;
            if is_set {
                sqlx::query("DELETE FROM password_resets WHERE user_id = $1").bind(id).execute(&mut *transaction).await?;
                revoke!(&mut *transaction, withdrawn);
                end_tokens!(transaction, withdrawn, Ended::PasswordChanged);
                end_logins!(&mut *transaction, withdrawn, Ended::PasswordChanged);
                insert_audit!(&mut *transaction, audit);
            }
            is_set
        }))
    }

    /// Keeps the same password under another hash, unless it was changed meanwhile.
    ///
    /// # Errors
    /// The database failed.
    pub async fn renew_hash(&self, id: &str, old: &str, new: &str) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3";
        Ok(on_writer!(&self.store.writer, pool => {
            sqlx::query(SQL).bind(new).bind(id).bind(old).execute(pool).await?.rows_affected() == 1
        }))
    }

    /// Notes what names look like that were there before that was noted. Of two that look alike,
    /// the older one keeps others away.
    ///
    /// # Errors
    /// The database failed.
    pub(super) async fn note_skeletons(&self) -> Result<(), StoreError> {
        const UNNOTED: &str = "SELECT id, username FROM users WHERE skeleton IS NULL ORDER BY id";
        const NOTE: &str = "UPDATE users SET skeleton = $1 WHERE id = $2 \
                            AND NOT EXISTS (SELECT 1 FROM users WHERE skeleton = $1)";
        let unnoted: Vec<(String, String)> =
            on_db!(&self.store.reader, pool => sqlx::query_as(UNNOTED).fetch_all(pool).await?);
        for (id, username) in unnoted {
            let skeleton = skeleton(&username);
            on_writer!(&self.store.writer, pool => {
                sqlx::query(NOTE).bind(skeleton).bind(id).execute(pool).await?;
            });
        }
        Ok(())
    }
}
