//! How many guesses at passwords were made, counted with the generic cell rate algorithm. All
//! origins count together, and a restart forgets nothing.

use super::audit::insert_audit;
use super::{AuditEntry, Store, StoreError, in_transaction, on_writer};

/// Something that may be guessed at or from so often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// A name that tells nobody what it stands for.
    pub name: String,
    /// How many guesses may come at once after a pause.
    pub burst: u32,
    /// After how long there is room for another, in milliseconds.
    pub every_ms: i64,
}

impl Bucket {
    /// How far ahead guesses may be for one more to come, in milliseconds.
    fn tolerance_ms(&self) -> i64 {
        i64::from(self.burst.saturating_sub(1)).saturating_mul(self.every_ms)
    }
}

/// Queries on guesses.
pub struct Guesses<'a> {
    store: &'a Store,
}

const TAKE: &str = "INSERT INTO guesses (bucket, until) VALUES ($1, $2) ON CONFLICT (bucket) DO UPDATE SET \
                    until = CASE WHEN guesses.until > $3 THEN guesses.until ELSE $3 END + $4 \
                    WHERE guesses.until <= $5";
const GIVE_BACK: &str = "UPDATE guesses SET until = until - $1 WHERE bucket = $2";

impl<'a> Guesses<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// Counts one guess in every bucket, or in none: then it is audited as refused, and the answer
    /// is after how many milliseconds the first that is full has room. Callers name buckets of the
    /// same kinds in the same order, so that none waits for another in a circle.
    ///
    /// # Errors
    /// The database failed.
    pub async fn take(&self, buckets: &[Bucket], now_ms: i64, refused: &AuditEntry) -> Result<Option<i64>, StoreError> {
        Ok(in_transaction!(&self.store.writer, transaction => {
            let mut wait_ms = None;
            for (index, bucket) in buckets.iter().enumerate() {
                let taken = sqlx::query(TAKE)
                    .bind(&bucket.name)
                    .bind(now_ms.saturating_add(bucket.every_ms))
                    .bind(now_ms)
                    .bind(bucket.every_ms)
                    .bind(now_ms.saturating_add(bucket.tolerance_ms()))
                    .execute(&mut *transaction)
                    .await?;
                if taken.rows_affected() == 1 {
                    continue;
                }
                for taken in buckets.iter().take(index) {
                    sqlx::query(GIVE_BACK).bind(taken.every_ms).bind(&taken.name).execute(&mut *transaction).await?;
                }
                let until: Option<i64> = sqlx::query_scalar("SELECT until FROM guesses WHERE bucket = $1")
                    .bind(&bucket.name)
                    .fetch_optional(&mut *transaction)
                    .await?;
                insert_audit!(&mut *transaction, refused);
                let until = until.unwrap_or(now_ms);
                wait_ms = Some(until.saturating_sub(bucket.tolerance_ms()).saturating_sub(now_ms).max(1));
                break;
            }
            wait_ms
        }))
    }

    /// Takes back one guess in every bucket: it was right, so it was none.
    ///
    /// # Errors
    /// The database failed.
    pub async fn give_back(&self, buckets: &[Bucket]) -> Result<(), StoreError> {
        in_transaction!(&self.store.writer, transaction => {
            for bucket in buckets {
                sqlx::query(GIVE_BACK).bind(bucket.every_ms).bind(&bucket.name).execute(&mut *transaction).await?;
            }
        });
        Ok(())
    }

    /// Forgets buckets that are empty again.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget(&self, now_ms: i64) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM guesses WHERE until <= $1";
        Ok(on_writer!(&self.store.writer, pool => sqlx::query(SQL).bind(now_ms).execute(pool).await?.rows_affected()))
    }

    /// How many buckets are not empty.
    #[cfg(test)]
    pub(crate) async fn count(&self) -> i64 {
        let sql = "SELECT COUNT(*) FROM guesses";
        super::on_db!(&self.store.reader, pool => sqlx::query_scalar(sql).fetch_one(pool).await.unwrap())
    }
}
