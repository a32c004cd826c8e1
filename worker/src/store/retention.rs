//! Results do not stay for ever.
//!
//! An expired result is emptied, so that it can be said that there was one, and its file removed
//! after as long again.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::Shared;

pub(super) fn sweep(shared: &Shared, retention: Duration) -> io::Result<Option<SystemTime>> {
    let now = SystemTime::now();
    let mut next: Option<SystemTime> = None;
    for folder in fs::read_dir(shared.files.results())? {
        let folder = folder?;
        if !folder.file_type()?.is_dir() {
            continue;
        }
        for file in fs::read_dir(folder.path())? {
            let file = file?;
            let path = file.path();
            let id = path.file_stem().and_then(|name| name.to_str()?.parse::<Uuid>().ok());
            // Temporary files are being written, or will be written again.
            if path.extension().is_none_or(|it| it != "json") {
                continue;
            }
            let Some(id) = id else { continue };
            let meta = match file.metadata() {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                meta => meta?,
            };
            let due = meta.modified()? + retention;
            // What is owed is needed still.
            if due > now || shared.owing().contains_key(&id) {
                next = Some(next.map_or(due, |next| next.min(due)));
            } else if meta.len() == 0 {
                fs::remove_file(&path)?;
            } else {
                let emptied = File::options().write(true).truncate(true).open(&path)?;
                emptied.set_modified(now)?;
                let due = now + retention;
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
    }
    Ok(next)
}
