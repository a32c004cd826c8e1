//! The real beanstalkd on a directory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::load::{LARGEST, Load};
use crate::support::folder::{Folder, flags, kill};
use crate::support::{PATIENCE, Server, beanstalkd};

/// Bytes of each of its files, so that there are several.
const FILE_SIZE: usize = 80_000;

/// The real beanstalkd, or `None` after saying what is skipped.
pub(crate) fn find() -> Option<PathBuf> {
    beanstalkd("coming from beanstalkd and going back")
}

/// Starts beanstalkd on a directory.
pub(crate) fn serve(program: &Path, folder: &Folder) -> Server {
    // When it starts it counts the CRLF of a job to its size, and gives up a file at a larger one.
    let largest = (LARGEST + 2).to_string();
    Server::start(program, &flags(folder.path(), &["-s", &FILE_SIZE.to_string(), "-z", &largest]))
}

/// Has beanstalkd work in a new directory, and ends it by this signal.
pub(crate) fn worked(program: &Path, seed: u64, steps: usize, end: Signal) -> (Folder, Load) {
    let folder = Folder::new();
    let server = serve(program, &folder);
    let mut load = Load::beanstalkd(seed);
    load.work(&mut server.connect(), steps);
    finish(server, end);
    (folder, load)
}

/// Ends beanstalkd by this signal.
pub(crate) fn finish(mut server: Server, end: Signal) {
    server.signal(end);
    server.exit_status(PATIENCE).expect("it ends by any signal");
}

/// A directory with so many files of beanstalkd's, each of which begins with all of a job and has no
/// other.
pub(crate) fn filled(program: &Path, files: usize) -> Folder {
    let folder = Folder::new();
    let server = serve(program, &folder);
    let mut load = Load::beanstalkd(0);
    for _ in 0..files {
        load.put(&mut server.connect(), FILE_SIZE / 2, 0, 1);
    }
    kill(server);
    folder
}

/// Every file in a directory and its folders, by its path there, with its contents; but for the
/// lock, which whoever tries leaves.
pub(crate) fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("it is there") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("lock") {
                let bytes = fs::read(&path).expect("it can be read");
                files.insert(path.strip_prefix(folder).expect("it is in it").to_owned(), bytes);
            }
        }
    }
    files
}
