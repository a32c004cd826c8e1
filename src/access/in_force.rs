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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A file with one principal.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let file =
                std::env::temp_dir().join(format!("jq-access-{name}-{}", std::process::id()));
            let file = Self(file);
            file.write("site");
            file
        }

        fn write(&self, name: &str) {
            fs::write(&self.0, format!("[[principal]]\nname = \"{name}\"\n")).unwrap();
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_file_with_a_mistake_changes_nothing() {
        let file = Scratch::new("mistake");
        let access = Access::open(&file.0).unwrap();
        assert_eq!((access.generation(), access.directory().generation()), (1, 1));
        fs::write(&file.0, "[[principal]]\nnme = 1\n").unwrap();
        let told = access.reload().unwrap_err().to_string();
        let place = format!("--auth {}: line 2, column 1: unknown field", file.0.display());
        assert!(told.starts_with(&place), "{told}");
        fs::remove_file(&file.0).unwrap();
        assert!(access.reload().unwrap_err().to_string().contains("No such file"));
        assert_eq!(access.generation(), 1);
        assert!(access.directory().by_name("site").is_some());
        file.write("new");
        access.reload().unwrap();
        assert_eq!((access.generation(), access.directory().generation()), (2, 2));
        assert!(access.directory().by_name("new").is_some());
        assert!(access.directory().by_name("site").is_none());
    }

    #[test]
    fn a_file_that_every_user_may_write_is_refused() {
        let file = Scratch::new("writable");
        let set_mode = |mode| {
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(&file.0, permissions).unwrap();
        };
        set_mode(0o646);
        let told = Access::open(&file.0).unwrap_err().to_string();
        assert!(
            told.ends_with("every user may write it: expected a mode such as 644, not 646"),
            "{told}"
        );
        set_mode(0o664);
        let access = Access::open(&file.0).unwrap();
        set_mode(0o602);
        assert!(access.reload().is_err());
        assert!(Access::open(Path::new("/nonexistent/auth.toml")).is_err());
    }

    #[tokio::test]
    async fn whoever_waits_for_another_file_is_told() {
        let file = Scratch::new("told");
        let access = Arc::new(Access::open(&file.0).unwrap());
        let (reload, changed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let tell = Arc::clone(&changed);
        let running = Arc::clone(&access).run(Arc::clone(&reload), move || tell.notify_one());
        let running = tokio::spawn(running);
        file.write("other");
        reload.notify_one();
        changed.notified().await;
        assert_eq!(access.generation(), 2);
        assert!(access.directory().by_name("other").is_some());
        // A mistake changes nothing, and does not end it.
        fs::write(&file.0, "x").unwrap();
        reload.notify_one();
        file.write("third");
        reload.notify_one();
        changed.notified().await;
        assert!(access.directory().by_name("third").is_some());
        running.abort();
    }
}
