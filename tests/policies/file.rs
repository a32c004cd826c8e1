//! The file of `--tubes`: read at the start, and again on SIGHUP.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::support::folder::{Folder, kill, stop};
use crate::support::{Conn, Server, eventually, jq_server, scratch_path};

/// A file for `--tubes`, removed when dropped.
pub(crate) struct TubesFile(PathBuf);

impl TubesFile {
    pub(crate) fn new(text: impl AsRef<[u8]>) -> Self {
        let file = Self(scratch_path("toml"));
        file.write(text);
        file
    }

    pub(crate) fn write(&self, text: impl AsRef<[u8]>) {
        fs::write(&self.0, text).expect("the temporary folder is writable");
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("it is UTF-8")
    }

    /// A server in memory with this file.
    pub(crate) fn serve(&self, more: &[&str]) -> Server {
        Server::jq(&[&["--tubes", self.path()], more].concat())
    }
}

impl Drop for TubesFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_dir(&self.0);
    }
}

/// Whether a tube has a policy.
pub(crate) fn has_policy(conn: &mut Conn, tube: &str) -> bool {
    conn.ask(format!("stats-tube {tube}")).value("has-policy") == Some("true")
}

/// Has the server read its file again, and waits for what it says.
fn reload(server: &Server, said: &str) {
    let before = server.output().matches(said).count();
    server.signal(Signal::SIGHUP);
    eventually(said, || server.output().matches(said).count() > before);
}

fn put(conn: &mut Conn, tube: &str, body: &str) -> String {
    conn.ask(format!("use {tube}"));
    conn.send(format!("put 0 0 0 {}\r\n{body}\r\n", body.len()));
    String::from_utf8(conn.reply().line().to_vec()).expect("it is ASCII")
}

#[test]
fn policies_come_change_and_go_with_the_file() {
    let file = TubesFile::new("[tubes.a]\nmax-jobs = 1\n[tubes.b]\ndefault-ttr = 30\n");
    let server = file.serve(&[]);
    let mut conn = server.connect();
    assert_eq!(put(&mut conn, "a", "x"), "INSERTED 1");
    assert_eq!(put(&mut conn, "a", "y"), "OUT_OF_MEMORY");
    assert_eq!(put(&mut conn, "b", "z"), "INSERTED 3");
    assert_eq!(conn.ask("stats-job 3").value("ttr"), Some("30"));

    // Another limit for one, none for the other, and a third one.
    file.write("[tubes.a]\nmax-jobs = 2\n[tubes.c]\nunique = true\n");
    reload(&server, "the file of --tubes was read again");
    eventually("all policies are as the file says", || {
        !has_policy(&mut conn, "b") && has_policy(&mut conn, "c")
    });
    assert_eq!(put(&mut conn, "a", "y"), "INSERTED 4");
    assert_eq!(put(&mut conn, "a", "z"), "OUT_OF_MEMORY");
    assert_eq!(put(&mut conn, "c", "x"), "INSERTED 6");
    assert_eq!(put(&mut conn, "c", "x"), "INSERTED 6");

    // Nothing at all: the tube that nothing else needs is gone with its policy.
    file.write("");
    reload(&server, "the file of --tubes was read again");
    conn.ask("delete 6");
    conn.ask("use default");
    eventually("all policies are gone", || {
        conn.ask("stats-tube c").line() == b"NOT_FOUND" && !has_policy(&mut conn, "a")
    });
}

#[test]
fn a_mistake_at_the_start_ends_the_server() {
    for (text, told) in [
        (
            &b"[tubes.mail]\nmax-jobs = \"many\"\n"[..],
            "line 2, column 12: max-jobs: expected a whole",
        ),
        (b"[tubes.mail]\nmax-job = 1\n", "line 2, column 1: max-job: expected one of max-jobs"),
        (
            b"[tubes.mail]\ndead-letter = \"mail\"\n",
            "line 2, column 15: dead-letter: expected another",
        ),
        (b"[tubes.mail]\n# \xff\n", "line 2, column 3: expected UTF-8"),
        (b"[tubes.mail", "line 1, column 12: "),
    ] {
        let file = TubesFile::new(text);
        refuses(file.path(), told);
    }
    refuses("/nowhere/tubes.toml", "No such file or directory");
    refuses(std::env::temp_dir().to_str().expect("it is UTF-8"), "it is not a regular file");
    refuses("/dev/null", "it is not a regular file");
    let huge = TubesFile::new("#".repeat((4 << 20) + 1));
    refuses(huge.path(), "it is longer than 4194304 bytes");
}

/// The server exits with status 5, and names the file and what is wrong.
fn refuses(file: &str, told: &str) {
    let mut command = std::process::Command::new(jq_server());
    command.args(["-l", "127.0.0.1", "-p", "0", "--tubes", file]);
    let mut process = crate::support::Process::spawn(command);
    assert_eq!(process.exit_code(), 5, "{file}: {told}");
    let output = process.output();
    assert!(output.contains(&format!("--tubes {file}: ")) && output.contains(told), "{output}");
}

#[test]
fn a_mistake_later_keeps_the_policies() {
    const GOOD: &str = "[tubes.a]\nmax-jobs = 1\n";
    let file = TubesFile::new(GOOD);
    let server = file.serve(&[]);
    let mut conn = server.connect();
    assert_eq!(put(&mut conn, "a", "x"), "INSERTED 1");
    let still = |conn: &mut Conn| assert_eq!(put(conn, "a", "y"), "OUT_OF_MEMORY");

    file.write("[tubes.a]\nmax-jobs = 9\n[tubes.b]\nunique = 1\n");
    reload(
        &server,
        "line 4, column 10: unique: expected true or false, not 1: the policies of before",
    );
    still(&mut conn);
    file.write(b"# \xff");
    reload(&server, "line 1, column 3: expected UTF-8: the policies of before stay");
    still(&mut conn);
    file.write("#".repeat((4 << 20) + 1));
    reload(&server, "it is longer than 4194304 bytes");
    still(&mut conn);
    fs::remove_file(file.path()).expect("it is ours");
    reload(&server, "No such file or directory");
    still(&mut conn);
    fs::create_dir(file.path()).expect("the place is free");
    reload(&server, "it is not a regular file");
    still(&mut conn);
    fs::remove_dir(file.path()).expect("it is empty");
    // A pipe that nobody writes to.
    let path = std::ffi::CString::new(Path::new(file.path()).as_os_str().as_bytes()).expect("no 0");
    nix::unistd::mkfifo(path.as_c_str(), nix::sys::stat::Mode::S_IRUSR).expect("the place is free");
    let before = server.output().matches("it is not a regular file").count();
    server.signal(Signal::SIGHUP);
    eventually("the pipe is no file", || {
        server.output().matches("it is not a regular file").count() > before
    });
    still(&mut conn);
    fs::remove_file(file.path()).expect("it is ours");

    file.write("[tubes.a]\nmax-jobs = 2\n");
    reload(&server, "the file of --tubes was read again");
    eventually("the policy is the new one", || put(&mut conn, "a", "y").starts_with("INSERTED"));
}

/// Many at once, most of which never end: the last file counts.
#[test]
fn a_storm_of_hangups() {
    let file = TubesFile::new("");
    let server = file.serve(&[]);
    let mut conn = server.connect();
    for round in 1..=50 {
        let tubes = (0..200).map(|tube| format!("[tubes.t{tube}]\nmax-jobs = {round}\n"));
        file.write(tubes.collect::<String>());
        server.signal(Signal::SIGHUP);
    }
    file.write("[tubes.last]\nunique = true\n");
    server.signal(Signal::SIGHUP);
    eventually("only the last one is there", || {
        let tubes = conn.ask("list-tubes");
        tubes.body().is_some_and(|body| body == b"---\n- default\n- last\n")
    });
}

/// It knows which policies are from the file, also those of a file that was changed meanwhile.
#[test]
fn what_was_taken_out_while_the_server_was_down_is_gone() {
    for end in [|server| drop(stop(server)), kill as fn(Server)] {
        let folder = Folder::new();
        let file = TubesFile::new("[tubes.a]\nmax-jobs = 1\n[tubes.b]\nunique = true\n");
        let flags = ["-f0", "--tubes", file.path()];
        let server = folder.serve(&flags);
        let mut conn = server.connect();
        assert!(has_policy(&mut conn, "a") && has_policy(&mut conn, "b"));
        // Something that is committed after them.
        assert_eq!(put(&mut conn, "c", "x"), "INSERTED 1");
        end(server);

        file.write("[tubes.b]\nunique = true\n");
        let server = folder.serve(&flags);
        let mut conn = server.connect();
        assert_eq!(conn.ask("stats-tube a").line(), b"NOT_FOUND");
        assert!(has_policy(&mut conn, "b"));
        assert_eq!(put(&mut conn, "c", "y"), "INSERTED 2");
        end(server);

        // Without a file, what is set stays.
        let server = folder.serve(&["-f0"]);
        assert!(has_policy(&mut server.connect(), "b"));
        end(server);
        file.write("");
        let server = folder.serve(&flags);
        assert_eq!(server.connect().ask("stats-tube b").line(), b"NOT_FOUND");
    }
}
