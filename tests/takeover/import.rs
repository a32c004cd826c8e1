//! A directory of beanstalkd's is taken over.

use std::path::Path;

use nix::sys::signal::Signal;

use crate::load::{STEPS, id_in, put_one};
use crate::peer::{self, contents};
use crate::support::folder::{Folder, kill, stop};
use crate::support::{Input, PATIENCE, Reply};

#[test]
fn every_job_is_as_beanstalkd_told() {
    let Some(beanstalkd) = peer::find() else { return };
    for (seed, end) in [(1, Signal::SIGKILL), (2, Signal::SIGTERM), (3, Signal::SIGKILL)] {
        let (folder, load) = peer::worked(&beanstalkd, seed, STEPS, end);
        let originals = contents(folder.path());
        assert!(originals.len() > 2, "it has written {} files", originals.len());
        let server = folder.serve(&[]);
        let mut conn = server.connect();
        assert_eq!(load.differences(&mut conn, |_| ()), [""; 0], "seed {seed}");
        let next = put_one(&mut conn);
        assert!(next > load.last_id, "{next} was given to another job already");
        assert_eq!(conn.ask(format!("delete {next}")).line(), b"DELETED");
        let output = stop(server);
        assert!(output.contains("beanstalkd's files are kept there"), "{output}");
        let aside = contents(&folder.path().join("beanstalkd-binlog"));
        assert_eq!(aside, originals, "they are as they were");
        // It is ours now: nothing is imported again.
        let server = folder.serve(&[]);
        assert_eq!(load.differences(&mut server.connect(), |_| ()), [""; 0], "seed {seed}");
        assert!(!server.output().contains("imported"), "{}", server.output());
        assert!(put_one(&mut server.connect()) > next, "no number is given twice");
        kill(server);
    }
}

#[test]
fn one_that_was_started_several_times() {
    let Some(beanstalkd) = peer::find() else { return };
    let (folder, mut load) = peer::worked(&beanstalkd, 4, STEPS / 3, Signal::SIGKILL);
    // It tells one bury more after each start. What it writes then is what it tells.
    let server = peer::serve(&beanstalkd, &folder);
    let mut conn = server.connect();
    let ids: Vec<u64> = load.jobs.keys().copied().collect();
    for id in ids {
        load.tell_again(&mut conn, id);
    }
    load.work(&mut conn, STEPS / 3);
    kill(server);
    let server = folder.serve(&[]);
    assert_eq!(load.differences(&mut server.connect(), |_| ()), [""; 0]);
}

#[test]
fn what_was_acknowledged_before_a_kill() {
    let Some(beanstalkd) = peer::find() else { return };
    for answered in [0, 1, 100, 1500] {
        let folder = Folder::new();
        let server = peer::serve(&beanstalkd, &folder);
        let mut conn = server.connect();
        let puts = (0..2000).map(|number| format!("put 1 0 1 100\r\n{number:0100}\r\n"));
        conn.send(puts.collect::<String>());
        let mut jobs = Vec::new();
        let mut count = |reply: &Reply| {
            jobs.push(id_in(reply, "INSERTED ").unwrap_or_else(|| panic!("a put: {reply}")));
        };
        (0..answered).for_each(|_| count(&conn.reply()));
        kill(server);
        // What was on its way was acknowledged, too.
        while let Input::Reply(reply) = conn.next(PATIENCE) {
            count(&reply);
        }
        let server = folder.serve(&[]);
        let mut conn = server.connect();
        for (number, id) in jobs.iter().enumerate() {
            let found = conn.ask(format!("peek {id}"));
            assert_eq!(found.body(), Some(format!("{number:0100}").as_bytes()), "{found}");
        }
        assert!(jobs.len() >= answered);
    }
}

#[test]
fn what_a_crash_left_of_an_import_is_made_anew() {
    let Some(beanstalkd) = peer::find() else { return };
    let (folder, load) = peer::worked(&beanstalkd, 5, 100, Signal::SIGKILL);
    let unfinished = folder.path().join("jq-binlog.importing");
    std::fs::create_dir(&unfinished).expect("it is new");
    let segment = unfinished.join("segment-0000000001");
    std::fs::write(&segment, "no segment at all").expect("it is new");
    // As the start of an earlier version left it.
    std::fs::create_dir(folder.path().join("jq-binlog")).expect("it is new");
    let server = folder.serve(&[]);
    assert_eq!(load.differences(&mut server.connect(), |_| ()), [""; 0]);
    assert!(!Path::exists(&unfinished), "it is gone");
}
