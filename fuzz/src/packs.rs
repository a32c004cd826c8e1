//! Packs of results made of the fuzzer's bytes: whatever they are, a start succeeds, what is served is the last
//! result of its id, what is damaged is named, and nothing may panic.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jq_worker::store::{Found, Results, Store, Swept, Sync};
use uuid::Uuid;

/// A state directory that is removed afterwards.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("jq-packs-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(path.join("packs")).expect("the temporary directory is writable");
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.0.join("packs").join(name), bytes).expect("it is writable");
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the packs say of an id, read in the simplest way.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    /// The document, with its line feed.
    Result(Vec<u8>),
    /// It is in a file of its own, of which there is none here.
    InFile,
    /// There is a result, but not whole.
    Damaged,
}

/// A line's id and what it says of it. `None`: nobody knows whose it is.
fn read(line: &[u8]) -> Option<(Uuid, Said)> {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let (sum, finished) = (fields.next()?, fields.next()?);
    let (id, body) = (fields.next()?, fields.next());
    let id = Uuid::try_parse_ascii(id).ok()?;
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let is_whole = sum.len() == 8
        && text(finished).is_some_and(|it| it.parse::<i64>().is_ok())
        && text(sum).and_then(|it| u32::from_str_radix(it, 16).ok())
            == Some(crc32c::crc32c(&line[9..]));
    let said = match body {
        _ if !is_whole => Said::Damaged,
        None => Said::InFile,
        Some(body) => Said::Result([body, b"\n"].concat()),
    };
    Some((id, said))
}

/// What is said of each id, and all that may be served for it.
#[derive(Default)]
struct Oracle {
    last: BTreeMap<Uuid, Said>,
    whole: BTreeSet<(Uuid, Vec<u8>)>,
}

impl Oracle {
    fn add(&mut self, pack: &[u8]) {
        let lines = pack.split_inclusive(|byte| *byte == b'\n');
        for line in lines.filter_map(|line| line.strip_suffix(b"\n")) {
            let Some((id, said)) = read(line) else { continue };
            if let Said::Result(body) = &said {
                self.whole.insert((id, body.clone()));
            }
            self.last.insert(id, said);
        }
    }

    /// `is_exact`: the packs say where everything is; otherwise an index may be wrong about it.
    fn check(&self, is_exact: bool, find: impl Fn(Uuid) -> std::io::Result<Found>) {
        for (id, said) in &self.last {
            match (find(*id), said) {
                (Ok(Found::Result(body)), Said::Result(last)) if is_exact => {
                    assert_eq!(body, *last, "of {id}");
                }
                (Ok(Found::Result(body)), _) => {
                    assert!(!is_exact, "{id} is {said:?}");
                    assert!(self.whole.contains(&(*id, body.to_vec())), "another's: {id}");
                }
                (Err(error), said) => {
                    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
                    assert!(error.to_string().contains(".pack: the result of"), "{error}");
                    assert!(!is_exact || *said == Said::Damaged, "{id}: {said:?}");
                }
                // It may be as old as one likes.
                (Ok(_), said) => assert!(!is_exact || *said != Said::Damaged, "{id} is damaged"),
            }
        }
    }
}

/// Reads two packs, damages one of them, and sweeps. The lowest bit of the first byte says whether lines are
/// given the checksums that they need; the next, whether the rest of the data is an index, which gets its
/// beginning and its checksum. Then how much of the data is in the first pack, where and how that is damaged
/// later, and how long results are kept.
pub fn run(data: &[u8]) {
    let [flags, part, high, low, flip, retention, data @ ..] = data else { return };
    let (first, second) = data.split_at(data.len() * usize::from(*part) / 255);
    let (directory, mut oracle) = (Directory::new(), Oracle::default());
    let has_index = flags & 2 != 0;
    let (mut oldest, second) = (pack(first, flags & 1 != 0), pack(second, flags & 1 != 0));
    directory.write("00000000.pack", &oldest);
    oracle.add(&oldest);
    if has_index {
        let mut index = b"jq-index\0\0\0\x01".to_vec();
        index.extend_from_slice(&second);
        index.extend_from_slice(&crc32c::crc32c(&index).to_be_bytes());
        directory.write("00000000.index", &index);
    } else {
        directory.write("00000001.pack", &second);
        oracle.add(&second);
    }
    let looked = Results::look(&directory.0).expect("damage is no error");
    oracle.check(!has_index, |id| looked.find(id));
    for _ in 0..2 {
        let store = open(&directory.0);
        oracle.check(!has_index, |id| store.find(id));
    }
    // The oldest has an index by now.
    let at = usize::from(*high) << 8 | usize::from(*low);
    if let Some(byte) = oldest.get_mut(at) {
        *byte ^= flip;
        directory.write("00000000.pack", &oldest);
    } else {
        oldest.truncate(at % (oldest.len() + 1));
        directory.write("00000000.pack", &oldest);
    }
    let store = open(&directory.0);
    oracle.check(false, |id| store.find(id));
    let mut sweep = store.sweep(Duration::from_secs(u64::MAX >> (retention % 64)));
    let steps =
        (0..100).find(|_| store.step(&mut sweep).is_ok_and(|swept| matches!(swept, Swept::All(_))));
    assert!(steps.is_some(), "a sweep comes to an end");
    oracle.check(false, |id| store.find(id));
    drop(store);
    let store = open(&directory.0);
    oracle.check(false, |id| store.find(id));
}

fn open(directory: &Path) -> Store {
    Store::open(directory, Sync::Never).expect("damage is no error")
}

fn pack(data: &[u8], with_sums: bool) -> Vec<u8> {
    if !with_sums {
        return data.to_vec();
    }
    let mut pack = Vec::new();
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        let sum = crc32c::crc32c(line.strip_suffix(b"\n").unwrap_or(line));
        pack.extend_from_slice(format!("{sum:08x} ").as_bytes());
        pack.extend_from_slice(line);
    }
    pack
}
