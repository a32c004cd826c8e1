//! A copy of what is kept in a directory, made while a server may be working in it.
//!
//! Segments that are sealed are never written again, so they are linked where that is possible. The
//! manifest is read first and the newest segment last. So the copy is the log as it was at a moment
//! after the copy began; that nothing is missing is found out by replaying it. Bodies in files of their own
//! are never written again either. They are linked before the segments, since they may go when their jobs
//! do, and after them, since there may be new ones.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use beanstalk_protocol::JobId;
use jq_engine::Nanos;

use crate::log::binlog::format::{HEADER_LEN, Header};
use crate::log::binlog::manifest::{self, Extent, MANIFEST};
use crate::log::binlog::read::{Found, SegmentReader};
use crate::log::binlog::view::{View, attempt};
use crate::log::binlog::{Disk, ReplayError, body_job, body_name, segment_name, segment_number};
use crate::log::directory::SEGMENTS;
use crate::log::{DirectoryError, OpenError};

/// What a backup did.
#[derive(Debug)]
pub struct BackedUp {
    jobs: usize,
    bytes: u64,
    linked: usize,
    copied: usize,
    dest: PathBuf,
}

impl fmt::Display for BackedUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { jobs, bytes, linked, copied, dest } = self;
        writeln!(
            f,
            "backed up {jobs} jobs, {bytes} bytes, to {}: {linked} files linked, {copied} copied",
            dest.display()
        )
    }
}

/// Where our segments are in a directory of `-b`.
pub(crate) fn segments_of(dir: &Path) -> Result<PathBuf, OpenError> {
    let listed = fs::read_dir(dir);
    listed.map_err(|error| DirectoryError::Io(dir.to_owned(), error))?;
    let path = dir.join(SEGMENTS);
    match fs::metadata(&path) {
        Ok(_) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(OpenError::Nothing(dir.to_owned()))
        }
        Err(error) => Err(DirectoryError::Io(path, error).into()),
    }
}

/// Makes `dest` a directory that a server can be started on with `-b`, with everything that is kept in
/// `dir`. `dest` must be empty, or not exist.
pub fn backup(dir: &Path, dest: &Path, now: Nanos) -> Result<BackedUp, OpenError> {
    let from = segments_of(dir)?;
    let refused = |error| OpenError::from(DirectoryError::Io(dest.to_owned(), error));
    let made = make_empty(dest).map_err(refused)?;
    let to = dest.join(SEGMENTS);
    let done = attempt(|| {
        remove(&to)?;
        copy(&from, &to, now)
    });
    let replayed = match done {
        Ok(done) => done,
        Err(error) => {
            // Nobody shall take it for a backup.
            let _ = remove(&to);
            if made {
                let _ = fs::remove_dir(dest);
            }
            return Err(OpenError::Replay(from.display().to_string(), error));
        }
    };
    let Copied { jobs, bytes, linked, copied } = replayed;
    Ok(BackedUp { jobs, bytes, linked, copied, dest: dest.to_owned() })
}

/// Returns whether the directory was made.
fn make_empty(dest: &Path) -> io::Result<bool> {
    match fs::read_dir(dest) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(io::ErrorKind::DirectoryNotEmpty.into()),
            None => Ok(false),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().mode(0o700).create(dest)?;
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

fn io_error(what: &str, path: &Path) -> impl FnOnce(io::Error) -> ReplayError {
    let what = format!("{what} {}", path.display());
    move |error| ReplayError::Io { what, error }
}

fn remove(path: &Path) -> Result<(), ReplayError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove", path)(error))
        }
        _ => Ok(()),
    }
}

struct Copied {
    jobs: usize,
    bytes: u64,
    linked: usize,
    copied: usize,
}

fn copy(from: &Path, to: &Path, now: Nanos) -> Result<Copied, ReplayError> {
    DirBuilder::new().mode(0o700).create(to).map_err(io_error("make", to))?;
    let source = View::new(from.to_owned());
    let extent = manifest::read(&source).map_err(io_error("read", &from.join(MANIFEST)))?;
    let mut numbers = numbers(&source).map_err(io_error("list", from))?;
    let extent = match extent {
        Some(Ok(extent)) => extent,
        // Then the replay refuses what should have one.
        Some(Err(damage)) => {
            return Err(ReplayError::Damaged { file: MANIFEST.into(), offset: 0, damage });
        }
        None => Extent::default(),
    };
    numbers.retain(|number| *number >= extent.oldest);
    let mut bytes = 0;
    let mut bodies = Bodies::default();
    bodies.take(&source, from, to)?;
    let (mut linked, mut copied) = (0, 0);
    let last = last_begun(&source, &numbers).map_err(io_error("read", from))?;
    for number in numbers {
        let name = segment_name(number);
        let (old, new) = (from.join(&name), to.join(&name));
        if last.is_none_or(|last| number > last) {
            // Made ready, and not begun: an empty file stands for it, if it is to be there.
            if number <= extent.newest {
                write(&new, &[]).map_err(io_error("write", &new))?;
            }
            continue;
        }
        if Some(number) == last {
            let sound = sound_bytes(&source, &name).map_err(io_error("read", &old))?;
            bytes += sound.len() as u64;
            write(&new, &sound).map_err(io_error("write", &new))?;
            copied += 1;
            continue;
        }
        match take(&old, &new).map_err(io_error("copy", &old))? {
            Made::Linked => linked += 1,
            Made::Copied => copied += 1,
        }
        bytes += fs::metadata(&new).map_err(io_error("read", &new))?.len();
    }
    bodies.take(&source, from, to)?;
    let path = to.join(MANIFEST);
    if extent != Extent::default() {
        write(&path, &extent.encode()).map_err(io_error("write", &path))?;
    }
    let (engine, replayed) = View::new(to.to_owned()).replay(now, &mut |_, _, _, _| ())?;
    bodies.retain(to, |job| replayed.bodies.contains_key(&job))?;
    bytes += bodies.bytes();
    linked += bodies.count(Made::Linked);
    copied += bodies.count(Made::Copied);
    if extent != Extent::default() {
        // As much as is known now.
        let settled = replayed.settled(true).encode();
        write(&path, &settled).map_err(io_error("write", &path))?;
    }
    for folder in [to, to.parent().unwrap_or(to)] {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(io_error("sync", folder))?;
    }
    Ok(Copied { jobs: engine.job_count(), bytes, linked, copied })
}

/// How a file got into the backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    Linked,
    Copied,
}

/// The bodies in the backup, each with its length in bytes.
#[derive(Default)]
struct Bodies(BTreeMap<JobId, (Made, u64)>);

impl Bodies {
    /// Takes those that there are and it has not got. Some of them may not be complete; then nothing
    /// refers to them.
    fn take(&mut self, source: &View, from: &Path, to: &Path) -> Result<(), ReplayError> {
        let names = source.list().map_err(io_error("list", from))?;
        for (name, job) in names.iter().filter_map(|name| Some((name, body_job(name)?))) {
            if self.0.contains_key(&job) {
                continue;
            }
            let (old, new) = (from.join(name), to.join(name));
            let made = match take(&old, &new) {
                // Its job was just deleted.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                made => made.map_err(io_error("copy", &old))?,
            };
            let len = fs::metadata(&new).map_err(io_error("read", &new))?.len();
            self.0.insert(job, (made, len));
        }
        Ok(())
    }

    /// Removes those of other jobs.
    fn retain(&mut self, to: &Path, needs: impl Fn(JobId) -> bool) -> Result<(), ReplayError> {
        let unneeded: Vec<JobId> = self.0.keys().copied().filter(|job| !needs(*job)).collect();
        for job in unneeded {
            let path = to.join(body_name(job));
            fs::remove_file(&path).map_err(io_error("remove", &path))?;
            self.0.remove(&job);
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.0.values().map(|(_, bytes)| bytes).sum()
    }

    fn count(&self, made: Made) -> usize {
        self.0.values().filter(|(how, _)| *how == made).count()
    }
}

/// Links a file, or copies it if that is not possible. It is on the disk then.
fn take(old: &Path, new: &Path) -> io::Result<Made> {
    if fs::hard_link(old, new).is_ok() {
        return Ok(Made::Linked);
    }
    let mut source = File::open(old)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(new)?;
    io::copy(&mut source, &mut file)?;
    file.sync_all()?;
    Ok(Made::Copied)
}

fn numbers(disk: &View) -> io::Result<Vec<u64>> {
    let mut numbers: Vec<u64> = disk.list()?.iter().filter_map(|it| segment_number(it)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The newest segment whose header is written.
fn last_begun(disk: &View, numbers: &[u64]) -> io::Result<Option<u64>> {
    for number in numbers.iter().rev() {
        let mut bytes = [0; HEADER_LEN];
        let count = disk.open(&segment_name(*number))?.read_at(&mut bytes, 0)?;
        if Header::decode(&bytes[..count]).is_ok() {
            return Ok(Some(*number));
        }
    }
    Ok(None)
}

/// A segment up to where its sound records end.
fn sound_bytes(disk: &View, name: &str) -> io::Result<Vec<u8>> {
    let file = disk.open(name)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    let count = file.read_at(&mut bytes, 0)?;
    bytes.truncate(count);
    let mut reader = SegmentReader::new(Arc::clone(&file), HEADER_LEN as u64, count as u64);
    while let Found::Entry(_) = reader.next()? {}
    bytes.truncate(reader.offset() as usize);
    Ok(bytes)
}

/// Writes a file that is on the disk then.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
