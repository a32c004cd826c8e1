//! Takes in what a process left in its output directory: its artifacts.
//!
//! The directory is its process' own, so anything can be in it: links to elsewhere, pipes that nobody writes to,
//! a hundred thousand files, a file of a terabyte that is all holes, names that are no text. So nothing is
//! followed and nothing is opened that is no file; what is looked at, listed and copied is bounded; and for what
//! is left out there is a note. A file that somebody may have open still is copied while its digest is computed, so
//! that nobody can change what is kept.
//!
//! Owns: which files are artifacts, and what a result tells of each. Must not know: jobs, or where they are kept.

mod media;

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat, unlinkat,
};
use rustix::io::Errno;

use crate::artifact::{Artifact, ArtifactName};
use crate::outbound::{Digest, Hasher};
use crate::store::{Staging, size_of};
use crate::text::escaped;

use media::{Utf8, media_type};

/// Folders in folders are looked at to this depth.
const MAX_DEPTH: usize = 16;

/// For each file that may be taken, so many things are looked at.
const LOOKS: usize = 10;

/// So many notes say what is left out; one more says how much else is.
const MAX_NOTES: usize = 10;

/// Of a name in a note, at most so many bytes are shown.
const SHOWN: usize = 200;

const CHUNK: usize = 128 << 10;

/// How much may be taken of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most files.
    pub files: usize,
    /// Most bytes, in all files together.
    pub bytes: u64,
}

/// What is left out, and why.
#[derive(Debug, Clone, Default)]
struct Notes {
    said: Vec<String>,
    more: usize,
}

impl Notes {
    fn leave_out(&mut self, name: &str, why: &str) {
        if self.said.len() < MAX_NOTES {
            let name = escaped(name, SHOWN);
            self.said.push(format!("artifact \"{name}\" is left out: {why}"));
        } else {
            self.more += 1;
        }
    }

    fn done(mut self) -> Vec<String> {
        if self.more > 0 {
            self.said.push(format!("artifacts that are left out besides these: {}", self.more));
        }
        self.said
    }
}

/// A file that may become an artifact.
#[derive(Debug)]
struct Candidate {
    name: ArtifactName,
    bytes: u64,
    /// Tells it from every other file.
    identity: (u64, u64),
    links: u64,
    /// Whether it belongs to our user.
    is_ours: bool,
}

/// What is in an output directory.
#[derive(Debug)]
pub struct Outputs {
    root: Option<OwnedFd>,
    candidates: Vec<Candidate>,
    notes: Notes,
    /// Whether nobody can have a file open any more.
    may_move: bool,
    /// What was taken of the candidates so far, and how many of them were left out.
    artifacts: Vec<Artifact>,
    lost: usize,
}

/// What was taken.
#[derive(Debug, Default)]
pub struct Collected {
    /// Where they are until their result is kept. `None`: nowhere, or there are none.
    pub staging: Option<Staging>,
    /// Sorted by their names.
    pub artifacts: Vec<Artifact>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

impl Outputs {
    /// Looks at a directory. What is in it does not change any more, or if it does, that does no harm.
    ///
    /// # Errors
    ///
    /// This machine is short of something, or its disk fails. The process is not to blame.
    pub fn look(dir: &Path, limits: Limits) -> io::Result<Self> {
        let mut notes = Notes::default();
        let root = match open_folder(CWD, dir) {
            Ok(root) => root,
            Err(error) => {
                blame_machine(error)?;
                if error != Errno::NOENT {
                    notes.leave_out(".", "the output directory is no directory any more");
                }
                return Ok(Self::new(None, Vec::new(), notes));
            }
        };
        let mut walk = Walk {
            of: fstat(&root)?,
            looks: limits.files.saturating_mul(LOOKS),
            candidates: Vec::new(),
            notes,
        };
        walk.folder(&root, "", MAX_DEPTH)?;
        let Walk { looks, mut candidates, mut notes, .. } = walk;
        if looks == 0 {
            notes.leave_out("...", "there is far too much in the output directory");
        }
        leave_out_foreign(&mut candidates, &mut notes);
        candidates.sort_by(|a, b| a.name.cmp(&b.name));
        let mut left = limits;
        candidates.retain(|candidate| {
            if left.files == 0 {
                let why = format!("there may be at most {} (artifacts.max_files)", limits.files);
                notes.leave_out(candidate.name.as_str(), &why);
                return false;
            }
            if candidate.bytes > left.bytes {
                let why = format!(
                    "it has {} bytes, and all may have {} together (artifacts.max_bytes)",
                    candidate.bytes, limits.bytes
                );
                notes.leave_out(candidate.name.as_str(), &why);
                return false;
            }
            left.files -= 1;
            left.bytes -= candidate.bytes;
            true
        });
        Ok(Self::new(Some(root), candidates, notes))
    }

    fn new(root: Option<OwnedFd>, candidates: Vec<Candidate>, notes: Notes) -> Self {
        Self { root, candidates, notes, may_move: false, artifacts: Vec::new(), lost: 0 }
    }

    /// The process is gone, with all that it started: files of our own user can be moved, and need not be
    /// copied.
    #[must_use]
    pub fn of_the_dead(self) -> Self {
        Self { may_move: true, ..self }
    }

    /// Whether there is nothing to be taken.
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// What they will take up, in bytes.
    pub fn size(&self) -> u64 {
        size_of(self.candidates.iter().map(|candidate| candidate.bytes))
    }

    /// Takes nothing, for this reason.
    pub fn leave_out(&self, why: &str) -> Collected {
        let mut notes = self.notes.clone();
        for candidate in &self.candidates {
            notes.leave_out(candidate.name.as_str(), why);
        }
        Collected { notes: notes.done(), ..Collected::default() }
    }

    /// Takes the files. `into`: where they go to, so that they are not in the directory any more. `None`: they are
    /// only listed. `url` is the address of the result that they belong to.
    ///
    /// # Errors
    ///
    /// As those of [`look`](Self::look), or they cannot be written. The next call goes on where this one ended.
    pub fn take(
        &mut self,
        mut into: Option<&mut Staging>,
        url: Option<&str>,
    ) -> io::Result<Collected> {
        while let Some(candidate) = self.candidates.get(self.artifacts.len() + self.lost) {
            let root = self.root.as_ref().expect("there are no candidates without it");
            let how = How { into: into.as_deref_mut(), may_move: self.may_move };
            match take_one(root, candidate, how)? {
                Ok(taken) => self.artifacts.push(Artifact {
                    media_type: media_type(&candidate.name, taken.is_utf8),
                    bytes: candidate.bytes,
                    digest: taken.digest.to_string(),
                    url: url.map(|url| format!("{url}/{}", candidate.name.in_url())),
                    name: candidate.name.clone(),
                }),
                Err(why) => {
                    self.lost += 1;
                    self.notes.leave_out(candidate.name.as_str(), why);
                }
            }
        }
        let (artifacts, notes) = (self.artifacts.clone(), self.notes.clone().done());
        Ok(Collected { artifacts, notes, staging: None })
    }
}

/// How a file is taken.
struct How<'a> {
    into: Option<&'a mut Staging>,
    may_move: bool,
}

/// Takes a file, or says why not.
fn take_one(
    root: &OwnedFd,
    candidate: &Candidate,
    how: How<'_>,
) -> io::Result<Result<Taken, &'static str>> {
    let opened = match open_file(root, candidate) {
        Ok(opened) => opened,
        Err(error) => {
            blame_machine(error)?;
            return Ok(Err("it cannot be read"));
        }
    };
    let Opened { parent, name, mut file } = opened;
    let parent = parent.as_ref().unwrap_or(root);
    let changed = Ok(Err("it changed while it was read"));
    let Some(into) = how.into else {
        return Ok(
            read_file(&mut file, candidate.bytes, None)?.ok_or("it changed while it was read")
        );
    };
    // Nobody else has it: it need not be copied.
    if how.may_move && candidate.is_ours && candidate.links == 1 {
        let Some(taken) = read_file(&mut file, candidate.bytes, None)? else { return changed };
        match into.adopt(parent, &name, &file) {
            Ok(()) => return Ok(Ok(taken)),
            Err(error) if error.raw_os_error() == Some(libc::EXDEV) => file.rewind()?,
            Err(error) => return Err(error),
        }
    }
    let mut copy = into.add()?;
    let read = read_file(&mut file, candidate.bytes, Some(&mut copy));
    if !matches!(read, Ok(Some(_))) {
        into.take_back()?;
        return read.map(|_| Err("it changed while it was read"));
    }
    // There is room for the next one then. If not, it goes with its directory.
    let _ = unlinkat(parent, &*name, AtFlags::empty());
    read.map(|taken| taken.ok_or("it changed while it was read"))
}

/// An error that says something of this machine, not of the file.
fn blame_machine(error: Errno) -> io::Result<()> {
    match error {
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::IO => Err(error.into()),
        _ => Ok(()),
    }
}

/// A look at all folders.
struct Walk {
    /// The output directory itself.
    of: Stat,
    /// What may be looked at still.
    looks: usize,
    candidates: Vec<Candidate>,
    notes: Notes,
}

impl Walk {
    fn folder(&mut self, folder: &OwnedFd, path: &str, depth: usize) -> io::Result<()> {
        let entries = match Dir::read_from(folder) {
            Ok(entries) => entries,
            Err(error) => return blame_machine(error),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return blame_machine(error),
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Some(looks) = self.looks.checked_sub(1) else { return Ok(()) };
            self.looks = looks;
            let shown = format!("{path}{}", name.to_string_lossy());
            if name.to_str().is_err() {
                self.notes.leave_out(&shown, "its name is not UTF-8");
                continue;
            }
            self.thing(folder, name, shown, depth)?;
        }
        Ok(())
    }

    fn thing(
        &mut self,
        folder: &OwnedFd,
        name: &CStr,
        path: String,
        depth: usize,
    ) -> io::Result<()> {
        let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(error) => return blame_machine(error),
        };
        let why = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if !is_of_the_job(&stat, &self.of) => {
                "it belongs to somebody else".to_owned()
            }
            FileType::RegularFile => match path.parse::<ArtifactName>() {
                Ok(name) => {
                    self.candidates.push(Candidate {
                        name,
                        bytes: u64::try_from(stat.st_size).unwrap_or(u64::MAX),
                        identity: (stat.st_dev, stat.st_ino),
                        links: links(&stat),
                        is_ours: stat.st_uid == rustix::process::geteuid().as_raw(),
                    });
                    return Ok(());
                }
                Err(error) => error.to_string(),
            },
            FileType::Directory if depth == 0 => format!("folders may be {MAX_DEPTH} deep"),
            FileType::Directory => match open_folder(folder, name) {
                Ok(inner) if fstat(&inner)?.st_dev != self.of.st_dev => {
                    "it is on another file system".to_owned()
                }
                Ok(inner) => return self.folder(&inner, &format!("{path}/"), depth - 1),
                Err(error) => {
                    blame_machine(error)?;
                    "it cannot be read".to_owned()
                }
            },
            FileType::Symlink => "it is a symbolic link".to_owned(),
            _ => "it is no regular file".to_owned(),
        };
        self.notes.leave_out(&path, &why);
        Ok(())
    }
}

/// Whether a file is its user's, to whom the directory belongs. Where a job runs as the worker's own user, it
/// could read the same itself.
fn is_of_the_job(file: &Stat, directory: &Stat) -> bool {
    let is_ours = directory.st_uid == rustix::process::geteuid().as_raw();
    file.st_dev == directory.st_dev && (is_ours || file.st_uid == directory.st_uid)
}

#[allow(clippy::useless_conversion, reason = "it is no u64 on every processor")]
fn links(stat: &Stat) -> u64 {
    stat.st_nlink.into()
}

/// A file with other links than those that are here may be one from elsewhere.
fn leave_out_foreign(candidates: &mut Vec<Candidate>, notes: &mut Notes) {
    let mut here: HashMap<(u64, u64), u64> = HashMap::new();
    for candidate in candidates.iter().filter(|it| it.links > 1) {
        *here.entry(candidate.identity).or_default() += 1;
    }
    candidates.retain(|candidate| {
        let links = here.get(&candidate.identity).copied().unwrap_or(1);
        let is_ours = links == candidate.links;
        if !is_ours {
            let why = "it has hard links outside of the output directory";
            notes.leave_out(candidate.name.as_str(), why);
        }
        is_ours
    });
}

fn open_folder(parent: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// A file, and where it is.
struct Opened {
    /// `None`: it is at the top.
    parent: Option<OwnedFd>,
    name: CString,
    file: File,
}

/// Opens a file, step by step: none of its folders can have become a link.
fn open_file(root: &OwnedFd, candidate: &Candidate) -> Result<Opened, Errno> {
    let part = |part: &str| CString::new(part).map_err(|_| Errno::INVAL);
    let (folders, name) = match candidate.name.as_str().rsplit_once('/') {
        Some((folders, name)) => (folders.split('/').collect(), name),
        None => (Vec::new(), candidate.name.as_str()),
    };
    let (mut parent, name) = (None, part(name)?);
    for folder in folders {
        parent = Some(open_folder(parent.as_ref().unwrap_or(root), part(folder)?)?);
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(parent.as_ref().unwrap_or(root), &*name, flags, Mode::empty())?;
    let stat = fstat(&file)?;
    let is_it = (stat.st_dev, stat.st_ino) == candidate.identity
        && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        // Those that were taken have one link less.
        && links(&stat) <= candidate.links;
    if is_it { Ok(Opened { parent, name, file: file.into() }) } else { Err(Errno::STALE) }
}

struct Taken {
    digest: Digest,
    is_utf8: bool,
}

/// Reads a file of this length, and copies it if it goes somewhere. `None`: it has another length by now.
fn read_file(from: &mut File, bytes: u64, mut to: Option<&mut File>) -> io::Result<Option<Taken>> {
    let mut from = from.take(bytes.saturating_add(1));
    let mut hasher = Hasher::like(None);
    let mut text = Utf8::default();
    let mut buffer = vec![0; CHUNK.min(usize::try_from(bytes).unwrap_or(CHUNK)) + 1];
    let mut length = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..read]);
        text.update(&buffer[..read]);
        if let Some(to) = &mut to {
            to.write_all(&buffer[..read])?;
        }
        length += read as u64;
    }
    let taken = Taken { digest: hasher.finish(), is_utf8: text.is_utf8() };
    Ok((length == bytes).then_some(taken))
}

#[cfg(test)]
mod tests;
