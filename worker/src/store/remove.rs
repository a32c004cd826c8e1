//! Removing what a job left behind, whatever it is.
//!
//! Folders can be nested deeper than a path can say, or a stack can bear. So nothing here recurses and
//! nothing is named by a path: what is in a folder's folders is moved up, and then they are empty.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, chmodat, openat, renameat_with, unlinkat,
};
use rustix::io::Errno;
use uuid::Uuid;

/// Removes a folder and all that is in it, or whatever else is there; links, but not what they lead to.
///
/// # Errors
///
/// Why something could not be removed. Everything else is gone.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let root = match open(CWD, path) {
        Err(Errno::NOENT) => return Ok(()),
        // The job has put something else in its place.
        Err(Errno::NOTDIR | Errno::LOOP) => {
            return Ok(unlinkat(CWD, path, AtFlags::empty())?);
        }
        root => root?,
    };
    loop {
        let emptied = empty(&root)?;
        match emptied {
            Emptied::Wholly => break,
            Emptied::WithMore => {}
            // Nothing has changed, and nothing will.
            Emptied::Not(error) => return Err(error.into()),
        }
    }
    match unlinkat(CWD, path, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        removed => Ok(removed?),
    }
}

enum Emptied {
    Wholly,
    /// Something was done, and there is something left to do.
    WithMore,
    Not(Errno),
}

/// Removes what is in a folder, as far as one round goes.
fn empty(root: &OwnedFd) -> Result<Emptied, Errno> {
    let mut failure = None;
    let (mut done, mut left) = (false, false);
    for name in names(root)? {
        match remove_one(root, &name) {
            Ok(()) => done = true,
            Err(error) => {
                failure = Some(error);
                left = true;
            }
        }
    }
    // What was moved up came after the names were read.
    let more = left || !names(root)?.is_empty();
    Ok(match (more, done, failure) {
        (false, ..) => Emptied::Wholly,
        (true, true, _) | (true, false, None) => Emptied::WithMore,
        (true, false, Some(error)) => Emptied::Not(error),
    })
}

/// Removes a file, or a folder whose folders are moved up.
fn remove_one(root: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    match unlinkat(root, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM | Errno::ACCESS) => {}
        Err(error) => return Err(error),
    }
    if unlinkat(root, name, AtFlags::REMOVEDIR).is_ok() {
        return Ok(());
    }
    let folder = open(root, name)?;
    for inner in names(&folder)? {
        if unlinkat(&folder, &*inner, AtFlags::empty()).is_err()
            && unlinkat(&folder, &*inner, AtFlags::REMOVEDIR).is_err()
        {
            // To be moved, a folder must be ours to write to.
            let _ = chmodat(&folder, &*inner, Mode::RWXU, AtFlags::empty());
            let up = format!(".{}", Uuid::new_v4().simple());
            renameat_with(&folder, &*inner, root, up, RenameFlags::NOREPLACE)?;
        }
    }
    unlinkat(root, name, AtFlags::REMOVEDIR)
}

/// Opens a folder, and makes it ours to read and to write to.
fn open(parent: impl AsFd, name: impl rustix::path::Arg + Copy) -> Result<OwnedFd, Errno> {
    let parent = parent.as_fd();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match openat(parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            openat(parent, name, flags, Mode::empty())?
        }
        folder => folder?,
    };
    // If it is not ours, removing from it will fail, or not.
    let _ = rustix::fs::fchmod(&folder, Mode::RWXU);
    Ok(folder)
}

fn names(folder: &OwnedFd) -> Result<Vec<Box<CStr>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().into());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn whatever_is_there() {
        let base = std::env::temp_dir().join(format!("jq-remove-{}", Uuid::new_v4()));
        let root = base.join("root");
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::create_dir_all(root.join("a/d")).unwrap();
        fs::write(root.join("a/b/file"), "x").unwrap();
        fs::write(base.join("kept"), "x").unwrap();
        symlink("../kept", root.join("link")).unwrap();
        symlink("..", root.join("a/up")).unwrap();
        symlink("nowhere", root.join("a/b/dangling")).unwrap();
        for closed in ["a/b/c", "a/b", "a"] {
            fs::set_permissions(root.join(closed), fs::Permissions::from_mode(0o000)).unwrap();
        }
        remove_tree(&root).unwrap();
        assert!(!root.exists() && base.join("kept").exists());
        remove_tree(&root).unwrap();
        remove_tree(&base).unwrap();
        assert!(!base.exists());
    }

    #[test]
    fn deeper_than_a_path_can_say() {
        let root = std::env::temp_dir().join(format!("jq-remove-{}", Uuid::new_v4()));
        fs::create_dir(&root).unwrap();
        let mut folder: OwnedFd = File::open(&root).unwrap().into();
        for _ in 0..5_000 {
            rustix::fs::mkdirat(&folder, "d", Mode::RWXU).unwrap();
            folder = open(&folder, "d").unwrap();
        }
        remove_tree(&root).unwrap();
        assert!(!root.exists());
    }

    #[test]
    fn what_is_no_folder_goes_too() {
        let file = std::env::temp_dir().join(format!("jq-remove-{}", Uuid::new_v4()));
        let link = file.with_extension("link");
        fs::write(&file, "x").unwrap();
        symlink(&file, &link).unwrap();
        remove_tree(&link).unwrap();
        assert!(fs::symlink_metadata(&link).is_err() && file.exists());
        remove_tree(&file).unwrap();
        assert!(!file.exists());
    }
}
