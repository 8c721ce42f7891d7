//! What the control plane tells the edges beside the policy, and what they tell it.

use super::audit::insert_audit;
use super::logins::end_logins;
use super::personal_tokens::end_tokens;
use super::{AuditEntry, Ended, Store, StoreError, in_transaction, on_db, on_writer};

/// How far the control plane has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Progress {
    /// Counted up by every change.
    pub serial: i64,
    /// When it was counted up last, milliseconds since the epoch.
    pub changed_at: i64,
}

/// What tokens a revocation concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// All of one user.
    User,
    /// All that were given to one program (`client_id`, `azp`).
    Client,
    /// All of one login (`sid`).
    Session,
    /// One token (`jti`).
    Token,
    /// One personal access token, by its `jti`, too; told until its own end.
    Pat,
    /// All of one issuer.
    Issuer,
}

impl Whose {
    /// Its name in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Client => "client",
            Self::Session => "session",
            Self::Token => "token",
            Self::Pat => "pat",
            Self::Issuer => "issuer",
        }
    }

    /// By its name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::User, Self::Client, Self::Session, Self::Token, Self::Pat, Self::Issuer]
            .into_iter()
            .find(|whose| whose.as_str() == name)
    }
}

/// Withdrawn tokens.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct RevocationRecord {
    /// See [`Whose`].
    pub kind: String,
    /// The user id, `sid`, `jti` or `iss`.
    pub subject: String,
    /// What was issued before is withdrawn, seconds since the epoch.
    pub not_before: i64,
    /// When no such token can be left, milliseconds since the epoch.
    pub expires_at: i64,
    /// When it was withdrawn, milliseconds since the epoch.
    pub at: i64,
    /// Who did it: a user id or `cli:<name>`.
    pub author: String,
    /// Why, in the author's words.
    pub reason: String,
}

/// What an edge said when it last asked.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct EdgeRecord {
    /// Its region.
    pub region: String,
    /// Its name there.
    pub node: String,
    /// The oldest bundle that any of its workers judges by.
    pub serial: i64,
    /// The revision of the policy.
    pub rev: i64,
    /// What was wrong with the last bundle it was given; empty if nothing.
    pub error: String,
    /// Milliseconds since the epoch.
    pub seen_at: i64,
}

/// Queries of the control plane.
pub struct Control<'a> {
    store: &'a Store,
}

/// Counts the serial up within a transaction that changes what the control plane tells.
macro_rules! count_up {
    ($executor:expr, $now_ms:expr) => {
        sqlx::query("UPDATE control SET serial = serial + 1, changed_at = $1").bind($now_ms).execute($executor).await?
    };
}

pub(super) use count_up;

/// Withdraws tokens within a transaction, and counts the serial up. Single ones are marked in their
/// status lists; what has none is told by name.
macro_rules! revoke {
    ($executor:expr, $revocation:expr) => {{
        let revocation: &$crate::store::RevocationRecord = $revocation;
        $crate::store::control::count_up!($executor, revocation.at);
        let mut listed: i64 = 0;
        if let Some(mark) = $crate::store::control::mark(&revocation.kind) {
            let marked = sqlx::query(mark).bind(&revocation.subject).execute($executor).await?.rows_affected();
            listed = i64::try_from(marked).unwrap_or(i64::MAX);
        }
        sqlx::query($crate::store::control::REVOKE)
            .bind(&revocation.kind)
            .bind(&revocation.subject)
            .bind(revocation.not_before)
            .bind(revocation.expires_at)
            .bind(revocation.at)
            .bind(&revocation.author)
            .bind(&revocation.reason)
            .bind(listed)
            .execute($executor)
            .await?;
    }};
}

/// How tokens of this kind of subject are marked in their status lists, if they can be.
pub(super) fn mark(kind: &str) -> Option<&'static str> {
    match Whose::from_name(kind)? {
        Whose::Session => Some(
            "UPDATE issued_tokens SET withdrawn = (SELECT serial FROM control) WHERE sid = $1 AND withdrawn IS NULL",
        ),
        Whose::Token => Some(
            "UPDATE issued_tokens SET withdrawn = (SELECT serial FROM control) WHERE jti = $1 AND withdrawn IS NULL",
        ),
        Whose::User | Whose::Client | Whose::Pat | Whose::Issuer => None,
    }
}

pub(super) const REVOKE: &str = "INSERT INTO revocations (kind, subject, not_before, expires_at, at, author, reason, listed) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (kind, subject) DO UPDATE SET \
     not_before = CASE WHEN excluded.not_before > revocations.not_before THEN excluded.not_before \
                       ELSE revocations.not_before END, \
     expires_at = CASE WHEN excluded.expires_at > revocations.expires_at THEN excluded.expires_at \
                       ELSE revocations.expires_at END, \
     listed = CASE WHEN excluded.listed < revocations.listed THEN excluded.listed ELSE revocations.listed END, \
     at = excluded.at, author = excluded.author, reason = excluded.reason";

pub(super) use revoke;

impl<'a> Control<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// How far it has come.
    ///
    /// # Errors
    /// The database failed.
    pub async fn progress(&self) -> Result<Progress, StoreError> {
        const SQL: &str = "SELECT serial, changed_at FROM control";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).fetch_one(pool).await?))
    }

    /// All revocations that can still concern a token, at most `limit`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn revocations(&self, now_ms: i64, limit: i64) -> Result<Vec<RevocationRecord>, StoreError> {
        const SQL: &str = "SELECT kind, subject, not_before, expires_at, at, author, reason FROM revocations \
                           WHERE expires_at > $1 ORDER BY at DESC LIMIT $2";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).bind(now_ms).bind(limit).fetch_all(pool).await?))
    }

    /// Those of them that no status list tells of.
    ///
    /// # Errors
    /// The database failed.
    pub async fn unlisted_revocations(&self, now_ms: i64, limit: i64) -> Result<Vec<RevocationRecord>, StoreError> {
        const SQL: &str = "SELECT kind, subject, not_before, expires_at, at, author, reason FROM revocations \
                           WHERE expires_at > $1 AND listed = 0 ORDER BY at DESC LIMIT $2";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).bind(now_ms).bind(limit).fetch_all(pool).await?))
    }

    /// Before when tokens must have been issued to be withdrawn, seconds since the epoch; none if
    /// none are.
    ///
    /// # Errors
    /// The database failed.
    pub async fn withdrawn_before(&self, whose: Whose, subject: &str) -> Result<Option<i64>, StoreError> {
        const SQL: &str = "SELECT not_before FROM revocations WHERE kind = $1 AND subject = $2";
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_scalar(SQL).bind(whose.as_str()).bind(subject).fetch_optional(pool).await?
        }))
    }

    /// Withdraws tokens, personal ones too, and ends the logins that they belong to. Of two moments for the same tokens
    /// the later one counts.
    ///
    /// # Errors
    /// The database failed.
    pub async fn revoke(&self, revocation: &RevocationRecord, audit: &AuditEntry) -> Result<(), StoreError> {
        in_transaction!(&self.store.writer, transaction => {
            end_tokens!(transaction, revocation, Ended::Revoked);
            revoke!(&mut *transaction, revocation);
            end_logins!(&mut *transaction, revocation, Ended::Revoked);
            insert_audit!(&mut *transaction, audit);
        });
        Ok(())
    }

    /// Forgets revocations that concern no token any more.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget_revocations(&self, now_ms: i64) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM revocations WHERE expires_at <= $1";
        Ok(on_writer!(&self.store.writer, pool => sqlx::query(SQL).bind(now_ms).execute(pool).await?.rows_affected()))
    }

    /// Notes what an edge says of itself.
    ///
    /// # Errors
    /// The database failed.
    pub async fn report(&self, edge: &EdgeRecord) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO edges (region, node, serial, rev, error, seen_at) VALUES ($1, $2, $3, $4, $5, $6) \
                           ON CONFLICT (region, node) DO UPDATE SET serial = excluded.serial, rev = excluded.rev, \
                           error = excluded.error, seen_at = excluded.seen_at";
        on_writer!(&self.store.writer, pool => {
            sqlx::query(SQL)
                .bind(&edge.region)
                .bind(&edge.node)
                .bind(edge.serial)
                .bind(edge.rev)
                .bind(&edge.error)
                .bind(edge.seen_at)
                .execute(pool)
                .await?;
        });
        Ok(())
    }

    /// The edges that asked since a moment, at most `limit`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn edges(&self, since_ms: i64, limit: i64) -> Result<Vec<EdgeRecord>, StoreError> {
        const SQL: &str = "SELECT region, node, serial, rev, error, seen_at FROM edges WHERE seen_at >= $1 \
                           ORDER BY region, node LIMIT $2";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).bind(since_ms).bind(limit).fetch_all(pool).await?))
    }

    /// Forgets edges that have not asked since a moment.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget_edges(&self, before_ms: i64) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM edges WHERE seen_at < $1";
        Ok(
            on_writer!(&self.store.writer, pool => sqlx::query(SQL).bind(before_ms).execute(pool).await?.rows_affected()),
        )
    }
}
