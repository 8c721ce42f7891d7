//! One row for each action that changes something or hands something out. Rows hold ids and
//! results, never a text that was spoken and never a secret.

use super::{Store, StoreError, on_db};

/// One row of the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Milliseconds since the epoch.
    pub at: i64,
    /// The request that asked for it.
    pub request_id: String,
    /// Who, if that was proved.
    pub user_id: Option<String>,
    /// What, for example `generate`.
    pub action: &'static str,
    /// The id of what it was done to.
    pub object: Option<String>,
    /// `ok`, or the code of the refusal.
    pub result: &'static str,
    /// From the arrival of the request, in milliseconds.
    pub duration_ms: i64,
    /// The revision of the policy that let it pass.
    pub policy_rev: i64,
}

impl AuditEntry {
    /// Names the object.
    pub fn on(mut self, object: impl Into<String>) -> Self {
        self.object = Some(object.into());
        self
    }

    /// Names the user, where that became known only now.
    pub fn by(mut self, user_id: &str) -> Self {
        self.user_id = Some(user_id.to_owned());
        self
    }

    /// Something that nobody asked for by a request: upkeep, the command line.
    pub fn of_system(at: i64, action: &'static str) -> Self {
        Self {
            at,
            request_id: "-".to_owned(),
            user_id: None,
            action,
            object: None,
            result: "ok",
            duration_ms: 0,
            policy_rev: 0,
        }
    }
}

pub(super) const INSERT: &str = "INSERT INTO audit (id, at, request_id, user_id, action, object, result, duration_ms, policy_rev) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

/// Writes an audit row with the given executor, so that it can share a transaction.
macro_rules! insert_audit {
    ($executor:expr, $entry:expr) => {{
        let entry: &$crate::store::AuditEntry = $entry;
        sqlx::query($crate::store::audit::INSERT)
            .bind($crate::clock::new_id(entry.at))
            .bind(entry.at)
            .bind(&entry.request_id)
            .bind(&entry.user_id)
            .bind(entry.action)
            .bind(&entry.object)
            .bind(entry.result)
            .bind(entry.duration_ms)
            .bind(entry.policy_rev)
            .execute($executor)
            .await?;
    }};
}

pub(super) use insert_audit;

impl Store {
    /// Writes a row about an action that changed nothing else in the database.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        on_db!(&self.writer, pool => insert_audit!(pool, entry));
        Ok(())
    }

    /// User and object of all rows about this action with this result.
    #[cfg(test)]
    pub(crate) async fn audited(&self, action: &str, result: &str) -> Vec<(Option<String>, Option<String>)> {
        const SQL: &str = "SELECT user_id, object FROM audit WHERE action = $1 AND result = $2 ORDER BY id";
        on_db!(&self.reader, pool => sqlx::query_as(SQL).bind(action).bind(result).fetch_all(pool).await.unwrap())
    }
}
