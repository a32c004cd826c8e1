//! Where the programs are that are shown.

use std::path::{Path, PathBuf};

use crate::Failed;

/// The programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The queue.
    pub server: PathBuf,
    /// The worker.
    pub worker: PathBuf,
}

/// The folder of the project.
pub fn project() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

impl Programs {
    /// Those in a folder.
    pub fn within(folder: &Path) -> Self {
        Self { server: folder.join("jq-server"), worker: folder.join("jq-worker") }
    }

    /// Those beside our own executable, where cargo puts all that it builds together.
    ///
    /// # Errors
    ///
    /// If they are not there.
    pub fn beside_us() -> Result<Self, Failed> {
        let own = std::env::current_exe().map_err(Failed::to("tell where we are"))?;
        let folder = own.parent().unwrap_or(Path::new("."));
        let programs = Self::within(folder);
        if !programs.are_there() {
            let folder = folder.display();
            return Err(Failed(format!(
                "jq-server and jq-worker are not in {folder}: `cargo quickstart` builds them"
            )));
        }
        Ok(programs)
    }

    /// Whether both have been built.
    pub fn are_there(&self) -> bool {
        self.server.exists() && self.worker.exists()
    }
}
