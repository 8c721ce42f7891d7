//! Putting a backup back into an empty database, all or nothing.

use sqlx::{AssertSqlSafe, Postgres, Sqlite, Transaction};

use super::audit::insert_audit;
use super::journal::Journal;
use super::{AuditEntry, Db, Store, StoreError, TABLES, Table, on_db};

/// Tables in which a migration has put a row.
const BEGUN: [&str; 3] = ["control", "audit_head", "queue"];

/// A database that is being filled. Nothing of it is there before [`Restoring::finish`].
pub struct Restoring(Writing);

enum Writing {
    Sqlite(Transaction<'static, Sqlite>, Journal),
    Postgres(Transaction<'static, Postgres>),
}

impl Store {
    /// Whether nothing was ever written.
    ///
    /// # Errors
    /// The database failed.
    pub async fn is_empty(&self) -> Result<bool, StoreError> {
        for table in TABLES.iter().filter(|table| !BEGUN.contains(&table.name)) {
            let sql = format!("SELECT COUNT(*) FROM {}", table.name);
            let rows: i64 = on_db!(&self.reader, pool => sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(pool).await?);
            if rows > 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Begins to fill the database.
    ///
    /// # Errors
    /// The database failed.
    pub async fn begin_restore(&self) -> Result<Restoring, StoreError> {
        let mut writing = match &self.writer {
            Db::Sqlite(pool, journal) => Writing::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?, journal.clone()),
            Db::Postgres(pool) => Writing::Postgres(pool.begin().await?),
        };
        for table in BEGUN {
            let sql = format!("DELETE FROM {table}");
            let _ = match &mut writing {
                Writing::Sqlite(writing, _) => {
                    sqlx::query(AssertSqlSafe(sql)).execute(&mut **writing).await?.rows_affected()
                }
                Writing::Postgres(writing) => {
                    sqlx::query(AssertSqlSafe(sql)).execute(&mut **writing).await?.rows_affected()
                }
            };
        }
        Ok(Restoring(writing))
    }
}

impl Restoring {
    /// Puts in one row, as [`super::Snapshot::each`] has given it.
    ///
    /// # Errors
    /// The database failed, or the row does not fit.
    pub async fn put(&mut self, table: &Table, row: &str) -> Result<(), StoreError> {
        let (name, columns) = (table.name, table.columns().collect::<Vec<_>>());
        let listed = columns.join(", ");
        match &mut self.0 {
            Writing::Sqlite(writing, _) => {
                let members: Vec<String> =
                    columns.iter().map(|column| format!("json_extract($1, '$.{column}')")).collect();
                let sql = format!("INSERT INTO {name} ({listed}) SELECT {}", members.join(", "));
                sqlx::query(AssertSqlSafe(sql)).bind(row).execute(&mut **writing).await?;
            }
            Writing::Postgres(writing) => {
                let sql = format!(
                    "INSERT INTO {name} ({listed}) SELECT {listed} \
                     FROM json_populate_record(CAST(NULL AS {name}), CAST($1 AS JSON))"
                );
                sqlx::query(AssertSqlSafe(sql)).bind(row).execute(&mut **writing).await?;
            }
        }
        Ok(())
    }

    /// Keeps it all, with the control plane's serial this much ahead.
    ///
    /// # Errors
    /// The database failed; then it is empty.
    pub async fn finish(self, ahead: i64, audit: &AuditEntry) -> Result<(), StoreError> {
        // Places in status lists count up for ever; those given away since the backup stay free.
        const SQLITE_PLACES: &str = "INSERT INTO sqlite_sequence (name, seq) SELECT 'issued_tokens', \
                                     COALESCE(MAX(place), 0) + $1 FROM issued_tokens";
        const POSTGRES_PLACES: &str = "SELECT setval(pg_get_serial_sequence('issued_tokens', 'place'), \
                                       COALESCE(MAX(place), 0) + $1) FROM issued_tokens";
        const AHEAD: &str = "UPDATE control SET serial = serial + $1, changed_at = $2";
        match self.0 {
            Writing::Sqlite(mut writing, journal) => {
                sqlx::query(AHEAD).bind(ahead).bind(audit.at).execute(&mut *writing).await?;
                sqlx::query("DELETE FROM sqlite_sequence WHERE name = 'issued_tokens'").execute(&mut *writing).await?;
                sqlx::query(SQLITE_PLACES).bind(ahead).execute(&mut *writing).await?;
                insert_audit!(&mut *writing, audit);
                writing.commit().await?;
                journal.sync().await?;
            }
            Writing::Postgres(mut writing) => {
                sqlx::query(AHEAD).bind(ahead).bind(audit.at).execute(&mut *writing).await?;
                sqlx::query(POSTGRES_PLACES).bind(ahead).execute(&mut *writing).await?;
                insert_audit!(&mut *writing, audit);
                writing.commit().await?;
            }
        }
        Ok(())
    }
}
