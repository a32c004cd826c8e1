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
    let mut bytes = Vec::new();
    if bytes.try_reserve_exact(body.len as usize).is_err() {
        return Err(failed(&body_name(job), io::ErrorKind::OutOfMemory.into()));
    }
    scan(disk, job, body, |piece| bytes.extend_from_slice(piece))?;
    Ok(bytes.into_boxed_slice())
}

/// Looks whether the body of a job is what its record says, and holds no more than a piece of it at a time.
pub(crate) fn verify(disk: &dyn Disk, job: JobId, body: StoredBody) -> Result<(), ReplayError> {
    scan(disk, job, body, |_| ())
}

/// Reads the body of a job piece by piece. Fails if it is not what its record says.
fn scan(
    disk: &dyn Disk,
    job: JobId,
    body: StoredBody,
    mut take: impl FnMut(&[u8]),
) -> Result<(), ReplayError> {
    let name = body_name(job);
    let file = match disk.open(&name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ReplayError::Missing { file: name, known: Known::Body });
        }
        Err(error) => return Err(failed(&name, error)),
    };
    let expected = u64::from(body.len);
    let len = file.len().map_err(|error| failed(&name, error))?;
    if len < expected {
        return Err(ReplayError::CutShort { file: name, offset: len, end: expected });
    }
    let mut buffer = vec![0; PIECE.min(body.len as usize)];
    let (mut at, mut crc) = (0, 0);
    while at < expected {
        let wanted = PIECE.min((expected - at) as usize);
        let piece = &mut buffer[..wanted];
        let count = file.read_at(piece, at).map_err(|error| failed(&name, error))?;
        if count < wanted {
            let offset = at + count as u64;
            return Err(ReplayError::CutShort { file: name, offset, end: expected });
        }
        crc = crc32c_append(crc, piece);
        take(piece);
        at += wanted as u64;
    }
    if len > expected || crc != body.crc {
        return Err(ReplayError::DamagedBody { file: name, job });
    }
    Ok(())
}

fn failed(name: &str, error: io::Error) -> ReplayError {
    ReplayError::Io { what: format!("read {name}"), error }
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
