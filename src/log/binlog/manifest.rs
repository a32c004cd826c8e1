//! What segments there must be, and how far the log must be good: a small file beside them.
//!
//! Every segment tells where the one before it ends. Nothing in them tells that the oldest or the
//! newest is missing, or that the newest was copied in part. The manifest does. What it says is
//! always less than what is true: it names a segment only when its file is there, an offset only when
//! everything before it is synced, and the oldest segment only when those before it are needed no
//! more. So a crash never makes it wrong. It fits into one sector, which a drive writes whole or not
//! at all, and is written over in place, which takes no room on a full disk.

use std::io;
use std::sync::{Arc, Mutex};

use crc32c::crc32c;

use crate::log::binlog::disk::{Disk, DiskFile};
use crate::log::binlog::format::Damage;
use crate::log::binlog::lock;
use crate::log::codec::Fields;

/// The name of its file.
pub const MANIFEST: &str = "manifest";

/// The first bytes of the file.
const MAGIC: [u8; 8] = *b"jqextent";

/// The version of its layout.
const VERSION: u32 = 1;

/// Its length in bytes.
pub const MANIFEST_LEN: usize = 56;

/// What there must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// The number of the oldest segment that is needed. Older ones may still be there.
    pub oldest: u64,
    /// There are files of all segments up to this number; 0 if there need not be any. The last ones
    /// may be empty.
    pub newest: u64,
    /// The segment of this number and those before it are sound, this one up to
    /// [`end`](Self::end).
    pub sound: u64,
    /// In bytes.
    pub end: u64,
}

impl Extent {
    /// The file's bytes.
    pub fn encode(&self) -> [u8; MANIFEST_LEN] {
        let mut out = Vec::with_capacity(MANIFEST_LEN);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(MANIFEST_LEN as u32).to_le_bytes());
        for number in [self.oldest, self.newest, self.sound, self.end] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&[0; 4]);
        let crc = crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        let mut bytes = [0; MANIFEST_LEN];
        bytes.copy_from_slice(&out);
        bytes
    }

    /// Reads the file's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let bytes = bytes.get(..MANIFEST_LEN).ok_or(Damage::Short)?;
        let mut fields = Fields::new(bytes);
        let (told, crc) = bytes.split_at(MANIFEST_LEN - 4);
        if crc != crc32c(told).to_le_bytes() {
            return Err(Damage::Checksum);
        }
        if (fields.array()?, fields.u32()?) != (MAGIC, VERSION) {
            return Err(Damage::Meaning);
        }
        fields.u32()?;
        let [oldest, newest, sound, end] =
            [fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?];
        Ok(Self { oldest, newest, sound, end })
    }
}

/// Reads the manifest. `None` if there is no such file.
pub(crate) fn read(disk: &dyn Disk) -> io::Result<Option<Result<Extent, Damage>>> {
    let file = match disk.open(MANIFEST) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = [0; MANIFEST_LEN];
    let count = file.read_at(&mut bytes, 0)?;
    Ok(Some(Extent::decode(&bytes[..count])))
}

/// The manifest of a log that is written.
#[derive(Debug)]
pub(crate) struct Manifest {
    file: Arc<dyn DiskFile>,
    /// Whether anything is ever synced.
    syncs: bool,
    noted: Mutex<Noted>,
}

#[derive(Debug)]
struct Noted {
    extent: Extent,
    /// What was last written; `None` if that is not known.
    written: Option<Extent>,
}

impl Noted {
    fn write(&mut self, file: &dyn DiskFile) -> io::Result<()> {
        if self.written != Some(self.extent) {
            self.written = None;
            file.write_at(&self.extent.encode(), 0)?;
            self.written = Some(self.extent);
        }
        Ok(())
    }
}

impl Manifest {
    /// Says that this is what there must be. It is on the disk before a segment is begun: one of
    /// today's format without a manifest would be damage.
    pub(crate) fn open(disk: &dyn Disk, extent: Extent, syncs: bool) -> io::Result<Self> {
        let (file, is_new) = match disk.open(MANIFEST) {
            Ok(file) => (file, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (disk.create(MANIFEST)?, true),
            Err(error) => return Err(error),
        };
        let noted = Mutex::new(Noted { extent, written: None });
        let manifest = Self { file, syncs, noted };
        manifest.keep()?;
        if is_new && syncs {
            disk.sync()?;
        }
        Ok(manifest)
    }

    /// The file of the segment of this number is there, and is about to be written.
    pub(crate) fn begin(&self, newest: u64) {
        let mut noted = lock(&self.noted);
        noted.extent.newest = noted.extent.newest.max(newest);
        // If it fails, the file says less than it could; it is written again soon.
        let _ = noted.write(&*self.file);
    }

    /// The segments up to this number are sound, this one up to `end`. The file says so from the next
    /// [`note`](Self::note) on.
    pub(crate) fn reach(&self, sound: u64, end: u64) {
        let extent = &mut lock(&self.noted).extent;
        extent.newest = extent.newest.max(sound);
        (extent.sound, extent.end) = (extent.sound, extent.end).max((sound, end));
    }

    /// Writes what has changed, which is not worth a sync of its own.
    pub(crate) fn note(&self) {
        let _ = lock(&self.noted).write(&*self.file);
    }

    /// Writes what has changed and syncs that, unless nothing ever is.
    pub(crate) fn keep(&self) -> io::Result<()> {
        {
            let mut noted = lock(&self.noted);
            // After a failed sync, nobody knows whether what was written is there.
            noted.written = None;
            noted.write(&*self.file)?;
        }
        if self.syncs { self.file.sync() } else { Ok(()) }
    }

    /// Segments before this number are needed no more. Only when this has returned may they go.
    pub(crate) fn reclaim_before(&self, oldest: u64) -> io::Result<()> {
        {
            let extent = &mut lock(&self.noted).extent;
            extent.oldest = extent.oldest.max(oldest);
        }
        self.keep()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENT: Extent = Extent { oldest: 3, newest: 9, sound: 8, end: 1 << 40 };

    #[test]
    fn is_read_as_it_was_written() {
        let bytes = EXTENT.encode();
        assert_eq!(Extent::decode(&bytes), Ok(EXTENT));
        assert_eq!(Extent::decode(&bytes[..MANIFEST_LEN - 1]), Err(Damage::Short));
        for at in 0..MANIFEST_LEN {
            let mut bytes = bytes;
            bytes[at] ^= 0x10;
            assert!(Extent::decode(&bytes).is_err(), "at {at}");
        }
    }

    /// The bytes as the documentation describes them.
    #[test]
    fn is_laid_out_as_documented() {
        let mut bytes = b"jqextent\x01\0\0\0\x38\0\0\0".to_vec();
        for number in [3_u64, 9, 8, 1 << 40] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&[0; 4]);
        let crc = crc32c(&bytes).to_le_bytes();
        bytes.extend_from_slice(&crc);
        assert_eq!(EXTENT.encode()[..], bytes[..]);
    }
}
