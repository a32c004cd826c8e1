//! How often a connection vanished that held a job: what counts, and that a restart keeps it.

use crate::support::folder::{Folder, kill, stop};
use crate::support::{Conn, Server, eventually};

const TTR: u32 = 1000;

/// A connection that has the only job reserved.
fn holder(server: &Server) -> Conn {
    let mut conn = server.connect();
    assert_eq!(conn.ask("reserve-with-timeout 10").line(), b"RESERVED 1 1");
    conn
}

/// How often it says that this happened, when the job is nobody's.
fn count(witness: &mut Conn, key: &str) -> String {
    let mut found = None;
    eventually("the job is back", || {
        let stats = witness.ask("stats-job 1");
        found = stats.value(key).map(str::to_owned);
        stats.value("state") == Some("ready")
    });
    found.unwrap_or_else(|| panic!("there is no {key}"))
}

#[test]
fn who_ends_without_a_word_has_vanished() {
    let folder = Folder::new();
    let server = folder.serve(&["-f", "0"]);
    let mut witness = server.connect();
    witness.send(format!("put 0 0 {TTR} 1\r\nx\r\n"));
    witness.expect("INSERTED 1\r\n");
    assert_eq!(count(&mut witness, "disconnects"), "0");

    drop(holder(&server));
    assert_eq!(count(&mut witness, "disconnects"), "1", "closed");
    holder(&server).reset();
    assert_eq!(count(&mut witness, "disconnects"), "2", "reset");
    let mut half = holder(&server);
    half.finish();
    half.expect_closed();
    assert_eq!(count(&mut witness, "disconnects"), "3", "half-closed");

    // On purpose.
    let mut polite = holder(&server);
    polite.send("quit\r\n");
    polite.expect_closed();
    assert_eq!(count(&mut witness, "disconnects"), "3");
    let mut polite = holder(&server);
    polite.send("quit\r\n");
    drop(polite);
    assert_eq!(count(&mut witness, "disconnects"), "3");
    assert_eq!(count(&mut witness, "reserves"), "5");
    for key in ["timeouts", "releases", "buries", "kicks"] {
        assert_eq!(count(&mut witness, key), "0", "{key}");
    }
}

/// It is no fault of the workers that the server ends, in whatever way.
#[test]
fn a_restart_counts_as_none_and_keeps_the_others() {
    for policy in [&["-f", "0"][..], &["-f", "50"], &["-F"]] {
        for end in [|server| drop(stop(server)), kill as fn(Server)] {
            let folder = Folder::new();
            let server = folder.serve(policy);
            let mut witness = server.connect();
            witness.send(format!("put 0 0 {TTR} 1\r\nx\r\n"));
            witness.expect("INSERTED 1\r\n");
            for expected in ["1", "2"] {
                drop(holder(&server));
                assert_eq!(count(&mut witness, "disconnects"), expected);
            }
            let _held = holder(&server);
            eventually("all is written", || {
                witness.ask("stats").value("binlog-unsynced-bytes") == Some("0")
            });
            end(server);
            let server = folder.serve(policy);
            assert_eq!(count(&mut server.connect(), "disconnects"), "2");
            // From a record that has all of it.
            let mut conn = holder(&server);
            assert_eq!(conn.ask("release 1 0 0").line(), b"RELEASED");
            end(server);
            let server = folder.serve(policy);
            assert_eq!(count(&mut server.connect(), "disconnects"), "2");
        }
    }
}
