//! The books: what was charged and what was delivered must be the same, for every user and day.

use super::outputs::Owned;
use super::{Store, StoreError, on_db, on_writer};

/// Most differences that are told at once.
const MAX_TOLD: i64 = 1000;

/// What a user used on one day.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct DayUsage {
    /// In the user's time zone, for example `2026-11-23`.
    pub day: String,
    /// Characters.
    pub characters: i64,
    /// Generations.
    pub generations: i64,
    /// Milliseconds of audio.
    pub audio_ms: i64,
}

/// What a user used under one label.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ProjectUsage {
    /// The label; none for all that has none.
    pub project_id: Option<String>,
    /// Characters.
    pub characters: i64,
    /// Generations.
    pub generations: i64,
    /// Milliseconds of audio.
    pub audio_ms: i64,
}

/// A difference in the books.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, sqlx::FromRow)]
pub struct Mistake {
    /// Whose.
    pub user_id: String,
    /// The day, or the id of the output.
    pub place: String,
    /// Charged: characters, generations and milliseconds of audio.
    pub charged: String,
    /// Delivered, in the same form.
    pub delivered: String,
}

/// The audio of an output, as it was booked.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct AudioRecord {
    /// The output's id.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// Size of the file.
    pub bytes: i64,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
}

/// Queries on the books, over all users.
pub struct Books<'a> {
    store: &'a Store,
}

impl<'a> Books<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// How many days of users there are, and how many deliveries.
    ///
    /// # Errors
    /// The database failed.
    pub async fn size(&self) -> Result<(i64, i64), StoreError> {
        const SQL: &str = "SELECT (SELECT COUNT(*) FROM daily_usage), (SELECT COUNT(*) FROM deliveries)";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).fetch_one(pool).await?))
    }

    /// The audio that there must be: up to `limit` outputs with ids after `after`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audio(&self, after: &str, limit: i64) -> Result<Vec<AudioRecord>, StoreError> {
        const SQL: &str = "SELECT id, user_id, bytes, sha256 FROM outputs WHERE id > $1 ORDER BY id LIMIT $2";
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_as(SQL).bind(after).bind(limit).fetch_all(pool).await?
        }))
    }

    /// Whether an output is still there.
    ///
    /// # Errors
    /// The database failed.
    pub async fn has_output(&self, id: &str) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM outputs WHERE id = $1";
        let count: i64 = on_db!(&self.store.reader, pool => sqlx::query_scalar(SQL).bind(id).fetch_one(pool).await?);
        Ok(count > 0)
    }

    /// What does not agree, in one look at the database: days whose charge is not the sum of their
    /// deliveries, outputs without a delivery or with another one, and jobs that ended otherwise
    /// than the books say. Outputs of before `since_ms` are left out: the books forget.
    ///
    /// # Errors
    /// The database failed.
    pub async fn mistakes(&self, since_ms: i64) -> Result<Vec<Mistake>, StoreError> {
        const SQL: &str = "\
            SELECT user_id, day AS place, \
              CAST(SUM(c) || '/' || SUM(g) || '/' || SUM(a) AS TEXT) AS charged, \
              CAST(SUM(dc) || '/' || SUM(dg) || '/' || SUM(da) AS TEXT) AS delivered \
            FROM (SELECT user_id, day, characters AS c, generations AS g, audio_ms AS a, 0 AS dc, 0 AS dg, 0 AS da \
                  FROM daily_usage UNION ALL \
                  SELECT user_id, day, 0, 0, 0, characters, generations, audio_ms FROM deliveries) AS both_sides \
            GROUP BY user_id, day HAVING SUM(c) <> SUM(dc) OR SUM(g) <> SUM(dg) OR SUM(a) <> SUM(da) \
            UNION ALL \
            SELECT outputs.user_id, outputs.id, \
              CAST(CASE WHEN deliveries.id IS NULL THEN 'nothing' ELSE deliveries.characters || '/1/' || deliveries.audio_ms END AS TEXT), \
              CAST(outputs.characters || '/1/' || (outputs.frames * 1000 + outputs.sample_rate - 1) / outputs.sample_rate AS TEXT) \
            FROM outputs LEFT JOIN deliveries ON deliveries.id = outputs.id AND deliveries.user_id = outputs.user_id \
              AND deliveries.kind = 'kept' \
            WHERE outputs.is_booked = 1 AND outputs.created_at >= $2 \
              AND (deliveries.id IS NULL OR deliveries.characters <> outputs.characters \
              OR deliveries.audio_ms <> (outputs.frames * 1000 + outputs.sample_rate - 1) / outputs.sample_rate) \
            UNION ALL \
            SELECT jobs.user_id, jobs.id, \
              CASE WHEN deliveries.id IS NULL THEN 'nothing' ELSE deliveries.kind END, jobs.state \
            FROM jobs LEFT JOIN deliveries ON deliveries.id = jobs.id \
            WHERE (jobs.state = 'done' AND (deliveries.id IS NULL OR deliveries.kind <> 'kept')) \
              OR (jobs.state = 'cancelled' AND deliveries.kind = 'kept') \
              OR (jobs.state IN ('queued', 'running', 'failed') AND deliveries.id IS NOT NULL) \
            ORDER BY 1, 2 LIMIT $1";
        Ok(on_db!(&self.store.reader, pool => sqlx::query_as(SQL).bind(MAX_TOLD).bind(since_ms).fetch_all(pool).await?))
    }
}

impl Owned<'_> {
    /// What was used since `first_day`, the newest day first; days without any use are left out.
    ///
    /// # Errors
    /// The database failed.
    pub async fn history(&self, first_day: &str) -> Result<Vec<DayUsage>, StoreError> {
        const SQL: &str = "SELECT day, characters, generations, audio_ms FROM daily_usage \
                           WHERE user_id = $1 AND day >= $2 AND generations > 0 ORDER BY day DESC";
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_as(SQL).bind(self.owner.user_id()).bind(first_day).fetch_all(pool).await?
        }))
    }

    /// What was used since `first_day` by label, the most used first, at most `limit` of them.
    ///
    /// # Errors
    /// The database failed.
    pub async fn projects(&self, first_day: &str, limit: i64) -> Result<Vec<ProjectUsage>, StoreError> {
        const SQL: &str = "SELECT project_id, CAST(SUM(characters) AS BIGINT) AS characters, \
                           CAST(SUM(generations) AS BIGINT) AS generations, \
                           CAST(SUM(audio_ms) AS BIGINT) AS audio_ms FROM deliveries \
                           WHERE user_id = $1 AND day >= $2 AND generations > 0 GROUP BY project_id \
                           ORDER BY SUM(characters) DESC, project_id LIMIT $3";
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_as(SQL).bind(self.owner.user_id()).bind(first_day).bind(limit).fetch_all(pool).await?
        }))
    }

    /// In which time zone the user's day begins, if the user has said so; an IANA name.
    ///
    /// # Errors
    /// The database failed.
    pub async fn time_zone(&self) -> Result<Option<String>, StoreError> {
        const SQL: &str = "SELECT name FROM time_zones WHERE user_id = $1";
        Ok(on_db!(&self.store.reader, pool => {
            sqlx::query_scalar(SQL).bind(self.owner.user_id()).fetch_optional(pool).await?
        }))
    }

    /// Sets it.
    ///
    /// # Errors
    /// The database failed.
    pub async fn set_time_zone(&self, name: &str) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO time_zones (user_id, name) VALUES ($1, $2) \
                           ON CONFLICT (user_id) DO UPDATE SET name = excluded.name";
        on_writer!(&self.store.writer, pool => {
            sqlx::query(SQL).bind(self.owner.user_id()).bind(name).execute(pool).await?;
        });
        Ok(())
    }
}
