//! The directory that counts now, and the next one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tracing::{error, info};

use super::directory::Directory;
use crate::settings_file::FileError;

/// The file of `--auth`, as it was last read without a mistake.
#[derive(Debug)]
pub struct Access {
    path: PathBuf,
    /// That of `directory`, to be looked at without a lock.
    generation: AtomicU64,
    directory: RwLock<Arc<Directory>>,
}

impl Access {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// Those of the system, a mistake in the file with its line and column, and a file that every user may
    /// write.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let directory = Directory { generation: 1, ..Directory::read(path)? };
        let generation = AtomicU64::new(directory.generation);
        Ok(Self { path: path.to_owned(), generation, directory: RwLock::new(directory.into()) })
    }

    /// Which reading of the file counts. Whoever has looked something up in a directory of another
    /// generation looks again.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The directory that counts.
    pub fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the file again, which may take its time. With a mistake in it, nothing changes.
    ///
    /// # Errors
    ///
    /// Those of [`Access::open`].
    pub fn reload(&self) -> Result<(), FileError> {
        let directory = Directory::read(&self.path)?;
        let mut current = self.directory.write().unwrap_or_else(PoisonError::into_inner);
        let generation = current.generation + 1;
        *current = Arc::new(Directory { generation, ..directory });
        // Before the lock is released: else it could go back.
        self.generation.store(generation, Ordering::Release);
        Ok(())
    }

    /// Reads the file again whenever `reload` is notified, beside the thread that this runs on, and calls
    /// `changed` when another directory counts. Never returns.
    pub async fn run(self: Arc<Self>, reload: Arc<Notify>, mut changed: impl FnMut()) {
        loop {
            reload.notified().await;
            let access = Arc::clone(&self);
            // A file system may take its time.
            match spawn_blocking(move || access.reload()).await {
                Ok(Ok(())) => {
                    info!(
                        file = %self.path.display(),
                        principals = self.directory().principals().count(),
                        "the file of --auth was read again"
                    );
                    changed();
                }
                Ok(Err(failure)) => error!("{failure}: the principals of before stay"),
                Err(failure) => {
                    error!(%failure, "--auth cannot be read: the principals of before stay");
                }
            }
        }
    }
}
