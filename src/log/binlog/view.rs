//! A directory of segments as somebody sees it who changes nothing, and may be no owner of it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use jq_engine::{Engine, Nanos};

use crate::log::binlog::disk::{Disk, DiskFile};
use crate::log::binlog::replay::{self, ReplayError, Replayed, Told};

/// How often a directory is read again in which something has changed meanwhile.
const ATTEMPTS: usize = 20;

/// So often in a row the same is found before it is believed to be damage, and no work in progress.
const BELIEVED: usize = 3;

/// What a replay would cut off or remove stays.
#[derive(Debug)]
pub(crate) struct View {
    path: PathBuf,
}

#[derive(Debug)]
struct ViewFile(File);

impl View {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Reads everything, as a start does, but that the jobs do not get bodies that are in files of their own.
    pub(crate) fn replay(
        &self,
        now: Nanos,
        told: &mut Told<'_>,
    ) -> Result<(Engine, Replayed), ReplayError> {
        let mut engine = Engine::new();
        let replayed = replay::replay_telling(self, &mut engine, now, told)?;
        Ok((engine, replayed))
    }
}

fn read_only() -> io::Error {
    io::ErrorKind::ReadOnlyFilesystem.into()
}

impl Disk for View {
    fn list(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.path)?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn create(&self, _: &str) -> io::Result<Arc<dyn DiskFile>> {
        Err(read_only())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(ViewFile(File::open(self.path.join(name))?)))
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for ViewFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            match self.0.read_at(&mut bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Does something with a directory that a server may be working in. It is done again if it fails:
/// a segment may just have been reclaimed, or a record be half written. What fails in the same way
/// again and again has failed.
pub(crate) fn attempt<T, E: ToString>(mut what: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let (mut last, mut equal) = (String::new(), 0);
    for _ in 1..ATTEMPTS {
        let error = match what() {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let text = error.to_string();
        equal = if text == last { equal + 1 } else { 1 };
        if equal >= BELIEVED {
            return Err(error);
        }
        last = text;
    }
    what()
}
