//! The files of the segments, as a replay finds them.

use std::io;
use std::sync::Arc;

use super::error::{ReplayError, io_error};
use crate::log::binlog::disk::{Disk, DiskFile};
use crate::log::binlog::format::{Damage, HEADER_LEN, Header};
use crate::log::binlog::{segment_name, segment_number};

/// A segment to be read.
pub(super) struct Source {
    pub(super) number: u64,
    pub(super) name: String,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) len: u64,
    pub(super) header: Result<Header, Damage>,
    /// Of the format, if the header is sound.
    pub(super) version: u32,
    /// There is nothing where the header should be.
    pub(super) is_blank: bool,
}

/// All of them, the oldest first.
pub(super) fn sources(disk: &dyn Disk) -> Result<Vec<Source>, ReplayError> {
    let names = disk.list().map_err(io_error("list the binlog directory".into()))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    let open = |number| {
        let name = segment_name(number);
        let opened = disk.open(&name).and_then(|file| {
            let mut bytes = [0; HEADER_LEN];
            let count = file.read_at(&mut bytes, 0)?;
            let len = file.len()?;
            Ok((file, len, bytes, count))
        });
        let (file, len, bytes, count) = opened.map_err(io_error(format!("read {name}")))?;
        let header = Header::decode(&bytes[..count]);
        let version = if header.is_ok() { Header::version(&bytes) } else { 0 };
        let is_blank = bytes == [0; HEADER_LEN];
        Ok(Source { number, name, file, len, header, version, is_blank })
    };
    numbers.into_iter().map(open).collect()
}

/// Where segments end, as those behind them say; one for each source. A segment that does not count at all
/// ends at 0.
pub(super) fn ends(sources: &[Source]) -> Vec<Option<u64>> {
    let mut ends = vec![None; sources.len()];
    // What a later one says was written later.
    for (at, source) in sources.iter().enumerate() {
        let Ok(header) = source.header else { continue };
        let before = u64::from(header.left_out) + 1;
        for (place, known) in sources[..at].iter().zip(&mut ends).rev() {
            match source.number - place.number {
                distance if distance == before => *known = Some(header.previous_end),
                distance if distance < before => *known = Some(0),
                _ => break,
            }
        }
    }
    ends
}

/// A segment from an offset to its end.
pub(super) struct SegmentTail {
    pub(super) bytes: Vec<u8>,
}

impl SegmentTail {
    pub(super) fn new(source: &Source, offset: u64) -> io::Result<Self> {
        let mut bytes = vec![0; source.len.saturating_sub(offset) as usize];
        let count = source.file.read_at(&mut bytes, offset)?;
        bytes.truncate(count);
        Ok(Self { bytes })
    }

    pub(super) fn any(&mut self, what: impl Fn(u8) -> bool) -> bool {
        self.bytes.iter().any(|byte| what(*byte))
    }
}
