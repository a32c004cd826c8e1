//! A disk that is really full: a small file system in memory.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Process, eventually, executable, scratch_path, skip};

/// Of the file system, in bytes.
pub(crate) const SIZE: usize = 2 << 20;

/// A small file system, seen by its process only and by whoever goes through `/proc`; so it needs no
/// root where users may make namespaces, and is gone with the process.
pub(crate) struct SmallDisk {
    /// Has it mounted. When dropped, it ends.
    _holder: Process,
    /// Where it is for us.
    path: PathBuf,
    /// Where it is mounted, which for us is an empty folder.
    mount_point: PathBuf,
}

impl SmallDisk {
    /// `None`, after saying so, if there can be none here.
    pub(crate) fn mount() -> Option<Self> {
        const WHAT: &str = "a full disk";
        let Some(unshare) = executable("unshare") else {
            skip(WHAT, "unshare is not installed (Debian: util-linux)");
            return None;
        };
        let mount_point = scratch_path("disk");
        fs::create_dir(&mount_point).expect("the temporary folder is writable");
        let mut said = String::new();
        // With the rights of root where we have them, and else with those over a namespace of users.
        for flags in [&["--mount"][..], &["--user", "--map-root-user", "--mount"]] {
            let mut command = Command::new(&unshare);
            let script = "mount -t tmpfs -o size=$1,mode=700 jq-test \"$2\" && echo mounted && \
                          exec sleep infinity";
            command.args(flags).args(["sh", "-c", script, "sh", &SIZE.to_string()]);
            command.arg(&mount_point);
            let mut holder = Process::spawn(command);
            let mut mounted = false;
            eventually("the file system is mounted, or refused", || {
                mounted = holder.output().contains("mounted\n");
                mounted || holder.exit_status(std::time::Duration::ZERO).is_some()
            });
            if mounted {
                let root = PathBuf::from(format!("/proc/{}/root", holder.pid()));
                let path = root.join(mount_point.strip_prefix("/").expect("it is absolute"));
                return Some(Self { _holder: holder, path, mount_point });
            }
            said += &holder.output();
        }
        let _ = fs::remove_dir(&mount_point);
        skip(WHAT, &format!("no small file system can be mounted: {}", said.trim()));
        None
    }

    /// A directory for `-b` on it.
    pub(crate) fn folder(&self) -> PathBuf {
        let folder = self.path.join("binlog");
        fs::create_dir_all(&folder).expect("the disk is empty");
        folder
    }

    /// Has another file take up this much. Returns the file.
    pub(crate) fn fill(&self, bytes: usize) -> PathBuf {
        let path = self.path.join("filler");
        let mut file = fs::File::create(&path).expect("a file can be made");
        file.write_all(&vec![b'f'; bytes]).expect("there is so much room");
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.mount_point);
    }
}

/// It is as small as it is said to be: a test on a large one would never see it full.
#[test]
fn is_small() {
    let Some(disk) = SmallDisk::mount() else { return };
    let rest = disk.fill(SIZE / 2);
    let too_much = fs::write(disk.path.join("more"), vec![0; SIZE / 2 + 1]);
    assert_eq!(too_much.map_err(|error| error.raw_os_error()), Err(Some(28)), "no space is left");
    fs::remove_file(rest).expect("it is there");
    assert!(!Path::new(&disk.mount_point).join("more").exists(), "nobody else sees it");
}
