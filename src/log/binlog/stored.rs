//! Files that hold a body each: read, copied and removed.

use std::io;

use beanstalk_protocol::JobId;
use crc32c::crc32c_append;
use tracing::error;

use crate::log::binlog::body_name;
use crate::log::binlog::disk::Disk;
use crate::log::binlog::format::StoredBody;
use crate::log::binlog::replay::{Known, ReplayError};

/// Bytes that are read or copied at a time.
const PIECE: usize = 1 << 20;

/// Reads the body of a job, which must be what its record says.
pub(crate) fn read(
    disk: &dyn Disk,
    job: JobId,
    body: StoredBody,
) -> Result<Box<[u8]>, ReplayError> {
    let name = body_name(job);
    let failed = |error: io::Error| ReplayError::Io { what: format!("read {name}"), error };
    let file = match disk.open(&name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ReplayError::Missing { file: name, known: Known::Body });
        }
        Err(error) => return Err(failed(error)),
    };
    let (len, expected) = (file.len().map_err(failed)?, u64::from(body.len));
    if len < expected {
        return Err(ReplayError::CutShort { file: name, offset: len, end: expected });
    }
    let mut bytes = Vec::new();
    let reserved = bytes.try_reserve_exact(body.len as usize);
    reserved.map_err(|_| failed(io::ErrorKind::OutOfMemory.into()))?;
    let mut crc = 0;
    while bytes.len() < body.len as usize {
        let at = bytes.len();
        bytes.resize((at + PIECE).min(body.len as usize), 0);
        let count = file.read_at(&mut bytes[at..], at as u64).map_err(failed)?;
        crc = crc32c_append(crc, &bytes[at..]);
        if count < bytes.len() - at {
            let offset = (at + count) as u64;
            return Err(ReplayError::CutShort { file: name, offset, end: expected });
        }
    }
    if len > expected || crc != body.crc {
        return Err(ReplayError::DamagedBody { file: name, job });
    }
    Ok(bytes.into_boxed_slice())
}

/// Copies a file to another one, which is on the disk then. Returns how many bytes that were.
pub(crate) fn copy(disk: &dyn Disk, from: &str, to: &str) -> io::Result<u64> {
    let (source, target) = (disk.open(from)?, disk.create(to)?);
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    loop {
        let count = source.read_at(&mut piece, at)?;
        if count == 0 {
            break;
        }
        target.write_at(&piece[..count], at)?;
        at += count as u64;
    }
    target.sync()?;
    Ok(at)
}

/// Removes the body of a job. If that fails, the next start does it.
pub(crate) fn remove(disk: &dyn Disk, job: JobId) {
    let name = body_name(job);
    if let Err(error) = disk.remove(&name) {
        error!(%error, file = name, "cannot remove a body that is no longer needed");
    }
}
