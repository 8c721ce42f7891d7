//! Logins: who came in when and from where, and by what their refresh tokens are known.

use super::audit::{insert_audit, insert_audits};
use super::control::revoke;
use super::outputs::Owned;
use super::{AuditEntry, RevocationRecord, Store, StoreError, in_transaction, on_db, on_writer};

/// How many logins of one user are listed.
const MAX_LISTED: i64 = 200;
/// How many rows one step of the housekeeper removes.
const STEP: i64 = 1000;
/// How many uses one transaction notes.
const USES: usize = 1000;

/// A login as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Login {
    /// A ULID; the `sid` of its tokens.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The program, as it calls itself: `Firefox on Linux`; empty if it does not say.
    pub label: String,
    /// The client's address, as the edge saw it; empty if it did not say.
    pub address: String,
    /// The region of the edge.
    pub region: String,
    /// When the user proved who they are, milliseconds since the epoch, like all times here.
    pub created_at: i64,
    /// When they did so last, if that was later.
    pub authenticated_at: Option<i64>,
    /// When it was used last, to the minute.
    pub seen_at: i64,
    /// When it ends, however it is used.
    pub expires_at: i64,
    /// The key that marks its refresh tokens, hexadecimal.
    pub family: String,
    /// SHA-256 of the secret of the current refresh token, hexadecimal.
    pub secret: String,
    /// The same of the one before.
    pub previous: Option<String>,
    /// What made the current secret out of the one before, hexadecimal.
    pub nonce: Option<String>,
    /// When the current secret was made.
    pub rotated_at: i64,
    /// When it was ended before its time.
    pub ended_at: Option<i64>,
    /// Why; see [`Ended`].
    pub ended_why: Option<String>,
}

/// Why a login or a personal access token ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By its user, there.
    Logout,
    /// By its user, elsewhere.
    Owner,
    /// A refresh token was used twice.
    RefreshReused,
    /// An administrator withdrew its tokens.
    Revoked,
    /// The account was disabled.
    Disabled,
    /// The role that it states is not the account's any more.
    RoleChanged,
    /// The password is another one.
    PasswordChanged,
    /// The user has too many newer ones.
    Displaced,
}

impl Ended {
    /// Its name in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Owner => "owner",
            Self::RefreshReused => "refresh_reused",
            Self::Revoked => "revoked",
            Self::Disabled => "disabled",
            Self::RoleChanged => "role_changed",
            Self::PasswordChanged => "password_changed",
            Self::Displaced => "displaced",
        }
    }
}

/// What takes the place of a login's current secret.
#[derive(Clone, Debug)]
pub struct Successor {
    /// SHA-256 of it, hexadecimal.
    pub secret: String,
    /// What made it, hexadecimal.
    pub nonce: String,
    /// Milliseconds since the epoch.
    pub at: i64,
}

/// Ends the logins that a withdrawal concerns, in its transaction.
macro_rules! end_logins {
    ($executor:expr, $withdrawal:expr, $why:expr) => {{
        let withdrawal: &$crate::store::RevocationRecord = $withdrawal;
        if let Some(sql) = $crate::store::logins::concerned(&withdrawal.kind) {
            sqlx::query(sql)
                .bind(withdrawal.at)
                .bind($crate::store::Ended::as_str($why))
                .bind(&withdrawal.subject)
                .bind(withdrawal.not_before.saturating_mul(1000))
                .execute($executor)
                .await?;
        }
    }};
}

pub(super) use end_logins;

/// Ends the logins that a withdrawal of this kind concerns; none for kinds that concern none.
pub(super) fn concerned(kind: &str) -> Option<&'static str> {
    match kind {
        "user" => Some(
            "UPDATE logins SET ended_at = $1, ended_why = $2 WHERE user_id = $3 AND created_at < $4 AND ended_at IS NULL",
        ),
        "session" => Some(
            "UPDATE logins SET ended_at = $1, ended_why = $2 WHERE id = $3 AND created_at < $4 AND ended_at IS NULL",
        ),
        "issuer" => Some(
            "UPDATE logins SET ended_at = $1, ended_why = $2 WHERE issuer = $3 AND created_at < $4 AND ended_at IS NULL",
        ),
        _ => None,
    }
}

/// Queries on logins for whoever begins or renews one.
pub struct Logins<'a> {
    store: &'a Store,
}

impl<'a> Logins<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// Adds a login. If the user then has more than `most` that have not ended, those that were
    /// not used for longest end.
    ///
    /// # Errors
    /// The database failed.
    pub async fn begin(&self, login: &Login, most: i64, audit: &AuditEntry) -> Result<(), StoreError> {
        in_transaction!(&self.store.writer, transaction => {
            sqlx::query(
                "INSERT INTO logins (id, user_id, issuer, label, address, region, created_at, seen_at, expires_at, \
                 family, secret, rotated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            )
            .bind(&login.id)
            .bind(&login.user_id)
            .bind(&login.issuer)
            .bind(&login.label)
            .bind(&login.address)
            .bind(&login.region)
            .bind(login.created_at)
            .bind(login.seen_at)
            .bind(login.expires_at)
            .bind(&login.family)
            .bind(&login.secret)
            .bind(login.rotated_at)
            .execute(&mut *transaction)
            .await?;
            sqlx::query(
                "UPDATE logins SET ended_at = $1, ended_why = $2 WHERE id IN (SELECT id FROM logins \
                 WHERE user_id = $3 AND ended_at IS NULL ORDER BY seen_at DESC, id DESC LIMIT 1000 OFFSET $4)",
            )
            .bind(login.created_at)
            .bind(Ended::Displaced.as_str())
            .bind(&login.user_id)
            .bind(most)
            .execute(&mut *transaction)
            .await?;
            insert_audit!(&mut *transaction, audit);
        });
        Ok(())
    }

    /// The login of this id, ended ones too.
    ///
    /// # Errors
    /// The database failed.
    pub async fn by_id(&self, id: &str) -> Result<Option<Login>, StoreError> {
        const SQL: &str = "SELECT * FROM logins WHERE id = $1";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).bind(id).fetch_optional(pool).await?))
    }

    /// Puts a successor in place of the secret with the hash `current`. False, and nothing
    /// changes, if that is not the current one any more, or the login has ended.
    ///
    /// # Errors
    /// The database failed.
    pub async fn rotate(
        &self,
        id: &str,
        current: &str,
        successor: &Successor,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE logins SET secret = $1, previous = $2, nonce = $3, rotated_at = $4, seen_at = $4 \
                           WHERE id = $5 AND secret = $2 AND ended_at IS NULL AND expires_at > $4";
        Ok(in_transaction!(&self.store.writer, transaction => {
            let rotated = sqlx::query(SQL)
                .bind(&successor.secret)
                .bind(current)
                .bind(&successor.nonce)
                .bind(successor.at)
                .bind(id)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if rotated == 1 {
                insert_audit!(&mut *transaction, audit);
            }
            rotated == 1
        }))
    }

    /// Notes that a login goes on with the secret of this hash; false if that is not the current
    /// one any more, or the login has ended. Waits for whoever is about to end it.
    ///
    /// # Errors
    /// The database failed.
    pub async fn go_on(&self, id: &str, current: &str, now_ms: i64, audit: &AuditEntry) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE logins SET seen_at = $1 WHERE id = $2 AND secret = $3 AND ended_at IS NULL";
        Ok(in_transaction!(&self.store.writer, transaction => {
            let query = sqlx::query(SQL).bind(now_ms).bind(id).bind(current);
            let goes_on = query.execute(&mut *transaction).await?.rows_affected();
            if goes_on == 1 {
                insert_audit!(&mut *transaction, audit);
            }
            goes_on == 1
        }))
    }

    /// Notes that the user of a login has proved again who they are; false if it has ended. Waits for
    /// whoever is about to end it.
    ///
    /// # Errors
    /// The database failed.
    pub async fn prove_again(&self, id: &str, now_ms: i64, audit: &AuditEntry) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE logins SET authenticated_at = $1, seen_at = $1 \
                           WHERE id = $2 AND ended_at IS NULL AND expires_at > $1";
        Ok(in_transaction!(&self.store.writer, transaction => {
            let query = sqlx::query(SQL).bind(now_ms).bind(id);
            let goes_on = query.execute(&mut *transaction).await?.rows_affected();
            if goes_on == 1 {
                insert_audit!(&mut *transaction, audit);
            }
            goes_on == 1
        }))
    }

    /// Ends a login and withdraws its tokens; false if it has ended or is not there.
    ///
    /// # Errors
    /// The database failed.
    pub async fn end(
        &self,
        id: &str,
        why: Ended,
        withdrawal: &RevocationRecord,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE logins SET ended_at = $1, ended_why = $2 WHERE id = $3 AND ended_at IS NULL";
        Ok(in_transaction!(&self.store.writer, transaction => {
            let query = sqlx::query(SQL).bind(audit.at).bind(why.as_str()).bind(id);
            let ended = query.execute(&mut *transaction).await?.rows_affected();
            if ended == 1 {
                revoke!(&mut *transaction, withdrawal);
                insert_audit!(&mut *transaction, audit);
            }
            ended == 1
        }))
    }

    /// The logins of a user, ended ones too as long as they are kept, the last used first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn of_user(&self, user_id: &str) -> Result<Vec<Login>, StoreError> {
        const SQL: &str = "SELECT * FROM logins WHERE user_id = $1 ORDER BY seen_at DESC, id DESC LIMIT $2";
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_as(SQL).bind(user_id).bind(MAX_LISTED).fetch_all(pool).await?
        }))
    }

    /// Notes when logins and personal access tokens were used last.
    ///
    /// # Errors
    /// The database failed.
    pub async fn note_use(&self, uses: &[(String, i64)]) -> Result<(), StoreError> {
        const LOGIN: &str = "UPDATE logins SET seen_at = $1 WHERE id = $2 AND seen_at < $1";
        const TOKEN: &str =
            "UPDATE personal_tokens SET used_at = $1 WHERE id = $2 AND (used_at IS NULL OR used_at < $1)";
        for some in uses.chunks(USES) {
            in_transaction!(&self.store.writer, transaction => {
                for (id, at) in some {
                    for sql in [LOGIN, TOKEN] {
                        sqlx::query(sql).bind(at).bind(id).execute(&mut *transaction).await?;
                    }
                }
            });
        }
        Ok(())
    }

    /// Forgets logins that ran out before `now_ms`, and those that were ended before `ended_ms`.
    /// Returns how many; call again while it is not 0.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget(&self, now_ms: i64, ended_ms: i64) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM logins WHERE id IN \
                           (SELECT id FROM logins WHERE expires_at <= $1 OR ended_at <= $2 LIMIT $3)";
        Ok(on_writer!(&self.store.writer, pool => {
            sqlx::query(SQL).bind(now_ms).bind(ended_ms).bind(STEP).execute(pool).await?.rows_affected()
        }))
    }
}

impl Owned<'_> {
    /// The logins, ended ones too as long as they are kept, the last used first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn logins(&self) -> Result<Vec<Login>, StoreError> {
        self.store.logins().of_user(self.owner.user_id()).await
    }

    /// Ends a login and withdraws its tokens; false if it has ended or is not there.
    ///
    /// # Errors
    /// The database failed.
    pub async fn end_login(
        &self,
        id: &str,
        why: Ended,
        withdrawal: &RevocationRecord,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM logins WHERE user_id = $1 AND id = $2";
        let found: i64 = on_db!(&self.store.reader, pool => {
            sqlx::query_scalar(SQL).bind(self.owner.user_id()).bind(id).fetch_one(pool).await?
        });
        if found == 0 {
            return Ok(false);
        }
        self.store.logins().end(id, why, withdrawal, audit).await
    }

    /// Ends all logins but one, if one is named, and withdraws the tokens of those that were given
    /// any since `since_ms`; older ones have run out by themselves. `withdrawal` is the same for
    /// all but for its subject. Returns how many.
    ///
    /// # Errors
    /// The database failed.
    pub async fn end_logins(
        &self,
        except: Option<&str>,
        since_ms: i64,
        withdrawal: &RevocationRecord,
        audit: &AuditEntry,
    ) -> Result<usize, StoreError> {
        // By one statement, so that no refresh comes between: what it made before is told here.
        const END: &str = "UPDATE logins SET ended_at = $1, ended_why = $2 \
                           WHERE user_id = $3 AND id <> $4 AND ended_at IS NULL RETURNING id, rotated_at";
        Ok(in_transaction!(&self.store.writer, transaction => {
            let ended: Vec<(String, i64)> = sqlx::query_as(END)
                .bind(audit.at)
                .bind(Ended::Owner.as_str())
                .bind(self.owner.user_id())
                .bind(except.unwrap_or_default())
                .fetch_all(&mut *transaction)
                .await?;
            for (id, rotated_at) in &ended {
                if *rotated_at > since_ms {
                    let withdrawal = RevocationRecord { subject: id.clone(), ..withdrawal.clone() };
                    revoke!(&mut *transaction, &withdrawal);
                }
            }
            let audits: Vec<AuditEntry> = ended.iter().map(|(id, _)| audit.clone().on(id)).collect();
            insert_audits!(&mut *transaction, &audits);
            ended.len()
        }))
    }
}
