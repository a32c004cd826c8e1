//! TOML files that operators write: read within limits, with mistakes told by line and column.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;

use nix::libc;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

/// A file cannot be used.
#[derive(Debug)]
pub struct FileError {
    /// The flag that names it.
    flag: &'static str,
    file: PathBuf,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Io(io::Error),
    Mistake(Mistake),
}

/// Reads a file that `flag` names on a thread of its own. A file system may take its time, or for ever: nobody
/// else waits for it then, nor does the end of the process.
pub(crate) async fn read_aside<T: Send + 'static>(
    flag: &'static str,
    path: PathBuf,
    read: fn(&Path) -> Result<T, FileError>,
) -> Result<T, FileError> {
    let (done, result) = oneshot::channel();
    let file = path.clone();
    let reader = move || {
        // Nobody waits for it any more when the server stops.
        let _ = done.send(read(&file));
    };
    let failed = |error| Err(FileError { flag, file: path, why: Why::Io(error) });
    if let Err(error) = thread::Builder::new().name("jq-reload".to_owned()).spawn(reader) {
        return failed(error);
    }
    match result.await {
        Ok(read) => read,
        Err(_) => failed(io::Error::other("the thread that reads it has panicked")),
    }
}

/// What is wrong in a file, and where, counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) message: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.flag, self.file.display())?;
        match &self.why {
            Why::Io(error) => error.fmt(f),
            Why::Mistake(Mistake { line, column, message }) => {
                write!(f, "line {line}, column {column}: {message}")
            }
        }
    }
}

impl std::error::Error for FileError {}

impl Mistake {
    /// At this byte of a text.
    pub(crate) fn at(text: &str, at: usize, message: impl Into<String>) -> Self {
        let before = text.get(..at).unwrap_or(text);
        Self {
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().unwrap_or_default().chars().count() + 1,
            message: message.into(),
        }
    }
}

/// Reads what a text in TOML has.
pub(crate) fn from_toml<T: DeserializeOwned>(text: &str) -> Result<T, Mistake> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        Mistake::at(text, at, error.message().trim().replace('\n', " "))
    })
}

/// The file that `flag` names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SettingsFile<'a> {
    pub(crate) flag: &'static str,
    pub(crate) path: &'a Path,
    /// The largest size that is read, in bytes.
    pub(crate) most: u64,
}

impl SettingsFile<'_> {
    /// Reads the file, and has `parse` make something of its text. Also tells whether other users can
    /// read it.
    pub(crate) fn read<T>(
        self,
        parse: impl FnOnce(&str) -> Result<T, Mistake>,
    ) -> Result<(T, bool), FileError> {
        let (bytes, mode) = self.contents().map_err(|error| self.failed(Why::Io(error)))?;
        Ok((self.parsed(&bytes, parse)?, mode & 0o004 != 0))
    }

    /// Reads the file, unless every user may write it: what it says is then anybody's word.
    pub(crate) fn read_protected<T>(
        self,
        parse: impl FnOnce(&str) -> Result<T, Mistake>,
    ) -> Result<T, FileError> {
        let (bytes, mode) = self.contents().map_err(|error| self.failed(Why::Io(error)))?;
        if mode & 0o002 != 0 {
            let told =
                format!("every user may write it: expected a mode such as 644, not {mode:o}");
            return Err(self.failed(Why::Io(io::Error::other(told))));
        }
        self.parsed(&bytes, parse)
    }

    fn parsed<T>(
        self,
        bytes: &[u8],
        parse: impl FnOnce(&str) -> Result<T, Mistake>,
    ) -> Result<T, FileError> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            Mistake::at(&good, good.len(), "expected UTF-8")
        });
        text.and_then(parse).map_err(|mistake| self.failed(Why::Mistake(mistake)))
    }

    fn failed(self, why: Why) -> FileError {
        FileError { flag: self.flag, file: self.path.to_owned(), why }
    }

    /// What is in the file, and its permissions.
    fn contents(self) -> io::Result<(Vec<u8>, u32)> {
        // Opening a pipe does not wait for its other end.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(self.path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(self.most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > self.most {
            return Err(io::Error::other(format!("it is longer than {} bytes", self.most)));
        }
        Ok((bytes, metadata.mode() & 0o7777))
    }
}
