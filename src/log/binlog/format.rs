//! What the bytes of a segment mean. `docs/binlog.md` describes the same for people.
//!
//! A segment is a header and records ([`crate::log::codec`]), one behind the other; zeros behind the
//! last record are room that was set aside.

use beanstalk_protocol::JobId;
use crc32c::crc32c;

use crate::log::codec::Fields;
pub use crate::log::codec::*;

/// The first bytes of a segment.
pub const MAGIC: [u8; 8] = *b"jqbinlog";

/// Beside a segment of this version or a newer one, there is a manifest.
pub(crate) const MANIFEST_SINCE: u32 = 3;

/// Bytes of a segment's header.
pub const HEADER_LEN: usize = 48;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Counts up by one from segment to segment.
    pub number: u64,
    /// The number of the next job when the segment was begun.
    pub next_id: JobId,
    /// Where the segment before ends; what is behind that does not count. 0 if there is none.
    pub previous_end: u64,
    /// So many segments right before this one do not count at all: what failed to be synced there was
    /// written to this one. The segment before is the one before those.
    pub left_out: u16,
    /// The segment before may not have been on the disk when this one was begun. If its end is torn,
    /// this one does not count.
    pub is_early: bool,
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(HEADER_LEN as u32).to_le_bytes());
        for number in [self.number, self.next_id, self.previous_end] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.left_out.to_le_bytes());
        out.extend_from_slice(&[u8::from(self.is_early), 0]);
        let crc = crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        let mut header = [0; HEADER_LEN];
        header.copy_from_slice(&out);
        header
    }

    /// Reads a header.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let bytes = bytes.get(..HEADER_LEN).ok_or(Damage::Short)?;
        let mut fields = Fields::new(bytes);
        if fields.array()? != MAGIC {
            return Err(Damage::Magic);
        }
        // Before the version: one that a flipped bit has made is damage, and can be repaired.
        let (checked, crc) = bytes.split_at(HEADER_LEN - 4);
        if crc != crc32c(checked).to_le_bytes() {
            return Err(Damage::Checksum);
        }
        let version = fields.u32()?;
        if !(OLDEST_VERSION..=VERSION).contains(&version) {
            return Err(Damage::Version(version));
        }
        fields.u32()?;
        let [number, next_id, previous_end] = [fields.u64()?, fields.u64()?, fields.u64()?];
        let [low, high, early, _]: [u8; 4] = fields.array()?;
        let left_out = u16::from_le_bytes([low, high]);
        Ok(Self { number, next_id, previous_end, left_out, is_early: early != 0 })
    }

    /// The version of the format in a header that was read.
    pub(crate) fn version(bytes: &[u8]) -> u32 {
        bytes.get(8..12).map_or(0, |at| u32::from_le_bytes([at[0], at[1], at[2], at[3]]))
    }
}
