//! Journals made of the fuzzer's bytes: refused, or replayed with the same outcome as often as they are
//! read; and nothing may panic.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use jq_worker::store::{Done, Store, Sync};
use uuid::Uuid;

/// A state directory that is removed afterwards.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("jq-journal-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("the temporary directory is writable");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Replays two journals. The lowest bit of the first byte says whether lines are given the checksums that
/// they need; the second byte says how much is in the first journal.
pub fn run(data: &[u8]) {
    let [flags, part, data @ ..] = data else { return };
    let (first, second) = data.split_at(data.len() * usize::from(*part) / 255);
    let directory = Directory::new();
    for (number, data) in [(1, first), (2, second)] {
        let mut text = Vec::new();
        if flags & 1 != 0 {
            for line in data.split(|byte| *byte == b'\n') {
                text.extend_from_slice(format!("{:08x} ", crc32c::crc32c(line)).as_bytes());
                text.extend_from_slice(line);
                text.push(b'\n');
            }
        } else {
            text.extend_from_slice(data);
        }
        let path = directory.0.join(format!("journal-{number:08}"));
        fs::write(path, text).expect("the temporary directory is writable");
    }
    let Some(owed) = owed(&directory.0) else { return };
    // The start has written a journal of its own, of what there was.
    assert_eq!(self::owed(&directory.0), Some(owed), "a second start finds what the first one did");
}

/// What is owed for each result after a start on this directory. `None`: it is refused.
fn owed(directory: &Path) -> Option<BTreeMap<Uuid, (String, Done)>> {
    let store = Store::open(directory, Sync::Never).ok()?;
    let all = store.all_owed();
    let owed = all.iter().map(|(entry, done)| (entry.id, (format!("{entry:?}"), *done)));
    for (entry, _) in &all {
        // Whatever is owed can be served.
        store.find(entry.id).expect("the temporary directory is readable");
    }
    Some(owed.collect())
}
