//! Exporting and erasing what is a user's. `store::TABLES` says what that is; docs/PRIVACY.md says
//! it in words.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::app::App;
use crate::blobs::{BlobError, Blobs, UserBlobs};
use crate::caller::Caller;
use crate::clock::rfc3339;
use crate::files::PRIVATE;
use crate::problem::Refusal;
use crate::routes::audit_line;
use crate::store::{
    AuditEntry, AuditFilter, Changed, Export, ExportState, Output, OwnVoice, RevocationRecord, Store, StoreError,
    TABLES,
};

/// How long an export is kept, in milliseconds.
pub const KEPT_MS: i64 = 24 * 60 * 60 * 1000;
/// How long packing may take, in milliseconds; after that another may begin.
pub const PACKING_MS: i64 = 2 * 60 * 60 * 1000;
/// How much of a file is read at once.
const PIECE_BYTES: u64 = 1024 * 1024;
/// How many rows are read at once.
const STEP: i64 = 500;
/// After how many files progress is noted.
const NOTED_EVERY: i64 = 20;

/// Why an export came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Audio could not be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The file could not be written.
    #[error("the export's file: {0}")]
    File(#[from] io::Error),
    /// The archive could not be written.
    #[error("the export's archive: {0}")]
    Zip(#[from] zip::result::ZipError),
    /// It was removed meanwhile.
    #[error("the export is not wanted any more")]
    Gone,
}

/// Erases a user: everything that is theirs, their tokens, and whose their part of the audit was.
/// The last administrator stays.
///
/// # Errors
/// The database failed, and nothing has changed; or the files could not be removed yet, which
/// upkeep tries again.
pub async fn erase(
    store: &Store,
    blobs: &Blobs,
    user_id: &str,
    withdrawn: &RevocationRecord,
    audit: &AuditEntry,
) -> Result<Changed, ExportError> {
    let changed = store.erasures().erase(user_id, withdrawn, audit).await?;
    if changed == Changed::Done {
        blobs.remove_all_of(user_id).await?;
    }
    Ok(changed)
}

/// Removes files of users who were erased, and gives those whose time has come the second pass.
///
/// # Errors
/// The database failed. The next round tries again.
pub async fn finish_erasures(app: &App, now_ms: i64) -> Result<(), StoreError> {
    let due = app.store.erasures().pending(now_ms).await?;
    for user_id in app.store.erasures().pending(i64::MAX).await? {
        if let Err(error) = app.blobs.remove_all_of(&user_id).await {
            tracing::error!(%error, "files of an erased user could not be removed yet");
            continue;
        }
        if due.contains(&user_id) {
            app.store.erasures().finish(&user_id, now_ms).await?;
        }
    }
    Ok(())
}

/// Removes exports that have run out.
///
/// # Errors
/// The database failed. The next round tries again.
pub async fn remove_old_exports(app: &App, now_ms: i64) -> Result<(), StoreError> {
    for export in app.store.upkeep().old_exports(now_ms).await? {
        match app.blobs.remove_export(&export.user_id, &export.id).await {
            Ok(()) => app.store.upkeep().forget_export(&export.id).await?,
            Err(error) => tracing::error!(%error, id = export.id, "an export could not be removed yet"),
        }
    }
    Ok(())
}

/// Packs everything that the caller owns, in a task of its own. `export` has begun.
pub fn pack(app: &Arc<App>, caller: &Caller, export: Export) {
    let (app, caller) = (Arc::clone(app), caller.clone());
    let runtime = tokio::runtime::Handle::current();
    // Writing the file is blocking work, reading what goes into it is not.
    let work = tokio::task::spawn_blocking({
        let app = Arc::clone(&app);
        move || {
            runtime.block_on(async {
                let Err(error) = (Packing { app: &app, caller: &caller, export: export.clone() }).run().await else {
                    return;
                };
                if !matches!(error, ExportError::Gone) {
                    tracing::error!(%error, id = export.id, "an export failed");
                }
                if let Err(error) = app.blobs.remove_export(caller.user_id(), &export.id).await {
                    tracing::error!(%error, id = export.id, "an export's file could not be removed");
                }
                let failed = Export { state: ExportState::Failed.as_str().to_owned(), ..export };
                if let Err(error) = app.store.of(&caller).note_export(&failed).await {
                    tracing::error!(%error, id = failed.id, "an export's end could not be noted");
                }
            });
        }
    });
    app.tasks.spawn(work);
}

struct Packing<'a> {
    app: &'a App,
    caller: &'a Caller,
    export: Export,
}

impl Packing<'_> {
    async fn run(mut self) -> Result<(), ExportError> {
        let path = self.app.blobs.export_path(self.caller.user_id(), &self.export.id)?;
        let part = path.with_extension("part");
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(&part)?;
        let file = self.write(file).await?;
        file.sync_all()?;
        self.export.bytes = i64::try_from(file.metadata()?.len()).unwrap_or(i64::MAX);
        std::fs::rename(&part, &path)?;
        self.export.expires_at = self.app.clock.now_ms().saturating_add(KEPT_MS);
        self.export.done = self.export.total;
        self.note(ExportState::Ready).await
    }

    async fn note(&self, state: ExportState) -> Result<(), ExportError> {
        let export = Export { state: state.as_str().to_owned(), ..self.export.clone() };
        if self.app.store.of(self.caller).note_export(&export).await? { Ok(()) } else { Err(ExportError::Gone) }
    }

    async fn write(&mut self, file: File) -> Result<File, ExportError> {
        let user_id = self.caller.user_id();
        // Audio hardly gets smaller, and rows are few.
        let stored = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .large_file(true)
            .unix_permissions(PRIVATE);
        let mut archive = ZipWriter::new(file);
        let mut snapshot = self.app.store.snapshot().await?;
        for table in TABLES.iter().filter(|table| table.is_told()) {
            let rows = snapshot.count(table, user_id).await?;
            // Each output and each voice is a row and a file.
            self.export.total += if table.has_audio { 2 * rows } else { rows };
        }
        let about = json!({"user_id": user_id, "exported_at": rfc3339(self.app.clock.now_ms())});
        archive.start_file("about.json", stored)?;
        archive.write_all(about.to_string().as_bytes())?;
        for table in TABLES.iter().filter(|table| table.is_told()) {
            archive.start_file(format!("{}.jsonl", table.name), stored)?;
            let done = &mut self.export.done;
            snapshot
                .each::<ExportError>(table, Some(user_id), async |row| {
                    *done += 1;
                    Ok(archive.write_all(row.as_bytes()).and_then(|()| archive.write_all(b"\n"))?)
                })
                .await?;
        }
        drop(snapshot);
        archive.start_file("audit.jsonl", stored)?;
        let (filter, mut after) = (AuditFilter { user_id: Some(user_id.to_owned()), ..AuditFilter::default() }, 0);
        loop {
            let rows = self.app.store.trail().after(&filter, after, STEP).await?;
            let Some(last) = rows.last() else { break };
            after = last.row.seq;
            for row in &rows {
                writeln!(archive, "{}", audit_line(row))?;
            }
        }
        self.write_audio(&mut archive, stored).await?;
        self.write_recordings(&mut archive, stored).await?;
        Ok(archive.finish()?)
    }

    async fn write_audio(
        &mut self,
        archive: &mut ZipWriter<File>,
        options: SimpleFileOptions,
    ) -> Result<(), ExportError> {
        let (owned, blobs) = (self.app.store.of(self.caller), self.app.blobs.of(self.caller));
        let mut before: Option<String> = None;
        loop {
            let outputs = owned.outputs(before.as_deref(), STEP).await?;
            let Some(last) = outputs.last() else { return Ok(()) };
            before = Some(last.id.clone());
            for Output { id, bytes, .. } in &outputs {
                archive.start_file(format!("audio/{id}.wav"), options)?;
                let is_whole = write_wav(archive, &blobs, id, *bytes).await;
                // Its owner may have removed it since.
                if is_whole.is_err() && owned.output(id).await?.is_some() {
                    return is_whole;
                }
                self.count_file().await?;
            }
        }
    }

    async fn write_recordings(
        &mut self,
        archive: &mut ZipWriter<File>,
        options: SimpleFileOptions,
    ) -> Result<(), ExportError> {
        let (owned, blobs) = (self.app.store.of(self.caller), self.app.blobs.of(self.caller));
        for OwnVoice { id, bytes, .. } in owned.voices().await? {
            archive.start_file(format!("voices/{id}.wav"), options)?;
            let is_whole = write_wav(archive, &blobs, &id, bytes).await;
            if is_whole.is_err() && owned.voice(&id).await?.is_some() {
                return is_whole;
            }
            self.count_file().await?;
        }
        Ok(())
    }

    async fn count_file(&mut self) -> Result<(), ExportError> {
        self.export.done += 1;
        if self.export.done % NOTED_EVERY == 0 {
            self.export.total = self.export.total.max(self.export.done);
            self.note(ExportState::Running).await?;
        }
        Ok(())
    }
}

/// Copies one file, piece by piece.
async fn write_wav(archive: &mut ZipWriter<File>, blobs: &UserBlobs, id: &str, bytes: i64) -> Result<(), ExportError> {
    let size = u64::try_from(bytes).unwrap_or_default();
    for start in (0..size).step_by(PIECE_BYTES as usize) {
        let piece = blobs.range(id, start..size.min(start + PIECE_BYTES)).await?;
        archive.write_all(&piece)?;
    }
    Ok(())
}

/// Where the export of the caller is.
///
/// # Errors
/// `not_found` when there is none that is ready.
pub async fn ready_export(app: &App, caller: &Caller) -> Result<(Export, File), Refusal> {
    let export = app.store.of(caller).export().await?.filter(|export| export.state == ExportState::Ready.as_str());
    let export = export.filter(|export| export.expires_at > app.clock.now_ms()).ok_or_else(Refusal::not_found)?;
    let path = app.blobs.export_path(caller.user_id(), &export.id)?;
    let file = open(&path).await.map_err(Refusal::internal)?;
    Ok((export, file))
}

async fn open(path: &Path) -> io::Result<File> {
    Ok(tokio::fs::File::open(path).await?.into_std().await)
}

#[cfg(test)]
mod tests;
