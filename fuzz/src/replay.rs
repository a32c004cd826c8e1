//! Segments made of the fuzzer's bytes, replayed: refused or served, but never with a panic, and
//! twice with the same result; and after a repair the log is sound.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use beanstalk_protocol::JobId;
use jq_engine::{Answer, ConnId, Engine, Nanos, Record, SegmentRef, Sink};
use jq_server::log::Log;
use jq_server::log::binlog::format::{self, Damage, FRAME_LEN, Header};
use jq_server::log::binlog::manifest::{Extent, MANIFEST};
use jq_server::log::binlog::{
    Binlog, BinlogHandle, Disk, DiskFile, Options, ReplayError, Step, SyncPolicy, segment_name,
};

/// Steps of compaction after which there must be nothing left to do.
const MAX_STEPS: usize = 10_000;

/// Files in memory.
#[derive(Debug, Default)]
pub struct Memory(Mutex<BTreeMap<String, Arc<File>>>);

/// One of them.
#[derive(Debug, Default)]
pub struct File(Mutex<Vec<u8>>);

impl Memory {
    /// There is this file now.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        self.0.lock().unwrap().insert(name.into(), Arc::new(File(Mutex::new(bytes))));
    }

    /// All files and what is in them.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let files = self.0.lock().unwrap();
        files.iter().map(|(name, file)| (name.clone(), file.0.lock().unwrap().clone())).collect()
    }
}

impl Disk for Memory {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.put(name, Vec::new());
        self.open(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        match self.0.lock().unwrap().get(name) {
            Some(file) => Ok(Arc::clone(file) as Arc<dyn DiskFile>),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.lock().unwrap().remove(name);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.0.lock().unwrap();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.into(), file);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let file = self.0.lock().unwrap();
        let from = (offset as usize).min(file.len());
        let count = bytes.len().min(file.len() - from);
        bytes[..count].copy_from_slice(&file[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut file = self.0.lock().unwrap();
        let end = offset as usize + bytes.len();
        if file.len() < end {
            file.resize(end, 0);
        }
        file[offset as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().truncate(len as usize);
        Ok(())
    }
}

/// What the engine records goes to the log, as in a server.
pub struct Recorder(pub BinlogHandle);

impl Sink for Recorder {
    fn answer(&mut self, _: ConnId, _: Answer<'_>) {}

    fn record(&mut self, record: Record<'_>) -> SegmentRef {
        self.0.append(&record, true).segment
    }

    fn forget(&mut self, segment: SegmentRef, job: JobId, bytes: usize) {
        self.0.forget(segment, job, bytes);
    }

    fn resize(&mut self, segment: SegmentRef, before: usize, after: usize) {
        self.0.resize(segment, before, after);
    }
}

/// Everything durable, in an order of its own.
pub fn told(engine: &Engine) -> Vec<String> {
    let mut all = Vec::new();
    engine.tell_all(|record| all.push(format!("{record:?}")));
    all.sort_unstable();
    all
}

/// The bytes as records: each a length and so many bytes, given the frame that they need.
fn framed(mut bytes: &[u8], out: &mut Vec<u8>) {
    while let Some((len, rest)) = bytes.split_first() {
        let (payload, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        if !payload.is_empty() {
            format::frame(payload, out);
        }
        bytes = rest;
    }
}

fn disk(data: &[u8]) -> Memory {
    let disk = Memory::default();
    let Some((flags, data)) = data.split_first() else { return disk };
    let (first, second) = match data.split_first() {
        Some((part, rest)) => rest.split_at(rest.len() * usize::from(*part) / 255),
        None => (data, data),
    };
    let mut previous_end = 0;
    let mut extent = Extent { oldest: 1, newest: 2, ..Extent::default() };
    for (number, data) in [(1, first), (2, second)] {
        let mut bytes = Vec::new();
        if flags & 1 != 0 {
            let header = Header { number, next_id: 1, previous_end, ..Header::default() };
            bytes.extend_from_slice(&header.encode());
        }
        if flags & 2 != 0 {
            framed(data, &mut bytes);
        } else {
            bytes.extend_from_slice(data);
        }
        if flags & 4 != 0 {
            bytes.resize(bytes.len() + FRAME_LEN * 3 + 1, 0);
        }
        previous_end = bytes.len() as u64;
        if flags & 8 != 0 {
            (extent.sound, extent.end) = (number, previous_end);
        }
        disk.put(&segment_name(number), bytes);
    }
    if flags & 16 == 0 {
        disk.put(MANIFEST, extent.encode().to_vec());
    }
    disk
}

/// A log and the queue that was made from it.
pub type Opened = (Arc<Binlog>, Engine);

/// Replays what is on the disk.
pub fn open(disk: &Arc<Memory>, repair: bool) -> Result<Opened, ReplayError> {
    let mut engine = Engine::new();
    let policy = SyncPolicy::Always;
    let options = Options { policy, segment_size: 2000, shown_size: 0, store_from: 1 << 20 };
    let disk: Arc<dyn Disk> = Arc::clone(disk) as Arc<dyn Disk>;
    let now = Nanos::from_secs(1_000_000);
    let opened = Binlog::open(disk, options, &mut engine, now, repair, Box::new(|| {}));
    opened.map(|(binlog, _)| (binlog, engine))
}

/// Gives up what is to be given up.
pub fn compact((binlog, engine): &mut Opened) {
    let mut sink = Recorder(BinlogHandle::new(binlog));
    for _ in 0..MAX_STEPS {
        match binlog.compact().expect("this disk does not fail") {
            Step::Idle => return,
            Step::Await(_) => {}
            Step::Again(facts) => {
                for fact in facts {
                    let mut rest = Some(fact);
                    while let Some(fact) = rest {
                        rest = fact.record_again(engine, &mut sink);
                    }
                }
            }
        }
        binlog.sync().expect("this disk does not fail");
    }
    panic!("compaction goes on and on");
}

/// Replays what `data` says.
pub fn run(data: &[u8]) {
    let disk = Arc::new(disk(data));
    if let Ok((binlog, engine)) = open(&disk, false) {
        binlog.close().expect("this disk does not fail");
        let (_, again) = open(&disk, false).expect("what was sound is sound");
        assert_eq!(told(&engine), told(&again));
    }
    let mut repaired = match open(&disk, true) {
        Ok(opened) => opened,
        // Settings of a newer release are not damage.
        Err(ReplayError::Damaged { damage: Damage::Newer(_), .. }) => return,
        Err(error) => panic!("anything can be repaired, but: {error}"),
    };
    let before = told(&repaired.1);
    compact(&mut repaired);
    repaired.0.close().expect("this disk does not fail");
    assert_eq!(before, told(&repaired.1));
    let (_, again) = open(&disk, false).expect("what was repaired is sound");
    assert_eq!(before, told(&again));
}
