//! Our jobs are given to beanstalkd.

use std::process::Command;

use nix::sys::signal::Signal;

use crate::load::{LARGEST, Load, STEPS, put_one};
use crate::peer::{self, contents};
use crate::support::folder::{Folder, kill, stop};
use crate::support::{Process, jq_server};
use crate::told::BURIES;

const EXIT_CANNOT_LOCK: i32 = 10;
const EXIT_CANNOT_REPLAY: i32 = 11;

/// Runs an export. Tells its exit status and what it wrote.
pub(crate) fn export(folder: &Folder) -> (i32, String) {
    let mut command = Command::new(jq_server());
    command.arg("--binlog-export-v7").arg(folder.path()).args(["-s", "100000"]);
    let mut process = Process::spawn(command);
    (process.exit_code(), process.output())
}

/// A directory of ours in which there was work.
fn worked(seed: u64, steps: usize) -> (Folder, Load) {
    let folder = Folder::new();
    let server = folder.serve(&["-s", "100000"]);
    let mut load = Load::jq(seed);
    load.work(&mut server.connect(), steps);
    if seed.is_multiple_of(2) {
        kill(server)
    } else {
        drop(stop(server))
    }
    (folder, load)
}

#[test]
fn beanstalkd_goes_on_with_every_job() {
    let Some(beanstalkd) = peer::find() else { return };
    for seed in [11, 12] {
        let (folder, mut load) = worked(seed, STEPS);
        let (status, output) = export(&folder);
        assert_eq!(status, 0, "seed {seed}: {output}");
        let count = load.jobs.len();
        assert!(output.contains(&format!("{count} jobs")), "{count}: {output}");
        let server = peer::serve(&beanstalkd, &folder);
        let mut conn = server.connect();
        // Whenever it reads a buried job, it buries it once more.
        let differences = load.differences(&mut conn, |told| {
            if told.state == "buried" {
                told.counters[BURIES] += 1;
            }
        });
        assert_eq!(differences, [""; 0], "seed {seed}: {}", server.output());
        assert!(!server.output().contains("rror"), "{}", server.output());
        let before = load.last_id;
        let id = load.put(&mut conn, 1, 0, 1);
        assert!(id > before, "{id} was given to another job already");
        // And it can write there, too.
        load.work(&mut conn, 100);
        peer::finish(server, Signal::SIGTERM);
    }
}

#[test]
fn what_is_exported_is_imported_again() {
    let (folder, load) = worked(13, STEPS / 3);
    for round in 1..=3 {
        let (status, output) = export(&folder);
        assert_eq!(status, 0, "round {round}: {output}");
        assert!(output.contains(&format!("-z {}", LARGEST + 2)), "{output}");
        let exported = contents(folder.path());
        assert!(exported.keys().filter(|path| path.starts_with("jq-binlog")).count() == 0);
        let server = folder.serve(&[]);
        assert_eq!(load.differences(&mut server.connect(), |_| ()), [""; 0], "round {round}");
        stop(server);
    }
    // Nothing was thrown away on the way.
    let all = contents(folder.path());
    for aside in ["jq-binlog.exported.3", "beanstalkd-binlog.3"] {
        assert!(all.keys().any(|path| path.starts_with(aside)), "{aside} in {:?}", all.keys());
    }
}

#[test]
fn numbers_go_on_even_if_no_job_is_left() {
    let Some(beanstalkd) = peer::find() else { return };
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let mut conn = server.connect();
    for id in 1..=5 {
        assert_eq!(put_one(&mut conn), id);
        assert_eq!(conn.ask(format!("delete {id}")).line(), b"DELETED");
    }
    stop(server);
    assert_eq!(export(&folder).0, 0);
    let server = peer::serve(&beanstalkd, &folder);
    let mut conn = server.connect();
    assert_eq!(put_one(&mut conn), 6);
}

#[test]
fn what_cannot_be_exported_stays_as_it_is() {
    let (folder, _) = worked(15, 50);
    let server = folder.serve(&[]);
    let (status, output) = export(&folder);
    assert_eq!(status, EXIT_CANNOT_LOCK, "{output}");
    stop(server);
    let segment = folder.segments().remove(0);
    let mut bytes = std::fs::read(&segment).expect("it is there");
    bytes[100] ^= 1;
    std::fs::write(&segment, bytes).expect("it can be written");
    let before = contents(folder.path());
    let (status, output) = export(&folder);
    assert_eq!(status, EXIT_CANNOT_REPLAY, "{output}");
    assert!(output.contains("segment-") && output.contains("offset"), "{output}");
    assert_eq!(contents(folder.path()), before);
    let empty = Folder::new();
    let (status, output) = export(&empty);
    assert_eq!(status, EXIT_CANNOT_REPLAY, "{output}");
    let (status, output) =
        crate::support::folder::refuse(empty.path(), &["--binlog-export-v7", "x"]);
    assert_eq!(status, 5, "not both: {output}");
}
