//! Where everything is in the directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use uuid::Uuid;

use super::StoreError;

/// What is known of the result of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The document.
    Result(Bytes),
    /// There was one, and it has expired.
    Expired,
    /// Nothing.
    Nothing,
}

/// The lock of the directory. It goes with the process, however that ends.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "it is held, not read")] File);

impl Lock {
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("lock");
        let failed = |error: io::Error| StoreError::Io(path.clone(), error);
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked(dir.to_owned())),
            Err(error) => Err(failed(error.into())),
        }
    }
}

/// The folders.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    results: PathBuf,
}

impl Files {
    /// Makes what is missing. What is in results may be anybody's business, so only the owner may
    /// read it.
    pub(super) fn make(dir: &Path) -> Result<Self, StoreError> {
        let files = Self::at(dir).map_err(|error| StoreError::Io(dir.into(), error))?;
        for folder in [&files.dir, &files.results] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|error| StoreError::Io(folder.clone(), error))?;
        }
        Ok(files)
    }

    /// Where they are, whether they are there or not.
    pub(super) fn at(dir: &Path) -> io::Result<Self> {
        // Jobs run elsewhere than here, and are told their paths.
        let dir = std::path::absolute(dir)?;
        Ok(Self { results: dir.join("results"), dir })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn results(&self) -> &Path {
        &self.results
    }

    pub(super) fn packs(&self) -> PathBuf {
        self.dir.join("packs")
    }

    pub(super) fn jobs(&self) -> PathBuf {
        self.dir.join("jobs")
    }

    /// Where the result of a job is. Folders of a 256th each keep listings short.
    pub(super) fn result(&self, id: Uuid) -> PathBuf {
        let mut path = self.results.clone();
        path.push(format!("{:02x}", id.as_bytes()[0]));
        path.push(format!("{}.json", id.hyphenated()));
        path
    }

    /// Writes a result, as old as it is. Who reads it meanwhile gets the one before or this, whole.
    pub(super) fn write(&self, id: Uuid, body: &[u8], finished: Timestamp) -> io::Result<()> {
        let path = self.result(id);
        let temporary = path.with_extension("new");
        let open = || {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)
        };
        let mut file = match open() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let folder = temporary.parent().unwrap_or(&self.results);
                DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
                open()?
            }
            opened => opened?,
        };
        let written = file.write_all(body).and_then(|()| file.set_modified(finished.into()));
        if written.is_err() {
            // What there is of it takes up space.
            let _ = fs::remove_file(&temporary);
        }
        written?;
        fs::rename(&temporary, &path)
    }

    pub(super) fn find(&self, id: Uuid) -> io::Result<Found> {
        match fs::read(self.result(id)) {
            Ok(body) if body.is_empty() => Ok(Found::Expired),
            Ok(body) => Ok(Found::Result(body.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::Nothing),
            Err(error) => Err(error),
        }
    }
}
