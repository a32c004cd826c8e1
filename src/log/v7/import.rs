//! Converts beanstalkd's files to our segments.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jq_engine::{Engine, Nanos, Record};
use tracing::{info, warn};

use super::error::{V7Error, failed};
use super::folder::{Folder, make_anew, remove, rename, v7_name};
use super::jobs::Jobs;
use super::manifest::{Listed, Manifest};
use super::unfinished::{set_aside, settle};
use crate::log::binlog::{Binlog, BinlogHandle, Options, RealDisk, SyncPolicy};
use crate::log::{Directory, Log};

/// Sync after this many bytes, which are also kept in memory until then.
const SYNC_EVERY: u64 = 8 << 20;

/// Converts beanstalkd's files in this directory, if there are any, to a binlog of ours with
/// segments of `segment_size` bytes. With `repair`, damaged data is skipped; otherwise it is an
/// error.
pub(crate) fn import(
    directory: &Directory,
    segment_size: u64,
    now: Nanos,
    repair: bool,
) -> Result<(), V7Error> {
    let folder = Folder(directory);
    settle(folder)?;
    let numbers = folder.v7_numbers()?;
    if numbers.is_empty() {
        return Ok(());
    }
    let jobs = read(folder.path(), &numbers, repair)?;
    let importing = folder.importing();
    let manifest = make(folder, &numbers, segment_size, now, &jobs);
    if manifest.is_err() {
        // The disk may be full. If the removal fails, the next start tries again.
        let _ = remove(&importing);
    }
    let manifest = manifest?;
    // This rename makes the import take effect. From now on an interrupted import is completed;
    // until now, it starts over.
    rename(&importing, &folder.segments())?;
    folder.sync()?;
    info!(
        dir = %folder.path().display(),
        files = numbers.len(),
        jobs = jobs.len(),
        "imported the binlog of beanstalkd"
    );
    set_aside(folder, &manifest)
}

/// Builds the binlog in a folder that is not in use yet.
fn make(
    folder: Folder<'_>,
    numbers: &[u32],
    segment_size: u64,
    now: Nanos,
    jobs: &Jobs,
) -> Result<Manifest, V7Error> {
    let importing = folder.importing();
    make_anew(&importing)?;
    write(&importing, segment_size, now, jobs)?;
    let names = numbers.iter().map(|number| v7_name(*number));
    let files = names.map(|name| Listed::of(folder.path(), &name)).collect::<Result<_, _>>()?;
    let manifest = Manifest { files, aside: folder.free_imported()? };
    manifest.write(&importing)?;
    folder.sync()?;
    Ok(manifest)
}

/// Reads all files.
fn read(folder: &Path, numbers: &[u32], repair: bool) -> Result<Jobs, V7Error> {
    let tolerate = |error: V7Error| {
        if !repair {
            return Err(error);
        }
        warn!("{error}. The rest of this file is skipped");
        Ok(())
    };
    let mut jobs = Jobs::default();
    let mut previous = None;
    for number in numbers {
        // beanstalkd deletes only the oldest files.
        if let Some(previous) = previous
            && *number - 1 != previous
        {
            tolerate(V7Error::Missing(v7_name(previous + 1)))?;
        }
        previous = Some(*number);
        let file = v7_name(*number);
        let bytes = fs::read(folder.join(&file)).map_err(failed(format!("read {file}")))?;
        match jobs.take_file(&bytes) {
            Ok(None) => {}
            Ok(Some(offset)) => {
                warn!(file, offset, "skipped a record that beanstalkd did not finish writing");
            }
            Err((offset, damage)) => tolerate(V7Error::Damaged { file, offset, damage })?,
        }
    }
    Ok(jobs)
}

/// Writes all jobs to segments in a separate folder.
fn write(folder: &Path, segment_size: u64, now: Nanos, jobs: &Jobs) -> Result<(), V7Error> {
    // Sync explicitly only.
    let options = Options::new(SyncPolicy::Every(Duration::MAX), segment_size);
    let mut engine = Engine::new();
    engine.reserve_ids(jobs.next_id());
    let disk = Arc::new(RealDisk::new(folder.to_owned()));
    let opened = Binlog::open(disk, options, &mut engine, now, false, Box::new(|| ()));
    let (binlog, _) = opened.map_err(V7Error::Replay)?;
    let mut log = BinlogHandle::new(&binlog);
    let mut synced = 0;
    for job in jobs.records() {
        if binlog.needs().prepare {
            binlog.prepare();
        }
        let stored = binlog.store_if_large(job.now.id, job.body);
        stored.map_err(failed(format!("store the body of job {}", job.now.id)))?;
        let position = log.append(&Record::Put(job), false).position;
        if position - synced >= SYNC_EVERY {
            binlog.sync().map_err(|_| V7Error::Unwritable)?;
            synced = position;
        }
    }
    binlog.close().map_err(|_| V7Error::Unwritable)
}
