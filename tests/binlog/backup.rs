//! `--binlog-backup`, `--binlog-check` and `--binlog-dump`, beside a server and without one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::numbered::EXIT_CANNOT_REPLAY;
use crate::support::folder::{Folder, flags, kill, stop};
use crate::support::{Conn, Server, jq_server, scratch_path};

const POLICY: &[&str] = &["-f", "0", "-s", "65536"];

const JOBS: u64 = 200;

const EXIT_CANNOT_LOCK: i32 = 10;

fn run(option: &str, paths: &[&Path]) -> Output {
    let mut command = Command::new(jq_server());
    command.arg(option).args(paths);
    command.output().expect("the program starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// A server with some jobs in some segments.
fn serve(folder: &Folder) -> Server {
    let server = folder.serve(POLICY);
    let mut conn = server.connect();
    for number in 1..=JOBS {
        conn.send(format!("put 0 0 60 1000\r\n{number:01000}\r\n"));
        conn.expect(format!("INSERTED {number}\r\n"));
    }
    server
}

fn assert_all_there(conn: &mut Conn) {
    for number in 1..=JOBS {
        let found = conn.ask(format!("peek {number}"));
        assert_eq!(found.body(), Some(format!("{number:01000}").as_bytes()), "{found}");
    }
}

#[test]
fn a_backup_is_restored_by_starting_on_it() {
    let folder = Folder::new();
    let server = serve(&folder);
    let dest = Folder::new();
    let target = dest.path().join("backup");
    let output = run("--binlog-backup", &[folder.path(), &target]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("200 jobs"), "{}", said(&output));
    let names = |path: &Path| path.join("jq-binlog/segment-0000000001");
    let [ours, theirs] = [folder.path(), &target].map(|path| fs::metadata(names(path)));
    let (ours, theirs) = (ours.expect("it is there"), theirs.expect("it is there"));
    assert_eq!(ours.ino(), theirs.ino(), "it is the same file");

    // What happens to the one is not seen in the other.
    kill(server);
    let before = folder.contents();
    let restored = Server::jq(&flags(&target, POLICY));
    let mut conn = restored.connect();
    assert_all_there(&mut conn);
    for number in 1..=JOBS {
        assert_eq!(conn.ask(format!("delete {number}")).line(), b"DELETED");
    }
    stop(restored);
    assert!(folder.contents() == before, "the backup's server has changed it");
    let server = folder.serve(POLICY);
    assert_all_there(&mut server.connect());
}

#[test]
fn a_destination_with_anything_in_it_is_refused() {
    let folder = Folder::new();
    let _server = serve(&folder);
    let dest = Folder::new();
    fs::write(dest.path().join("notes.txt"), "precious").expect("it can be written");
    let before = dest.contents();
    let output = run("--binlog-backup", &[folder.path(), dest.path()]);
    assert_eq!(output.status.code(), Some(EXIT_CANNOT_LOCK), "{}", said(&output));
    assert!(dest.contents() == before);
}

#[test]
fn nothing_to_look_at() {
    let missing = scratch_path("missing");
    let empty = Folder::new();
    let dest = scratch_path("dest");
    for (from, status) in [(&*missing, EXIT_CANNOT_LOCK), (empty.path(), EXIT_CANNOT_REPLAY)] {
        for option in ["--binlog-backup", "--binlog-check", "--binlog-dump"] {
            let both = [from, &dest];
            let paths = if option == "--binlog-backup" { &both[..] } else { &both[..1] };
            let output = run(option, paths);
            assert_eq!(output.status.code(), Some(status), "{option}: {}", said(&output));
            assert!(!dest.exists(), "{option}");
        }
    }
}

#[test]
fn damage_is_found_and_not_backed_up() {
    let folder = Folder::new();
    let server = serve(&folder);
    let output = run("--binlog-check", &[folder.path()]);
    assert_eq!(output.status.code(), Some(0), "beside a server: {}", said(&output));
    assert!(said(&output).contains("200 jobs"), "{}", said(&output));
    kill(server);
    let path = folder.inner().join("segment-0000000002");
    let mut bytes = fs::read(&path).expect("it can be read");
    bytes[500] ^= 1;
    fs::write(&path, bytes).expect("it can be written");
    let before = folder.contents();
    let dest = scratch_path("dest");
    for (option, paths) in [
        ("--binlog-check", &[folder.path()][..]),
        ("--binlog-dump", &[folder.path()]),
        ("--binlog-backup", &[folder.path(), &dest]),
    ] {
        let output = run(option, paths);
        assert_eq!(output.status.code(), Some(EXIT_CANNOT_REPLAY), "{option}: {}", said(&output));
        assert!(said(&output).contains("segment-0000000002 is damaged"), "{option}");
    }
    assert!(!dest.exists(), "nobody shall take it for a backup");
    assert!(folder.contents() == before, "nothing is changed");
}

#[test]
fn a_dump_has_a_line_for_each_record() {
    let folder = Folder::new();
    let server = folder.serve(POLICY);
    let mut conn = server.connect();
    for line in
        ["use mail", "put 1 0 60 5\r\nhello", "put 2 100 60 2\r\n\u{e9}", "pause-tube mail 9"]
    {
        conn.send(format!("{line}\r\n"));
        conn.reply();
    }
    conn.send(b"put 3 0 60 1\r\n\xff\r\nreserve-job 1\r\nbury 1 7\r\ndelete 3\r\n".as_slice());
    for _ in 0..4 {
        conn.reply();
    }
    let output = run("--binlog-dump", &[folder.path()]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = String::from_utf8(output.stdout).expect("JSON is text");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
    let find = |kind: &str, id: u64| {
        let found = lines.iter().find(|line| line["record"] == kind && line["id"] == id);
        found.unwrap_or_else(|| panic!("{kind} {id} in {text}")).clone()
    };
    let put = find("put", 1);
    assert_eq!((&put["tube"], &put["state"]), (&"mail".into(), &"ready".into()), "{put}");
    assert_eq!((&put["body"], &put["priority"]), (&"hello".into(), &1.into()), "{put}");
    assert_eq!(find("put", 2)["state"], "delayed");
    assert_eq!(find("put", 2)["body"], "\u{e9}");
    assert_eq!(find("put", 3)["body_base64"], "/w==");
    let buried = find("update", 1);
    assert_eq!((&buried["tube"], &buried["state"]), (&"mail".into(), &"buried".into()), "{buried}");
    assert_eq!(find("delete", 3)["tube"], "mail");
    assert!(lines.iter().any(|line| line["record"] == "tube" && line["pause"]["seconds"] == 9));
}
