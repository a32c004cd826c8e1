//! Results do not stay for ever.
//!
//! A result in a pack expires by its time; the pack is removed later, as a whole. The file of an expired
//! result is emptied, so that it can be said that there was one, and removed after as long again.
//!
//! There may be very many files. So a sweep is made of small steps, between which others have the disk.

use std::fs::{self, File, ReadDir};
use std::io::{self, ErrorKind};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::Shared;

/// So many files are looked at in one step.
const FILES: usize = 200;

/// A look at all results, whether they have expired.
#[derive(Debug)]
pub struct Sweep {
    pub(super) retention: Duration,
    folders: Option<ReadDir>,
    files: Option<ReadDir>,
    next: Option<SystemTime>,
}

/// How far a sweep is.
#[derive(Debug, PartialEq, Eq)]
pub enum Swept {
    /// There is more to look at.
    More,
    /// That was all. It tells when there is something to be done next; `None` if nothing is kept.
    All(Option<SystemTime>),
}

impl Sweep {
    pub(super) fn new(retention: Duration) -> Self {
        Self { retention, folders: None, files: None, next: None }
    }

    /// Looks at some files.
    pub(super) fn look_at_files(&mut self, shared: &Shared) -> io::Result<Swept> {
        for _ in 0..FILES {
            let folders = match &mut self.folders {
                Some(folders) => folders,
                none => none.insert(fs::read_dir(shared.kept.files.results())?),
            };
            if let Some(file) = self.files.as_mut().and_then(Iterator::next) {
                self.look_at(shared, &file?)?;
                continue;
            }
            let Some(folder) = folders.next() else {
                let ends = shared.kept.all_packs().map(|packs| packs.next_end());
                let first = ends.into_iter().chain([self.next]).flatten().min();
                return Ok(Swept::All(first));
            };
            let folder = folder?;
            let is_folder = folder.file_type()?.is_dir();
            self.files = if is_folder { Some(fs::read_dir(folder.path())?) } else { None };
        }
        Ok(Swept::More)
    }

    fn look_at(&mut self, shared: &Shared, file: &fs::DirEntry) -> io::Result<()> {
        let path = file.path();
        let id = path.file_stem().and_then(|name| name.to_str()?.parse::<Uuid>().ok());
        // Temporary files are being written, or will be written again.
        let Some(id) = id.filter(|_| path.extension().is_some_and(|it| it == "json")) else {
            return Ok(());
        };
        let meta = match file.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            meta => meta?,
        };
        let now = SystemTime::now();
        let due = meta.modified()? + self.retention;
        // What is owed is needed still.
        if due > now || shared.owing().contains_key(&id) {
            self.is_due(due.max(now));
        } else if meta.len() == 0 {
            fs::remove_file(&path)?;
        } else {
            let emptied = File::options().write(true).truncate(true).open(&path)?;
            emptied.set_modified(now)?;
            self.is_due(now + self.retention);
        }
        Ok(())
    }

    fn is_due(&mut self, due: SystemTime) {
        self.next = Some(self.next.map_or(due, |next| next.min(due)));
    }
}
