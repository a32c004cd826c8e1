//! Large bodies are in files before their puts are carried out. A put that a limit or a policy turns
//! down leaves none behind.

use std::fs;

use super::{LARGE, LIMIT, bodies, body, path_of, put};
use crate::support::folder::{Folder, kill};
use crate::support::{Conn, eventually};

/// Puts a large body.
fn answer(conn: &mut Conn, number: u64) -> String {
    conn.send(put(&body(number, LARGE)));
    String::from_utf8(conn.reply().line().to_vec()).expect("it is ASCII")
}

#[test]
fn a_put_that_is_turned_down_leaves_no_file() {
    let folder = Folder::new();
    let tubes = folder.path().join("tubes.toml");
    let text = format!(
        "[tubes.full]\nmax-jobs = 1\n[tubes.heavy]\nmax-bytes = {}\n[tubes.once]\nunique = true\n",
        LARGE + 1
    );
    fs::write(&tubes, text).expect("the folder is writable");
    let tubes = tubes.to_str().expect("it is UTF-8").to_owned();
    for policy in ["-f0", "-f50", "-F"] {
        let inner = Folder::new();
        let flags = [policy, LIMIT, "--tubes", &tubes, "--max-jobs", "4"];
        let server = inner.serve(&flags);
        let mut conn = server.connect();
        conn.ask("use full");
        assert_eq!(answer(&mut conn, 1), "INSERTED 1");
        assert_eq!(answer(&mut conn, 2), "OUT_OF_MEMORY");
        conn.ask("use heavy");
        assert_eq!(answer(&mut conn, 3), "INSERTED 3");
        assert_eq!(answer(&mut conn, 4), "OUT_OF_MEMORY");
        conn.ask("use once");
        assert_eq!(answer(&mut conn, 5), "INSERTED 5");
        assert_eq!(answer(&mut conn, 5), "INSERTED 5");
        conn.ask("use default");
        assert_eq!(answer(&mut conn, 7), "INSERTED 7");
        // The server is full.
        assert_eq!(answer(&mut conn, 8), "OUT_OF_MEMORY");
        let kept = [1, 3, 5, 7].map(|id| path_of(&inner, id));
        eventually("only the bodies of jobs are kept", || bodies(inner.path()) == kept);
        kill(server);

        let server = inner.serve(&flags);
        let mut conn = server.connect();
        assert_eq!(bodies(inner.path()), kept);
        conn.ask("use once");
        // If the whole server is full, that comes first.
        assert_eq!(answer(&mut conn, 5), "OUT_OF_MEMORY");
        conn.ask("delete 7");
        assert_eq!(answer(&mut conn, 5), "INSERTED 5");
        eventually("only the bodies of jobs are kept", || bodies(inner.path()) == kept[..3]);
        // Many at once, all of them turned down.
        let mut conns: Vec<Conn> = (0..8).map(|_| server.connect()).collect();
        for conn in &mut conns {
            conn.send("use once\r\n");
            conn.send(put(&body(5, LARGE)));
            conn.send("use full\r\n");
            conn.send(put(&body(9, LARGE)));
        }
        for conn in &mut conns {
            conn.expect("USING once\r\nINSERTED 5\r\nUSING full\r\nOUT_OF_MEMORY\r\n");
        }
        eventually("only the bodies of jobs are kept", || bodies(inner.path()) == kept[..3]);
    }
}
