//! What a restart keeps of a policy and of what it did.

use crate::file::{TubesFile, has_policy};
use crate::support::folder::{Folder, kill, stop};
use crate::support::{Conn, Server, eventually};

fn put(conn: &mut Conn, body: &str) -> String {
    conn.send(format!("put 7 0 60 {}\r\n{body}\r\n", body.len()));
    String::from_utf8(conn.reply().line().to_vec()).expect("it is ASCII")
}

/// Runs `before`, ends the server in both ways, and runs `after` on what is there then.
fn restarted(text: &str, before: impl Fn(&Server), after: impl Fn(&Server)) {
    for end in [|server| drop(stop(server)), kill as fn(Server)] {
        let folder = Folder::new();
        let file = TubesFile::new(text);
        let server = folder.serve(&["-f0", "--tubes", file.path()]);
        before(&server);
        end(server);
        // Set by the log alone from here on.
        for _ in 0..2 {
            let server = folder.serve(&["-f0"]);
            after(&server);
            end(server);
        }
    }
}

#[test]
fn unique_and_limits() {
    restarted(
        "[tubes.default]\nunique = true\nmax-jobs = 3\nmax-bytes = 100\n",
        |server| {
            let mut conn = server.connect();
            assert_eq!(put(&mut conn, "a"), "INSERTED 1");
            assert_eq!(put(&mut conn, "b"), "INSERTED 2");
            assert_eq!(put(&mut conn, "c"), "INSERTED 3");
            assert_eq!(put(&mut conn, "a"), "INSERTED 1");
        },
        |server| {
            let mut conn = server.connect();
            assert!(has_policy(&mut conn, "default"));
            for (body, reply) in [("a", "INSERTED 1"), ("c", "INSERTED 3"), ("d", "OUT_OF_MEMORY")]
            {
                assert_eq!(put(&mut conn, body), reply);
            }
            let stats = conn.ask("stats-tube default");
            assert_eq!(stats.value("current-jobs-bytes"), Some("3"), "{stats}");
            assert_eq!(stats.value("duplicate-puts"), Some("2"), "{stats}");
        },
    );
}

/// Before the tube took no body twice, jobs had the same one. As long as any of them waits, that is the answer.
#[test]
fn equal_jobs_of_before() {
    const EQUAL: usize = 3000;
    let folder = Folder::new();
    let file = TubesFile::new("[tubes.default]\nunique = true\n");
    let server = folder.serve(&["-f0"]);
    let mut conn = server.connect();
    conn.send("put 7 0 60 4\r\nsame\r\n".repeat(EQUAL));
    (1..=EQUAL).for_each(|id| assert_eq!(conn.reply().line(), format!("INSERTED {id}").as_bytes()));
    kill(server);
    let server = folder.serve(&["-f0", "--tubes", file.path()]);
    let mut conn = server.connect();
    for left in (0..EQUAL).rev() {
        // All in one batch.
        let reserved = "reserve\r\nput 7 0 60 4\r\nsame\r\nput 7 0 60 3\r\nnew\r\n";
        conn.send([reserved, "put 7 0 60 3\r\nnew\r\n"].concat());
        assert_eq!(conn.reply().body(), Some(&b"same"[..]));
        let known = conn.reply();
        let known = std::str::from_utf8(known.line()).expect("it is ASCII");
        let known: usize = known.strip_prefix("INSERTED ").expect(known).parse().expect(known);
        assert_eq!(known <= EQUAL, left > 0, "{known}, when {left} were left");
        let [new, again] = [(); 2].map(|()| conn.reply().line().to_vec());
        assert_eq!(new, again);
    }
    let stats = conn.ask("stats-tube default");
    let ready = ("current-jobs-ready", Some("2"));
    assert_eq!(stats.value(ready.0), ready.1, "\"same\" and \"new\": {stats}");
}

/// The job keeps its number, its body and its counters, in the other tube and after a restart.
#[test]
fn a_dead_letter() {
    const TEXT: &str = "[tubes.default]\nmax-disconnects = 2\ndead-letter = \"dead\"\n";
    restarted(
        TEXT,
        |server| {
            let mut conn = server.connect();
            assert_eq!(put(&mut conn, "the body"), "INSERTED 1");
            for _ in 0..2 {
                let mut worker = server.connect();
                assert_eq!(worker.ask("reserve").body(), Some(&b"the body"[..]));
                worker.reset();
                eventually("the job is back", || {
                    conn.ask("stats-job 1").value("state") == Some("ready")
                });
            }
            let stats = conn.ask("stats-tube default");
            assert_eq!(stats.value("jobs-dead-lettered"), Some("1"), "{stats}");
        },
        |server| {
            let mut conn = server.connect();
            let stats = conn.ask("stats-job 1");
            let wanted = [
                ("tube", "\"dead\""),
                ("state", "ready"),
                ("pri", "7"),
                ("ttr", "60"),
                ("disconnects", "2"),
                ("reserves", "2"),
            ];
            for (key, value) in wanted {
                assert_eq!(stats.value(key), Some(value), "{key} in {stats}");
            }
            assert_eq!(conn.ask("peek 1").body(), Some(&b"the body"[..]));
            assert_eq!(conn.ask("stats-tube default").value("current-jobs-ready"), Some("0"));
        },
    );
}

#[test]
fn jobs_expire_after_a_restart_too() {
    let folder = Folder::new();
    let file = TubesFile::new("[tubes.default]\nexpires = 1\ndead-letter = \"dead\"\n");
    let server = folder.serve(&["-f0"]);
    assert_eq!(put(&mut server.connect(), "a"), "INSERTED 1");
    kill(server);
    let server = folder.serve(&["-f0", "--tubes", file.path()]);
    let mut conn = server.connect();
    eventually("the job expires", || conn.ask("stats-job 1").value("tube") == Some("\"dead\""));
    assert_eq!(conn.ask("stats").value("jobs-expired"), Some("1"));
    kill(server);
    let server = folder.serve(&["-f0"]);
    assert_eq!(server.connect().ask("stats-job 1").value("tube"), Some("\"dead\""));
}
