//! What is remembered: SQLite in one file by default, Postgres where several origins share.
//!
//! Each SQL text stands once and runs on both (`$1` works on both; ids are TEXT, times BIGINT
//! milliseconds). What belongs to a user is reached only through [`Store::of`], which puts the
//! owner into every query. The other doors are [`Store::accounts`] (names and passwords),
//! [`Store::logins`], [`Store::policies`], [`Store::control`] (what edges are told), [`Store::admin`] and [`Store::upkeep`] (what has run out).

mod accounts;
mod admin;
mod audit;
mod books;
mod control;
mod erasure;
mod exports;
mod guesses;
mod identities;
mod invitations;
mod issued;
mod jobs;
mod journal;
mod keys;
mod logins;
mod outputs;
mod passkeys;
mod personal_tokens;
mod policies;
mod queue;
mod restore;
mod second_factors;
mod share_links;
mod tables;
mod together;
mod upkeep;
mod voices;

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{PgPool, SqlitePool};

use self::jobs::{Made, Outcome, Wish};
use self::journal::Journal;
use self::together::Together;
use crate::caller::{Admin, Caller};
use crate::files::PRIVATE;

pub use accounts::{Accounts, Change, Changed, Proof, User};
pub use admin::Administration;
pub use audit::{
    AuditEntry, AuditFilter, AuditRow, AuditTrail, Checkpoint, FIRST_HASH, Head, Object, Personal, Subject, TrailRow,
    personal_hash, subject_of, user_object,
};
pub use books::{AudioRecord, Books, DayUsage, Mistake, ProjectUsage};
pub use control::{Control, EdgeRecord, Progress, RevocationRecord, Whose};
pub use erasure::Erasures;
pub use exports::{Export, ExportState};
pub use guesses::{Bucket, Guesses};
pub use identities::{Identities, Identity, Linked, Unlinked};
pub use invitations::{Invitation, Invitations, Reset};
pub use issued::{Issued, IssuedToken, WithdrawnToken};
pub use jobs::{Enqueued, Failure, Heard, Job, Limits, NewJob, Refused};
pub use keys::{KeyRecord, Keys, Purpose, State};
pub use logins::{Ended, Login, Logins, Successor};
pub use outputs::{Output, OutputFilter, Owned, Usage, audio_ms};
pub use passkeys::{Ceremony, NewPasskey, Passkey, Passkeys};
pub use personal_tokens::{Added, PersonalToken};
pub use policies::{NewPolicy, Policies, PolicyRecord, PublishError};
pub use queue::{Claim, Claimed, MAX_ATTEMPTS, Queue};
pub use restore::Restoring;
pub use second_factors::{Confirmed, Factors, SecondFactor, SecondFactors};
pub use share_links::{OpenedLink, ShareLink, ShareLinks, Shared};
pub use tables::{Erasure, Snapshot, TABLES, Table};
pub use upkeep::{Discarded, Upkeep};
pub use voices::{OwnVoice, VoiceChange};

/// Longest wait for a connection or a lock.
const PATIENCE: Duration = Duration::from_secs(10);
const SQLITE_BUSY: u32 = 5;
const SQLITE_FULL: u32 = 13;
const READERS: u32 = 8;
const POSTGRES_CONNECTIONS: u32 = 16;

/// The database.
#[derive(Clone, Debug)]
pub struct Store {
    reader: Db,
    /// SQLite has one writer at a time. One connection for all writes makes them queue up in
    /// order, where several would poll for the lock.
    writer: Db,
    wishes: Arc<Together<Wish, Outcome>>,
    made: Arc<Together<Made, bool>>,
}

#[derive(Clone, Debug)]
enum Db {
    Sqlite(SqlitePool, Journal),
    Postgres(PgPool),
}

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Something of this name or id is there already.
    #[error("there is one already")]
    Conflict,
    /// The disk is full.
    #[error("the database's disk is full")]
    Full,
    /// Too many want it at once.
    #[error("the database is busy")]
    Busy,
    /// The mark of a recording was swept before its voice came to be.
    #[error("the recording is gone")]
    RecordingGone,
    /// The file cannot be opened.
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    /// Anything else.
    #[error("database: {0}")]
    Database(sqlx::Error),
    /// The tables cannot be made.
    #[error("database migration: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Database(error.into()),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let Some(database) = error.as_database_error() else {
            return match error {
                sqlx::Error::PoolTimedOut => Self::Busy,
                other => Self::Database(other),
            };
        };
        if database.is_unique_violation() {
            return Self::Conflict;
        }
        let code = database.code().unwrap_or_default();
        if database.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
            // disk_full
            return if code == "53100" { Self::Full } else { Self::Database(error) };
        }
        // SQLite's extended codes have the primary one in their lowest byte.
        match code.parse::<u32>().map(|code| code & 0xff) {
            Ok(SQLITE_FULL) => Self::Full,
            Ok(SQLITE_BUSY) => Self::Busy,
            _ => Self::Database(error),
        }
    }
}

/// Runs one body on whichever database it is.
macro_rules! on_db {
    ($db:expr, $pool:ident => $body:expr) => {
        match $db {
            $crate::store::Db::Sqlite($pool, _) => $body,
            $crate::store::Db::Postgres($pool) => $body,
        }
    };
}

/// Runs one body that writes with one statement; what it has written is on the disk afterwards.
macro_rules! on_writer {
    ($db:expr, $pool:ident => $body:expr) => {
        match $db {
            $crate::store::Db::Sqlite($pool, journal) => {
                let value = $body;
                journal.sync().await?;
                value
            }
            $crate::store::Db::Postgres($pool) => $body,
        }
    };
}

/// Runs one body in a transaction that may write, and is on the disk afterwards; `?` and `return` in
/// the body roll it back.
macro_rules! in_transaction {
    ($db:expr, $transaction:ident => $body:expr) => {{
        let value = $crate::store::in_passing!($db, $transaction => $body);
        if let $crate::store::Db::Sqlite(_, journal) = $db {
            journal.sync().await?;
        }
        value
    }};
}

/// The same, but on SQLite a machine that loses its power may forget it together with all that came
/// after: for what nobody was told of yet.
macro_rules! in_passing {
    ($db:expr, $transaction:ident => $body:expr) => {
        match $db {
            $crate::store::Db::Sqlite(pool, _) => {
                // A deferred transaction that begins by reading may fail when it comes to write.
                let mut $transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
                let value = $body;
                $transaction.commit().await?;
                value
            }
            $crate::store::Db::Postgres(pool) => {
                let mut $transaction = pool.begin().await?;
                let value = $body;
                $transaction.commit().await?;
                value
            }
        }
    };
}

pub(crate) use in_passing;
pub(crate) use in_transaction;
pub(crate) use on_db;
pub(crate) use on_writer;

impl Store {
    /// Opens the SQLite file at `path`, making it if need be.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub async fn open_file(path: &Path) -> Result<Self, StoreError> {
        // SQLite would let everybody read a file that it makes, and its journals do as the file.
        let made = OpenOptions::new().create(true).append(true).mode(PRIVATE).open(path);
        made.map_err(|error| StoreError::File(path.to_owned(), error))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // The journal sees to the rest. Tests may lose what a machine forgets when its power goes.
            .synchronous(if cfg!(test) { SqliteSynchronous::Off } else { SqliteSynchronous::Normal })
            .foreign_keys(true)
            // What is erased must not stay in the file.
            .pragma("secure_delete", "ON")
            // 16 MiB: what is written again and again reaches the database once.
            .pragma("wal_autocheckpoint", "4000")
            .busy_timeout(PATIENCE);
        let pool = |connections| SqlitePoolOptions::new().max_connections(connections).acquire_timeout(PATIENCE);
        let journal = if cfg!(test) { Journal::default() } else { Journal::of(path) };
        let writer = Db::Sqlite(pool(1).connect_with(options.clone()).await?, journal);
        let reader = Db::Sqlite(pool(READERS).connect_with(options).await?, Journal::default());
        Ok(Self::over(reader, writer))
    }

    /// Opens `postgres://…` or `sqlite://path`.
    ///
    /// # Errors
    /// The address is of another kind or nothing answers there.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            return Self::open_file(Path::new(path.strip_prefix("//").unwrap_or(path))).await;
        }
        let options = PgPoolOptions::new().max_connections(POSTGRES_CONNECTIONS).acquire_timeout(PATIENCE);
        let pool = Db::Postgres(options.connect(url).await?);
        Ok(Self::over(pool.clone(), pool))
    }

    fn over(reader: Db, writer: Db) -> Self {
        let (wishes, made) = (Arc::new(Together::new(jobs::enqueue)), Arc::new(Together::new(jobs::complete)));
        Self { reader, writer, wishes, made }
    }

    /// Makes or updates the tables.
    ///
    /// # Errors
    /// A migration failed, or the tables are newer than this program.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        match &self.writer {
            Db::Sqlite(pool, _) => sqlx::migrate!("migrations/sqlite").run(pool).await?,
            Db::Postgres(pool) => sqlx::migrate!("migrations/postgres").run(pool).await?,
        }
        self.chain_older_audit().await?;
        self.accounts().note_skeletons().await
    }

    /// Returns when everything that is committed is on the disk, too.
    ///
    /// # Errors
    /// The disk failed.
    pub async fn sync(&self) -> Result<(), StoreError> {
        match &self.writer {
            Db::Sqlite(_, journal) => journal.sync().await,
            Db::Postgres(_) => Ok(()),
        }
    }

    /// Whether one origin alone uses this database: a SQLite file belongs to one process.
    pub fn is_exclusive(&self) -> bool {
        matches!(self.writer, Db::Sqlite(..))
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        on_db!(&self.reader, pool => { sqlx::query("SELECT 1").execute(pool).await?; });
        Ok(())
    }

    /// Ends all connections; waits for what is running.
    pub async fn close(&self) {
        on_db!(&self.reader, pool => pool.close().await);
        on_db!(&self.writer, pool => pool.close().await);
    }

    /// What belongs to the caller: outputs, voices, jobs and usage.
    pub fn of<'a>(&'a self, caller: &'a Caller) -> Owned<'a> {
        Owned::new(self, caller)
    }

    /// Names, passwords and roles.
    pub fn accounts(&self) -> Accounts<'_> {
        Accounts::new(self)
    }

    /// Who is logged in, for whoever begins or renews a login.
    pub fn logins(&self) -> Logins<'_> {
        Logins::new(self)
    }

    /// Invitations and resets of passwords.
    pub fn invitations(&self) -> Invitations<'_> {
        Invitations::new(self)
    }

    /// Who users are elsewhere, for whoever logs somebody in.
    pub fn identities(&self) -> Identities<'_> {
        Identities::new(self)
    }

    /// Links to outputs, for whoever has the secret of one.
    pub fn share_links(&self) -> ShareLinks<'_> {
        ShareLinks::new(self)
    }

    /// Guesses at passwords.
    pub fn guesses(&self) -> Guesses<'_> {
        Guesses::new(self)
    }

    /// Second factors, for whoever logs somebody in.
    pub fn second_factors(&self) -> SecondFactors<'_> {
        SecondFactors::new(self)
    }

    /// Passkeys, for whoever logs somebody in.
    pub fn passkeys(&self) -> Passkeys<'_> {
        Passkeys::new(self)
    }

    /// The revisions of the policy.
    pub fn policies(&self) -> Policies<'_> {
        Policies::new(self)
    }

    /// What the edges are told, and what they tell.
    pub fn control(&self) -> Control<'_> {
        Control::new(self)
    }

    /// Tokens that have a place in a status list.
    pub fn issued(&self) -> Issued<'_> {
        Issued::new(self)
    }

    /// The keys that origins sign with.
    pub fn keys(&self) -> Keys<'_> {
        Keys::new(self)
    }

    /// Removing users.
    pub fn erasures(&self) -> Erasures<'_> {
        Erasures::new(self)
    }

    /// The audit.
    pub fn trail(&self) -> AuditTrail<'_> {
        AuditTrail::new(self)
    }

    /// The jobs of all users, for those who work on them.
    pub fn queue(&self) -> Queue<'_> {
        Queue::new(self)
    }

    /// What was charged and what was delivered, over all users.
    pub fn books(&self) -> Books<'_> {
        Books::new(self)
    }

    /// What only administrators see.
    pub fn admin(&self, _permit: &Admin) -> Administration<'_> {
        Administration::new(self)
    }

    /// What has run out, over all users; for the housekeeper only.
    pub fn upkeep(&self) -> Upkeep<'_> {
        Upkeep::new(self)
    }
}

#[cfg(test)]
pub(crate) mod tests;
