//! A directory that cannot be taken over stays as it is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::peer::{self, contents};
use crate::support::folder::{Folder, kill};
use crate::told::count;

const EXIT_CANNOT_REPLAY: i32 = 11;

/// Files that the directories here have.
const FILES: usize = 4;

/// Changes a file of beanstalkd's, which it makes for reading only.
fn change(path: &Path, with: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("it is there");
    with(&mut bytes);
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    fs::write(path, bytes).expect("it can be written");
}

/// Asserts that a start fails, says this, and changes nothing.
fn assert_refused(folder: &Folder, words: &[&str]) {
    let before = contents(folder.path());
    let (status, output) = folder.refuse(&[]);
    assert_eq!(status, EXIT_CANNOT_REPLAY, "{output}");
    for word in words {
        assert!(output.contains(word), "{word} in {output}");
    }
    assert_eq!(contents(folder.path()), before, "{output}");
}

#[test]
fn damage() {
    let Some(beanstalkd) = peer::find() else { return };
    type Damage = fn(&mut Vec<u8>);
    let damages: [(Damage, &str, &str); 4] = [
        (|bytes| bytes[0] = 6, "offset 0", "version 6"),
        (|bytes| bytes[7] = 1, "offset 4", "no tube's name"),
        (|bytes| bytes.truncate(50), "offset 4", "the file ends"),
        (|bytes| bytes[8] = b'-', "offset 4", "the name of its tube"),
    ];
    for (damage, place, what) in damages {
        let folder = peer::filled(&beanstalkd, FILES);
        change(&folder.path().join("binlog.2"), damage);
        assert_refused(&folder, &["binlog.2", place, what, "--binlog-repair"]);
        repair(&folder);
    }
}

#[test]
fn a_missing_file() {
    let Some(beanstalkd) = peer::find() else { return };
    let folder = peer::filled(&beanstalkd, FILES);
    fs::remove_file(folder.path().join("binlog.2")).expect("there are several");
    assert_refused(&folder, &["binlog.2 is missing", "--binlog-repair"]);
    repair(&folder);
}

/// All but one file of one job can be had.
fn repair(folder: &Folder) {
    let server = folder.serve(&["--binlog-repair"]);
    assert_eq!(count(&mut server.connect()), FILES as u64 - 1);
    kill(server);
    let server = folder.serve(&[]);
    assert_eq!(count(&mut server.connect()), FILES as u64 - 1);
}

#[test]
fn both_kinds_of_files() {
    let Some(beanstalkd) = peer::find() else { return };
    let folder = Folder::new();
    kill(folder.serve(&[]));
    let server = peer::serve(&beanstalkd, &folder);
    kill(server);
    assert_refused(&folder, &["binlog.1", "jq-binlog", "both servers"]);
    let (status, output) = crate::back::export(&folder);
    assert_eq!(status, EXIT_CANNOT_REPLAY, "{output}");
    fs::remove_file(folder.path().join("binlog.1")).expect("it is there");
    kill(folder.serve(&[]));
}
