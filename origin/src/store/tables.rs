//! What the tables hold of whom: one list for exports, erasure and backups. A test holds it against
//! the schema, so no table and no column can be forgotten.

use futures::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Postgres, Sqlite, Transaction};

use super::{Db, Store, StoreError};

/// A table, and what becomes of a user's rows in it.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// The column that names whose a row is, if that is anybody's.
    pub owner: Option<&'static str>,
    /// What the owner is handed of a row.
    pub told: &'static [&'static str],
    /// The other columns.
    pub untold: &'static [&'static str],
    /// Whether each row has audio of the same id.
    pub has_audio: bool,
    /// What becomes of the owner's rows at erasure.
    pub erasure: Erasure,
    /// Columns that name who did something; a user who is erased becomes `erased` there.
    pub authors: &'static [&'static str],
}

/// What becomes of a user's rows when the user is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erasure {
    /// They are removed.
    Removed,
    /// They are nobody's.
    Nobodys,
    /// They run out by themselves; the text says when.
    RunOut(&'static str),
    /// The erasure itself does it, last of all.
    Last,
}

const fn nobodys(name: &'static str, untold: &'static [&'static str]) -> Table {
    Table { name, owner: None, told: &[], untold, has_audio: false, erasure: Erasure::Nobodys, authors: &[] }
}

const fn owned(name: &'static str, told: &'static [&'static str], untold: &'static [&'static str]) -> Table {
    Table { name, owner: Some("user_id"), told, untold, has_audio: false, erasure: Erasure::Removed, authors: &[] }
}

/// All tables, each after those that it refers to.
pub const TABLES: &[Table] = &[
    Table {
        owner: Some("id"),
        // The hash of a password helps nobody but a thief; the skeleton follows from the name.
        ..owned("users", &["id", "username", "role", "created_at", "disabled_at"], &["password_hash", "skeleton"])
    },
    Table {
        has_audio: true,
        ..owned(
            "outputs",
            &[
                "id",
                "text",
                "voice",
                "engine",
                "characters",
                "frames",
                "sample_rate",
                "bytes",
                "sha256",
                "project_id",
                "created_at",
                "role",
            ],
            &["user_id", "is_booked"],
        )
    },
    Table {
        has_audio: true,
        ..owned(
            "voices",
            &[
                "id",
                "name",
                "transcript",
                "language",
                "consent",
                "consented_at",
                "frames",
                "sample_rate",
                "bytes",
                "sha256",
                "created_at",
            ],
            &["user_id", "slot"],
        )
    },
    // Whoever has the secrets could try them.
    owned(
        "logins",
        &[
            "id",
            "issuer",
            "label",
            "address",
            "region",
            "created_at",
            "seen_at",
            "rotated_at",
            "authenticated_at",
            "expires_at",
            "ended_at",
            "ended_why",
        ],
        &["user_id", "family", "secret", "previous", "nonce"],
    ),
    owned(
        "personal_tokens",
        &["id", "issuer", "name", "role", "scope", "created_at", "expires_at", "used_at", "ended_at", "ended_why"],
        &["user_id"],
    ),
    owned(
        "share_links",
        &["id", "output_id", "downloads", "downloads_limit", "created_at", "expires_at"],
        &["user_id", "slot", "secret_hash", "password_hash"],
    ),
    owned("identities", &["id", "issuer", "subject", "label", "created_at"], &["user_id"]),
    // Hashes of what nobody can guess; they run out within minutes.
    nobodys("used_secrets", &["hash", "until"]),
    // Whoever has the secret needs no device.
    owned("second_factors", &["created_at", "confirmed_at"], &["user_id", "sealed", "last_step"]),
    Table { owner: Some("user_id"), erasure: Erasure::Removed, ..nobodys("recovery_codes", &["user_id", "hash"]) },
    // What the device said is nothing that a person reads; the rest of it is a public key.
    owned(
        "passkeys",
        &["id", "name", "created_at", "used_at"],
        &["user_id", "slot", "credential_id", "credential", "counter"],
    ),
    Table {
        owner: Some("user_id"),
        erasure: Erasure::Removed,
        ..nobodys("passkey_ceremonies", &["id", "user_id", "purpose", "state", "expires_at"])
    },
    owned("password_resets", &["expires_at"], &["user_id", "secret_hash"]),
    Table {
        authors: &["author"],
        ..nobodys("invitations", &["id", "secret_hash", "role", "uses_left", "created_at", "expires_at", "author"])
    },
    // Under names from which nobody can tell whose they are; they run out within hours.
    nobodys("guesses", &["bucket", "until"]),
    owned(
        "jobs",
        &[
            "id",
            "state",
            "request",
            "characters",
            "day",
            "sentences_done",
            "sentences_total",
            "error",
            "detail",
            "answer",
            "address",
            "region",
            "created_at",
            "started_at",
            "ended_at",
        ],
        &[
            "user_id",
            "role",
            "fingerprint",
            "idempotency_key",
            "virtual_start",
            "virtual_finish",
            "pinned_to",
            "worker",
            "lease_until",
            "attempts",
            "retry_after",
            "request_id",
            "policy_rev",
        ],
    ),
    nobodys("queue", &["virtual_time"]),
    owned("daily_usage", &["day", "characters", "generations", "audio_ms"], &["user_id"]),
    owned(
        "deliveries",
        &["id", "day", "kind", "generations", "characters", "audio_ms", "project_id", "at"],
        &["user_id"],
    ),
    owned("time_zones", &["name"], &["user_id"]),
    owned("discarded_blobs", &["id", "discarded_at"], &["user_id"]),
    owned("exports", &["id", "state", "done", "total", "bytes", "created_at", "expires_at"], &["user_id"]),
    Table {
        authors: &["author"],
        ..nobodys("policies", &["rev", "sha256", "document", "published_at", "author", "reason", "trial"])
    },
    nobodys("control", &["serial", "changed_at", "trial_rev"]),
    Table {
        owner: Some("subject"),
        erasure: Erasure::RunOut("when no token can be left that it concerns"),
        authors: &["author"],
        ..owned("revocations", &["kind", "not_before", "expires_at", "at", "reason"], &["subject", "author", "listed"])
    },
    // Whose they are stands in the tokens alone, and they run out with them.
    nobodys("issued_tokens", &["place", "jti", "sid", "issued_at", "expires_at", "withdrawn"]),
    nobodys("edges", &["region", "node", "serial", "rev", "error", "seen_at"]),
    nobodys(
        "signing_keys",
        &["kid", "purpose", "jwk", "sealed", "serial", "created_at", "active_from", "retired_at", "ends_at"],
    ),
    // One's own rows are exported by way of their pseudonym.
    nobodys(
        "audit",
        &[
            "seq",
            "at",
            "request_id",
            "subject",
            "via",
            "action",
            "object",
            "result",
            "duration_ms",
            "policy_rev",
            "personal",
            "salt",
            "personal_hash",
            "hash",
        ],
    ),
    nobodys("audit_head", &["seq", "hash"]),
    Table { erasure: Erasure::Last, ..owned("audit_subjects", &["subject", "salt"], &["user_id"]) },
    nobodys("audit_checkpoints", &["seq", "at", "jws"]),
    owned(
        "audit_unchained",
        &["id", "at", "request_id", "action", "object", "result", "duration_ms", "policy_rev"],
        &["user_id"],
    ),
    Table {
        erasure: Erasure::RunOut("with its second pass, some minutes later"),
        ..owned("erasures", &["due_at"], &["user_id"])
    },
];

impl Table {
    /// All its columns.
    pub fn columns(&self) -> impl Iterator<Item = &'static str> {
        self.told.iter().chain(self.untold).copied()
    }

    /// Whether its owner is handed anything of it.
    pub fn is_told(&self) -> bool {
        self.owner.is_some() && !self.told.is_empty()
    }
}

/// The database as it was at one moment.
pub struct Snapshot(Reading);

enum Reading {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Store {
    /// Looks at the database as it is now, for as long as the snapshot is kept. Nobody waits for it.
    ///
    /// # Errors
    /// The database failed.
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        // SQLite's snapshot begins with the first query, Postgres's too.
        const FIRST: &str = "SELECT COUNT(*) FROM control";
        let mut reading = match &self.reader {
            Db::Sqlite(pool, _) => Reading::Sqlite(pool.begin().await?),
            Db::Postgres(pool) => {
                Reading::Postgres(pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?)
            }
        };
        match &mut reading {
            Reading::Sqlite(reading) => drop(sqlx::query(FIRST).fetch_one(&mut **reading).await?),
            Reading::Postgres(reading) => drop(sqlx::query(FIRST).fetch_one(&mut **reading).await?),
        }
        Ok(Snapshot(reading))
    }
}

impl Snapshot {
    /// Hands every row of a table to `take`, each as one line of JSON: all of it, or what is told
    /// to the owner that is named.
    ///
    /// # Errors
    /// The database's, or what `take` returns.
    pub async fn each<E: From<StoreError>>(
        &mut self,
        table: &Table,
        owner: Option<&str>,
        mut take: impl AsyncFnMut(String) -> Result<(), E>,
    ) -> Result<(), E> {
        let columns: Vec<&str> = if owner.is_some() { table.told.to_vec() } else { table.columns().collect() };
        let members: Vec<String> = columns.iter().map(|column| format!("'{column}', {column}")).collect();
        let (members, from) = (members.join(", "), table.name);
        let order = columns.first().copied().unwrap_or("1");
        let which = match table.owner.filter(|_| owner.is_some()) {
            Some(column) => format!("WHERE {column} = $1"),
            None => String::new(),
        };
        macro_rules! read {
            ($reading:expr, $sql:expr) => {{
                let query = sqlx::query_scalar::<_, String>(AssertSqlSafe($sql));
                let query = match owner {
                    Some(owner) => query.bind(owner),
                    None => query,
                };
                let mut rows = query.fetch(&mut **$reading);
                while let Some(row) = rows.try_next().await.map_err(StoreError::from)? {
                    take(row).await?;
                }
                Ok(())
            }};
        }
        match &mut self.0 {
            Reading::Sqlite(reading) => {
                read!(reading, format!("SELECT json_object({members}) FROM {from} {which} ORDER BY {order}"))
            }
            Reading::Postgres(reading) => {
                read!(
                    reading,
                    format!("SELECT CAST(json_build_object({members}) AS TEXT) FROM {from} {which} ORDER BY {order}")
                )
            }
        }
    }

    /// How many rows of a table are the owner's.
    ///
    /// # Errors
    /// The database failed.
    pub async fn count(&mut self, table: &Table, owner: &str) -> Result<i64, StoreError> {
        let Some(column) = table.owner else { return Ok(0) };
        let sql = format!("SELECT COUNT(*) FROM {} WHERE {column} = $1", table.name);
        Ok(match &mut self.0 {
            Reading::Sqlite(reading) => {
                sqlx::query_scalar(AssertSqlSafe(sql)).bind(owner).fetch_one(&mut **reading).await?
            }
            Reading::Postgres(reading) => {
                sqlx::query_scalar(AssertSqlSafe(sql)).bind(owner).fetch_one(&mut **reading).await?
            }
        })
    }
}
