//! Finding out what packs there are at the start.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use tracing::{info, warn};

use super::index::{Index, Spot};
use super::line::{Line, damaged_id, lines};
use super::{Active, Sealed, State, path, remove};

/// Which files there are of a pack.
#[derive(Debug, Default)]
struct Parts {
    pack: bool,
    index: bool,
    gone: bool,
}

/// Reads the indexes, and what has none.
pub(super) fn open(dir: &Path, may_write: bool) -> io::Result<State> {
    let packs = list(dir, may_write)?;
    let mut state = State::default();
    let newest = packs.keys().next_back().copied();
    for (number, parts) in packs {
        // A number is not used again, whatever becomes of the pack.
        state.next = number.saturating_add(1);
        match sealed(dir, number, &parts, may_write)? {
            Some(sealed) => state.sealed.push(Arc::new(sealed)),
            None if !parts.pack => {}
            None => {
                let active = scan(dir, number, may_write)?;
                if Some(number) == newest {
                    state.active = Some(active);
                } else {
                    state.sealed.push(Arc::new(seal(dir, &active, may_write)));
                }
            }
        }
    }
    Ok(state)
}

fn list(dir: &Path, may_write: bool) -> io::Result<BTreeMap<u64, Parts>> {
    let mut packs: BTreeMap<u64, Parts> = BTreeMap::new();
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(packs),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let number = path.file_stem().and_then(|name| name.to_str()?.parse().ok());
        let extension = path.extension().and_then(|it| it.to_str());
        let (Some(number), Some(extension)) = (number, extension) else { continue };
        // Whoever names one in another way keeps it for himself, also one behind which there could be none.
        if number == u64::MAX || path != super::path(dir, number, extension) {
            continue;
        }
        match extension {
            "pack" => packs.entry(number).or_default().pack = true,
            "index" => packs.entry(number).or_default().index = true,
            "gone" => packs.entry(number).or_default().gone = true,
            // An index that was being written.
            "new" if may_write => remove(&path)?,
            _ => {}
        }
    }
    Ok(packs)
}

/// What has an index. `None`: it has none that can be read.
fn sealed(dir: &Path, number: u64, parts: &Parts, may_write: bool) -> io::Result<Option<Sealed>> {
    let extension = if parts.gone { "gone" } else { "index" };
    if !parts.gone && !parts.index {
        return Ok(None);
    }
    let file = path(dir, number, extension);
    let Some(index) = Index::read(&file)? else {
        if parts.pack && !parts.gone {
            info!(path = %file.display(), "the index of a pack of results is damaged; it is made again");
        } else {
            warn!(path = %file.display(), "the index of a removed pack is damaged; its results are unknown");
            if may_write {
                remove(&file)?;
                remove(&path(dir, number, "pack"))?;
            }
        }
        return Ok(None);
    };
    let pack = path(dir, number, "pack");
    let is_lost = !parts.gone && !parts.pack;
    if is_lost {
        let results = index.results;
        warn!(path = %pack.display(), results, "a pack of results is missing; they count as expired");
        if may_write {
            fs::rename(&file, path(dir, number, "gone"))?;
        }
    }
    // Without the right to rename it, it is looked for where it is, and its pack found missing.
    Ok(Some(Sealed::new(number, index, parts.gone || (is_lost && may_write))))
}

/// Reads a pack that has no index. What is damaged is said.
fn scan(dir: &Path, number: u64, may_write: bool) -> io::Result<Active> {
    let path = path(dir, number, "pack");
    let bytes = fs::read(&path)?;
    let file = OpenOptions::new().read(true).append(may_write).open(&path)?;
    // Of what is damaged, it is not known how old it is.
    let modified =
        Timestamp::try_from(file.metadata()?.modified()?).map_or(0, Timestamp::as_millisecond);
    let mut active = Active::of(number, file);
    let mut damaged: Option<usize> = None;
    let mut lost = 0_usize;
    let mut end = 0;
    for line in lines(&bytes) {
        end = line.end;
        let position = |at: usize| u32::try_from(at).map_err(io::Error::other);
        let (offset, length) = (position(line.start)?, position(line.len())?);
        match Line::read(&bytes[line.clone()]) {
            Some(Line { id, finished, .. }) => {
                active.add(id, Spot { offset, length, finished });
            }
            None => {
                damaged.get_or_insert(line.start);
                lost += 1;
                // The pack is not removed at once: somebody may be able to read it.
                active.newest = active.newest.max(modified);
                // An earlier result of this job must not be taken for the last one.
                if let Some(id) = damaged_id(&bytes[line]) {
                    active.add(id, Spot { offset, length, finished: modified });
                }
            }
        }
    }
    if let Some(first) = damaged {
        let path = path.display();
        warn!(%path, lines = lost, first, "a pack of results is damaged; only these lines are lost");
    }
    if end < bytes.len() {
        // The end of a line that was being written. The journal has it.
        if may_write {
            active.file.set_len(end as u64)?;
        }
    }
    active.size = u32::try_from(end).map_err(io::Error::other)?;
    Ok(active)
}

fn seal(dir: &Path, active: &Active, may_write: bool) -> Sealed {
    let (number, spots) = active.copy();
    let mut index = Index::new(spots, active.newest);
    let path = path(dir, number, "index");
    if may_write && let Err(error) = index.write(&path) {
        warn!(path = %path.display(), %error, "cannot write the index of a pack of results");
    }
    Sealed::new(number, index, false)
}
