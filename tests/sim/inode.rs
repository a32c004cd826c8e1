//! A file: what it shows, and what would survive the loss of power.

use fastrand::Rng;

/// What a drive writes whole or not at all, in bytes.
const SECTOR: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct Inode {
    /// What it shows.
    pub(crate) bytes: Vec<u8>,
    /// What survives the loss of power.
    pub(crate) kept: Vec<u8>,
    /// What happened since.
    changes: Vec<Change>,
}

#[derive(Debug, Clone)]
pub(crate) enum Change {
    Write(usize, Vec<u8>),
    Grow(usize),
    Cut(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, written) => {
                let end = offset + written.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*offset..end].copy_from_slice(written);
            }
            Self::Grow(end) => bytes.resize(bytes.len().max(*end), 0),
            Self::Cut(len) => bytes.truncate(*len),
        }
    }

    /// What is left of it when the power is lost before it was synced.
    fn torn(&self, rng: &mut Rng) -> Vec<Self> {
        let Self::Write(offset, bytes) = self else {
            return if rng.bool() { vec![self.clone()] } else { Vec::new() };
        };
        match rng.u8(..5) {
            0 => Vec::new(),
            // The length of the file was kept, but not what is in it.
            1 => vec![Self::Grow(offset + bytes.len())],
            2 => vec![Self::Write(*offset, bytes[..torn(*offset, bytes.len(), rng)].to_vec())],
            3 => sectors(*offset, bytes).filter(|_| rng.bool()).collect(),
            _ => vec![self.clone()],
        }
    }
}

/// How many of so many bytes are written at an offset, if not all may be.
pub(crate) fn torn(offset: usize, len: usize, rng: &mut Rng) -> usize {
    let end = offset + rng.usize(..=len);
    if end == offset + len { len } else { (end - end % SECTOR).saturating_sub(offset) }
}

/// A write, sector by sector.
fn sectors(offset: usize, bytes: &[u8]) -> impl Iterator<Item = Change> {
    let first = (SECTOR - offset % SECTOR).min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    let rest = rest.chunks(SECTOR).enumerate();
    let rest = rest.map(move |(at, bytes)| (offset + first + at * SECTOR, bytes));
    std::iter::once((offset, head)).chain(rest).map(|(at, bytes)| Change::Write(at, bytes.to_vec()))
}

impl Inode {
    pub(crate) fn change(&mut self, change: Change) {
        change.apply(&mut self.bytes);
        self.changes.push(change);
    }

    pub(crate) fn sync(&mut self) {
        for change in self.changes.drain(..) {
            change.apply(&mut self.kept);
        }
    }

    /// The power is lost: of what was not synced, only some is there.
    pub(crate) fn lose_power(&mut self, rng: &mut Rng) {
        for change in self.changes.drain(..) {
            for left in change.torn(rng) {
                left.apply(&mut self.kept);
            }
        }
        self.bytes.clone_from(&self.kept);
    }

    /// A sync fails: some of what was to be synced is lost. The file may show it all the same, for a while.
    pub(crate) fn lose_some(&mut self, rng: &mut Rng) {
        let shown = self.bytes.clone();
        self.lose_power(rng);
        if rng.bool() {
            self.bytes = shown;
        }
    }
}
