//! SIGTERM and SIGINT.

use std::net::TcpStream;

use nix::sys::signal::Signal;

use crate::run::{connect, endpoint, start};
use crate::support::{Conn, Endpoint, Input, PATIENCE, Server, eventually};

const THREADS: [&str; 2] = ["1", "4"];

/// Bytes of the job that fills the sockets between client and server when it is asked for often.
const LARGE: usize = 60_000;

/// Asks for a job of [`LARGE`] bytes so often that the replies fit nowhere. Tells how often.
fn ask_for_much(client: &mut Conn) -> usize {
    const TIMES: usize = 400;
    client.send(format!("put 0 0 60 {LARGE}\r\n{}\r\n", "L".repeat(LARGE)));
    client.expect("INSERTED 1\r\n");
    client.send("peek 1\r\n".repeat(TIMES));
    TIMES
}

/// What has reached the server is answered, and then it closes.
#[test]
fn what_was_received_is_answered() {
    const COMMANDS: usize = 1500;
    for (threads, signal) in THREADS.into_iter().zip([Signal::SIGTERM, Signal::SIGINT]) {
        for _ in 0..5 {
            let mut server = Server::jq(&["--threads", threads]);
            let mut clients: Vec<Conn> = (0..6).map(|_| connect(server.endpoint())).collect();
            for client in &mut clients {
                client.send("list-tube-used\r\n".repeat(COMMANDS));
            }
            server.signal(signal);
            for client in &mut clients {
                client.expect("USING default\r\n".repeat(COMMANDS));
                client.expect_closed();
            }
            assert_eq!(server.process().exit_code(), 0);
        }
    }
}

#[test]
fn idle_and_unfinished_clients_do_not_hold_it_up() {
    for threads in THREADS {
        let mut server = Server::jq(&["--threads", threads]);
        let inputs =
            ["", "list-", "put 0 0 60 5\r\nhe", "reserve\r\n", "reserve\r\nlist-tubes\r\n"];
        let mut clients: Vec<Conn> = inputs
            .iter()
            .map(|input| {
                let mut client = connect(server.endpoint());
                client.send(input);
                client
            })
            .collect();
        let mut witness = connect(server.endpoint());
        eventually("two wait", || witness.ask("stats").value("current-waiting") == Some("2"));
        server.signal(Signal::SIGTERM);
        // A worker that waits is told nothing: it shall ask the next server.
        clients.iter_mut().for_each(Conn::expect_closed);
        assert_eq!(server.process().exit_code(), 0);
        assert!(!server.output().contains("did not read"), "{}", server.output());
    }
}

#[test]
fn a_slow_reader_gets_its_replies() {
    for threads in THREADS {
        let mut server = Server::jq(&["--threads", threads]);
        let mut reader = connect(server.endpoint());
        let mut witness = connect(server.endpoint());
        let times = ask_for_much(&mut reader);
        server.signal(Signal::SIGTERM);
        witness.expect_closed();
        for _ in 0..times {
            assert_eq!(reader.reply().body().map(<[u8]>::len), Some(LARGE));
        }
        reader.expect_closed();
        assert_eq!(server.process().exit_code(), 0);
    }
}

#[test]
fn a_client_that_never_reads_does_not_keep_it_alive() {
    let servers = THREADS.map(|threads| {
        let server = Server::jq(&["--threads", threads]);
        let mut deaf = connect(server.endpoint());
        ask_for_much(&mut deaf);
        let mut witness = connect(server.endpoint());
        server.signal(Signal::SIGTERM);
        // The others do not wait for it.
        witness.expect_closed();
        (server, deaf)
    });
    for (mut server, deaf) in servers {
        assert_eq!(server.process().exit_code(), 0);
        assert!(server.output().contains("clients did not read"), "{}", server.output());
        drop(deaf);
    }
}

#[test]
fn nobody_is_accepted_any_more_and_the_next_server_has_the_port() {
    let mut server = start(&["-l", "127.0.0.1", "-p", "0"]);
    let address = endpoint(&server);
    let Endpoint::Tcp(tcp) = &address else { panic!("{address:?} is TCP") };
    // Connections that the server closes linger in the kernel, under its port.
    let mut clients: Vec<Conn> = (0..10).map(|_| connect(&address)).collect();
    // Keeps the server in its last seconds.
    let mut deaf = connect(&address);
    let times = ask_for_much(&mut deaf);
    server.signal(Signal::SIGTERM);
    clients.iter_mut().for_each(Conn::expect_closed);
    assert!(TcpStream::connect(tcp).is_err(), "nobody listens");
    // While the first is still ending, and beside what it left.
    let next = start(&["-l", "127.0.0.1", "-p", &tcp.port().to_string()]);
    connect(&endpoint(&next));
    (0..times).for_each(|_| assert!(matches!(deaf.next(PATIENCE), Input::Reply(_))));
    assert_eq!(server.exit_code(), 0);
    connect(&address);
}
