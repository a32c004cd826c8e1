//! SIGUSR1 and SIGUSR2. What ends the server is tested in `stop`.

use nix::sys::signal::Signal;

use crate::run::connect;
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
