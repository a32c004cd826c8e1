//! The store that workers share: results and artifacts that outlive the worker that made them.
//!
//! ```text
//! PREFIX/artifacts/ab/UUID.MILLISECONDS/N    those of a result: its job and its time
//! PREFIX/results/ab/UUID.json                results, as they are served
//! ```
//!
//! `N` is the place of an artifact in the result's list, counted from 0. Artifacts are written before their
//! result, so whoever reads a result finds its artifacts. Nothing is removed here: the store has rules for that.
//!
//! Owns: names and content of objects, and limits of exchanges. Must not know: jobs, queues, or when something is
//! tried again.

mod open;
mod peers;

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, GetOptions, MultipartUpload, ObjectStore, PutMultipartOptions,
    PutOptions as Put, PutPayload,
};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tracing::info;
use uuid::Uuid;

use crate::artifact::Artifact;
use crate::pieces::pieces;
use crate::web::Pieces;

pub use open::{SharedOptions, check_url};
pub use peers::{Known, Peers};

/// Results that are written at a time.
const MAX_WRITES: usize = 32;

/// Artifacts that are written at a time. Of each, a part is in memory.
const MAX_FILES: usize = 4;

/// A larger artifact is sent in parts of this size, in bytes.
const PART: u64 = 8 << 20;

/// How long writing a result may take.
const WRITE: Duration = Duration::from_secs(30);

/// How long the store may be silent while an artifact is written to it.
const SILENCE: Duration = Duration::from_secs(60);

/// How long reading a result may take.
const READ: Duration = Duration::from_secs(5);

/// When reading a result has failed, nobody else tries for so long: a store that hangs costs a few of those who ask
/// time, and not all.
const PAUSE: Duration = Duration::from_secs(2);

/// The largest result that is read, in bytes. A worker makes none that is larger.
const MAX_RESULT: u64 = (1 << 30) + (8 << 20);

/// See the [module](self).
#[derive(Debug)]
pub struct SharedStore {
    /// As it is shown.
    name: String,
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    /// The folder, if it is one.
    folder: Option<PathBuf>,
    writes: Semaphore,
    files: Semaphore,
    /// When reading a result has failed, and why.
    failed: Mutex<Option<(Instant, String)>>,
}

/// Why something could not be written to the store or read from it.
#[derive(Debug)]
pub enum SharedError {
    /// What is here could not be read.
    Here(io::Error),
    /// The store did not take it, or give it.
    There(String),
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(error) => write!(f, "cannot read an artifact: {error}"),
            Self::There(error) => f.write_str(error),
        }
    }
}

impl std::error::Error for SharedError {}

impl From<object_store::Error> for SharedError {
    fn from(error: object_store::Error) -> Self {
        Self::There(said(&error))
    }
}

/// An error with its causes, in one line that is not too long. Servers answer with pages of XML.
fn said(error: &dyn std::error::Error) -> String {
    const MAX: usize = 500;
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    let line: Vec<_> = text.split_whitespace().collect();
    let mut line = line.join(" ");
    if line.len() > MAX {
        let end = (0..=MAX).rev().find(|end| line.is_char_boundary(*end));
        line.truncate(end.unwrap_or(0));
        line.push_str(" ...");
    }
    line
}

/// When a result came into being.
#[derive(Debug, Deserialize)]
struct Dated {
    timestamp: Timestamp,
}

/// The time that a result tells.
pub fn time_of(body: &[u8]) -> Option<Timestamp> {
    serde_json::from_slice::<Dated>(body).ok().map(|dated| dated.timestamp)
}

impl SharedStore {
    /// As it is shown: without anything that is secret.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks the store for something that is not there.
    ///
    /// # Errors
    ///
    /// It cannot be asked.
    pub async fn check(&self) -> Result<(), SharedError> {
        self.result(Uuid::nil()).await.map(|_| ())
    }

    /// Writes a result. `gives_way`: not if there is a later one.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn put_result(
        &self,
        id: Uuid,
        finished: Timestamp,
        body: Bytes,
        gives_way: bool,
    ) -> Result<(), SharedError> {
        let _one_of_few = self.writes.acquire().await;
        if gives_way
            && let Some(there) = self.result(id).await?
            && time_of(&there).is_some_and(|time| time > finished)
        {
            info!("a later result is in the shared store: this one is not written");
            return Ok(());
        }
        self.look_for_folder().await?;
        let attributes = self.attributes("application/json");
        let options = Put { attributes, ..Put::default() };
        let location = self.location("results", &format!("{}.json", id.hyphenated()), id);
        within(WRITE, async {
            let payload = PutPayload::from_bytes(body);
            self.objects.put_opts(&location, payload, options).await?;
            Ok(())
        })
        .await
    }

    /// Writes an artifact: that at this place in the list of the result of this time.
    ///
    /// # Errors
    ///
    /// What the store says, or the disk.
    pub async fn put_artifact(
        &self,
        (id, finished, place): (Uuid, Timestamp, usize),
        artifact: &Artifact,
        file: File,
    ) -> Result<(), SharedError> {
        let _one_of_few = self.files.acquire().await;
        self.look_for_folder().await?;
        let location = self.artifact_location(id, finished, place);
        let attributes = self.attributes(&artifact.media_type);
        let mut content = Box::pin(pieces(Arc::new(file), 0..artifact.bytes));
        if artifact.bytes <= PART {
            let payload = next_part(&mut content).await?;
            let options = Put { attributes, ..Put::default() };
            return within(SILENCE, async {
                self.objects.put_opts(&location, payload, options).await?;
                Ok(())
            })
            .await;
        }
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let begun = within(SILENCE, async {
            Ok(self.objects.put_multipart_opts(&location, options).await?)
        });
        let mut upload = begun.await?;
        let copied = copy(content, artifact.bytes, &mut *upload).await;
        if copied.is_err() {
            // What there is of it must not stay, if the store can be reached.
            let _ = timeout(READ, upload.abort()).await;
        }
        copied
    }

    /// The result of a job. `None`: there is none.
    ///
    /// # Errors
    ///
    /// What the store says, or has just said to somebody else.
    pub async fn result(&self, id: Uuid) -> Result<Option<Bytes>, SharedError> {
        if let Some((at, why)) = &*self.failed()
            && at.elapsed() < PAUSE
        {
            return Err(SharedError::There(why.clone()));
        }
        let result = self.read_result(id).await;
        *self.failed() = result.as_ref().err().map(|error| (Instant::now(), error.to_string()));
        result
    }

    fn failed(&self) -> MutexGuard<'_, Option<(Instant, String)>> {
        // It is whole between two statements, whoever panicked.
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read_result(&self, id: Uuid) -> Result<Option<Bytes>, SharedError> {
        let location = self.location("results", &format!("{}.json", id.hyphenated()), id);
        within(READ, async {
            match self.objects.get_opts(&location, GetOptions::default()).await {
                Ok(got) if got.meta.size > MAX_RESULT => {
                    let size = got.meta.size;
                    Err(SharedError::There(format!("the result of {id} has {size} bytes")))
                }
                Ok(got) => Ok(Some(got.bytes().await?)),
                Err(object_store::Error::NotFound { .. }) => {
                    self.look_for_folder().await?;
                    Ok(None)
                }
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Whether the artifact at this place is there, whole.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn has_artifact(
        &self,
        (id, finished, place): (Uuid, Timestamp, usize),
        artifact: &Artifact,
    ) -> Result<bool, SharedError> {
        let location = self.artifact_location(id, finished, place);
        let options = GetOptions { head: true, ..GetOptions::default() };
        within(READ, async {
            match self.objects.get_opts(&location, options).await {
                Ok(got) => Ok(got.meta.size == artifact.bytes),
                Err(object_store::Error::NotFound { .. }) => Ok(false),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// A part of the artifact at this place. It fails if the store does.
    pub fn read_artifact(
        self: Arc<Self>,
        (id, finished, place): (Uuid, Timestamp, usize),
        range: Range<u64>,
    ) -> Pieces {
        if range.is_empty() {
            return Box::pin(futures_util::stream::empty());
        }
        let location = self.artifact_location(id, finished, place);
        let options = GetOptions { range: Some(range.into()), ..GetOptions::default() };
        let begun = async move {
            match self.objects.get_opts(&location, options).await {
                Ok(got) => got.into_stream().map(|it| it.map_err(io::Error::from)).left_stream(),
                Err(error) => {
                    let failed = futures_util::future::ready(Err(io::Error::from(error)));
                    futures_util::stream::once(failed).right_stream()
                }
            }
        };
        Box::pin(futures_util::stream::once(begun).flatten())
    }

    /// A folder that is not mounted would be made anew, on another disk.
    async fn look_for_folder(&self) -> Result<(), SharedError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        match tokio::fs::metadata(folder).await {
            Ok(meta) if meta.is_dir() => Ok(()),
            Ok(_) => Err(SharedError::There(format!("{} is not a folder", folder.display()))),
            Err(error) => Err(SharedError::There(format!("{}: {error}", folder.display()))),
        }
    }

    /// A folder has no place for them.
    fn attributes(&self, media_type: &str) -> Attributes {
        let mut attributes = Attributes::new();
        if self.folder.is_none() {
            attributes.insert(Attribute::ContentType, media_type.to_owned().into());
        }
        attributes
    }

    fn location(&self, kind: &str, name: &str, id: Uuid) -> Path {
        let shelf = format!("{:02x}", id.as_bytes()[0]);
        let parts = [kind, &shelf, name].map(Into::into);
        self.prefix.parts().chain(parts).collect()
    }

    fn artifact_location(&self, id: Uuid, finished: Timestamp, place: usize) -> Path {
        let folder = format!("{}.{}", id.hyphenated(), finished.as_millisecond());
        self.location("artifacts", &folder, id).join(place.to_string())
    }
}

/// Copies what is so long, part by part.
async fn copy(
    mut content: impl Stream<Item = io::Result<Bytes>> + Unpin,
    length: u64,
    upload: &mut dyn MultipartUpload,
) -> Result<(), SharedError> {
    for _ in 0..length.div_ceil(PART) {
        let part = next_part(&mut content).await?;
        within(SILENCE, async { Ok(upload.put_part(part).await?) }).await?;
    }
    within(SILENCE, async {
        upload.complete().await?;
        Ok(())
    })
    .await
}

/// The next part, or what there is of it. Pieces have a length of which a part is a multiple.
async fn next_part(
    content: &mut (impl Stream<Item = io::Result<Bytes>> + Unpin),
) -> Result<PutPayload, SharedError> {
    let (mut part, mut length) = (Vec::new(), 0);
    while length < PART
        && let Some(piece) = content.next().await
    {
        let piece = piece.map_err(SharedError::Here)?;
        length += piece.len() as u64;
        part.push(piece);
    }
    Ok(part.into_iter().collect())
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, SharedError>>,
) -> Result<T, SharedError> {
    let late = |_| SharedError::There(format!("no answer within {} seconds", limit.as_secs()));
    timeout(limit, work).await.map_err(late)?
}

#[cfg(test)]
mod tests;
