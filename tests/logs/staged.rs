//! Large bodies, which a log stores before their puts are carried out: what holds for every log.

use crate::fake::STAGED_FROM;
use crate::served::Served;
use crate::support::eventually;

fn large() -> Vec<u8> {
    [format!("put 0 0 60 {STAGED_FROM}\r\n").as_bytes(), &[b'x'; STAGED_FROM], b"\r\n"].concat()
}

#[test]
fn only_the_client_that_sent_it_waits() {
    let (served, log) = Served::start();
    let (mut client, mut other) = (served.connect(), served.connect());
    client.send([&b"use a\r\n"[..], &large(), b"list-tube-used\r\nput 0 0 60 1\r\ny\r\n"].concat());
    client.expect("USING a\r\n");
    eventually("the log has the body", || log.orders() == [1]);
    other.send("put 0 0 60 1\r\nx\r\npeek 1\r\n");
    eventually("the other put is carried out", || log.appended() == 1);
    log.commit(1);
    other.expect("INSERTED 2\r\nNOT_FOUND\r\n");
    client.expect_silence(&mut other);
    assert_eq!(log.appended(), 1, "nothing that comes behind it is carried out");

    let order = log.take_order();
    assert_eq!((order.job(), order.body().len()), (1, STAGED_FROM));
    assert!(!order.is_forgotten() && order.give_back());
    eventually("both puts of the client are carried out", || log.appended() == 3);
    client.expect_silence(&mut other);
    log.commit(3);
    client.expect("INSERTED 1\r\nUSING a\r\nINSERTED 3\r\n");
    assert_eq!(log.ended(), [1]);
    let found = other.ask("peek 1");
    assert_eq!(found.body().map(<[u8]>::len), Some(STAGED_FROM));
}

#[test]
fn what_cannot_be_stored_is_refused() {
    let (served, log) = Served::start();
    let mut client = served.connect();
    client.send([&large()[..], b"put 0 0 60 1\r\ny\r\n"].concat());
    eventually("the log has the body", || log.orders() == [1]);
    drop(log.take_order());
    client.expect("OUT_OF_MEMORY\r\n");
    eventually("the next put is carried out", || log.appended() == 1);
    log.commit(1);
    client.expect("INSERTED 2\r\n");
    assert_eq!(log.ended(), [1]);
    assert_eq!(client.ask("peek 1").line(), b"NOT_FOUND");
    assert_eq!(client.ask("stats-tube default").value("total-jobs"), Some("1"));
}

/// It has sent all of it, and need not wait for the answer.
#[test]
fn a_client_that_leaves_has_put_its_job() {
    let (served, log) = Served::start();
    let mut client = served.connect();
    client.send(large());
    eventually("the log has the body", || log.orders() == [1]);
    client.finish();
    drop(client);
    let order = log.take_order();
    assert!(order.give_back());
    eventually("its put is carried out", || log.appended() == 1 && log.ended() == [1]);
    log.commit(1);
    assert!(served.connect().ask("peek 1").body().is_some());
}

/// A body that is never stored does not keep the server from stopping, and nothing is recorded.
#[test]
fn a_server_that_is_stopped_meanwhile() {
    let (served, log) = Served::start();
    let mut client = served.connect();
    client.send(large());
    eventually("the log has the body", || log.orders() == [1]);
    served.stop();
    assert_eq!(served.ended(), Ok(()));
    assert_eq!((log.appended(), log.ended()), (0, vec![1]));
    let order = log.take_order();
    assert!(order.is_forgotten() && !order.give_back());
    client.expect_closed();
}
