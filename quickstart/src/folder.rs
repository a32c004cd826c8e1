//! A temporary folder, removed when it is dropped.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::Failed;

/// A folder that only this user can read.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Creates one in the system's folder for temporary files.
    ///
    /// # Errors
    ///
    /// If it cannot be created.
    pub fn new() -> Result<Self, Failed> {
        let path = std::env::temp_dir().join(format!("jq-quickstart-{}", Uuid::new_v4()));
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(Failed::to(format!("make the folder {}", path.display())))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of something in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the folder for temporary files goes with the next start of the system.
        let _ = fs::remove_dir_all(&self.0);
    }
}
