//! Personal access tokens: what is known of them, and never they themselves.

use super::audit::insert_audit;
use super::control::revoke;
use super::outputs::Owned;
use super::{AuditEntry, Ended, RevocationRecord, Store, StoreError, in_transaction, on_db, on_writer};

/// How many tokens of one user hold at a time.
const MOST_LIVE: usize = 20;
/// How many of one user may be withdrawn before their time: edges are told of each until then.
const MOST_ENDED: usize = 20;
/// How much longer than a token edges are told that it is withdrawn, in milliseconds: as far as
/// clocks may differ.
pub(super) const AFTER_MS: i64 = 120_000;

/// A personal access token as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct PersonalToken {
    /// A ULID; its `jti`.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// Its `iss`.
    pub issuer: String,
    /// The user's own name for it.
    pub name: String,
    /// The role that it states.
    pub role: String,
    /// What it may be used for, with spaces between.
    pub scope: String,
    /// Milliseconds since the epoch, like all times here.
    pub created_at: i64,
    /// Until when it holds.
    pub expires_at: i64,
    /// When it was used last, to the minute.
    pub used_at: Option<i64>,
    /// When it was withdrawn.
    pub ended_at: Option<i64>,
    /// Why; see [`Ended`].
    pub ended_why: Option<String>,
}

/// What became of a new token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It holds.
    Yes,
    /// The user has as many as one may have.
    TooManyLive,
    /// The user has withdrawn as many as edges are told of.
    TooManyEnded,
    /// The role was changed, or everything withdrawn, while it was made.
    Overtaken,
}

/// Ends the tokens that a withdrawal concerns, in its transaction. Each is told to the edges by its
/// own id until its own end, because the withdrawal of a user is forgotten much earlier.
macro_rules! end_tokens {
    ($transaction:ident, $withdrawal:expr, $why:expr) => {{
        let withdrawal: &$crate::store::RevocationRecord = $withdrawal;
        if withdrawal.kind == "user" {
            // Whoever makes a token for this user meanwhile waits, and then sees the withdrawal.
            sqlx::query("UPDATE users SET role = role WHERE id = $1")
                .bind(&withdrawal.subject)
                .execute(&mut *$transaction)
                .await?;
        }
        if let Some(sql) = $crate::store::personal_tokens::concerned(&withdrawal.kind) {
            let ended: Vec<(String, i64)> = sqlx::query_as(sql)
                .bind(withdrawal.at)
                .bind($crate::store::Ended::as_str($why))
                .bind(&withdrawal.subject)
                .bind(withdrawal.not_before.saturating_mul(1000))
                .fetch_all(&mut *$transaction)
                .await?;
            // An issuer's withdrawal is told as long as any token of it may live.
            for (id, expires_at) in ended.into_iter().filter(|_| withdrawal.kind != "issuer") {
                let expires_at = expires_at.saturating_add($crate::store::personal_tokens::AFTER_MS);
                let kind = $crate::store::Whose::Pat.as_str().to_owned();
                let own = $crate::store::RevocationRecord { kind, subject: id, expires_at, ..withdrawal.clone() };
                revoke!(&mut *$transaction, &own);
            }
        }
    }};
}

pub(super) use end_tokens;

/// Ends the tokens that a withdrawal of this kind concerns; none for kinds that concern none.
pub(super) fn concerned(kind: &str) -> Option<&'static str> {
    match kind {
        "user" => Some(
            "UPDATE personal_tokens SET ended_at = $1, ended_why = $2 \
             WHERE user_id = $3 AND created_at < $4 AND ended_at IS NULL RETURNING id, expires_at",
        ),
        "issuer" => Some(
            "UPDATE personal_tokens SET ended_at = $1, ended_why = $2 \
             WHERE issuer = $3 AND created_at < $4 AND ended_at IS NULL RETURNING id, expires_at",
        ),
        "pat" | "token" | "session" => Some(
            "UPDATE personal_tokens SET ended_at = $1, ended_why = $2 \
             WHERE id = $3 AND created_at < $4 AND ended_at IS NULL RETURNING id, expires_at",
        ),
        _ => None,
    }
}

impl Owned<'_> {
    /// Adds a token, if the account is still as the token says.
    ///
    /// # Errors
    /// The database failed.
    pub async fn add_token(&self, token: &PersonalToken, audit: &AuditEntry) -> Result<Added, StoreError> {
        // Counts as a change of the account, so that it waits for one that is under way.
        const AS_STATED: &str = "UPDATE users SET role = role WHERE id = $1 AND role = $2 AND disabled_at IS NULL";
        const WITHDRAWN: &str =
            "SELECT COUNT(*) FROM revocations WHERE kind = 'user' AND subject = $1 AND not_before > $2";
        const KNOWN: &str = "SELECT ended_at FROM personal_tokens WHERE user_id = $1 AND expires_at > $2";
        let owner = self.owner.user_id();
        Ok(in_transaction!(&self.store.writer, transaction => {
            let query = sqlx::query(AS_STATED).bind(owner).bind(&token.role);
            let is_as_stated = query.execute(&mut *transaction).await?.rows_affected() == 1;
            let query = sqlx::query_scalar(WITHDRAWN).bind(owner).bind(token.created_at / 1000);
            let withdrawn: i64 = query.fetch_one(&mut *transaction).await?;
            let query = sqlx::query_scalar(KNOWN).bind(owner).bind(token.created_at);
            let known: Vec<Option<i64>> = query.fetch_all(&mut *transaction).await?;
            let ended = known.iter().flatten().count();
            if !is_as_stated || withdrawn > 0 {
                Added::Overtaken
            } else if known.len() - ended >= MOST_LIVE {
                Added::TooManyLive
            } else if ended >= MOST_ENDED {
                Added::TooManyEnded
            } else {
                sqlx::query(
                    "INSERT INTO personal_tokens (id, user_id, issuer, name, role, scope, created_at, expires_at) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                )
                .bind(&token.id)
                .bind(owner)
                .bind(&token.issuer)
                .bind(&token.name)
                .bind(&token.role)
                .bind(&token.scope)
                .bind(token.created_at)
                .bind(token.expires_at)
                .execute(&mut *transaction)
                .await?;
                insert_audit!(&mut *transaction, audit);
                Added::Yes
            }
        }))
    }

    /// The tokens that have not run out, the newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn tokens(&self, now_ms: i64) -> Result<Vec<PersonalToken>, StoreError> {
        const SQL: &str = "SELECT * FROM personal_tokens WHERE user_id = $1 AND expires_at > $2 ORDER BY id DESC";
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_as(SQL).bind(self.owner.user_id()).bind(now_ms).fetch_all(pool).await?
        }))
    }

    /// Withdraws a token, the subject of `withdrawal`; false if it is not there or does not hold
    /// any more.
    ///
    /// # Errors
    /// The database failed.
    pub async fn end_token(&self, withdrawal: &RevocationRecord, audit: &AuditEntry) -> Result<bool, StoreError> {
        const LIVE: &str = "SELECT COUNT(*) FROM personal_tokens \
                            WHERE user_id = $1 AND id = $2 AND ended_at IS NULL AND expires_at > $3";
        Ok(in_transaction!(&self.store.writer, transaction => {
            let query = sqlx::query_scalar(LIVE).bind(self.owner.user_id()).bind(&withdrawal.subject).bind(audit.at);
            let found: i64 = query.fetch_one(&mut *transaction).await?;
            if found == 1 {
                end_tokens!(transaction, withdrawal, Ended::Owner);
                insert_audit!(&mut *transaction, audit);
            }
            found == 1
        }))
    }
}

impl Store {
    /// Forgets personal access tokens that have run out.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget_tokens(&self, now_ms: i64) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM personal_tokens WHERE expires_at <= $1";
        on_writer!(&self.writer, pool => { sqlx::query(SQL).bind(now_ms).execute(pool).await?; });
        Ok(())
    }
}
