//! Sessions with the server that the pages show are played to one.

use crate::markdown::{Block, pages};
use crate::support::{Conn, Server};

/// How a session begins.
const TELNET: &str = "$ telnet ";

#[test]
fn sessions_are_answered_as_shown() {
    let mut count = 0;
    for page in pages() {
        for block in page.blocks().iter().filter(|block| block.text().starts_with(TELNET)) {
            play(block);
            count += 1;
        }
    }
    assert!(count > 0, "README.md shows a session");
}

/// Lines are the client's until it waits for an answer; then they are the server's.
fn play(block: &Block) {
    let server = Server::jq(&["-z", "65535"]);
    let mut conn = server.connect();
    let mut lines = block.lines.iter().skip(1);
    while let Some(line) = lines.next() {
        let mut sent = format!("{}\r\n", line.text);
        if line.text == "quit" {
            conn.send(&sent);
            conn.expect_closed();
            assert_eq!(lines.count(), 0, "{}: nothing follows quit", line.place);
            return;
        }
        if line.text.starts_with("put ") {
            let body = lines.next().unwrap_or_else(|| panic!("{}: no body", line.place));
            sent.push_str(&format!("{}\r\n", body.text));
        }
        for got in answer(&mut conn, &sent) {
            let shown = lines.next().map(|line| &*line.text);
            assert_eq!(shown, Some(&*got), "the answer to {}", line.place);
        }
    }
}

fn answer(conn: &mut Conn, sent: &str) -> Vec<String> {
    conn.send(sent);
    let reply = conn.reply();
    String::from_utf8_lossy(reply.bytes()).lines().map(str::to_owned).collect()
}
