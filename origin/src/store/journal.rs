//! SQLite's write-ahead log, on the disk for all who wait at once.
//!
//! With `synchronous = NORMAL` SQLite writes a commit into its log and leaves it to the system when
//! that reaches the disk. A process that dies loses nothing; a machine that loses its power loses the
//! last commits, and never one from the middle (https://sqlite.org/pragma.html#pragma_synchronous).
//! What somebody is told of must not be lost, so it waits here until the log is on the disk. Those
//! who come while the disk is at work wait for the next turn together: a hundred commits cost as
//! little as one.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use super::StoreError;

/// The log of one database; nothing where somebody else sees to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal(Option<Arc<Log>>);

#[derive(Debug)]
struct Log {
    path: PathBuf,
    /// How many have asked.
    asked: AtomicU64,
    /// How many of them need not wait any more. Whoever holds it is at the disk.
    synced: Mutex<u64>,
}

impl Journal {
    /// The log beside the database file at `path`.
    pub(super) fn of(path: &Path) -> Self {
        let mut path = path.as_os_str().to_owned();
        path.push("-wal");
        Self(Some(Arc::new(Log { path: path.into(), asked: AtomicU64::new(0), synced: Mutex::new(0) })))
    }

    /// Returns when everything that was committed before is on the disk.
    ///
    /// # Errors
    /// [`StoreError::Full`], or the disk failed. It was committed all the same, and may be lost.
    pub(super) async fn sync(&self) -> Result<(), StoreError> {
        let Some(log) = &self.0 else { return Ok(()) };
        let mine = log.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut synced = log.synced.lock().await;
        if *synced >= mine {
            return Ok(());
        }
        // All of these had committed before they asked.
        let asked = log.asked.load(Ordering::SeqCst);
        let path = log.path.clone();
        tokio::task::spawn_blocking(move || sync(&path)).await.map_err(io::Error::other)??;
        *synced = asked;
        Ok(())
    }
}

fn sync(path: &Path) -> io::Result<()> {
    match File::open(path) {
        Ok(log) => log.sync_data(),
        // The last connection has just taken everything over into the database, and synced that.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn everybody_returns_whoever_leaves() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::of(&folder.path().join("test.db"));
        journal.sync().await.unwrap();
        std::fs::write(folder.path().join("test.db-wal"), "log").unwrap();
        let all = (0..100).map(|number| {
            let journal = journal.clone();
            async move {
                let sync = journal.sync();
                // Every third loses patience at once; those behind it must not wait for ever.
                if number % 3 == 0 {
                    drop(tokio::time::timeout(std::time::Duration::ZERO, sync).await)
                } else {
                    sync.await.unwrap()
                }
            }
        });
        futures::future::join_all(all).await;
        let log = journal.0.unwrap();
        assert_eq!(*log.synced.lock().await, log.asked.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn a_log_that_cannot_be_read_is_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("test.db")).unwrap();
        let journal = Journal::of(&folder.path().join("test.db/a\0b"));
        assert!(journal.sync().await.is_err());
    }
}
