//! `--http` and its flags on the command line.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use crate::client::{Http, TokenFile};
use crate::support::{Process, Server, scratch_path};

/// What the server says, and its exit status.
fn refused(flags: &[&str]) -> (i32, String) {
    let mut command = std::process::Command::new(crate::support::jq_server());
    command.args(["-l", "127.0.0.1", "-p", "0"]).args(flags);
    let mut process = Process::spawn(command);
    (process.exit_code(), process.output())
}

#[test]
fn others_are_not_served_without_tokens() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let (status, said) = refused(&["--http", address]);
        assert_eq!(status, 5, "{said}");
        assert!(said.contains("--http-token-file") && said.contains(address), "{said}");
    }
    let tokens = TokenFile::of_each_role();
    let mut server = Server::jq(&["--http", "0.0.0.0:0", "--http-token-file", tokens.path()]);
    server.process().await_output("serving HTTP");
}

#[test]
fn an_address_that_is_taken() {
    let http = Http::reading(&[]);
    let taken = http.address.to_string();
    let (status, said) = refused(&["--http", &taken]);
    assert_eq!(status, 111, "{said}");
    assert!(said.contains(&taken), "{said}");
}

#[test]
fn a_file_of_tokens_with_a_mistake() {
    let run = |file: &str| refused(&["--http", "127.0.0.1:0", "--http-token-file", file]);
    for (text, expected) in [
        ("[[token]]\nname = \"a\"\nrole = \"root\"\n", "line 3, column 8"),
        ("", "at least one [[token]]"),
        ("[[token]]\nname = \"a\"\nrole = \"read\"\ntoken = \"short\"\n", "line 4, column 9"),
    ] {
        let tokens = TokenFile::new(text);
        let (status, said) = run(tokens.path());
        assert_eq!(status, 5, "{said}");
        assert!(said.contains(expected) && said.contains(tokens.path()), "{said}");
    }
    let tokens = TokenFile::new("");
    fs::write(&tokens.0, b"name = \"\xff\"").unwrap();
    assert_eq!(run(tokens.path()).0, 5);
    fs::write(&tokens.0, vec![b'#'; (1 << 20) + 1]).unwrap();
    let (status, said) = run(tokens.path());
    assert!(status == 5 && said.contains("longer than"), "{said}");
    for file in ["/nowhere/tokens", "/dev/zero", "/"] {
        let (status, said) = run(file);
        assert!(status == 5 && said.contains(file), "{said}");
    }
}

/// Opening a pipe must not wait for its other end.
#[test]
fn a_file_of_tokens_that_is_a_pipe() {
    let path = scratch_path("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let file = path.to_str().unwrap();
    let (status, said) = refused(&["--http", "127.0.0.1:0", "--http-token-file", file]);
    let _ = fs::remove_file(&path);
    assert!(status == 5 && said.contains("not a regular file"), "{said}");
}

#[test]
fn a_file_that_others_can_read_is_warned_of() {
    let tokens = TokenFile::of_each_role();
    fs::set_permissions(&tokens.0, fs::Permissions::from_mode(0o644)).unwrap();
    let http = Http::start(&[], Some(tokens));
    assert!(http.server.output().contains("can be read by other users"));
}

#[test]
fn a_unix_socket_is_served_and_its_file_removed() {
    let path = scratch_path("http");
    let address = format!("unix:{}", path.display());
    let mut server = Server::jq(&["--http", &address]);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    // Only its Host header is from elsewhere.
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let mut stream = UnixStream::connect(&path).unwrap();
    stream
        .write_all(b"GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    answer.clear();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(server.exit_status(crate::support::PATIENCE).is_some_and(|status| status.success()));
    assert!(!path.exists());
}

/// It costs a thread and a socket, and only if it is asked for.
#[test]
fn without_the_flag_there_is_no_thread() {
    let threads = |server: &Server| {
        let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| {
            fs::read_to_string(entry.unwrap().path().join("comm")).unwrap_or_default()
        };
        tasks.map(name).filter(|name| name.trim() == "jq-http").count()
    };
    assert_eq!(threads(&Server::jq(&[""; 0])), 0);
    let http = Http::reading(&[]);
    // It names itself.
    crate::support::eventually("the thread has its name", || threads(&http.server) == 1);
}

/// With no descriptors to spare the API waits, and the queue goes on.
#[test]
fn few_descriptors() {
    let script = "ulimit -n 40; exec \"$@\"";
    let mut server = Server::jq_by_shell(script, &["--http", "127.0.0.1:0"]);
    let address = crate::client::address(&mut server);
    let held: Vec<_> = (0..60).map_while(|_| std::net::TcpStream::connect(address).ok()).collect();
    let mut queue = server.connect();
    drop(held);
    queue.ask("list-tube-used");
    crate::support::eventually("HTTP is answered again", || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
    });
}
