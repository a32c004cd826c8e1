//! What is known of jobs that wait for their next attempt, from one start to the next.
//!
//! ```text
//! {"until":"2026-11-22T13:00:00Z","document":{...}}
//! ```
//!
//! One line a job, written when the worker stops. After a crash it is not there: these jobs are unknown
//! then until they are taken again, and lose nothing but the list of their attempts.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::table::Waiting;

const NAME: &str = "waiting";

/// Writes them.
pub(super) fn save(dir: &Path, waiting: &[Waiting]) -> io::Result<()> {
    let mut text = Vec::new();
    for job in waiting {
        serde_json::to_writer(&mut text, job)?;
        text.push(b'\n');
    }
    let temporary = dir.join(format!("{NAME}.new"));
    fs::write(&temporary, text)?;
    fs::rename(temporary, dir.join(NAME))
}

/// Reads them, and removes the file: it is not true for long.
pub(super) fn take(dir: &Path) -> io::Result<Vec<Waiting>> {
    let path = dir.join(NAME);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        text => text?,
    };
    fs::remove_file(path)?;
    // What a later version wrote may be left out: nothing depends on it.
    let lines = text.split(|byte| *byte == b'\n');
    Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::result::{JobResult, Status, WorkerName};

    #[test]
    fn they_are_read_once_as_they_were_written() {
        let dir = std::env::temp_dir().join(format!("jq-waiting-{}", Uuid::new_v4()));
        fs::create_dir(&dir).unwrap();
        assert!(take(&dir).unwrap().is_empty());
        let name = WorkerName { id: "w".into(), version: "1".into() };
        let waiting = [1, 2].map(|id| Waiting {
            until: Timestamp::MAX,
            looked: None,
            document: JobResult::blank(
                Uuid::from_u128(id),
                None,
                Status::Accepted,
                name.clone(),
                1,
                None,
                None,
            ),
        });
        save(&dir, &waiting).unwrap();
        fs::OpenOptions::new()
            .append(true)
            .open(dir.join(NAME))
            .and_then(|mut file| io::Write::write_all(&mut file, b"{\"later\":1}\n{\"cut"))
            .unwrap();
        let ids: Vec<_> = take(&dir).unwrap().iter().map(|it| it.document.id.as_u128()).collect();
        assert_eq!(ids, [1, 2]);
        assert!(take(&dir).unwrap().is_empty());
        fs::remove_dir_all(dir).unwrap();
    }
}
