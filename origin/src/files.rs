//! Files that are there whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Only the owner reads and writes.
pub const PRIVATE: u32 = 0o600;
/// Everybody reads.
pub const READABLE: u32 = 0o644;

/// Replaces a file in one step; readers see the old content or the new one. Durable on return.
///
/// # Errors
/// The disk's; the old file is untouched.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let staged = stage(path, content, mode)?;
    fs::rename(&staged, path).inspect_err(|_| drop(fs::remove_file(&staged)))?;
    sync_folder(path)
}

/// Reads a secret, or makes it with `make` if there is none yet. Of several that start at once,
/// one makes it and all read the same.
///
/// # Errors
/// The disk's.
pub fn read_or_make_secret(path: &Path, make: impl FnOnce() -> String) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let staged = stage(path, make().as_bytes(), PRIVATE)?;
    // Unlike a rename, a link never replaces what another process made meanwhile.
    let linked = fs::hard_link(&staged, path);
    fs::remove_file(&staged)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => sync_folder(path)?,
    }
    fs::read_to_string(path)
}

/// Writes a file of a name of its own beside `path`.
fn stage(path: &Path, content: &[u8], mode: u32) -> io::Result<PathBuf> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{:016x}", rand::random::<u64>()));
    let staged = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&staged)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    written.inspect_err(|_| drop(fs::remove_file(&staged)))?;
    Ok(staged)
}

/// Makes the new name itself durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        assert_eq!(read_or_make_secret(&path, || "first".to_owned()).unwrap(), "first");
        assert_eq!(read_or_make_secret(&path, || "second".to_owned()).unwrap(), "first");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, PRIVATE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn replacing_leaves_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, b"old", READABLE).unwrap();
        replace(&path, b"new", READABLE).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(replace(&folder.path().join("none/file"), b"", READABLE).is_err());
    }
}
