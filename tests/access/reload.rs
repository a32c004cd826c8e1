//! The file read again, with connections that it concerns.

use nix::sys::signal::Signal;

use crate::scene::{HASH, Scene, TOKEN};
use crate::support::eventually;

const REFUSED: &str = "INTERNAL_ERROR\r\n";

fn worker(rights: &str) -> String {
    format!("[[principal]]\nname = \"worker\"\ntokens = [\"{HASH}\"]\n{rights}\n")
}

fn known(rights: &str) -> String {
    format!("[[principal]]\nname = \"known\"\ntokens = [\"{HASH}\"]\n{rights}\n")
}

#[test]
fn rights_come_and_go_with_the_next_command() {
    let all = worker("put = [\"mail\"]\nreserve = [\"*\"]");
    let scene = Scene::start(&all, &["worker"], &[]);
    let mut conn = scene.act_as("worker");
    conn.send("use mail\r\nput 0 0 60 1\r\nx\r\nput 0 0 60 1\r\ny\r\nwatch mail\r\nreserve\r\n");
    conn.expect("USING mail\r\nINSERTED 1\r\nINSERTED 2\r\nWATCHING 2\r\nRESERVED 1 1\r\nx\r\n");
    scene.reload(&worker("peek = [\"mail\"]"));
    // Neither the tube that is used nor one that is watched may be used so any more, and the job that it has
    // reserved is out of its reach.
    conn.send(
        "put 0 0 60 1\r\nx\r\nreserve\r\ntouch 1\r\nrelease 1 0 0\r\nbury 1 0\r\ndelete 1\r\n",
    );
    conn.expect(REFUSED.repeat(6));
    conn.send("peek 1\r\n");
    conn.expect("FOUND 1 1\r\nx\r\n");
    scene.reload(&all);
    conn.send("put 0 0 60 1\r\nz\r\ndelete 1\r\nreserve\r\n");
    conn.expect("INSERTED 3\r\nDELETED\r\nRESERVED 2 1\r\ny\r\n");
}

#[test]
fn a_reserve_that_waits_ends_when_its_right_is_gone() {
    let all = worker("put = [\"*\"]\nreserve = [\"*\"]");
    let scene = Scene::start(&all, &["worker"], &["--threads", "2"]);
    let waiting = || scene.stat("current-waiting");
    let mut conns: Vec<_> = (0..4).map(|_| scene.act_as("worker")).collect();
    for (conn, command) in conns.iter_mut().zip([
        "reserve",
        "reserve-with-timeout 3600",
        "batch-reserve 3 3600",
        "reserve",
    ]) {
        // What comes behind goes on.
        conn.send(format!("{command}\r\nlist-tube-used\r\n"));
    }
    eventually("all wait", || waiting() == 4);
    // A file that leaves the right is nothing to them.
    scene.reload(&worker("reserve = [\"*\"]"));
    assert_eq!(waiting(), 4);
    scene.reload(&worker("put = [\"*\"]"));
    for conn in &mut conns {
        conn.expect(format!("{REFUSED}USING default\r\n"));
    }
    assert_eq!(waiting(), 0);
    // Nobody is served that waited before.
    let mut conn = conns.pop().expect("there are four");
    conn.send("put 0 0 60 1\r\nx\r\n");
    conn.expect("INSERTED 1\r\n");
    assert_eq!(scene.stat("current-jobs-ready"), 1);
}

#[test]
fn a_principal_that_is_gone_is_nobody() {
    let scene = Scene::start(&worker("put = [\"*\"]\nreserve = [\"*\"]"), &["worker"], &[]);
    let mut listened = scene.act_as("worker");
    let mut told = scene.stranger();
    // The token is of another name, so this is nobody either way.
    told.send(format!("auth {TOKEN}\r\n"));
    told.expect("NOT_AUTHENTICATED\r\n");
    let mut waits = scene.act_as("worker");
    waits.send("reserve\r\n");
    eventually("it waits", || scene.stat("current-waiting") == 1);
    scene.reload("");
    waits.expect(REFUSED);
    listened.send("put 0 0 60 1\r\nx\r\nlist-tube-used\r\n");
    listened.expect(REFUSED.repeat(2));
    // And comes back.
    scene.reload(&worker("put = [\"*\"]"));
    listened.send("put 0 0 60 1\r\nx\r\nlist-tube-used\r\n");
    listened.expect("INSERTED 1\r\nUSING default\r\n");
}

#[test]
fn a_token_that_is_gone_is_worth_nothing() {
    let scene = Scene::start(&known("put = [\"*\"]"), &[], &[]);
    let mut conn = scene.stranger();
    conn.send(format!("auth {TOKEN}\r\nput 0 0 60 1\r\nx\r\n"));
    conn.expect("AUTHENTICATED\r\nINSERTED 1\r\n");
    scene.reload("[[principal]]\nname = \"known\"\nput = [\"*\"]\n");
    conn.send("put 0 0 60 1\r\nx\r\n");
    conn.expect(REFUSED);
    conn.send(format!("auth {TOKEN}\r\n"));
    conn.expect("NOT_AUTHENTICATED\r\n");
    // When it is put back, it has to be shown again.
    scene.reload(&known("put = [\"*\"]"));
    conn.send("put 0 0 60 1\r\nx\r\n");
    conn.expect(REFUSED);
    conn.send(format!("auth {TOKEN}\r\nput 0 0 60 1\r\nx\r\n"));
    conn.expect("AUTHENTICATED\r\nINSERTED 2\r\n");
}

/// Also of one that was idle meanwhile.
#[test]
fn a_token_that_is_put_back_is_to_be_shown_again() {
    let scene = Scene::start(&known("put = [\"*\"]"), &[], &["-V"]);
    let mut conn = scene.stranger();
    conn.send(format!("auth {TOKEN}\r\n"));
    conn.expect("AUTHENTICATED\r\n");
    scene.reload("");
    eventually("it is nobody's", || scene.server.output().contains("acts for nobody now"));
    scene.reload(&known("put = [\"*\"]"));
    conn.send("put 0 0 60 1\r\nx\r\n");
    conn.expect(REFUSED);
}

#[test]
fn a_put_is_decided_at_its_line() {
    let scene = Scene::start(&worker("put = [\"*\"]"), &["worker"], &[]);
    let mut conn = scene.act_as("worker");
    conn.send("put 0 0 60 6\r\nabc");
    eventually("the line is there", || scene.stat("cmd-put") == 1);
    scene.reload("");
    conn.send("def\r\nput 0 0 60 6\r\nabc");
    conn.expect("INSERTED 1\r\n");
    scene.reload(&worker("put = [\"*\"]"));
    conn.send("def\r\nput 0 0 60 0\r\n\r\n");
    conn.expect(format!("{REFUSED}INSERTED 2\r\n"));
}

#[test]
fn a_file_with_a_mistake_changes_nothing() {
    let scene = Scene::start(&worker("put = [\"*\"]"), &["worker"], &[]);
    let mut conn = scene.act_as("worker");
    conn.ask("use mail");
    scene.write("[[principal]]\nname = 5\n");
    scene.server.signal(Signal::SIGHUP);
    let said = "the principals of before stay";
    eventually(said, || scene.server.output().contains(said));
    conn.send("put 0 0 60 1\r\nx\r\n");
    conn.expect("INSERTED 1\r\n");
}

#[test]
fn thousands_of_watched_tubes_are_looked_at_again() {
    const TUBES: usize = 3000;
    let scene = Scene::start(&worker("reserve = [\"*\"]"), &["worker"], &[]);
    let mut conn = scene.act_as("worker");
    for tube in 0..TUBES {
        conn.send(format!("watch t{tube}\r\n"));
    }
    conn.expect((2..TUBES + 2).map(|count| format!("WATCHING {count}\r\n")).collect::<String>());
    // The last of them is closed.
    let last = TUBES - 1;
    scene.reload(&worker(&format!("reserve = [\"default\", \"t*0\", \"t*1\", \"t*2\", \"t*3\", \"t*4\", \"t*5\", \"t*6\", \"t*7\", \"t*8\", \"t{}*\"]", last / 10)));
    conn.send("reserve-with-timeout 0\r\n");
    // Those that end in 9.
    conn.expect(REFUSED);
    for tube in (9..TUBES).step_by(10) {
        conn.send(format!("ignore t{tube}\r\n"));
        conn.reply();
    }
    conn.send("reserve-with-timeout 0\r\n");
    conn.expect("TIMED_OUT\r\n");
}
