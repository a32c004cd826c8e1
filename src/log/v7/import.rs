//! beanstalkd's files become segments of ours.

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

/// Bytes that are written before they are synced, during which they also lie in memory.
const SYNC_EVERY: u64 = 8 << 20;

/// Makes a binlog of ours of beanstalkd's files in this directory, if there are any, in segments of
/// `segment_size` bytes. With `repair`, what is damaged is left out; else it is an error.
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
        // The disk may be full. If it stays there, the next start removes it.
        let _ = remove(&importing);
    }
    let manifest = manifest?;
    // Here it takes place: from now on it is gone on with, and before it was done in vain.
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

/// Makes the binlog, where it is not in use yet.
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
        warn!("{error}. What is behind it in this file is left out");
        Ok(())
    };
    let mut jobs = Jobs::default();
    let mut previous = None;
    for number in numbers {
        // They go only at the old end.
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
                warn!(file, offset, "left out a record that beanstalkd did not write to its end");
            }
            Err((offset, damage)) => tolerate(V7Error::Damaged { file, offset, damage })?,
        }
    }
    Ok(jobs)
}

/// Writes all jobs to segments in a folder of their own.
fn write(folder: &Path, segment_size: u64, now: Nanos, jobs: &Jobs) -> Result<(), V7Error> {
    // It is synced when we say so.
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
        let position = log.append(&Record::Put(job), false).position;
        if position - synced >= SYNC_EVERY {
            binlog.sync().map_err(|_| V7Error::Unwritable)?;
            synced = position;
        }
    }
    binlog.close().map_err(|_| V7Error::Unwritable)
}
