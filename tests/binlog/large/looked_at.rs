//! What looks at a directory with large jobs, copies it or converts it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::{LARGE, LIMIT, assert_there, bodies, body, path_of, put, put_large, serve};
use crate::support::folder::{Folder, flags, kill, stop};
use crate::support::{Server, eventually, jq_server};

fn run(option: &str, paths: &[&Path]) -> Output {
    let output = Command::new(jq_server()).arg(option).args(paths).output();
    let output = output.expect("the program starts");
    assert!(output.status.success(), "{option}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn a_backup_has_the_bodies() {
    let folder = Folder::new();
    let server = serve(&folder, "-f0");
    let mut conn = server.connect();
    put_large(&mut conn, 1);
    put_large(&mut conn, 2);
    // Nobody knows yet whether this one is to be.
    fs::write(path_of(&folder, 99), "half of a body").expect("it can be written");
    let dest = Folder::new();
    let target = dest.path().join("backup");
    let output = run("--binlog-backup", &[folder.path(), &target]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("2 jobs") && said.contains("2 files linked, 1 copied"), "{said}");
    let names: Vec<_> = bodies(&target).iter().map(|it| it.file_name().map(Into::into)).collect();
    let expected = [1, 2].map(|id| Some(std::ffi::OsString::from(format!("body-{id:010}"))));
    assert_eq!(names, expected);
    let ino = |path: &Path| fs::metadata(path).expect("it is there").ino();
    assert_eq!(ino(&path_of(&folder, 1)), ino(&bodies(&target)[0]), "it is the same file");
    // What happens to the one is not seen in the other.
    assert_eq!(conn.ask("delete 1").line(), b"DELETED");
    eventually("its file goes", || !path_of(&folder, 1).exists());
    let restored = Server::jq(&flags(&target, &["-f0", LIMIT]));
    let mut conn = restored.connect();
    assert_there(&mut conn, 1);
    assert_eq!(conn.ask("delete 2").line(), b"DELETED");
    stop(restored);
    assert_there(&mut server.connect(), 2);
}

/// A long file is removed step by step; but a backup has all of it.
#[test]
fn a_backup_keeps_a_long_body_whose_job_is_deleted() {
    const LONG: usize = 40_000_000;
    let folder = Folder::new();
    let server = serve(&folder, "-f0");
    let mut conn = server.connect();
    for id in [1, 2] {
        conn.send(put(&body(id, LONG)));
        conn.expect(format!("INSERTED {id}\r\n"));
    }
    let dest = Folder::new();
    let target = dest.path().join("backup");
    run("--binlog-backup", &[folder.path(), &target]);
    conn.send(put(&body(3, LONG)));
    conn.expect("INSERTED 3\r\n");
    for id in 1..=3 {
        assert_eq!(conn.ask(format!("delete {id}")).line(), b"DELETED");
        eventually("its file goes", || !path_of(&folder, id).exists());
    }
    let restored = Server::jq(&flags(&target, &["-f0", LIMIT]));
    for id in [1, 2] {
        let found = restored.connect().ask(format!("peek {id}"));
        assert!(found.body() == Some(&body(id, LONG)), "job {id}");
    }
}

#[test]
fn a_check_and_a_dump_read_the_bodies() {
    let folder = Folder::new();
    let server = serve(&folder, "-f0");
    let mut conn = server.connect();
    let text = "y".repeat(LARGE);
    put_large(&mut conn, 1);
    conn.send(format!("put 0 0 60 {LARGE}\r\n{text}\r\n"));
    conn.expect("INSERTED 2\r\n");
    put_large(&mut conn, 3);
    assert_eq!(conn.ask("delete 3").line(), b"DELETED");
    eventually("its file goes", || !path_of(&folder, 3).exists());
    kill(server);
    let before = folder.contents();
    let checked = run("--binlog-check", &[folder.path()]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(said.contains("2 jobs"), "{said}");
    let dumped = run("--binlog-dump", &[folder.path()]);
    let lines = String::from_utf8(dumped.stdout).expect("it is text");
    let lines: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
    let puts: Vec<&Value> = lines.iter().filter(|line| line["record"] == "put").collect();
    assert_eq!(puts.len(), 3);
    assert_eq!(puts[0]["body_file"], "body-0000000001");
    assert!(puts[0]["body_base64"].as_str().is_some_and(|it| it.len() == LARGE / 3 * 4));
    assert!(puts[1]["body"] == text.as_str());
    assert_eq!(
        (&puts[2]["body"], &puts[2]["body_file"]),
        (&Value::Null, &"body-0000000003".into())
    );
    assert!(folder.contents() == before, "nothing is changed");
}

#[test]
fn an_export_has_them_and_an_import_too() {
    let folder = Folder::new();
    let server = serve(&folder, "-f0");
    let mut conn = server.connect();
    (1..=3).for_each(|id| put_large(&mut conn, id));
    assert_eq!(conn.ask("delete 2").line(), b"DELETED");
    stop(server);
    run("--binlog-export-v7", &[folder.path()]);
    assert!(!folder.inner().exists());
    let server = serve(&folder, "-f0");
    let mut conn = server.connect();
    assert_there(&mut conn, 1);
    assert_there(&mut conn, 3);
    assert_eq!(conn.ask("peek 2").line(), b"NOT_FOUND");
    assert_eq!(bodies(folder.path()), [1, 3].map(|id| path_of(&folder, id)), "as if put here");
    assert_eq!(conn.ask("peek-ready").body(), Some(&body(1, LARGE)[..]));
}

/// One body at a time, so that a machine can check what it could not serve.
#[test]
fn a_check_holds_one_body_at_a_time() {
    const SIZE: usize = 40_000_000;
    let folder = Folder::new();
    let server = serve(&folder, "-F");
    let mut conn = server.connect();
    for number in 1..=10 {
        conn.send(put(&body(number, SIZE)));
        conn.expect(format!("INSERTED {number}\r\n"));
    }
    stop(server);
    // More than the program needs, and less than the bodies do.
    let check = || {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -v 300000 && exec \"$@\"", "sh"]).arg(jq_server());
        command.arg("--binlog-check").arg(folder.path()).output().expect("it can be started")
    };
    let checked = check();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(said.contains("10 jobs"), "{said}{}", String::from_utf8_lossy(&checked.stderr));
    // All of each is looked at.
    let last = path_of(&folder, 10);
    let mut bytes = fs::read(&last).expect("it is there");
    bytes[SIZE - 1] ^= 1;
    fs::write(&last, bytes).expect("it can be written");
    let checked = check();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.code() == Some(11) && said.contains("body-0000000010"), "{said}");
}
