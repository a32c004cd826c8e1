//! Sessions with the server that the pages show are played to one.

use std::fs;

use crate::markdown::{Block, Page, pages};
use crate::support::folder::Folder;
use crate::support::{Conn, Server};

/// How a session begins.
const TELNET: &str = "$ telnet ";

#[test]
fn sessions_are_answered_as_shown() {
    let mut count = 0;
    for page in pages() {
        for block in page.blocks().iter().filter(|block| block.text().starts_with(TELNET)) {
            play(block, &tubes(&page));
            count += 1;
        }
    }
    assert!(count > 0, "README.md shows a session");
}

/// The files of `--tubes` that a page shows. Each can be used.
fn tubes(page: &Page) -> Vec<Block> {
    let is_file = |block: &Block| block.language == "toml" && block.text().contains("[tubes.");
    page.blocks().into_iter().filter(is_file).collect()
}

#[test]
fn files_of_tubes_can_be_used() {
    let mut count = 0;
    for block in pages().iter().flat_map(tubes) {
        let text = block.text();
        let server = serve(std::slice::from_ref(&block));
        let mut conn = server.connect();
        let names = text.lines().filter_map(|line| line.strip_prefix("[tubes."));
        for name in names.filter_map(|line| line.strip_suffix(']')) {
            let stats = conn.ask(format!("stats-tube {}", name.trim_matches('"')));
            assert_eq!(stats.value("has-policy"), Some("true"), "{}: {name}", block.place());
            count += 1;
        }
    }
    assert!(count >= 3, "docs/policies.md shows a file");
}

/// A server with the last of these files, if there is one.
fn serve(tubes: &[Block]) -> Server {
    let Some(block) = tubes.last() else { return Server::jq(&["-z", "65535"]) };
    let folder = Folder::new();
    let path = folder.path().join("tubes.toml");
    fs::write(&path, block.text()).expect("the folder is writable");
    // It is read before the server is ready.
    Server::jq(&["--tubes", path.to_str().expect("it is UTF-8")])
}

/// Lines are the client's until it waits for an answer; then they are the server's.
fn play(block: &Block, tubes: &[Block]) {
    let server = serve(tubes);
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
