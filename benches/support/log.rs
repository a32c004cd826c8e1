//! A log on a disk that costs nothing, so that what is measured is the log. Shared by the benchmarks
//! and by the instruction counts in `benches/instructions`.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use beanstalk_protocol::JobId;
use jq_engine::{DurableState, Engine, JobCounters, JobRecord, JobUpdate, Nanos, Record};
use jq_server::log::Log;
use jq_server::log::binlog::{Binlog, BinlogHandle, Disk, DiskFile, Options, SyncPolicy};

/// The body of a job.
pub(crate) const BODY: &[u8] = &[b'x'; 128];

/// What is recorded of a put.
pub(crate) fn put(id: JobId) -> Record<'static> {
    let counters = JobCounters::default();
    let state = DurableState::Ready;
    let now = JobUpdate { id, priority: 1, delay: 0, state, counters };
    let created = Nanos::from_secs(1);
    Record::Put(JobRecord { tube: "default", created, ttr: 60, now, body: BODY, shared: None })
}

/// Opens the log on this disk, and makes its queue again. It is written, and never synced.
pub(crate) fn open(disk: Arc<MemoryDisk>) -> (Arc<Binlog>, Engine) {
    let mut engine = Engine::new();
    let options = Options::new(SyncPolicy::Never, 10 << 20);
    let now = Nanos::from_secs(2);
    let opened = Binlog::open(disk, options, &mut engine, now, false, Box::new(|| {}));
    let (binlog, _) = opened.expect("nothing is damaged");
    (binlog, engine)
}

/// Records these jobs, and writes them at once, as for the batch of a connection.
pub(crate) fn write(binlog: &Arc<Binlog>, jobs: impl Iterator<Item = JobId>) {
    let mut handle = BinlogHandle::new(binlog);
    for job in jobs {
        handle.append(&put(job), true);
    }
    binlog.flush(false).expect("this disk does not fail");
}

/// Files in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryDisk {
    files: Mutex<BTreeMap<String, Arc<MemoryFile>>>,
    /// What is written is forgotten, so that one can write for as long as one likes.
    forgets: bool,
}

#[derive(Debug)]
struct MemoryFile {
    bytes: Mutex<Vec<u8>>,
    forgets: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding this lock")
}

impl MemoryDisk {
    /// An empty disk that keeps what is written.
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// An empty disk that forgets what is written.
    pub(crate) fn forgetful() -> Arc<Self> {
        Arc::new(Self { forgets: true, ..Self::default() })
    }
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.files).keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = Arc::new(MemoryFile { bytes: Mutex::default(), forgets: self.forgets });
        lock(&self.files).insert(name.into(), Arc::clone(&file));
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = lock(&self.files).get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(file)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        lock(&self.files).remove(name);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = lock(&self.files);
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.into(), file);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.bytes).len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let file = lock(&self.bytes);
        let rest = file.get(offset as usize..).unwrap_or_default();
        let count = bytes.len().min(rest.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if !self.forgets {
            let mut file = lock(&self.bytes);
            let from = offset as usize;
            let end = from + bytes.len();
            if file.len() < end {
                file.resize(end, 0);
            }
            file[from..end].copy_from_slice(bytes);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        lock(&self.bytes).truncate(len as usize);
        Ok(())
    }
}
