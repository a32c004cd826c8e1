//! Converts our segments to beanstalkd's files.

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

/// The largest body that beanstalkd reads back by default, in bytes: when it reads its files, it
/// counts the CRLF too.
const DEFAULT_LARGEST: usize = beanstalk_protocol::DEFAULT_MAX_JOB_SIZE as usize - CRLF.len();

/// The result of an export.
#[derive(Debug)]
pub struct Exported {
    jobs: usize,
    /// The directory, the number of beanstalkd's files in it, and the folder of our segments.
    dir: PathBuf,
    files: u32,
    aside: String,
    /// Size of the largest body, in bytes.
    largest: usize,
    paused: usize,
    ruled: usize,
}

impl fmt::Display for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { jobs, dir, files, aside, largest, paused, ruled } = self;
        let dir = dir.display();
        writeln!(f, "exported {jobs} jobs to {dir}, as binlog.1 to binlog.{files}")?;
        writeln!(f, "jq-server's own files are kept in {dir}/{aside}")?;
        if *largest > DEFAULT_LARGEST {
            let size = largest + CRLF.len();
            writeln!(
                f,
                "start beanstalkd with -z {size} or more: it skips a job that is larger than -z, \
                 and everything after it in the file"
            )?;
        }
        if *paused > 0 {
            writeln!(f, "{paused} tubes are paused; beanstalkd's files do not keep pauses")?;
        }
        if *ruled > 0 {
            writeln!(
                f,
                "{ruled} tubes have policies; beanstalkd has none, and its files do not keep them"
            )?;
        }
        Ok(())
    }
}

/// Converts our binlog in this directory to beanstalkd's files, and moves our segments aside. Each
/// file has at most the segment size of `options`, unless a single job needs more.
pub fn export(dir: &Path, options: Options, now: Nanos) -> Result<Exported, OpenError> {
    let failed = |error| OpenError::TakeOver(dir.display().to_string(), error);
    let directory = Directory::lock(dir)?;
    let folder = Folder(&directory);
    settle(folder).map_err(failed)?;
    let exported = make(folder, options, now);
    if exported.is_err() {
        // If this cannot undo everything, the next run does.
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
    // This rename makes the export take effect. Until now, the next run would undo it.
    rename(&folder.segments(), &folder.path().join(&aside))?;
    // Done. If the rename is lost in a power cut, the next run undoes the export, and needs the
    // manifest for that. So the manifest is only removed once the rename is on disk.
    if let Err(error) = folder.sync().and_then(|()| remove(&exporting)) {
        warn!("{error}");
    }
    let (mut paused, mut ruled) = (0, 0);
    engine.tell_all(|record| {
        if let Record::Tube { settings, .. } = record {
            paused += usize::from(settings.pause.is_some());
            ruled += usize::from(settings.policy.is_some());
        }
    });
    let jobs = engine.job_count();
    Ok(Exported { jobs, dir: folder.path().to_owned(), files, aside, largest, paused, ruled })
}

/// Replays our segments, as at startup.
fn replay(folder: Folder<'_>, options: Options, now: Nanos) -> Result<Engine, V7Error> {
    let mut engine = Engine::new();
    let disk = Arc::new(RealDisk::new(folder.segments()));
    let opened = Binlog::open(disk, options, &mut engine, now, false, Box::new(|| ()));
    let (binlog, _) = opened.map_err(V7Error::Replay)?;
    binlog.close().map_err(|_| V7Error::Unwritable)?;
    Ok(engine)
}

/// Writes every job. Buried ones come in the order in which they were buried, because beanstalkd
/// buries them again in the order of its file.
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
    /// Maximum size of a file, in bytes.
    size: u64,
    /// The file being written, and its length.
    file: Option<(BufWriter<File>, u64)>,
    /// Number of files begun.
    files: u32,
    /// The largest job id.
    last_id: JobId,
    /// Size of the largest body, in bytes.
    largest: usize,
    buffer: Vec<u8>,
    /// The first failure. Nothing is written after it.
    failed: io::Result<()>,
}

/// Writes what is recorded.
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

    /// Writes the buffer to one file.
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
        // Same mode as beanstalkd's, which never opens an old file for writing.
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

    /// Makes beanstalkd continue with the id after `last_id`, and ends the files. Returns their
    /// number, and the size of the largest body in bytes.
    fn finish(mut self, last_id: JobId, now: Nanos) -> io::Result<(u32, usize)> {
        mem::replace(&mut self.failed, Ok(()))?;
        if last_id > self.last_id {
            // beanstalkd continues after the largest id in its files, so write a job with that id
            // that was deleted.
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
