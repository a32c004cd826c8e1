//! The few things that the binlog asks of a file system, so that tests can put a failing one in its
//! place.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, PosixFadviseAdvice, fallocate, posix_fadvise};
use nix::libc;

use crate::descriptors::Descriptors;

/// Bytes that are taken away at a time from a long file that is to be removed.
const SHORTENED: u64 = 32 << 20;

/// Descriptors that are kept back. They are for files that the log may open beside those that it has open:
/// the next segment, an old one that is read to be reclaimed, one that is written anew after a failure,
/// the reserve, the directory.
const KEPT: usize = 6;

/// A directory of files.
pub trait Disk: fmt::Debug + Send + Sync {
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes an empty file; what had its name is gone.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// The same, but leaves descriptors alone that are kept back for what cannot do without.
    fn create_if_free(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.create(name)
    }
    /// Opens a file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Gives a file another name, at one stroke. What had that name is gone.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Takes a part of a file away that is about to be removed, so that the removal of a long one does not
    /// make others wait. Returns whether there is more to be taken away.
    fn shorten(&self, _name: &str) -> io::Result<bool> {
        Ok(false)
    }
    /// Has the file system keep which names there are.
    fn sync(&self) -> io::Result<()>;
}

/// A file.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reads into `bytes`, less only at the end of the file. Returns how much.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Has the disk take so many bytes from `offset` on, which were written, so that they take no memory.
    /// Promises nothing.
    fn write_out(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
    /// Has the disk keep what was written.
    fn sync(&self) -> io::Result<()>;
    /// Sets room aside up to `end`: zeros that later writes replace. `Unsupported` if the file
    /// system cannot do that.
    fn allocate(&self, from: u64, end: u64) -> io::Result<()>;
    /// Cuts the file off at `len`.
    fn truncate(&self, len: u64) -> io::Result<()>;
}

/// A directory of the file system.
#[derive(Debug)]
pub struct RealDisk {
    path: PathBuf,
    descriptors: Arc<Descriptors>,
}

impl RealDisk {
    /// The directory at `path`, which must exist.
    pub fn new(path: PathBuf) -> Self {
        Self { path, descriptors: Descriptors::keep(KEPT) }
    }

    fn create_with(
        &self,
        name: &str,
        open: impl FnOnce(&dyn Fn() -> io::Result<File>) -> io::Result<File>,
    ) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        // Jobs are nobody else's business.
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = Some(open(&|| options.open(self.path.join(name)))?);
        Ok(Arc::new(RealFile { file, descriptors: Arc::clone(&self.descriptors) }))
    }

    fn open_with(&self, open: impl Fn() -> io::Result<File>) -> io::Result<Arc<dyn DiskFile>> {
        let file = Some(self.descriptors.open(open)?);
        Ok(Arc::new(RealFile { file, descriptors: Arc::clone(&self.descriptors) }))
    }
}

/// A file of the file system.
#[derive(Debug)]
struct RealFile {
    /// `None` while it is dropped.
    file: Option<File>,
    descriptors: Arc<Descriptors>,
}

impl RealFile {
    fn file(&self) -> &File {
        self.file.as_ref().expect("it is open until it is dropped")
    }
}

impl Drop for RealFile {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            self.descriptors.close(file);
        }
    }
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.path)?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.create_with(name, |open| self.descriptors.open(open))
    }

    fn create_if_free(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.create_with(name, |open| open())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.open_with(|| OpenOptions::new().read(true).write(true).open(self.path.join(name)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn shorten(&self, name: &str) -> io::Result<bool> {
        let file = OpenOptions::new().write(true).open(self.path.join(name))?;
        let metadata = file.metadata()?;
        // A file that a backup has, too, stays as it is. One that is made a part of a backup from here on is
        // not needed there: the segments, which come after it, say that its job is deleted.
        if metadata.len() <= SHORTENED || metadata.nlink() > 1 {
            return Ok(false);
        }
        file.set_len(metadata.len() - SHORTENED)?;
        // Or else all of it would be given back to the disk at once, and any sync wait for that.
        file.sync_data()?;
        Ok(true)
    }

    fn sync(&self) -> io::Result<()> {
        let folder = self.descriptors.open(|| File::open(&self.path))?;
        let synced = folder.sync_all();
        self.descriptors.close(folder);
        synced
    }
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file().metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            match self.file().read_at(&mut bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file().write_all_at(bytes, offset)
    }

    fn write_out(&self, offset: u64, len: u64) -> io::Result<()> {
        let (offset, len) = (signed(offset)?, signed(len)?);
        let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE
            | libc::SYNC_FILE_RANGE_WRITE
            | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        // SAFETY: the call takes a descriptor, which is open as long as the file is borrowed, and numbers.
        // It touches no memory of ours.
        #[allow(unsafe_code)]
        let result = unsafe { libc::sync_file_range(self.file().as_raw_fd(), offset, len, flags) };
        match Errno::result(result) {
            // A file system, or a system, that does not know of it writes when it sees fit.
            Ok(_) | Err(Errno::EINVAL | Errno::ENOSYS | Errno::ESPIPE) => {}
            Err(error) => return Err(error.into()),
        }
        // Nobody is going to read it soon. If it stays in the cache, that is no harm.
        let _ = posix_fadvise(self.file(), offset, len, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file().sync_data()
    }

    fn allocate(&self, from: u64, end: u64) -> io::Result<()> {
        let (from, len) = (signed(from)?, signed(end.saturating_sub(from))?);
        loop {
            return match fallocate(self.file(), FallocateFlags::empty(), from, len) {
                Ok(()) => Ok(()),
                Err(Errno::EINTR) => continue,
                Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Err(io::ErrorKind::Unsupported.into()),
                Err(error) => Err(error.into()),
            };
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file().set_len(len)
    }
}

/// As the kernel wants it.
fn signed(offset: u64) -> io::Result<i64> {
    i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}
