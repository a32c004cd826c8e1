//! SIGUSR1, SIGUSR2 and SIGHUP. What ends the server is tested in `stop`.

use nix::sys::signal::Signal;

use crate::run::{connect, endpoint, start};
use crate::support::folder::Folder;
use crate::support::{Conn, Server, eventually};

const PUT: &str = "put 0 0 60 1\r\nx\r\n";

fn await_draining(client: &mut Conn, state: &str) {
    eventually("the stats show the draining", || {
        client.ask("stats").value("draining") == Some(state)
    });
}

#[test]
fn a_drain_begins_and_ends() {
    let server = Server::jq(&["--threads", "2"]);
    let mut client = connect(server.endpoint());
    client.send(PUT);
    client.expect("INSERTED 1\r\n");
    for id in [2, 3] {
        server.signal(Signal::SIGUSR1);
        await_draining(&mut client, "true");
        client.send(PUT);
        client.expect("DRAINING\r\n");
        // Everything else goes on.
        client.send("reserve\r\nrelease 1 0 0\r\n");
        client.expect("RESERVED 1 1\r\nx\r\nRELEASED\r\n");
        connect(server.endpoint());
        server.signal(Signal::SIGUSR2);
        await_draining(&mut client, "false");
        client.send(PUT);
        client.expect(format!("INSERTED {}\r\n", 2 * id - 1));
    }
}

/// Jobs, connections and the wait of a worker remain, whatever asks for a reload.
#[test]
fn a_hangup_changes_nothing() {
    let server = Server::jq(&["--threads", "2"]);
    let mut client = connect(server.endpoint());
    let mut worker = connect(server.endpoint());
    worker.send("watch empty\r\nignore default\r\nreserve\r\n");
    worker.expect("WATCHING 2\r\nWATCHING 1\r\n");
    client.send(PUT);
    client.expect("INSERTED 1\r\n");
    for hangup in 1..=3 {
        server.signal(Signal::SIGHUP);
        eventually("the log says that it came", || {
            server.output().matches("SIGHUP is ignored").count() == hangup
        });
        client.send("peek 1\r\n");
        client.expect("FOUND 1 1\r\nx\r\n");
        connect(server.endpoint());
    }
    client.send(format!("use empty\r\n{PUT}"));
    client.expect("USING empty\r\nINSERTED 2\r\n");
    worker.expect("RESERVED 2 1\r\nx\r\n");
}

/// Also a server that has not come so far: it still reads its log.
#[test]
fn a_hangup_during_the_start() {
    let folder = Folder::new();
    for id in 1..=10 {
        let flags = folder.flags(&["-f", "0", "-l", "127.0.0.1", "-p", "0"]);
        let mut process = start(&flags);
        process.await_output("jq-server version=");
        process.signal(Signal::SIGHUP);
        let mut client = connect(&endpoint(&process));
        client.send(PUT);
        client.expect(format!("INSERTED {id}\r\n"));
        process.signal(Signal::SIGTERM);
        assert_eq!(process.exit_code(), 0);
    }
}
