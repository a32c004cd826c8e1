//! Lists which of beanstalkd's files belong to a binlog of ours.
//!
//! When files of one kind replace those of the other, both exist until the old ones are moved away.
//! A manifest records this, and identifies the files by their contents, because beanstalkd may have
//! been started in between.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use super::error::{V7Error, failed};
use super::folder::{change, sync};

/// The name of the file.
const NAME: &str = "beanstalkd-files";

/// The name of the file while it is being written.
const UNFINISHED: &str = "beanstalkd-files.unfinished";

/// The first line.
const TITLE: &str = "jq-server: these files of beanstalkd's hold the same jobs";

/// A file of beanstalkd's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: String,
    /// Its length in bytes.
    len: u64,
    crc: u32,
}

impl Listed {
    /// Lists a file after reading all of it.
    pub(super) fn of(folder: &Path, name: &str) -> Result<Self, V7Error> {
        let (mut len, mut crc) = (0, 0);
        let read = File::open(folder.join(name)).and_then(|file| {
            let mut reader = BufReader::with_capacity(1 << 20, file);
            loop {
                let bytes = reader.fill_buf()?;
                if bytes.is_empty() {
                    return Ok(());
                }
                crc = crc32c::crc32c_append(crc, bytes);
                let count = bytes.len();
                len += count as u64;
                reader.consume(count);
            }
        });
        read.map_err(failed(format!("read {name}")))?;
        Ok(Self { name: name.to_owned(), len, crc })
    }
}

/// The files, and the folder that they are to be moved to, if any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) files: Vec<Listed>,
    /// Name of a folder in the directory.
    pub(super) aside: String,
}

impl Manifest {
    /// Reads the manifest in `folder`, if there is one.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, V7Error> {
        let path = folder.join(NAME);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(failed(format!("read {}", path.display())))?,
        };
        let manifest = Self::parse(&text).ok_or(io::ErrorKind::InvalidData.into());
        manifest.map(Some).map_err(failed(format!("parse {}", path.display())))
    }

    /// Writes the manifest to `folder`, atomically.
    pub(super) fn write(&self, folder: &Path) -> Result<(), V7Error> {
        let path = folder.join(NAME);
        let unfinished = folder.join(UNFINISHED);
        let written = File::create(&unfinished).and_then(|mut file| {
            file.write_all(self.text().as_bytes())?;
            file.sync_all()?;
            change(|| fs::rename(&unfinished, &path))
        });
        written.map_err(failed(format!("write {}", path.display())))?;
        sync(folder)
    }

    /// Removes the manifest from `folder`.
    pub(super) fn remove(folder: &Path) -> Result<(), V7Error> {
        let path = folder.join(NAME);
        let removed = change(|| fs::remove_file(&path));
        removed.map_err(failed(format!("remove {}", path.display())))?;
        sync(folder)
    }

    /// Whether this is a file of the manifest, unchanged.
    pub(super) fn has(&self, folder: &Path, name: &str) -> Result<bool, V7Error> {
        match self.files.iter().find(|listed| listed.name == name) {
            Some(listed) => Ok(Listed::of(folder, name)? == *listed),
            None => Ok(false),
        }
    }

    fn text(&self) -> String {
        let files = self.files.iter();
        let files = files.map(|Listed { name, len, crc }| format!("{crc:08x} {len} {name}\n"));
        format!("{TITLE}\naside {}\n{}end\n", self.aside, files.collect::<String>())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines =
            text.strip_prefix(TITLE)?.strip_prefix('\n')?.strip_suffix("end\n")?.lines();
        let aside = lines.next()?.strip_prefix("aside ")?.to_owned();
        let listed = |line: &str| {
            let (crc, rest) = line.split_once(' ')?;
            let (len, name) = rest.split_once(' ')?;
            let crc = u32::from_str_radix(crc, 16).ok()?;
            Some(Listed { name: name.to_owned(), len: len.parse().ok()?, crc })
        };
        Some(Self { files: lines.map(listed).collect::<Option<_>>()?, aside })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let listed = |name: &str, len, crc| Listed { name: name.into(), len, crc };
        let files = vec![listed("binlog.1", 10, 0xFFFF_FFFF), listed("binlog.20", 0, 0)];
        for aside in ["beanstalkd-binlog.2", ""] {
            let manifest = Manifest { files: files.clone(), aside: aside.into() };
            assert_eq!(Manifest::parse(&manifest.text()), Some(manifest));
        }
        let text = Manifest { files, aside: String::new() }.text();
        for len in 0..text.len() {
            assert_eq!(Manifest::parse(&text[..len]), None, "{}", &text[..len]);
        }
    }
}
