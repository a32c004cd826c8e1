//! Whose the directory of `-b` is, and who may look into it.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::unistd::geteuid;

use crate::support::folder::{Folder, flags, kill, name, refuse, stop};
use crate::support::{
    Conn, Endpoint, Process, Server, beanstalkd, exit_status, jq_server, scratch_path, skip,
};

const EXIT_CANNOT_LOCK: i32 = 10;

#[test]
fn a_missing_directory_exits_with_10() {
    let path = scratch_path("missing");
    let (status, output) = refuse(&path, &[]);
    assert_eq!(status, EXIT_CANNOT_LOCK, "{output}");
    assert!(output.contains(path.to_str().expect("it is text")), "{output}");
    assert!(!path.exists(), "it is not made");
}

#[test]
fn a_file_in_its_place_exits_with_10() {
    let path = scratch_path("file");
    fs::write(&path, "precious").expect("the temporary folder is writable");
    let (status, output) = refuse(&path, &[]);
    assert_eq!(status, EXIT_CANNOT_LOCK, "{output}");
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "precious");
    fs::remove_file(&path).expect("it is ours");
}

#[test]
fn only_one_server_has_it() {
    let folder = Folder::new();
    let first = folder.serve(&[]);
    first.connect().send("put 0 0 60 1\r\nx\r\n");
    let (status, output) = folder.refuse(&[]);
    assert_eq!(status, EXIT_CANNOT_LOCK, "{output}");
    assert!(output.contains("another server"), "{output}");
    assert!(output.contains(folder.path().to_str().expect("it is text")), "{output}");
    assert!(!output.contains("listening"), "{output}");
    // The lock goes with its owner, however that ends.
    kill(first);
    let second = folder.serve(&[]);
    assert_eq!(folder.refuse(&[]).0, EXIT_CANNOT_LOCK);
    stop(second);
    folder.serve(&[]);
}

#[test]
fn beanstalkd_and_we_keep_each_other_out() {
    let Some(beanstalkd) = beanstalkd("the lock that beanstalkd takes") else { return };
    let folder = Folder::new();
    let ours = folder.serve(&[]);
    let refused = exit_status(&beanstalkd, &folder.flags(&[])).and_then(|status| status.code());
    assert_eq!(refused, Some(EXIT_CANNOT_LOCK));
    stop(ours);
    let _theirs = Server::start(&beanstalkd, &folder.flags(&[]));
    let (status, output) = folder.refuse(&[]);
    assert_eq!(status, EXIT_CANNOT_LOCK, "{output}");
}

#[test]
fn a_directory_that_cannot_be_written() {
    let folder = Folder::new();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).expect("it is ours");
    if geteuid().is_root() {
        // Whom no permissions hold back, unless it becomes another user.
        let (status, output) = folder.refuse(&["-u", "nobody"]);
        assert_eq!(status, EXIT_CANNOT_LOCK, "{output}");
        assert!(output.contains("denied"), "{output}");
    } else {
        let (status, output) = folder.refuse(&[]);
        assert_eq!(status, EXIT_CANNOT_LOCK, "{output}");
        assert!(output.contains("denied"), "{output}");
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("it is ours");
}

/// Jobs are nobody else's business, whatever the umask.
#[test]
fn permissions() {
    let folder = Folder::new();
    let flags = folder.flags(&["-f", "0"]);
    let server = Server::jq_by_shell(r#"umask 000; exec "$@""#, &flags);
    let mut conn = server.connect();
    conn.send("put 0 0 60 1\r\nx\r\n");
    conn.expect("INSERTED 1\r\n");
    let mode = |path: &Path| {
        let meta = path.metadata().expect("it is there");
        meta.permissions().mode() & 0o777
    };
    assert_eq!(mode(&folder.inner()), 0o700);
    assert_eq!(mode(&folder.path().join("lock")), 0o600);
    for path in folder.segments() {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn files_of_others_are_left_alone() {
    let folder = Folder::new();
    stop(folder.serve(&[]));
    let others = [
        folder.path().join("notes.txt"),
        folder.path().join("segment-0000000001"),
        folder.inner().join("segment-1"),
        folder.inner().join("segment-0000000001.bak"),
        folder.inner().join("notes.txt"),
    ];
    for path in &others {
        fs::write(path, "precious").expect("it can be written");
    }
    let server = folder.serve(&["-f", "0", "-s", "65536"]);
    let mut conn = server.connect();
    for id in 1..=200 {
        conn.send(format!("put 0 0 60 1000\r\n{}\r\n", "x".repeat(1000)));
        conn.expect(format!("INSERTED {id}\r\n"));
        assert_eq!(conn.ask(format!("delete {id}")).line(), b"DELETED");
    }
    stop(server);
    stop(folder.serve(&[]));
    for path in &others {
        let text = fs::read_to_string(path).expect("it is there");
        assert_eq!(text, "precious", "{}", name(path));
    }
}

/// Whoever is connected is served: nobody waits in a queue of the kernel while a log is replayed.
#[test]
fn it_listens_when_the_log_is_replayed() {
    const JOBS: usize = 20_000;
    const BATCH: usize = 500;
    let folder = Folder::new();
    let server = folder.serve(&["-F"]);
    let mut conn = server.connect();
    for batch in 0..JOBS / BATCH {
        conn.send(format!("put 0 0 60 2000\r\n{}\r\n", "x".repeat(2000)).repeat(BATCH));
        for number in 1..=BATCH {
            conn.expect(format!("INSERTED {}\r\n", batch * BATCH + number));
        }
    }
    kill(server);

    let probe = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
    let address: SocketAddr = probe.local_addr().expect("it has an address");
    drop(probe);
    let mut command = Command::new(jq_server());
    command.args(["-l", "127.0.0.1", "-p", &address.port().to_string()]);
    command.args(flags(folder.path(), &["-F"]));
    let process = Process::spawn(command);
    process.await_output("jq-server");
    let mut refused = 0;
    let mut conn = loop {
        match TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
            Ok(_) => break Conn::open(&Endpoint::Tcp(address)).expect("it accepts"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
        }
        refused += 1;
        assert!(refused < 1_000_000, "{}", process.output());
    };
    // The very first reply tells of all jobs.
    let stats = conn.ask("stats");
    if stats.value("pid") != Some(&process.pid().to_string()) {
        return skip("that it listens last", "another program took the port");
    }
    assert_eq!(stats.value("current-jobs-ready"), Some(&*JOBS.to_string()));
    assert!(refused > 0, "it was not listening before");
    let log = process.output();
    let (replayed, listening) = (log.find("replayed the binlog"), log.find("listening"));
    assert!(replayed.is_some() && replayed < listening, "{log}");
}
