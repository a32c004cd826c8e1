//! An import or export can be interrupted anywhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use jq_engine::{Engine, Record};

use super::super::{V7Error, export, import};
use super::{NOW, crash, golden, padded};
use crate::log::binlog::{Binlog, Options, RealDisk, SyncPolicy};
use crate::log::{Directory, OpenError};

/// More changes than any run makes.
const MANY: usize = 100;

/// A temporary directory, removed with its contents.
struct Scratch(PathBuf);

impl Scratch {
    /// With beanstalkd's files, the second of which is still unused.
    fn beanstalkd() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("jq-v7-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let scratch = Self(std::env::temp_dir().join(name));
        fs::create_dir(&scratch.0).unwrap();
        fs::write(scratch.0.join("binlog.1"), padded(golden())).unwrap();
        fs::write(scratch.0.join("binlog.2"), padded(vec![7])).unwrap();
        scratch
    }

    /// With the same jobs in our files.
    fn ours() -> Self {
        let scratch = Self::beanstalkd();
        scratch.import().unwrap();
        scratch
    }

    fn import(&self) -> Result<(), V7Error> {
        let directory = Directory::lock(&self.0).unwrap();
        import(&directory, 0, NOW, false)
    }

    fn export(&self) -> Result<(), OpenError> {
        export(&self.0, options(), NOW).map(|_| ())
    }

    /// The jobs in our files, and the next id.
    fn jobs(&self) -> (Vec<String>, u64) {
        let mut engine = Engine::new();
        let disk = Arc::new(RealDisk::new(self.0.join("jq-binlog")));
        Binlog::open(disk, options(), &mut engine, NOW, false, Box::new(|| ())).unwrap();
        let mut jobs = Vec::new();
        engine.tell_all(|record| {
            if let Record::Put(_) = record {
                jobs.push(format!("{record:?}"));
            }
        });
        jobs.sort_unstable();
        (jobs, engine.next_id())
    }

    /// Every file, with its contents.
    fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fn add(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    add(&path, files);
                } else {
                    let bytes = fs::read(&path).unwrap();
                    files.insert(path, bytes);
                }
            }
        }
        let mut files = BTreeMap::new();
        add(&self.0, &mut files);
        files
    }

    fn has(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    /// Whether both beanstalkd and we would find jobs.
    fn has_both(&self) -> bool {
        let ours = fs::read_dir(self.0.join("jq-binlog"));
        let ours = ours.is_ok_and(|mut entries| entries.next().is_some());
        ours && (self.has("binlog.1") || self.has("binlog.2"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn options() -> Options {
    Options::new(SyncPolicy::Never, 0)
}

/// Interrupts a run before each of its changes, and calls `check` on the result.
fn cut_short(begin: fn() -> Scratch, run: impl Fn(&Scratch) -> bool, check: impl Fn(&Scratch)) {
    for changes in 0..MANY {
        let scratch = begin();
        let (done, complete) = crash::after(changes, || run(&scratch));
        check(&scratch);
        if complete {
            assert!(done && changes > 5, "{changes} changes");
            return;
        }
    }
    panic!("it never finishes");
}

#[test]
fn an_import_is_done_in_the_end() {
    let wanted = Scratch::ours().jobs();
    assert_eq!((wanted.0.len(), wanted.1), (4, 6));
    let originals = Scratch::beanstalkd().contents().into_values().collect::<Vec<_>>();
    let check = |scratch: &Scratch| {
        scratch.import().unwrap();
        assert_eq!(scratch.jobs(), wanted);
        assert!(!scratch.has_both() && !scratch.has("jq-binlog.importing"));
        let aside =
            ["binlog.1", "binlog.2"].map(|name| scratch.0.join("beanstalkd-binlog").join(name));
        assert_eq!(aside.map(|path| fs::read(path).unwrap()).to_vec(), originals);
        assert!(!scratch.has("beanstalkd-binlog.2"), "they are moved once");
        // The next start has nothing to do.
        let before = scratch.contents();
        scratch.import().unwrap();
        assert_eq!(scratch.contents(), before);
    };
    cut_short(Scratch::beanstalkd, |scratch| scratch.import().is_ok(), check);
}

#[test]
fn an_export_is_done_or_not() {
    let wanted = Scratch::ours().jobs();
    // Whether our server is started next or the export is repeated, nothing is missing or
    // duplicated.
    let start = |scratch: &Scratch| {
        scratch.import().unwrap();
        assert_eq!(scratch.jobs(), wanted);
        assert!(!scratch.has_both() && !scratch.has("binlog.exporting"));
    };
    cut_short(Scratch::ours, |scratch| scratch.export().is_ok(), start);
    let again = |scratch: &Scratch| {
        match scratch.export() {
            Ok(()) | Err(OpenError::TakeOver(_, V7Error::Nothing)) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(scratch.has("binlog.1") && !scratch.has("jq-binlog"));
        start(scratch);
    };
    cut_short(Scratch::ours, |scratch| scratch.export().is_ok(), again);
}

#[test]
fn an_export_that_fails_is_undone_at_once() {
    let wanted = Scratch::ours().jobs();
    for change in 0..MANY {
        let scratch = Scratch::ours();
        let (result, complete) = crash::failing(change, || scratch.export());
        if result.is_ok() {
            assert!(scratch.has("binlog.1") && !scratch.has("jq-binlog"));
        } else {
            assert!(!scratch.has("binlog.1") && !scratch.has("jq-binlog.exported"));
            assert!(change == 0 || !scratch.has("binlog.exporting"), "change {change}");
            assert_eq!(scratch.jobs(), wanted);
        }
        if complete {
            assert!(result.is_ok() && change > 5, "{change} changes");
            return;
        }
    }
    panic!("it never finishes");
}

#[test]
fn what_is_aside_is_never_replaced() {
    let exported = Scratch::ours();
    fs::create_dir(exported.0.join("jq-binlog.exported")).unwrap();
    exported.export().unwrap();
    assert!(exported.has("jq-binlog.exported.2"), "the name was taken");
    exported.import().unwrap();
    assert!(exported.has("beanstalkd-binlog.2/binlog.1"), "the name was taken");
    // Somebody restores a file while the manifest is still there.
    let replaced = |scratch: &Scratch| {
        let (aside, back) =
            (scratch.0.join("beanstalkd-binlog/binlog.1"), scratch.0.join("binlog.1"));
        if scratch.has("jq-binlog/beanstalkd-files") && aside.exists() {
            fs::copy(&aside, &back).unwrap();
            let before = scratch.contents();
            assert!(matches!(scratch.import(), Err(V7Error::Both(_))));
            assert_eq!(scratch.contents(), before);
            fs::remove_file(back).unwrap();
        }
        scratch.import().unwrap();
    };
    cut_short(Scratch::beanstalkd, |scratch| scratch.import().is_ok(), replaced);
}

#[test]
fn what_is_of_no_use_is_removed() {
    let scratch = Scratch::ours();
    fs::create_dir(scratch.0.join("jq-binlog.importing")).unwrap();
    fs::create_dir(scratch.0.join("binlog.exporting")).unwrap();
    scratch.import().unwrap();
    assert!(!scratch.has("jq-binlog.importing") && !scratch.has("binlog.exporting"));
}

/// What beanstalkd has done since then is neither discarded nor mistaken for its former files.
#[test]
fn beanstalkd_in_between_is_noticed() {
    type Work = fn(&Scratch);
    let works: [Work; 2] = [
        |scratch| fs::write(scratch.0.join("binlog.3"), padded(golden())).unwrap(),
        |scratch| {
            let path = ["binlog.1", "binlog.2"].map(|name| scratch.0.join(name));
            let path = path.into_iter().find(|path| path.exists()).unwrap();
            let mut bytes = fs::read(&path).unwrap();
            bytes[3] ^= 0x10;
            fs::remove_file(&path).unwrap();
            fs::write(path, bytes).unwrap();
        },
    ];
    let refuses = |scratch: &Scratch| {
        if !scratch.has_both() {
            return;
        }
        for work in works {
            work(scratch);
            let before = scratch.contents();
            assert!(matches!(scratch.import(), Err(V7Error::Both(_))));
            assert!(matches!(scratch.export(), Err(OpenError::TakeOver(_, V7Error::Both(_)))));
            assert_eq!(scratch.contents(), before);
        }
    };
    cut_short(Scratch::beanstalkd, |scratch| scratch.import().is_ok(), refuses);
    cut_short(Scratch::ours, |scratch| scratch.export().is_ok(), refuses);
}

#[test]
fn ours_may_not_vanish_from_an_export() {
    let lost = |scratch: &Scratch| {
        let moved = scratch.0.join("moved");
        if scratch.has("jq-binlog") && scratch.has("binlog.exporting/binlog.1") {
            fs::rename(scratch.0.join("jq-binlog"), &moved).unwrap();
            let before = scratch.contents();
            assert!(matches!(scratch.import(), Err(V7Error::Lost(_))));
            assert_eq!(scratch.contents(), before);
        }
    };
    cut_short(Scratch::ours, |scratch| scratch.export().is_ok(), lost);
}
