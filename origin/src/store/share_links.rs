//! Links to outputs. Their owner makes, lists and ends them; [`ShareLinks`] is the door for
//! whoever has the secret of one, and leads to that one output alone.

use std::collections::HashMap;

use super::audit::insert_audit;
use super::outputs::Owned;
use super::{AuditEntry, Output, Store, StoreError, in_transaction, on_db, on_writer};

/// How often a link looks for a free slot while others of the user take it.
const TRIES: u32 = 5;
/// How many rows one step of the housekeeper handles.
const STEP: i64 = 200;

/// A link as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ShareLink {
    /// A ULID.
    pub id: String,
    /// What it leads to.
    pub output_id: String,
    /// SHA-256 of the secret, hexadecimal.
    pub secret_hash: String,
    /// PHC string of the password, if it has one.
    pub password_hash: Option<String>,
    /// How often the audio was handed out.
    pub downloads: i64,
    /// How often it may be; as often as wanted if none.
    pub downloads_limit: Option<i64>,
    /// Milliseconds since the epoch, like all times here.
    pub created_at: i64,
    /// Until when it holds.
    pub expires_at: i64,
}

/// What became of a new link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shared {
    /// It holds.
    Yes,
    /// The user has no such output.
    NoOutput,
    /// The user has as many links as the role may.
    TooMany,
}

/// What a secret opened: the permit to read this one output's audio. Only the store makes it.
#[derive(Clone, Debug)]
pub struct OpenedLink {
    owner: String,
    /// The link.
    pub link: ShareLink,
    /// Where it leads.
    pub output: Output,
}

impl OpenedLink {
    /// Whose output it is.
    pub(crate) fn owner(&self) -> &str {
        &self.owner
    }

    /// Whether it was handed out as often as it may be.
    pub fn is_used_up(&self) -> bool {
        self.link.downloads_limit.is_some_and(|limit| self.link.downloads >= limit)
    }
}

#[derive(sqlx::FromRow)]
struct Joined {
    owner: String,
    share_id: String,
    secret_hash: String,
    password_hash: Option<String>,
    downloads: i64,
    downloads_limit: Option<i64>,
    shared_at: i64,
    expires_at: i64,
    #[sqlx(flatten)]
    output: Output,
}

/// Queries of whoever has a secret.
pub struct ShareLinks<'a> {
    store: &'a Store,
}

impl<'a> ShareLinks<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// The link of this secret, while it holds and its output is there.
    ///
    /// # Errors
    /// The database failed.
    pub async fn open(&self, secret_hash: &str, now_ms: i64) -> Result<Option<OpenedLink>, StoreError> {
        // The owner stands in the join, too: a link never leads to somebody else's output.
        const SQL: &str = "SELECT l.user_id AS owner, l.id AS share_id, l.secret_hash, l.password_hash, l.downloads, \
                           l.downloads_limit, l.created_at AS shared_at, l.expires_at, o.id, o.text, o.voice, \
                           o.engine, o.characters, o.frames, o.sample_rate, o.bytes, o.sha256, o.project_id, \
                           o.created_at FROM share_links l JOIN outputs o \
                           ON o.id = l.output_id AND o.user_id = l.user_id \
                           WHERE l.secret_hash = $1 AND l.expires_at > $2 AND NOT EXISTS \
                           (SELECT 1 FROM users u WHERE u.id = l.user_id AND u.disabled_at IS NOT NULL)";
        let found: Option<Joined> = on_db!(&self.store.reader, pool => {
            sqlx::query_as(SQL).bind(secret_hash).bind(now_ms).fetch_optional(pool).await?
        });
        Ok(found.map(|found| OpenedLink {
            owner: found.owner,
            link: ShareLink {
                id: found.share_id,
                output_id: found.output.id.clone(),
                secret_hash: found.secret_hash,
                password_hash: found.password_hash,
                downloads: found.downloads,
                downloads_limit: found.downloads_limit,
                created_at: found.shared_at,
                expires_at: found.expires_at,
            },
            output: found.output,
        }))
    }

    /// Counts one download; false if the link was used up, ended or ran out meanwhile. However many
    /// ask at once, no more are counted than the link allows.
    ///
    /// # Errors
    /// The database failed; nothing was counted.
    pub async fn count(&self, opened: &OpenedLink, audit: &AuditEntry) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE share_links SET downloads = downloads + 1 WHERE id = $1 AND expires_at > $2 \
                           AND (downloads_limit IS NULL OR downloads < downloads_limit)";
        Ok(in_transaction!(&self.store.writer, transaction => {
            let query = sqlx::query(SQL).bind(&opened.link.id).bind(audit.at);
            let is_counted = query.execute(&mut *transaction).await?.rows_affected() == 1;
            if is_counted {
                insert_audit!(&mut *transaction, audit);
            }
            is_counted
        }))
    }

    /// Drops some links that have run out or lead nowhere any more; returns how many.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget(&self, now_ms: i64) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM share_links WHERE id IN (SELECT l.id FROM share_links l LEFT JOIN outputs o \
                           ON o.id = l.output_id WHERE l.expires_at <= $1 OR o.id IS NULL LIMIT $2)";
        Ok(on_writer!(&self.store.writer, pool => {
            sqlx::query(SQL).bind(now_ms).bind(STEP).execute(pool).await?.rows_affected()
        }))
    }

    /// How many links are kept.
    #[cfg(test)]
    pub(crate) async fn rows(&self) -> i64 {
        let sql = "SELECT COUNT(*) FROM share_links";
        on_db!(&self.store.reader, pool => sqlx::query_scalar(sql).fetch_one(pool).await.unwrap())
    }
}

impl Owned<'_> {
    /// Makes a link, if the user has fewer than `most`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn share(&self, link: &ShareLink, most: u32, audit: &AuditEntry) -> Result<Shared, StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_to_share(link, i64::from(most), audit).await {
                // Another request of the user took the slot: look again.
                Err(StoreError::Conflict) if tries < TRIES => {}
                other => return other,
            }
        }
    }

    async fn try_to_share(&self, link: &ShareLink, most: i64, audit: &AuditEntry) -> Result<Shared, StoreError> {
        const IS_THERE: &str = "SELECT COUNT(*) FROM outputs WHERE user_id = $1 AND id = $2";
        const MAKE_ROOM: &str = "DELETE FROM share_links WHERE user_id = $1 AND (expires_at <= $2 OR NOT EXISTS \
                                 (SELECT 1 FROM outputs WHERE outputs.id = share_links.output_id))";
        const TAKEN: &str = "SELECT slot FROM share_links WHERE user_id = $1 ORDER BY slot";
        const ADD: &str = "INSERT INTO share_links (id, user_id, slot, output_id, secret_hash, password_hash, \
                           downloads, downloads_limit, created_at, expires_at) \
                           VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8, $9)";
        let owner = self.owner.user_id();
        Ok(in_transaction!(&self.store.writer, transaction => {
            let found: i64 =
                sqlx::query_scalar(IS_THERE).bind(owner).bind(&link.output_id).fetch_one(&mut *transaction).await?;
            sqlx::query(MAKE_ROOM).bind(owner).bind(audit.at).execute(&mut *transaction).await?;
            let taken: Vec<i64> = sqlx::query_scalar(TAKEN).bind(owner).fetch_all(&mut *transaction).await?;
            let free = (0..most).zip(taken.iter().map(Some).chain(std::iter::repeat(None)));
            let slot = free.into_iter().find(|(slot, taken)| *taken != Some(slot)).map(|(slot, _)| slot);
            match slot {
                _ if found == 0 => Shared::NoOutput,
                // A role that had more slots before keeps its links, but gets no more.
                Some(slot) if (taken.len() as i64) < most => {
                    sqlx::query(ADD)
                        .bind(&link.id)
                        .bind(owner)
                        .bind(slot)
                        .bind(&link.output_id)
                        .bind(&link.secret_hash)
                        .bind(&link.password_hash)
                        .bind(link.downloads_limit)
                        .bind(link.created_at)
                        .bind(link.expires_at)
                        .execute(&mut *transaction)
                        .await?;
                    insert_audit!(&mut *transaction, audit);
                    Shared::Yes
                }
                _ => Shared::TooMany,
            }
        }))
    }

    /// The user's links that have not run out, with the texts of their outputs, the newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn share_links(&self, now_ms: i64) -> Result<Vec<(ShareLink, String)>, StoreError> {
        const SQL: &str = "SELECT l.id, l.output_id, l.secret_hash, l.password_hash, l.downloads, l.downloads_limit, \
                           l.created_at, l.expires_at, o.text FROM share_links l JOIN outputs o \
                           ON o.id = l.output_id AND o.user_id = l.user_id \
                           WHERE l.user_id = $1 AND l.expires_at > $2 ORDER BY l.id DESC";
        #[derive(sqlx::FromRow)]
        struct Row {
            #[sqlx(flatten)]
            link: ShareLink,
            text: String,
        }
        let rows: Vec<Row> = on_db!(&self.store.reader, pool => {
            sqlx::query_as(SQL).bind(self.owner.user_id()).bind(now_ms).fetch_all(pool).await?
        });
        Ok(rows.into_iter().map(|row| (row.link, row.text)).collect())
    }

    /// How many links hold, by the output that they lead to.
    ///
    /// # Errors
    /// The database failed.
    pub async fn share_counts(&self, now_ms: i64) -> Result<HashMap<String, i64>, StoreError> {
        const SQL: &str = "SELECT output_id, COUNT(*) FROM share_links WHERE user_id = $1 AND expires_at > $2 \
                           GROUP BY output_id";
        let rows: Vec<(String, i64)> = on_db!(&self.store.reader, pool => {
            sqlx::query_as(SQL).bind(self.owner.user_id()).bind(now_ms).fetch_all(pool).await?
        });
        Ok(rows.into_iter().collect())
    }

    /// Ends a link at once; false if the user has none of this id.
    ///
    /// # Errors
    /// The database failed; nothing has changed.
    pub async fn end_share(&self, id: &str, audit: &AuditEntry) -> Result<bool, StoreError> {
        const SQL: &str = "DELETE FROM share_links WHERE user_id = $1 AND id = $2 AND expires_at > $3";
        let owner = self.owner.user_id();
        Ok(in_transaction!(&self.store.writer, transaction => {
            let query = sqlx::query(SQL).bind(owner).bind(id).bind(audit.at);
            let is_ended = query.execute(&mut *transaction).await?.rows_affected() == 1;
            if is_ended {
                insert_audit!(&mut *transaction, audit);
            }
            is_ended
        }))
    }
}
