//! Limits of principals and of addresses.

use std::time::Instant;

use crate::scene::{HASH, Scene, TOKEN};
use crate::support::eventually;

const FULL: &str = "OUT_OF_MEMORY\r\n";

#[test]
fn a_connection_too_many_is_told_and_closed() {
    let text = format!(
        "[[principal]]\nname = \"known\"\ntokens = [\"{HASH}\"]\nmax-connections = 2\n\
         [[principal]]\nname = \"other\"\n"
    );
    let scene = Scene::start(&text, &["known", "other"], &[]);
    let mut first = scene.act_as("known");
    first.ask("list-tube-used");
    let mut second = scene.stranger();
    second.ask(format!("auth {TOKEN}"));
    let mut third = scene.act_as("known");
    third.expect(FULL);
    third.expect_closed();
    let mut third = scene.stranger();
    third.send(format!("auth {TOKEN}\r\nlist-tube-used\r\n"));
    third.expect(FULL);
    third.expect_closed();
    // Others are not concerned, nor those who are there.
    scene.act_as("other").ask("list-tube-used");
    assert_eq!(first.ask(format!("auth {TOKEN}")).line(), b"AUTHENTICATED");
    drop(second);
    eventually("there is room again", || {
        scene.stranger().ask(format!("auth {TOKEN}")).line() == b"AUTHENTICATED"
    });
    // Who changes to another principal makes room as well.
    scene.reload(&text.replace("max-connections = 2", "max-connections = 1"));
    assert_eq!(first.ask("list-tube-used").line(), b"USING default");
}

/// Those that were opened while the file did not have it, and have sent nothing since it has.
#[test]
fn idle_connections_count_from_when_their_principal_is_in_the_file() {
    let text = "[[principal]]\nname = \"known\"\nmax-connections = 2\n";
    let scene = Scene::start(text, &["known"], &[]);
    scene.reload("");
    let mut conns = [scene.act_as("known"), scene.act_as("known"), scene.act_as("known")];
    for conn in &mut conns {
        assert_eq!(conn.ask("list-tube-used").line(), b"INTERNAL_ERROR");
    }
    scene.reload(text);
    eventually("they count", || {
        let mut another = scene.act_as("known");
        another.send("list-tube-used\r\n");
        another.reply().line() == FULL.trim_end().as_bytes()
    });
    // They are there already, so they stay. When two have gone, there is room for one.
    assert_eq!(conns[0].ask("list-tube-used").line(), b"USING default");
    let [first, second, third] = conns;
    drop((second, third));
    eventually("there is room again", || {
        scene.act_as("known").ask("list-tube-used").line() == b"USING default"
    });
    drop(first);
}

/// Limits of addresses that come with another file, likewise.
#[test]
fn idle_connections_count_for_their_address_when_there_is_a_limit() {
    let text = "[[principal]]\nname = \"a\"\n";
    let scene = Scene::start(text, &["a"], &[]);
    let mut conns = [scene.act_as("a"), scene.stranger()];
    conns.iter_mut().for_each(|conn| drop(conn.ask("list-tube-used")));
    scene.reload(&format!("{text}[address]\nmax-connections = 2\n"));
    eventually("they count", || {
        let mut another = scene.act_as("a");
        another.send("list-tube-used\r\n");
        another.reply().line() == FULL.trim_end().as_bytes()
    });
}

#[test]
fn addresses_have_connections_and_unix_sockets_have_none() {
    let scene =
        Scene::start("[[principal]]\nname = \"a\"\n[address]\nmax-connections = 2\n", &["a"], &[]);
    let (mut first, mut second) = (scene.act_as("a"), scene.stranger());
    first.ask("list-tube-used");
    second.ask("list-tube-used");
    let mut third = scene.act_as("a");
    third.expect(FULL);
    third.expect_closed();
    for _ in 0..3 {
        assert_eq!(scene.operator().ask("list-tube-used").line(), b"USING default");
    }
    drop(first);
    eventually("there is room again", || {
        scene.act_as("a").ask("list-tube-used").line() == b"USING default"
    });
}

#[test]
fn who_sends_too_much_waits() {
    let text = "[[principal]]\nname = \"a\"\nput = [\"*\"]\ncommands-per-second = 20\n";
    let scene = Scene::start(text, &["a"], &[]);
    let start = Instant::now();
    let mut conns = [scene.act_as("a"), scene.act_as("a")];
    for conn in &mut conns {
        conn.send("put 0 0 60 1\r\nx\r\n".repeat(30));
    }
    for conn in &mut conns {
        for _ in 0..30 {
            assert!(conn.reply().line().starts_with(b"INSERTED"), "nobody is refused");
        }
    }
    // A second's commands at once, and 40 more at their rate. No test of speed: it cannot be quicker.
    assert!(start.elapsed().as_secs_f64() >= 2.0, "{:?}", start.elapsed());
    assert_eq!(scene.stat("current-jobs-ready"), 60);
    // The rest of a pipeline is not lost when the limit goes.
    let [conn, _] = &mut conns;
    conn.send("list-tube-used\r\n".repeat(100));
    scene.reload("[[principal]]\nname = \"a\"\nput = [\"*\"]\n");
    conn.expect("USING default\r\n".repeat(100));
}

#[test]
fn the_rate_of_an_address_is_for_all_of_its_principals() {
    let text = "[[principal]]\nname = \"a\"\n[[principal]]\nname = \"b\"\n\
                [address]\ncommands-per-second = 20\n";
    let scene = Scene::start(text, &["a", "b"], &[]);
    let start = Instant::now();
    let mut conns = [scene.act_as("a"), scene.act_as("b")];
    for conn in &mut conns {
        conn.send("list-tube-used\r\n".repeat(20));
    }
    for conn in &mut conns {
        conn.expect("USING default\r\n".repeat(20));
    }
    assert!(start.elapsed().as_secs_f64() >= 1.0, "{:?}", start.elapsed());
}

#[test]
fn a_server_that_stops_does_not_keep_those_who_wait_for_their_turn() {
    let text = "[[principal]]\nname = \"a\"\nput = [\"*\"]\ncommands-per-second = 1\n";
    let mut scene = Scene::start(text, &["a"], &[]);
    let mut conn = scene.act_as("a");
    conn.send("list-tube-used\r\n".repeat(100));
    conn.expect("USING default\r\n");
    scene.server.signal(nix::sys::signal::Signal::SIGTERM);
    // As ever, what had arrived is answered.
    conn.expect("USING default\r\n".repeat(99));
    conn.expect_closed();
    let status = scene.server.exit_status(crate::support::PATIENCE);
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}

#[test]
fn bytes_in_the_queue() {
    let text = "[[principal]]\nname = \"a\"\nput = [\"*\"]\nreserve = [\"*\"]\ndelete = [\"*\"]\nmax-bytes = 100\n\
                [[principal]]\nname = \"b\"\nput = [\"*\"]\nreserve = [\"*\"]\n";
    let scene = Scene::start(text, &["a", "b"], &[]);
    let put = |bytes: usize| format!("put 0 0 60 {bytes}\r\n{}\r\n", "x".repeat(bytes));
    let (mut a, mut another, mut b) = (scene.act_as("a"), scene.act_as("a"), scene.act_as("b"));
    a.send(put(60) + &put(41));
    a.expect(format!("INSERTED 1\r\n{FULL}"));
    another.send(put(40) + &put(1) + &put(0));
    another.expect(format!("INSERTED 3\r\n{FULL}INSERTED 5\r\n"));
    b.send(put(1000));
    b.expect("INSERTED 6\r\n");
    // However they go: deleted by somebody else, or with their tube.
    b.send("reserve-job 1\r\ndelete 1\r\n");
    b.expect(format!("RESERVED 1 60\r\n{}\r\nDELETED\r\n", "x".repeat(60)));
    a.send(put(61) + &put(60));
    a.expect(format!("{FULL}INSERTED 8\r\n"));
    a.send("clear-tube default\r\n");
    a.expect("CLEARED 4\r\n");
    eventually("the bytes are free", || {
        a.send(put(100));
        let line = String::from_utf8_lossy(a.reply().line()).into_owned();
        line.starts_with("INSERTED")
    });
}

#[test]
fn bytes_of_an_address() {
    let text = "[[principal]]\nname = \"a\"\nput = [\"*\"]\n[[principal]]\nname = \"b\"\nput = [\"*\"]\n\
                [address]\nmax-bytes = 100\n";
    let scene = Scene::start(text, &["a", "b"], &[]);
    let put = |bytes: usize| format!("put 0 0 60 {bytes}\r\n{}\r\n", "x".repeat(bytes));
    let (mut a, mut b) = (scene.act_as("a"), scene.act_as("b"));
    a.send(put(60));
    a.expect("INSERTED 1\r\n");
    b.send(put(60) + &put(40));
    b.expect(format!("{FULL}INSERTED 3\r\n"));
    // The connections have gone, the jobs are still there.
    drop((a, b));
    let mut a = scene.act_as("a");
    a.send(put(1));
    a.expect(FULL);
}
