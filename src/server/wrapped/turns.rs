//! How much a connection does before others have their turn, whoever reads its replies.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use beanstalk_protocol::{Command, Request};

use super::below::Below;
use super::hub;
use crate::server::connection::Connection;
use crate::server::hub::{Batch, Hub};

const REQUESTS: u64 = 5000;

/// A connection to which all requests have come, and nothing is carried out yet.
fn crowded(hub: &Arc<Hub>) -> (Below, Connection<Below>) {
    let below = Below::default();
    let mut state = below.state();
    state.to_read.extend("stats\r\n".repeat(REQUESTS as usize).bytes());
    (state.at_once, state.room) = (16 * 1024, usize::MAX);
    drop(state);
    (below.clone(), Connection::new(below, Arc::clone(hub)))
}

/// Polls until everything is carried out. Returns how much was at a time.
fn turns(hub: &Hub, mut connection: Pin<&mut Connection<Below>>) -> Vec<u64> {
    let done = || hub.read(|engine, _| engine.server_stats().commands.stats);
    let mut turns = Vec::new();
    while done() < REQUESTS {
        let before = done();
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(connection.as_mut().poll(&mut cx), Poll::Pending);
        turns.push(done() - before);
        assert!(turns.last() > Some(&0), "it goes on");
    }
    turns
}

#[test]
fn long_replies_end_a_turn() {
    let hub = hub();
    let (_, connection) = crowded(&hub);
    let turns = turns(&hub, pin!(connection));
    let longest = turns.iter().max().copied();
    assert!(longest < Some(300), "others wait for so many: {longest:?}");
}

/// Whoever has pipelined much and left costs no more than whoever reads: nothing is made for them, and
/// turns end all the same.
#[test]
fn a_client_that_is_gone_has_turns_like_others() {
    let hub = hub();
    let (below, connection) = crowded(&hub);
    below.state().is_reset = true;
    let turns = turns(&hub, pin!(connection));
    let longest = turns.iter().max().copied();
    assert!(longest < Some(3000), "others wait for so many: {longest:?}");
    assert!(below.state().written.is_empty());
}

#[test]
fn replies_that_nobody_reads_are_not_made() {
    let hub = hub();
    let conn = hub.connect(Waker::noop().clone());
    let mut batch = Batch::default();
    batch.outcome.unread = true;
    let commands = [Command::Stats, Command::ListTubes, Command::ListTubesWatched];
    batch.requests.extend(commands.into_iter().map(Request::Command).zip(1..));
    hub.apply(conn, &mut batch);
    assert!(batch.outcome.out.is_empty());
    assert_eq!(hub.read(|engine, _| engine.server_stats().commands.list_tubes), 1);
}
