//! A repair: what is damaged is copied aside and left out.

use tracing::warn;

use super::Replay;
use super::error::{ReplayError, io_error};
use super::source::{SegmentTail, Source};
use crate::log::binlog::format::{self, Checked, Damage};

impl Replay<'_> {
    /// Copies what is damaged aside. Returns where the next sound record begins.
    pub(super) fn step_over(
        &mut self,
        source: &Source,
        from: u64,
        end: u64,
    ) -> Result<u64, ReplayError> {
        let failed = || io_error(format!("read {}", source.name));
        let tail = SegmentTail::new(source, from).map_err(failed())?;
        let bytes = &tail.bytes[..tail.bytes.len().min((end - from) as usize)];
        let next = (1..bytes.len()).find(|at| is_sound(&bytes[*at..])).unwrap_or(bytes.len());
        let aside = format!("damaged-{}-at-{from}", source.name);
        let copied = self.disk.create(&aside).and_then(|file| {
            file.write_at(&bytes[..next], 0)?;
            file.sync()
        });
        copied.map_err(io_error(format!("write {aside}")))?;
        warn!(file = source.name, offset = from, bytes = next, aside, "left out damaged bytes");
        self.found.damaged += 1;
        self.found.damaged_bytes += next as u64;
        // What is missing at the end of a file cannot be stepped over.
        Ok(if next == bytes.len() { end } else { from + next as u64 })
    }
}

/// Whether a sound record begins here. The cheap questions come first: a long search asks millions
/// of times.
fn is_sound(bytes: &[u8]) -> bool {
    let kind = bytes.get(format::FRAME_LEN);
    kind.is_some_and(|kind| format::is_kind(*kind))
        && matches!(format::check(bytes), Ok(Checked::Sound(len))
            if matches!(format::parse(&bytes[..len]), Ok(_) | Err(Damage::Newer(_))))
}
