//! A directory for `-b`, servers on it, and what is in it.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use super::{PATIENCE, Process, Server, jq_server, scratch_path};

/// An empty directory, removed with all that is in it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = scratch_path("binlog");
        fs::create_dir(&path).expect("the temporary folder is writable");
        Self(path)
    }

    /// In memory, if the system has a file system for that: for tests that must not wait for a disk.
    pub(crate) fn in_memory() -> Self {
        let memory = Path::new("/dev/shm");
        if !memory.is_dir() {
            return Self::new();
        }
        let path = scratch_path("binlog");
        let path = memory.join(path.file_name().expect("it has a name"));
        match fs::create_dir(&path) {
            Ok(()) => Self(path),
            Err(_) => Self::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// `-b` with this directory, and more flags.
    pub(crate) fn flags(&self, more: &[&str]) -> Vec<String> {
        flags(&self.0, more)
    }

    /// A server on this directory, with more flags.
    pub(crate) fn serve(&self, more: &[&str]) -> Server {
        Server::jq(&self.flags(more))
    }

    /// Starts a server that is to end by itself; tells its exit status and what it wrote.
    pub(crate) fn refuse(&self, more: &[&str]) -> (i32, String) {
        refuse(&self.0, more)
    }

    /// Where the segments are.
    pub(crate) fn inner(&self) -> PathBuf {
        self.0.join("jq-binlog")
    }

    /// The files of the segments, the oldest first.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.inner()).expect("the server has made it");
        let paths = entries.map(|entry| entry.expect("the folder can be read").path());
        let mut segments: Vec<PathBuf> =
            paths.filter(|path| name(path).starts_with("segment-")).collect();
        segments.sort();
        segments
    }

    /// The last segment.
    pub(crate) fn last_segment(&self) -> PathBuf {
        self.segments().pop().expect("there is one")
    }

    /// Every file in it and in its folders, with its contents.
    pub(crate) fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            let entries = fs::read_dir(folder).expect("it is there");
            for path in entries.map(|entry| entry.expect("the folder can be read").path()) {
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let bytes = fs::read(&path).expect("it can be read");
                    files.push((path, bytes));
                }
            }
        }
        files.sort();
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `-b` with a directory, and more flags.
pub(crate) fn flags(folder: &Path, more: &[&str]) -> Vec<String> {
    let folder = folder.to_str().expect("the path is text");
    let flags = ["-b", folder].into_iter().chain(more.iter().copied());
    flags.map(str::to_owned).collect()
}

/// Starts a server that is to end by itself; tells its exit status and what it wrote.
pub(crate) fn refuse(folder: &Path, more: &[&str]) -> (i32, String) {
    let mut command = std::process::Command::new(jq_server());
    command.args(["-l", "127.0.0.1", "-p", "0"]).args(flags(folder, more));
    let mut process = Process::spawn(command);
    (process.exit_code(), process.output())
}

/// The last part of a path.
pub(crate) fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("its name is text")
}

/// Ends a server as a power cut ends it, but that the system's caches remain.
pub(crate) fn kill(mut server: Server) {
    server.signal(Signal::SIGKILL);
    server.exit_status(PATIENCE).expect("nothing survives this");
}

/// Stops a server as an operator does. Returns what it wrote.
pub(crate) fn stop(mut server: Server) -> String {
    server.signal(Signal::SIGTERM);
    assert_eq!(server.process().exit_code(), 0);
    server.output()
}
