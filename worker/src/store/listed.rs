//! The artifacts that results list, for those who take them in and those who read them.

use std::io;

use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use super::{Entry, Found, FoundArtifact, OpenArtifact, Staging, Store, Sync};
use crate::artifact::{Artifact, ArtifactName};

impl Store {
    /// All artifacts may take up so many bytes from now on.
    pub fn set_most_artifacts(&self, bytes: u64) {
        self.shared.artifacts.set_most(bytes);
    }

    /// What all artifacts take up, in bytes.
    pub fn artifacts_total(&self) -> u64 {
        self.shared.artifacts.total()
    }

    /// Begins to take in artifacts of a job that is about to be over, which take up so many bytes (see
    /// [`size_of`]). The oldest of others are removed for it, but none that remain to be sent. `None`: there is
    /// no room.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn stage_artifacts(&self, bytes: u64) -> io::Result<Option<Staging>> {
        self.shared.artifacts.stage(bytes, || self.shared.needing_artifacts())
    }

    /// Has the disk have artifacts that were taken in, if that is waited for.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn sync_artifacts(&self, staging: &Staging) -> io::Result<()> {
        if self.sync == Sync::Always { staging.sync() } else { Ok(()) }
    }

    /// The artifacts of the result of a job, in their order. Empty if there are none, or no result. Reads the
    /// disk.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub fn artifacts(&self, id: Uuid) -> io::Result<Vec<Artifact>> {
        match self.find(id)? {
            Found::Result(body) => Ok(Listed::read(&body)?.artifacts),
            Found::Expired | Found::Nothing => Ok(Vec::new()),
        }
    }

    /// Opens an artifact of the result of a job, by its name. Reads the disk.
    ///
    /// # Errors
    ///
    /// What the system says, or that the result or the artifact is damaged.
    pub fn open_artifact(&self, id: Uuid, name: &str) -> io::Result<FoundArtifact> {
        let body = match self.find(id)? {
            Found::Result(body) => body,
            Found::Expired => return Ok(FoundArtifact::Gone),
            Found::Nothing => return Ok(FoundArtifact::Nothing),
        };
        self.open_listed(id, &body, name)
    }

    /// Opens an artifact of this very result.
    ///
    /// # Errors
    ///
    /// As [`open_artifact`](Self::open_artifact).
    pub fn open_artifact_of(
        &self,
        entry: &Entry,
        name: &ArtifactName,
    ) -> io::Result<FoundArtifact> {
        self.open_listed(entry.id, entry.result.get().as_bytes(), name.as_str())
    }

    fn open_listed(&self, id: Uuid, body: &[u8], name: &str) -> io::Result<FoundArtifact> {
        let Listed { timestamp, artifacts } = Listed::read(body)?;
        let is_it = |(_, artifact): &(usize, Artifact)| artifact.name.as_str() == name;
        let Some((place, artifact)) = artifacts.into_iter().enumerate().find(is_it) else {
            return Ok(FoundArtifact::Nothing);
        };
        let Some(file) = self.shared.artifacts.read(id, timestamp, place)? else {
            return Ok(FoundArtifact::Gone);
        };
        let meta = file.metadata()?;
        if !meta.is_file() || meta.len() != artifact.bytes {
            let message = format!("the artifact {name:?} of {id} is damaged");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(FoundArtifact::Open(OpenArtifact { artifact, file, modified: timestamp }))
    }
}

/// What a result tells of its artifacts.
#[derive(Deserialize)]
struct Listed {
    timestamp: Timestamp,
    #[serde(default)]
    artifacts: Vec<Artifact>,
}

impl Listed {
    fn read(body: &[u8]) -> io::Result<Self> {
        serde_json::from_slice(body).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("the result is damaged: {error}"))
        })
    }
}
