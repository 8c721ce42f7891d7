//! One row for each action that changes something or hands something out, in the action's own
//! transaction. Each row carries the hash of the one before (docs/AUDIT.md), so none can be
//! changed, removed or put in unseen. Rows hold ids and results, never a text that was spoken and
//! never a secret. Users stand in them under a pseudonym, which is nobody's once they are erased.

use super::{Store, StoreError, in_transaction};

mod chain;
mod entry;
mod read;

pub use chain::{AuditRow, FIRST_HASH, personal_hash, subject_of, user_object};
pub use entry::{AuditEntry, Object, Personal};
pub use read::{AuditFilter, AuditTrail, Checkpoint, Head, Subject, TrailRow};

pub(super) use chain::{HEAD, INSERT, Link, NAME_SUBJECT, SUBJECTS, TURN_HEAD, new_salt, users_of};

/// How many rows that are older than the chain one step takes over.
const STEP: i64 = 500;

/// Adds links to the chain within a transaction. The head is the last lock that a transaction
/// takes: whoever holds it waits for nobody.
macro_rules! add_links {
    ($executor:expr, $links:expr) => {{
        let links: &[$crate::store::audit::Link] = $links;
        let users = $crate::store::audit::users_of(links);
        let mut subjects = std::collections::BTreeMap::new();
        if !users.is_empty() {
            let mut known = sqlx::QueryBuilder::new($crate::store::audit::SUBJECTS);
            known.push_tuples(&users, |mut tuple, user_id| {
                tuple.push_bind(*user_id);
            });
            let known = known.build_query_as().persistent(users.len() == 1);
            let known: Vec<(String, String)> = known.fetch_all($executor).await?;
            subjects.extend(known);
        }
        for user_id in users {
            if !subjects.contains_key(user_id) {
                let salt = $crate::store::audit::new_salt();
                let subject = $crate::store::audit::subject_of(&salt, user_id);
                let named = sqlx::query_scalar($crate::store::audit::NAME_SUBJECT);
                let subject = named.bind(user_id).bind(salt).bind(subject).fetch_one($executor).await?;
                subjects.insert(user_id.to_owned(), subject);
            }
        }
        let count = i64::try_from(links.len()).unwrap_or_default();
        let (seq, mut hash): (i64, String) =
            sqlx::query_as($crate::store::audit::HEAD).bind(count).fetch_one($executor).await?;
        let mut rows = Vec::new();
        for (link, seq) in links.iter().zip(seq - count + 1..) {
            let row = link.row(seq, &hash, &subjects);
            hash.clone_from(&row.hash);
            rows.push(row);
        }
        let is_one = rows.len() == 1;
        let mut insert = sqlx::QueryBuilder::new($crate::store::audit::INSERT);
        insert.push_values(rows, |mut values, row| {
            values
                .push_bind(row.seq)
                .push_bind(row.at)
                .push_bind(row.request_id)
                .push_bind(row.subject)
                .push_bind(row.via)
                .push_bind(row.action)
                .push_bind(row.object)
                .push_bind(row.result)
                .push_bind(row.duration_ms)
                .push_bind(row.policy_rev)
                .push_bind(row.personal)
                .push_bind(row.salt)
                .push_bind(row.personal_hash)
                .push_bind(row.hash);
        });
        insert.build().persistent(is_one).execute($executor).await?;
        sqlx::query($crate::store::audit::TURN_HEAD).bind(hash).execute($executor).await?;
    }};
}

/// Writes audit rows within a transaction, as its last step.
macro_rules! insert_audits {
    ($executor:expr, $entries:expr) => {{
        let entries: &[$crate::store::AuditEntry] = $entries;
        if !entries.is_empty() {
            let links: Vec<_> = entries.iter().map($crate::store::audit::Link::from).collect();
            $crate::store::audit::add_links!($executor, &links);
        }
    }};
}

/// Writes one audit row within a transaction, as its last step.
macro_rules! insert_audit {
    ($executor:expr, $entry:expr) => {
        $crate::store::audit::insert_audits!($executor, std::slice::from_ref($entry))
    };
}

pub(super) use {add_links, insert_audit, insert_audits};

impl Store {
    /// Writes a row about an action that changed nothing else in the database.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.audit_all(std::slice::from_ref(entry)).await
    }

    /// Writes rows about actions that changed nothing else in the database; all or none.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit_all(&self, entries: &[AuditEntry]) -> Result<(), StoreError> {
        in_transaction!(&self.writer, transaction => insert_audits!(&mut *transaction, entries));
        Ok(())
    }

    /// Puts rows that are older than the chain at its end. For right after the migrations.
    pub(super) async fn chain_older_audit(&self) -> Result<(), StoreError> {
        const TAKE: &str = "DELETE FROM audit_unchained WHERE id IN \
                            (SELECT id FROM audit_unchained ORDER BY id LIMIT $1) \
                            RETURNING id, at, request_id, user_id, action, object, result, duration_ms, policy_rev";
        loop {
            let taken = in_transaction!(&self.writer, transaction => {
                let mut older: Vec<chain::Older> =
                    sqlx::query_as(TAKE).bind(STEP).fetch_all(&mut *transaction).await?;
                older.sort_by(|one, other| one.id.cmp(&other.id));
                let taken = older.len();
                let links: Vec<Link> = older.into_iter().map(Link::from).collect();
                if taken > 0 {
                    add_links!(&mut *transaction, &links);
                }
                taken
            });
            if taken == 0 {
                return Ok(());
            }
        }
    }

    /// Who and what, by their ids, of all rows about this action with this result.
    #[cfg(test)]
    pub(crate) async fn audited(&self, action: &str, result: &str) -> Vec<(Option<String>, Option<String>)> {
        const SQL: &str = "SELECT actors.user_id, COALESCE(objects.user_id, audit.object) FROM audit \
                           LEFT JOIN audit_subjects AS actors ON actors.subject = audit.subject \
                           LEFT JOIN audit_subjects AS objects ON 'user:' || objects.subject = audit.object \
                           WHERE action = $1 AND result = $2 ORDER BY seq";
        super::on_db!(&self.reader, pool => sqlx::query_as(SQL).bind(action).bind(result).fetch_all(pool).await.unwrap())
    }
}

#[cfg(test)]
mod tests;
