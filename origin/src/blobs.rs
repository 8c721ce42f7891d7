//! Audio on disk: one folder for each user, one file for each output.

/// Audio that is being written.
mod staged;

use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::{Path, PathPart};
use object_store::prefix::PrefixStore;
use object_store::{ObjectStoreExt, PutPayload};

pub use self::staged::{Staged, Stored};
use crate::caller::Caller;
use crate::hash::{sha256_hex, sha256_hex_of};
use crate::store::{Discarded, MAX_ATTEMPTS, OpenedLink};

/// The folder of what is still being written, in the same file system as the rest.
const STAGING: &str = "staging";
/// File systems allow 255.
const MAX_NAME_BYTES: usize = 200;

/// All audio.
#[derive(Clone, Debug)]
pub struct Blobs {
    files: Arc<LocalFileSystem>,
    staging: PathBuf,
}

/// The audio of one user.
#[derive(Debug)]
pub struct UserBlobs {
    files: PrefixStore<Arc<LocalFileSystem>>,
    all: Blobs,
    folder: Path,
}

/// Why audio was not stored, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The disk is full.
    #[error("the disk is full")]
    Full,
    /// Anything else.
    #[error("audio files: {0}")]
    Files(object_store::Error),
}

impl From<io::Error> for BlobError {
    fn from(error: io::Error) -> Self {
        generic(error).into()
    }
}

impl From<object_store::Error> for BlobError {
    fn from(error: object_store::Error) -> Self {
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(current) = cause {
            if let Some(io) = current.downcast_ref::<io::Error>()
                && matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            {
                return Self::Full;
            }
            cause = current.source();
        }
        Self::Files(error)
    }
}

impl Blobs {
    /// Audio under a folder, which is there.
    ///
    /// # Errors
    /// It is not there.
    pub fn open(folder: &FilePath) -> Result<Self, BlobError> {
        let files = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true);
        Ok(Self { files: Arc::new(files), staging: folder.join(STAGING) })
    }

    /// The audio of the caller.
    pub fn of(&self, caller: &Caller) -> UserBlobs {
        self.of_user(caller.user_id())
    }

    /// The audio of whoever made a link, for whoever opened it.
    pub fn of_link(&self, opened: &OpenedLink) -> UserBlobs {
        self.of_user(opened.owner())
    }

    fn of_user(&self, user_id: &str) -> UserBlobs {
        let folder = folder(user_id);
        UserBlobs { files: PrefixStore::new(Arc::clone(&self.files), folder.clone()), all: self.clone(), folder }
    }

    /// Removes the folder of a user.
    ///
    /// # Errors
    /// The disk failed. It is no error if there is none.
    pub async fn remove_all_of(&self, user_id: &str) -> Result<(), BlobError> {
        match tokio::fs::remove_dir_all(self.files.path_to_filesystem(&folder(user_id))?).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(generic(error).into()),
            _ => Ok(()),
        }
    }

    /// Where audio is, and the same below the folder of all audio.
    ///
    /// # Errors
    /// The disk failed.
    pub fn audio_path(&self, user_id: &str, id: &str) -> Result<(PathBuf, String), BlobError> {
        let place: Path = folder(user_id).parts().chain(place(id).parts()).collect();
        Ok((self.files.path_to_filesystem(&place)?, place.to_string()))
    }

    /// Where the export of this id is, or is to be.
    ///
    /// # Errors
    /// The disk failed.
    pub fn export_path(&self, user_id: &str, id: &str) -> Result<PathBuf, BlobError> {
        let place = folder(user_id).parts().chain(Path::from(format!("export-{id}.zip")).parts()).collect();
        Ok(self.files.path_to_filesystem(&place)?)
    }

    /// Removes the export of this id, half-written or whole.
    ///
    /// # Errors
    /// The disk failed. It is no error if there is none.
    pub async fn remove_export(&self, user_id: &str, id: &str) -> Result<(), BlobError> {
        let whole = self.export_path(user_id, id)?;
        for path in [whole.with_extension("part"), whole] {
            remove_staged(path.into_os_string()).await?;
        }
        Ok(())
    }

    /// Removes audio that nothing refers to any more, half-written or whole.
    ///
    /// # Errors
    /// The disk failed. It is no error if there is none.
    pub async fn discard(&self, discarded: &Discarded) -> Result<(), BlobError> {
        let place = folder(&discarded.user_id).parts().chain(place(&discarded.id).parts()).collect();
        // Where the store stages a file before it gets its name; a process that was killed leaves
        // it there. Ids are never written twice, so there is no `#2`.
        let mut staged = self.files.path_to_filesystem(&place)?.into_os_string();
        staged.push("#1");
        let mut removed = vec![self.files.delete(&place).await, remove_staged(staged).await];
        for attempt in 1..=MAX_ATTEMPTS {
            removed.push(remove_staged(self.staged_path(&discarded.id, attempt).into_os_string()).await);
        }
        for removed in removed {
            match removed {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The audio of whoever the books name: its size and SHA-256, read from the disk; `None` if
    /// there is none.
    ///
    /// # Errors
    /// The disk failed.
    pub async fn inspect(&self, user_id: &str, id: &str) -> Result<Option<(u64, String)>, BlobError> {
        let place = folder(user_id).parts().chain(place(id).parts()).collect();
        let path = self.files.path_to_filesystem(&place)?;
        let reading = move || -> io::Result<Option<(u64, String)>> {
            let mut file = match std::fs::File::open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                file => file?,
            };
            Ok(Some((file.metadata()?.len(), sha256_hex_of(&mut file)?)))
        };
        Ok(tokio::task::spawn_blocking(reading).await.map_err(io::Error::other)??)
    }

    /// Where one attempt at an output writes.
    fn staged_path(&self, id: &str, attempt: i64) -> PathBuf {
        self.staging.join(format!("{id}.{attempt}"))
    }
}

impl UserBlobs {
    /// Audio to be written aside. With its first piece, what an earlier attempt left goes, and whoever
    /// still writes there can no longer give it its name.
    ///
    /// # Errors
    /// The id cannot be a file's name.
    pub fn stage(&self, id: &str, attempt: i64) -> Result<Staged, BlobError> {
        // A job that was handed back is begun under the same number again.
        let earlier = (1..=attempt).map(|earlier| self.all.staged_path(id, earlier)).collect();
        let target = self.folder.parts().chain(place(id).parts()).collect();
        let target = self.all.files.path_to_filesystem(&target)?;
        Ok(Staged::new(self.all.staged_path(id, attempt), earlier, target))
    }

    /// Stores audio. It is complete and on the disk when this returns; before, nobody sees it.
    ///
    /// # Errors
    /// [`BlobError::Full`], or the disk failed.
    pub async fn put(&self, id: &str, parts: impl IntoIterator<Item = Bytes>) -> Result<(), BlobError> {
        let payload: PutPayload = parts.into_iter().collect();
        self.files.put(&place(id), payload).await?;
        Ok(())
    }

    /// Bytes of audio.
    ///
    /// # Errors
    /// There is none, the range lies outside, or the disk failed.
    pub async fn range(&self, id: &str, range: Range<u64>) -> Result<Bytes, BlobError> {
        Ok(self.files.get_range(&place(id), range).await?)
    }
}

/// The folder of a user. What a file name cannot hold is encoded, so no id leaves its folder; an
/// id that is too long for a file name is hashed. No user id has a `~`.
fn folder(user_id: &str) -> Path {
    let encoded = PathPart::from(user_id);
    if encoded.as_ref().len() <= MAX_NAME_BYTES {
        return Path::from_iter([PathPart::from("users"), encoded]);
    }
    Path::from_iter(["users", &format!("~{}", sha256_hex(&[user_id.as_bytes()]))])
}

async fn remove_staged(path: OsString) -> Result<(), object_store::Error> {
    match tokio::fs::remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(generic(error)),
        _ => Ok(()),
    }
}

fn generic(error: io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "local files", source: Box::new(error) }
}

fn place(id: &str) -> Path {
    Path::from(format!("{id}.wav"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::wav;
    use crate::test_app::caller;

    #[tokio::test]
    async fn every_user_id_has_a_folder_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let long = "%E4".repeat(256);
        let ids = ["01J", "01j", "partner:42", "..", ".", "%2E%2E", "%2F", "a/b", "a", &long, &format!("{long}%")];
        for (index, id) in ids.iter().enumerate() {
            let content = Bytes::from(index.to_string());
            blobs.of(&caller(id, "free")).put("one", [content]).await.unwrap();
        }
        for (index, id) in ids.iter().enumerate() {
            let read = blobs.of(&caller(id, "free")).range("one", 0..9).await.unwrap();
            assert_eq!(read, index.to_string(), "{id}");
        }
        let names = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 1, "nothing is outside of users/");
    }

    #[tokio::test]
    async fn discarding_takes_half_written_files_along() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let discarded = Discarded { id: "one".to_owned(), user_id: "ada".to_owned() };
        blobs.discard(&discarded).await.unwrap();
        blobs.of(&caller("ada", "free")).put("one", [Bytes::from("audio")]).await.unwrap();
        std::fs::write(folder.path().join("users/ada/one.wav#1"), "half").unwrap();
        blobs.discard(&discarded).await.unwrap();
        assert_eq!(std::fs::read_dir(folder.path().join("users/ada")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn whoever_wrote_before_under_the_same_number_writes_into_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let ada = caller("ada", "free");
        let (mut before, mut now) = (blobs.of(&ada).stage("one", 1).unwrap(), blobs.of(&ada).stage("one", 1).unwrap());
        before.write(Bytes::from("old audio, ")).await.unwrap();
        now.write(Bytes::from("new ")).await.unwrap();
        before.write(Bytes::from("and more of it")).await.unwrap();
        now.write(Bytes::from("audio!")).await.unwrap();
        let stored = now.finish(24_000).await.unwrap();
        assert!(before.finish(24_000).await.is_err());
        let read = blobs.of(&ada).range("one", wav::HEADER_BYTES as u64..stored.bytes).await.unwrap();
        assert_eq!(read, "new audio!");
    }

    #[test]
    fn a_full_disk_is_recognised_wherever_it_is_said() {
        for (kind, is_full) in [
            (io::ErrorKind::StorageFull, true),
            (io::ErrorKind::QuotaExceeded, true),
            (io::ErrorKind::PermissionDenied, false),
        ] {
            let error = BlobError::from(generic(io::Error::from(kind)));
            assert_eq!(matches!(error, BlobError::Full), is_full, "{kind}");
        }
    }
}
