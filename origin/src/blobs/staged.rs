//! Audio on its way to the disk, a piece at a time: memory holds one piece, whatever the length.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;

use super::BlobError;
use crate::engine::wav;
use crate::files::PRIVATE;
use crate::hash::sha256_hex_of;

/// A WAV file that is being written. Dropped before [`Staged::finish`], it is gone.
pub struct Staged {
    open: Option<Open>,
    path: Leftover,
    /// What earlier attempts may have left.
    earlier: Vec<PathBuf>,
    target: PathBuf,
    pcm_bytes: u64,
}

/// The file, from the first audio on.
struct Open {
    file: tokio::fs::File,
    reader: Arc<File>,
}

/// What is on the disk at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Size of the file.
    pub bytes: u64,
    /// Size of its PCM.
    pub pcm_bytes: u64,
    /// SHA-256 of the file as it was read back, hexadecimal.
    pub sha256: String,
}

/// A file that is removed when nobody wants it any more; without a name, none.
struct Leftover(PathBuf);

impl Drop for Leftover {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            // What stays behind here is removed with the mark of its output.
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

impl Staged {
    pub(super) fn new(path: PathBuf, earlier: Vec<PathBuf>, target: PathBuf) -> Self {
        Self { open: None, path: Leftover(path), earlier, target, pcm_bytes: 0 }
    }

    /// The same file for those who listen, once there is audio; its PCM begins behind the header.
    pub fn reader(&self) -> Option<Arc<File>> {
        self.open.as_ref().map(|open| Arc::clone(&open.reader))
    }

    /// How much PCM there is.
    pub fn pcm_bytes(&self) -> u64 {
        self.pcm_bytes
    }

    /// Adds PCM. It can be read when this returns.
    ///
    /// # Errors
    /// [`BlobError::Full`], or the disk failed.
    pub async fn write(&mut self, pcm: Bytes) -> Result<(), BlobError> {
        let length = pcm.len() as u64;
        if let Some(Open { file, .. }) = &mut self.open {
            file.write_all(&pcm).await?;
            file.flush().await?;
        } else {
            let (path, earlier) = (self.path.0.clone(), std::mem::take(&mut self.earlier));
            let (file, reader) = blocking(move || open(&path, &earlier, &pcm)).await?;
            self.open = Some(Open { file: tokio::fs::File::from_std(file), reader: Arc::new(reader) });
        }
        self.pcm_bytes += length;
        Ok(())
    }

    /// Writes the header and gives the file its name. It is whole and on the disk when this
    /// returns.
    ///
    /// # Errors
    /// [`BlobError::Full`], no audio, too much for a WAV file, or the disk failed. There is no file then.
    pub async fn finish(self, sample_rate: u32) -> Result<Stored, BlobError> {
        let Self { open, mut path, target, pcm_bytes, .. } = self;
        let Open { file, .. } = open.ok_or_else(|| io::Error::other("no audio"))?;
        let mut file = file.into_std().await;
        let stored = blocking(move || {
            let header = usize::try_from(pcm_bytes).ok().and_then(|bytes| wav::header(bytes, sample_rate));
            let header = header.ok_or_else(|| io::Error::other("too long for a WAV file"))?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&header)?;
            file.sync_all()?;
            // What will be served is what was read back, not what was meant to be written.
            file.seek(SeekFrom::Start(0))?;
            let sha256 = sha256_hex_of(&mut file)?;
            let bytes = file.metadata()?.len();
            if bytes != header.len() as u64 + pcm_bytes {
                return Err(io::Error::other("the file has another length than was written"));
            }
            in_folder(&target, || std::fs::rename(&path.0, &target))?;
            path.0.clear();
            sync_folder(&target)?;
            Ok(Stored { bytes, pcm_bytes, sha256 })
        });
        Ok(stored.await?)
    }
}

/// Makes the file with its first audio, and removes what earlier attempts left; returns it for who
/// writes and for who reads.
fn open(path: &Path, earlier: &[PathBuf], pcm: &[u8]) -> io::Result<(File, File)> {
    for left in earlier {
        match std::fs::remove_file(left) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(PRIVATE);
    let mut file = in_folder(path, || options.open(path))?;
    // The length is known at the end; until then there is room for the header.
    file.write_all(&[0; wav::HEADER_BYTES])?;
    file.write_all(pcm)?;
    let reader = file.try_clone()?;
    Ok((file, reader))
}

/// Does what fails where the folder of the file is not there yet, and makes the folder then.
fn in_folder<T>(file: &Path, act: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match act() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = file.parent().ok_or(error)?;
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            act()
        }
        done => done,
    }
}

/// A new name is on the disk when its folder is.
fn sync_folder(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
