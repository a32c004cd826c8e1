//! The directory of `-b`: whose it is, and what is in it.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// The folder of our segments in the directory.
pub(crate) const SEGMENTS: &str = "jq-binlog";

/// The file that says by its lock whose the directory is, as with beanstalkd.
const LOCK: &str = "lock";

/// The directory cannot be used.
#[derive(Debug)]
pub enum DirectoryError {
    /// Another server has it: us or beanstalkd.
    Locked(PathBuf),
    /// The system refuses.
    Io(PathBuf, io::Error),
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(dir) => {
                write!(f, "-b {}: another server uses this directory", dir.display())
            }
            Self::Io(dir, error) => write!(f, "-b {}: {error}", dir.display()),
        }
    }
}

impl std::error::Error for DirectoryError {}

/// A directory that nobody else uses as long as this lives.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// The lock goes when it is closed. It is of a kind that goes too when any other descriptor of
    /// the same file is closed by this process; so nobody else may open it.
    _lock: File,
}

impl Directory {
    /// Takes the directory, which must exist.
    pub fn lock(path: &Path) -> Result<Self, DirectoryError> {
        let failed = |error| DirectoryError::Io(path.to_owned(), error);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path.join(LOCK)).map_err(failed)?;
        // What beanstalkd does, so that each keeps the other out.
        let whole = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        match fcntl(&file, FcntlArg::F_SETLK(&whole)) {
            Ok(_) => Ok(Self { path: path.to_owned(), _lock: file }),
            Err(Errno::EACCES | Errno::EAGAIN) => Err(DirectoryError::Locked(path.to_owned())),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of our segments, which is made if it is missing.
    pub fn segments(&self) -> Result<PathBuf, DirectoryError> {
        let path = self.path.join(SEGMENTS);
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&path);
        let made = made.and_then(|()| File::open(&self.path)?.sync_all());
        made.map_err(|error| DirectoryError::Io(path.clone(), error))?;
        Ok(path)
    }
}
