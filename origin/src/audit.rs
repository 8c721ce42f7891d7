//! What keeps the audit's chain honest (docs/AUDIT.md): checkpoints that are signed and stand
//! outside the database as well, and the verifier that holds the rows against them.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::files::PRIVATE;
use crate::keys::{self, KeyError, Master};
use crate::signing::{self, SigningJwk};
use crate::store::{Checkpoint, Purpose, Store};

mod verify;

pub use verify::{Finding, Report, verify};

/// How long what is personal in a row is kept, in days. Pseudonyms stay.
pub const PERSONAL_DAYS: i64 = 90;
/// How many checkpoints are handled at once.
const STEP: i64 = 1000;
/// Where the last lines of the file are; one has less than a KiB.
const TAIL_BYTES: u64 = 16 * 1024;
/// `typ` of a checkpoint.
const KIND: &str = "cosygate-audit+jwt";

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// SHA-256 of the row, hexadecimal.
    pub hash: String,
    /// Seconds since the epoch.
    pub iat: i64,
    /// Its place in the chain.
    pub seq: i64,
}

/// Why no checkpoint was made.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The key or the database.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The file of checkpoints.
    #[error("the file of checkpoints: {0}")]
    File(#[from] io::Error),
    /// Rows are gone.
    #[error("the audit ends at row {seq}, but row {signed} was signed for")]
    Short {
        /// The newest row.
        seq: i64,
        /// The newest row of the file.
        signed: i64,
    },
}

impl From<crate::store::StoreError> for AuditError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Key(error.into())
    }
}

/// Signs for the newest row, if that is news, and appends to `file` what it does not have yet.
///
/// # Errors
/// See [`AuditError`]; the next round tries again.
pub async fn checkpoint(store: &Store, master: &Master, file: &Path, now_ms: i64) -> Result<(), AuditError> {
    let trail = store.trail();
    let head = trail.head().await?;
    let signed = last_of(file)?;
    if head.seq < signed {
        return Err(AuditError::Short { seq: head.seq, signed });
    }
    if head.seq > trail.last_checkpoint().await? {
        let ring = keys::load(store, master, Purpose::Audit).await?;
        let jws = sign(&ring.active, &Claims { hash: head.hash, iat: now_ms / 1000, seq: head.seq });
        trail.add_checkpoint(&Checkpoint { seq: head.seq, at: now_ms, jws }).await?;
    }
    let mut after = signed;
    loop {
        let news = trail.checkpoints(after, STEP).await?;
        let Some(last) = news.last() else { return Ok(()) };
        after = last.seq;
        append(file, &news)?;
    }
}

fn sign(key: &SigningJwk, claims: &Claims) -> String {
    key.sign(KIND, claims)
}

/// The claims of a checkpoint that one of these keys signed, and the key's name.
fn open(jws: &str, keys: &[serde_json::Value]) -> Option<Claims> {
    serde_json::from_value(signing::verify(jws, KIND, keys)?).ok()
}

/// One JSON object a line, the oldest first. A line that a crash cut off is passed over.
///
/// # Errors
/// The disk's. It is no error if there is no file.
pub fn read_file(file: &Path) -> io::Result<Vec<Checkpoint>> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The row of the newest checkpoint of a file; 0 if there is none.
fn last_of(file: &Path) -> io::Result<i64> {
    let mut file = match fs::File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let lines = tail.split(|byte| *byte == b'\n');
    let known = lines.filter_map(|line| serde_json::from_slice::<Checkpoint>(line).ok());
    Ok(known.map(|checkpoint| checkpoint.seq).max().unwrap_or_default())
}

fn append(file: &Path, checkpoints: &[Checkpoint]) -> io::Result<()> {
    let mut lines = String::new();
    for checkpoint in checkpoints {
        // A line of its own, even after one that was cut off.
        lines.push_str(&serde_json::to_string(checkpoint).unwrap_or_default());
        lines.push('\n');
    }
    let mut file = OpenOptions::new().create(true).read(true).append(true).mode(PRIVATE).open(file)?;
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    if last != [b'\n'] {
        lines.insert(0, '\n');
    }
    file.write_all(lines.as_bytes())?;
    file.sync_all()
}
