//! The journal: one record a line, each with its checksum.
//!
//! ```text
//! CRC32C {"keep":{"serial":7,"entry":{...}}}
//! CRC32C {"note":{"serial":7,"step":"published"}}
//! ```
//!
//! The checksum is of all behind it, without the line feed, in eight hexadecimal digits. A crash
//! can cut the last line off: reading ends at the first line that is not whole. Zeros may follow the last
//! line: room for those to come.
//!
//! There is no version number. Members can be added, and readers ignore those that they do not know;
//! `golden/` has a journal of each form that was ever written. A line that is whole and cannot be
//! understood is from a later worker, and is an error: what it says is owed would be lost.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Entry, Owed, Owing, Step, StoreError};

const PREFIX: &str = "journal-";

/// A line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Record {
    /// There is a result. A later one of the same job takes its place.
    Keep {
        serial: u64,
        entry: Arc<Entry>,
        /// It is to be in the store that workers share.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        to_store: bool,
    },
    /// A part of what is owed is done.
    Note { serial: u64, step: Step },
}

impl Record {
    /// Appends the line.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(b"00000000 ");
        serde_json::to_writer(&mut *out, self).expect("a record has no keys that are not text");
        let sum = format!("{:08x}", crc32c::crc32c(&out[start + 9..]));
        out[start..start + 8].copy_from_slice(sum.as_bytes());
        out.push(b'\n');
    }

    /// Reads a line. `None`: it is not whole.
    fn read(line: &[u8]) -> Option<serde_json::Result<Self>> {
        let (sum, text) = line.strip_suffix(b"\n")?.split_at_checked(9)?;
        let sum = std::str::from_utf8(sum.strip_suffix(b" ")?).ok()?;
        let sum = u32::from_str_radix(sum, 16).ok()?;
        (crc32c::crc32c(text) == sum).then(|| serde_json::from_slice(text))
    }
}

/// A line is whole, and says something that this worker does not know.
fn not_understood(number: usize, error: &serde_json::Error) -> io::Error {
    let message = format!("line {number} is not understood; a later version wrote it? ({error})");
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// What the journals say.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// The last result of each job that they tell of.
    pub(super) latest: Vec<Owed>,
    /// Those that are not settled.
    pub(super) owing: Owing,
    /// What comes next.
    pub(super) next: Next,
}

/// The next numbers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Next {
    pub(super) serial: u64,
    pub(super) journal: u64,
}

/// The path of a journal.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{number:08}"))
}

/// The journals that there are, the oldest first.
pub(super) fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
        journals.extend(number.map(|number| (number, entry.path())));
    }
    journals.sort();
    Ok(journals)
}

/// Reads all journals.
pub(super) fn replay(dir: &Path) -> Result<Replayed, StoreError> {
    let failed = |error| StoreError::Io(dir.to_owned(), error);
    let mut latest: HashMap<Uuid, Owed> = HashMap::new();
    let mut ids: HashMap<u64, Uuid> = HashMap::new();
    let mut next = Next::default();
    for (number, path) in list(dir).map_err(failed)? {
        next.journal = number + 1;
        let text = fs::read(&path).map_err(|error| StoreError::Io(path.clone(), error))?;
        for (number, line) in (1..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
            let Some(record) = Record::read(line) else { break };
            let failed = |error| StoreError::Io(path.clone(), not_understood(number, &error));
            match record.map_err(failed)? {
                Record::Keep { serial, entry, to_store } => {
                    // No worker counts so far, but a line may say so.
                    next.serial = next.serial.max(serial.saturating_add(1));
                    ids.insert(serial, entry.id);
                    // A new journal begins with what an older one has; its notes may be cut off.
                    if latest.get(&entry.id).is_some_and(|owed| owed.serial == serial) {
                        continue;
                    }
                    latest.insert(entry.id, Owed::new(entry, serial, to_store));
                }
                Record::Note { serial, step } => {
                    let owed = ids.get(&serial).and_then(|id| latest.get_mut(id));
                    if let Some(owed) = owed.filter(|owed| owed.serial == serial) {
                        owed.done.note(step);
                    }
                }
            }
        }
    }
    let owing = latest.values().filter(|owed| !owed.done.everything());
    let owing = owing.map(|owed| (owed.entry.id, owed.clone())).collect();
    Ok(Replayed { latest: latest.into_values().collect(), owing, next })
}
