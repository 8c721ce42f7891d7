//! Backups: the database as it was at one moment, the audio that it names, and what else a new
//! machine needs. The form is the same for both databases, so one can be put back into the other.
//!
//! ```text
//! manifest.json              when, by which version, and the SHA-256 of every other file
//! database/<table>.jsonl     one row a line
//! blobs/users/<user>/…       audio
//! files/…                    policy, checkpoints of the audit; keys only if asked for
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::blobs::{BlobError, Blobs};
use crate::config::Settings;
use crate::files::{self, PRIVATE};
use crate::hash::hex;
use crate::store::{AuditEntry, Store, StoreError, TABLES, Table};

/// The manifest's name.
const MANIFEST: &str = "manifest.json";
/// The form of backups that this program writes and reads.
const FORM: u32 = 1;
const PIECE_BYTES: usize = 1024 * 1024;

/// What a backup has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of the backup.
    pub form: u32,
    /// The version of the program that wrote it.
    pub version: String,
    /// When, in milliseconds since the epoch.
    pub taken_at: i64,
    /// The newest row of the audit in it.
    pub audit_seq: i64,
    /// Whether the master key and the identity keys are in it.
    pub has_keys: bool,
    /// SHA-256 of every file, hexadecimal.
    pub files: BTreeMap<String, String>,
}

/// Why there is no backup, or none was put back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Audio could not be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A file or folder.
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    /// A folder that must be empty is not.
    #[error("{0} is not empty")]
    NotEmpty(PathBuf),
    /// The database has something in it.
    #[error("the database is not empty")]
    DatabaseNotEmpty,
    /// The backup is not what was written.
    #[error("{0}: {1}")]
    Broken(String, &'static str),
}

fn at(path: &Path) -> impl Fn(io::Error) -> BackupError + '_ {
    move |error| BackupError::File(path.to_owned(), error)
}

/// Writes a backup into a new folder while the server runs. Audio whose owner removes it meanwhile
/// is left out together with its row.
///
/// # Errors
/// The folder is there and not empty, or something failed; what was written so far has no manifest.
pub async fn write(
    settings: &Settings,
    store: &Store,
    blobs: &Blobs,
    to: &Path,
    has_keys: bool,
    now_ms: i64,
) -> Result<Manifest, BackupError> {
    make_empty(to)?;
    let mut snapshot = store.snapshot().await?;
    let (mut written, mut audit_seq) = (BTreeMap::new(), 0);
    for table in TABLES {
        let mut file = Hashed::create(to, &format!("database/{}.jsonl", table.name))?;
        let take = async |row: String| {
            // Exports can be made anew; their files are not in the backup.
            if table.name == "exports" {
                return Ok(());
            }
            if table.has_audio && !copy_audio(blobs, to, &row, &mut written).await? {
                return Ok(());
            }
            if table.name == "audit_head" {
                audit_seq = member(&row, "seq").and_then(|seq| seq.as_i64()).unwrap_or_default();
            }
            file.line(&row)
        };
        snapshot.each::<BackupError>(table, None, take).await?;
        file.end(&mut written)?;
    }
    drop(snapshot);
    for (path, name) in plain_files(settings, has_keys) {
        match File::open(&path) {
            Ok(from) => Hashed::create(to, name)?.copy(from, &path, &mut written)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(&path)(error)),
        }
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let manifest = Manifest { form: FORM, version, taken_at: now_ms, audit_seq, has_keys, files: written };
    let path = to.join(MANIFEST);
    let text = serde_json::to_vec_pretty(&manifest).unwrap_or_default();
    // Last: a backup without one was not finished.
    files::replace(&path, &text, PRIVATE).map_err(at(&path))?;
    Ok(manifest)
}

/// What is copied as it lies, and its name in the backup.
fn plain_files(settings: &Settings, has_keys: bool) -> Vec<(PathBuf, &'static str)> {
    let mut plain =
        vec![(settings.policy_file(), "files/policy.json"), (settings.audit_file(), "files/audit-checkpoints.jsonl")];
    if has_keys {
        plain.push((settings.master_key_file(), "files/keys/master.key"));
        plain.push((settings.identity_keys_file(), "files/keys/identity.keys"));
    }
    plain
}

/// Copies the audio of one row; false if it is gone.
async fn copy_audio(
    blobs: &Blobs,
    to: &Path,
    row: &str,
    written: &mut BTreeMap<String, String>,
) -> Result<bool, BackupError> {
    let text = |name| member(row, name).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
    let (from, place) = blobs.audio_path(&text("user_id"), &text("id"))?;
    match File::open(&from) {
        Ok(file) => Hashed::create(to, &format!("blobs/{place}"))?.copy(file, &from, written).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(at(&from)(error)),
    }
}

fn member(row: &str, name: &str) -> Option<serde_json::Value> {
    serde_json::from_str::<serde_json::Value>(row).ok()?.get_mut(name).map(serde_json::Value::take)
}

/// Puts a backup back into an empty data folder and an empty database, after every file of it was
/// checked.
///
/// # Errors
/// Nothing has changed unless the last of the checks passed; then what is half put back has to be
/// removed.
pub async fn restore(
    settings: &Settings,
    store: &Store,
    from: &Path,
    now_ms: i64,
    via: String,
) -> Result<Manifest, BackupError> {
    let manifest = check(from)?;
    if !store.is_empty().await? {
        return Err(BackupError::DatabaseNotEmpty);
    }
    let audio = settings.blobs_folder();
    make_empty(&audio)?;
    for name in manifest.files.keys() {
        let source = from.join(name);
        let target = match name.split_once('/') {
            Some(("blobs", place)) => audio.join(place),
            Some(("files", "policy.json")) => settings.policy_file(),
            Some(("files", place)) => settings.data.join(place),
            _ => continue,
        };
        copy_new(&source, &target)?;
    }
    let mut restoring = store.begin_restore().await?;
    for table in TABLES {
        let path = from.join(table_file(table));
        let lines = BufReader::new(File::open(&path).map_err(at(&path))?).lines();
        for line in lines {
            restoring.put(table, &line.map_err(at(&path))?).await?;
        }
    }
    // Edges take nothing that is older than what they know, and they know what came after the backup.
    let ahead = now_ms.saturating_sub(manifest.taken_at).max(0) / 100 + 1000;
    let audit = AuditEntry::of_system(now_ms, "restore").on(format!("backup of row {}", manifest.audit_seq)).via(via);
    restoring.finish(ahead, &audit).await?;
    Ok(manifest)
}

fn table_file(table: &Table) -> String {
    format!("database/{}.jsonl", table.name)
}

/// Holds every file of a backup against its manifest.
///
/// # Errors
/// The first one that is missing, or not what was written.
pub fn check(from: &Path) -> Result<Manifest, BackupError> {
    let path = from.join(MANIFEST);
    let broken = |name: &str, reason| BackupError::Broken(name.to_owned(), reason);
    let text = fs::read(&path).map_err(at(&path))?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|_| broken(MANIFEST, "this is no manifest of a backup"))?;
    if manifest.form != FORM {
        return Err(broken(MANIFEST, "the backup is of another form than this program reads"));
    }
    for (name, hash) in &manifest.files {
        let is_inside = Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !is_inside {
            return Err(broken(name, "the manifest leads out of the backup"));
        }
        let path = from.join(name);
        let mut file = File::open(&path).map_err(at(&path))?;
        let (mut hasher, mut piece) = (Sha256::new(), vec![0; PIECE_BYTES]);
        loop {
            let read = file.read(&mut piece).map_err(at(&path))?;
            let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            hasher.update(bytes);
        }
        if hex(&hasher.finalize()) != *hash {
            return Err(broken(name, "the file is not the one that was written"));
        }
    }
    for table in TABLES {
        if !manifest.files.contains_key(&table_file(table)) {
            return Err(broken(&table_file(table), "it is missing; the backup is of another version"));
        }
    }
    Ok(manifest)
}

fn make_empty(folder: &Path) -> Result<(), BackupError> {
    make_folder(folder)?;
    let mut entries = fs::read_dir(folder).map_err(at(folder))?;
    if entries.next().is_some() { Err(BackupError::NotEmpty(folder.to_owned())) } else { Ok(()) }
}

fn make_folder(folder: &Path) -> Result<(), BackupError> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at(folder))
}

fn create(path: &Path) -> Result<File, BackupError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    fs::OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(path).map_err(at(path))
}

/// Never replaces anything.
fn copy_new(source: &Path, target: &Path) -> Result<(), BackupError> {
    let mut from = File::open(source).map_err(at(source))?;
    let mut to = create(target)?;
    io::copy(&mut from, &mut to).and_then(|_| to.sync_all()).map_err(at(target))
}

/// A file of a backup, hashed while it is written.
struct Hashed {
    name: String,
    path: PathBuf,
    file: BufWriter<File>,
    hasher: Sha256,
}

impl Hashed {
    fn create(folder: &Path, name: &str) -> Result<Self, BackupError> {
        let path = folder.join(name);
        let file = BufWriter::with_capacity(64 * 1024, create(&path)?);
        Ok(Self { name: name.to_owned(), path, file, hasher: Sha256::new() })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(at(&self.path))
    }

    fn line(&mut self, text: &str) -> Result<(), BackupError> {
        self.write(text.as_bytes())?;
        self.write(b"\n")
    }

    fn copy(mut self, mut from: File, path: &Path, written: &mut BTreeMap<String, String>) -> Result<(), BackupError> {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = from.read(&mut piece).map_err(at(path))?;
            let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            self.write(bytes)?;
        }
        self.end(written)
    }

    fn end(self, written: &mut BTreeMap<String, String>) -> Result<(), BackupError> {
        let Self { name, path, file, hasher } = self;
        let file = file.into_inner().map_err(|error| at(&path)(error.into_error()))?;
        file.sync_all().map_err(at(&path))?;
        written.insert(name, hex(&hasher.finalize()));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
