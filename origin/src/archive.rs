//! Several outputs as one archive (ZIP), written while it is read: memory holds one piece, or one
//! output where it is encoded anew, and nothing is put on the disk.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::vec;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use zip::write::{SimpleFileOptions, StreamWriter, ZipWriter};

use crate::app::App;
use crate::audio::Format;
use crate::caller::Caller;
use crate::files::PRIVATE;
use crate::routes::encoded;
use crate::store::Output;

/// How much of a file is read at once.
const PIECE_BYTES: u64 = 64 * 1024;

/// What the archive's writer has written and nobody has read yet.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Outputs of the caller as `cosygate-<id>.<format>`, and what is known of them as
/// `outputs.jsonl`. It ends with an error when an output is gone meanwhile or cannot be read; then
/// the archive is not whole.
pub fn stream(
    app: &Arc<App>,
    caller: &Caller,
    outputs: Vec<Output>,
    index: String,
    format: Format,
) -> BoxStream<'static, io::Result<Bytes>> {
    let sink = Sink::default();
    let archive = Archive {
        app: Arc::clone(app),
        caller: caller.clone(),
        outputs: outputs.into_iter(),
        index,
        format,
        writer: ZipWriter::new_stream(sink.clone()),
        sink,
        reading: None,
    };
    stream::try_unfold(Some(archive), |archive| async move {
        match archive {
            Some(archive) => archive.next().await.map(Some),
            None => Ok(None),
        }
    })
    .boxed()
}

struct Archive {
    app: Arc<App>,
    caller: Caller,
    outputs: vec::IntoIter<Output>,
    index: String,
    format: Format,
    writer: ZipWriter<StreamWriter<Sink>>,
    sink: Sink,
    /// A file that is copied as it is, and how much of it is in the archive.
    reading: Option<(Output, u64)>,
}

impl Archive {
    /// What comes next, and what comes after it; nothing after the end.
    async fn next(mut self) -> io::Result<(Bytes, Option<Self>)> {
        if let Some((output, at)) = self.reading.take() {
            self.copy(output, at).await?;
        } else if let Some(output) = self.outputs.next() {
            self.begin(&format!("cosygate-{}.{}", output.id, self.format))?;
            if self.format == Format::Wav {
                self.copy(output, 0).await?;
            } else {
                let audio = encoded(&self.app, &self.caller, &output, self.format).await;
                self.writer.write_all(&audio.map_err(|_| io::Error::other("an output could not be encoded"))?)?;
            }
        } else {
            self.begin("outputs.jsonl")?;
            self.writer.write_all(self.index.as_bytes())?;
            self.writer.finish().map_err(io::Error::other)?;
            return Ok((self.sink.take(), None));
        }
        Ok((self.sink.take(), Some(self)))
    }

    fn begin(&mut self, name: &str) -> io::Result<()> {
        // Audio hardly gets smaller.
        let stored =
            SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored).unix_permissions(PRIVATE);
        self.writer.start_file(name, stored).map_err(io::Error::other)
    }

    async fn copy(&mut self, output: Output, at: u64) -> io::Result<()> {
        let size = u64::try_from(output.bytes).unwrap_or_default();
        let end = size.min(at + PIECE_BYTES);
        let piece = self.app.blobs.of(&self.caller).range(&output.id, at..end).await.map_err(io::Error::other)?;
        self.writer.write_all(&piece)?;
        self.reading = (end < size).then_some((output, end));
        Ok(())
    }
}
