//! The directory of `-b`: its lock and its contents.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// The name of the folder for our segments in the directory.
pub(crate) const SEGMENTS: &str = "jq-binlog";

/// The file whose lock says that the directory is in use, as with beanstalkd.
const LOCK: &str = "lock";

/// The directory cannot be used.
#[derive(Debug)]
pub enum DirectoryError {
    /// Another server, jq-server or beanstalkd, uses it.
    Locked(PathBuf),
    /// The operating system reported an error.
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

/// A directory that no other server uses as long as this value lives.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Closing the file releases the lock. This kind of lock is also released when the process
    /// closes any other descriptor of the same file, so nothing else may open it.
    _lock: File,
}

impl Directory {
    /// Locks the directory, which must exist.
    pub fn lock(path: &Path) -> Result<Self, DirectoryError> {
        let failed = |error| DirectoryError::Io(path.to_owned(), error);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path.join(LOCK)).map_err(failed)?;
        // The same lock as beanstalkd's, so that each keeps the other out.
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

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the folder for our segments, which is created if it is missing.
    pub fn segments(&self) -> Result<PathBuf, DirectoryError> {
        let path = self.path.join(SEGMENTS);
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&path);
        let made = made.and_then(|()| File::open(&self.path)?.sync_all());
        made.map_err(|error| DirectoryError::Io(path.clone(), error))?;
        Ok(path)
    }
}
