//! The keys that origins sign with.

use super::audit::insert_audit;
use super::control::count_up;
use super::{AuditEntry, Store, StoreError, in_transaction, on_db};

/// What a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Access tokens of logins.
    Issuer,
    /// Personal access tokens.
    Pat,
    /// Bundles for edges.
    Root,
    /// Checkpoints of the audit.
    Audit,
}

impl Purpose {
    /// Its name in the database and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::Pat => "pat",
            Self::Root => "root",
            Self::Audit => "audit",
        }
    }
}

/// A key as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct KeyRecord {
    /// Its name.
    pub kid: String,
    /// See [`Purpose`].
    pub purpose: String,
    /// The public half, a JWK.
    pub jwk: String,
    /// The private half, encrypted.
    pub sealed: String,
    /// Whoever has come as far as this holds it.
    pub serial: i64,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// Since when it signs.
    pub active_from: Option<i64>,
    /// Since when it does not sign any more.
    pub retired_at: Option<i64>,
    /// Until when what it signed holds.
    pub ends_at: Option<i64>,
}

/// What can be done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is told to all who verify, and signs once they know it.
    Next,
    /// It signs.
    Active,
    /// What it signed holds until its end.
    Retired,
}

impl State {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

impl KeyRecord {
    /// What can be done with it.
    pub fn state(&self) -> State {
        match (self.active_from, self.retired_at) {
            (_, Some(_)) => State::Retired,
            (Some(_), None) => State::Active,
            (None, None) => State::Next,
        }
    }
}

/// Queries on keys.
pub struct Keys<'a> {
    store: &'a Store,
}

impl<'a> Keys<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// All keys that have not ended, the oldest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn all(&self) -> Result<Vec<KeyRecord>, StoreError> {
        const SQL: &str = "SELECT kid, purpose, jwk, sealed, serial, created_at, active_from, retired_at, ends_at \
                           FROM signing_keys ORDER BY created_at, kid";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).fetch_all(pool).await?))
    }

    /// Adds a key. Its serial is the one that this change counts up to.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there is one already that signs, or is to follow.
    pub async fn add(&self, key: &KeyRecord, audit: &AuditEntry) -> Result<(), StoreError> {
        in_transaction!(&self.store.writer, transaction => {
            count_up!(&mut *transaction, audit.at);
            sqlx::query(
                "INSERT INTO signing_keys (kid, purpose, jwk, sealed, serial, created_at, active_from) \
                 SELECT $1, $2, $3, $4, serial, $5, $6 FROM control",
            )
            .bind(&key.kid)
            .bind(&key.purpose)
            .bind(&key.jwk)
            .bind(&key.sealed)
            .bind(key.created_at)
            .bind(key.active_from)
            .execute(&mut *transaction)
            .await?;
            insert_audit!(&mut *transaction, audit);
        });
        Ok(())
    }

    /// Lets the next key of a purpose sign from now on; the one before is retired and ends at
    /// `ends_at`. False if this key is not the next one.
    ///
    /// # Errors
    /// The database failed.
    pub async fn activate(&self, kid: &str, ends_at: i64, audit: &AuditEntry) -> Result<bool, StoreError> {
        Ok(in_transaction!(&self.store.writer, transaction => {
            count_up!(&mut *transaction, audit.at);
            sqlx::query(
                "UPDATE signing_keys SET retired_at = $1, ends_at = $2 WHERE active_from IS NOT NULL \
                 AND retired_at IS NULL AND purpose = \
                 (SELECT purpose FROM signing_keys WHERE kid = $3 AND active_from IS NULL)",
            )
            .bind(audit.at)
            .bind(ends_at)
            .bind(kid)
            .execute(&mut *transaction)
            .await?;
            let activated =
                sqlx::query("UPDATE signing_keys SET active_from = $1 WHERE kid = $2 AND active_from IS NULL")
                    .bind(audit.at)
                    .bind(kid)
                    .execute(&mut *transaction)
                    .await?
                    .rows_affected();
            if activated == 1 {
                insert_audit!(&mut *transaction, audit);
            }
            activated == 1
        }))
    }

    /// Ends a retired key at `ends_at`, or takes back one that was to follow. False if the key
    /// signs, or is not there.
    ///
    /// # Errors
    /// The database failed.
    pub async fn retire(&self, kid: &str, ends_at: i64, audit: &AuditEntry) -> Result<bool, StoreError> {
        Ok(in_transaction!(&self.store.writer, transaction => {
            count_up!(&mut *transaction, audit.at);
            let retired = sqlx::query(
                "UPDATE signing_keys SET active_from = COALESCE(active_from, $1), retired_at = COALESCE(retired_at, $1), \
                 ends_at = $2 WHERE kid = $3 AND (active_from IS NULL OR retired_at IS NOT NULL)",
            )
            .bind(audit.at)
            .bind(ends_at)
            .bind(kid)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
            if retired == 1 {
                insert_audit!(&mut *transaction, audit);
            }
            retired == 1
        }))
    }

    /// Removes keys whose end has come, and returns how many. Those of the audit stay, because what
    /// they signed holds for good.
    ///
    /// # Errors
    /// The database failed.
    pub async fn end(&self, now_ms: i64) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM signing_keys WHERE ends_at <= $1 AND purpose <> 'audit'";
        Ok(in_transaction!(&self.store.writer, transaction => {
            let ended = sqlx::query(SQL).bind(now_ms).execute(&mut *transaction).await?.rows_affected();
            if ended > 0 {
                count_up!(&mut *transaction, now_ms);
            }
            ended
        }))
    }
}
