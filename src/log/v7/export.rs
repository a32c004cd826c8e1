//! Our segments become files of beanstalkd's.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::mem;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use beanstalk_protocol::{JobId, TubeName};
use jq_engine::{
    Answer, ConnId, DurableState, Engine, JobCounters, JobRecord, JobUpdate, Nanos, Record,
    SegmentRef, Sink,
};
use tracing::warn;

use super::error::{V7Error, failed};
use super::folder::{Folder, change, make_anew, remove, rename, v7_name};
use super::format::{self, CRLF, VERSION_7, VERSION_LEN};
use super::manifest::{Listed, Manifest};
use super::unfinished::settle;
use crate::log::binlog::{Binlog, Options, RealDisk};
use crate::log::{Directory, OpenError};

/// The largest body that beanstalkd takes back by default, in bytes: as it reads its files, it
/// counts the CRLF too.
const DEFAULT_LARGEST: usize = beanstalk_protocol::DEFAULT_MAX_JOB_SIZE as usize - CRLF.len();

/// What an export did.
#[derive(Debug)]
pub struct Exported {
    jobs: usize,
    /// Where the directory is, and what is in it now.
    dir: PathBuf,
    files: u32,
    aside: String,
    /// Bytes of the largest body.
    largest: usize,
    paused: usize,
}

impl fmt::Display for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { jobs, dir, files, aside, largest, paused } = self;
        let dir = dir.display();
        writeln!(f, "exported {jobs} jobs to {dir}, as binlog.1 to binlog.{files}")?;
        writeln!(f, "jq-server's own files are kept in {dir}/{aside}")?;
        if *largest > DEFAULT_LARGEST {
            let size = largest + CRLF.len();
            writeln!(
                f,
                "beanstalkd must be started with -z {size} or more, or it loses what it reads \
                 behind a job that is larger"
            )?;
        }
        if *paused > 0 {
            writeln!(f, "{paused} tubes are paused, which beanstalkd does not keep")?;
        }
        Ok(())
    }
}

/// Makes files for beanstalkd of our binlog in this directory, of at most the size of the segments
/// in `options` unless for a single job, and sets our segments aside.
pub fn export(dir: &Path, options: Options, now: Nanos) -> Result<Exported, OpenError> {
    let failed = |error| OpenError::TakeOver(dir.display().to_string(), error);
    let directory = Directory::lock(dir)?;
    let folder = Folder(&directory);
    settle(folder).map_err(failed)?;
    let exported = make(folder, options, now);
    if exported.is_err() {
        // What it cannot undo now, the next run does.
        let _ = settle(folder);
    }
    exported.map_err(failed)
}

fn make(folder: Folder<'_>, options: Options, now: Nanos) -> Result<Exported, V7Error> {
    if !folder.has_segments()? {
        return Err(V7Error::Nothing);
    }
    let mut engine = replay(folder, options, now)?;
    let exporting = folder.exporting();
    make_anew(&exporting)?;
    let mut writer = Writer::new(&exporting, options.segment_size);
    tell(&mut engine, &mut writer);
    let written = writer.finish(engine.next_id() - 1, now);
    let (files, largest) = written.map_err(failed(format!("write to {}", exporting.display())))?;
    let names = (1..=files).map(v7_name);
    let listed = names.map(|name| Listed::of(&exporting, &name)).collect::<Result<_, _>>()?;
    let manifest = Manifest { files: listed, aside: String::new() };
    manifest.write(&exporting)?;
    folder.sync()?;
    for Listed { name, .. } in &manifest.files {
        rename(&exporting.join(name), &folder.path().join(name))?;
    }
    folder.sync()?;
    let aside = folder.free_exported()?;
    // Here it takes place: up to now it is undone by whoever comes next.
    rename(&folder.segments(), &folder.path().join(&aside))?;
    // It is done. If that is not on the disk before a power cut, it is undone after that, for which
    // the manifest has to remain.
    if let Err(error) = folder.sync().and_then(|()| remove(&exporting)) {
        warn!("{error}");
    }
    let mut paused = 0;
    engine.tell_all(|record| {
        if let Record::Tube { settings, .. } = record {
            paused += usize::from(settings.pause.is_some());
        }
    });
    let jobs = engine.job_count();
    Ok(Exported { jobs, dir: folder.path().to_owned(), files, aside, largest, paused })
}

/// Reads our segments, as a start does.
fn replay(folder: Folder<'_>, options: Options, now: Nanos) -> Result<Engine, V7Error> {
    let mut engine = Engine::new();
    let disk = Arc::new(RealDisk::new(folder.segments()));
    let opened = Binlog::open(disk, options, &mut engine, now, false, Box::new(|| ()));
    let (binlog, _) = opened.map_err(V7Error::Replay)?;
    binlog.close().map_err(|_| V7Error::Unwritable)?;
    Ok(engine)
}

/// Writes every job, the buried ones in the order in which they were buried: that is the order in
/// which beanstalkd buries them again.
fn tell(engine: &mut Engine, writer: &mut Writer<'_>) {
    let mut jobs = Vec::with_capacity(engine.job_count());
    engine.tell_all(|record| {
        if let Record::Put(job) = record {
            let turn = match job.now.state {
                DurableState::Buried(turn) => turn,
                DurableState::Ready | DurableState::Delayed(_) => 0,
            };
            jobs.push((turn, job.now.id));
        }
    });
    jobs.sort_unstable();
    for (_, id) in jobs {
        engine.record_again(id, writer);
    }
}

/// Writes jobs to files.
struct Writer<'a> {
    folder: &'a Path,
    /// Bytes that a file may have.
    size: u64,
    /// The file being written, and its length.
    file: Option<(BufWriter<File>, u64)>,
    /// How many files were begun.
    files: u32,
    /// The largest number of a job.
    last_id: JobId,
    /// Bytes of the largest body.
    largest: usize,
    buffer: Vec<u8>,
    /// The first failure. Nothing is written after it.
    failed: io::Result<()>,
}

/// What is recorded is written.
impl Sink for Writer<'_> {
    fn answer(&mut self, _: ConnId, _: Answer<'_>) {}

    fn record(&mut self, record: Record<'_>) -> SegmentRef {
        if let (Record::Again(job), Ok(())) = (record, &self.failed) {
            self.failed = self.job(&job);
        }
        SegmentRef::default()
    }
}

impl<'a> Writer<'a> {
    fn new(folder: &'a Path, size: u64) -> Self {
        Self {
            folder,
            size,
            file: None,
            files: 0,
            last_id: 0,
            largest: 0,
            buffer: Vec::new(),
            failed: Ok(()),
        }
    }

    fn job(&mut self, job: &JobRecord<'_>) -> io::Result<()> {
        self.last_id = self.last_id.max(job.now.id);
        self.largest = self.largest.max(job.body.len());
        format::encode_job(job, &mut self.buffer);
        self.write()
    }

    /// Writes what is in the buffer to one file.
    fn write(&mut self) -> io::Result<()> {
        let len = self.buffer.len() as u64;
        if self.file.as_ref().is_none_or(|(_, written)| written + len > self.size) {
            self.begin()?;
        }
        if let Some((file, written)) = &mut self.file {
            file.write_all(&self.buffer)?;
            *written += len;
        }
        self.buffer.clear();
        Ok(())
    }

    /// Begins another file.
    fn begin(&mut self) -> io::Result<()> {
        self.end()?;
        self.files += 1;
        let mut options = OpenOptions::new();
        // As beanstalkd makes them, which never opens an old file for writing.
        options.write(true).create_new(true).mode(0o400);
        let file = change(|| options.open(self.folder.join(v7_name(self.files))))?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(&VERSION_7.to_le_bytes())?;
        self.file = Some((file, VERSION_LEN as u64));
        Ok(())
    }

    /// Ends the file being written.
    fn end(&mut self) -> io::Result<()> {
        match self.file.take() {
            Some((file, _)) => file.into_inner()?.sync_all(),
            None => Ok(()),
        }
    }

    /// Makes beanstalkd go on with the number after `last_id`, and ends the files. Returns how many
    /// there are, and the largest body's size in bytes.
    fn finish(mut self, last_id: JobId, now: Nanos) -> io::Result<(u32, usize)> {
        mem::replace(&mut self.failed, Ok(()))?;
        if last_id > self.last_id {
            // It counts on from the largest number in its files: of a job that was deleted.
            let (state, counters) = (DurableState::Ready, JobCounters::default());
            let update = JobUpdate { id: last_id, priority: 0, delay: 0, state, counters };
            let tube = TubeName::default_tube();
            let (tube, body) = (tube.as_str(), &[][..]);
            let job = JobRecord { tube, created: now, ttr: 1, now: update, body, shared: None };
            format::encode_job(&job, &mut self.buffer);
            format::encode_deleted(&job, &mut self.buffer);
        }
        self.write()?;
        self.end()?;
        Ok((self.files, self.largest))
    }
}
