//! Futures that are dropped before they are done.

use std::pin::pin;

use jq_client::{Bytes, ConnectionLimits, Error, Job, Outcome, PutOptions, Reservation};

use crate::fake::{both, pair, pair_with, soon};
use crate::poll_once;

/// Polls once and drops: what `select!` does to the branch that lost.
pub(crate) fn start_and_drop<T>(future: impl Future<Output = T>) {
    assert!(poll_once(pin!(future)).is_pending(), "it was done at once");
}

fn reserved(id: u64) -> Reservation {
    Reservation::Reserved(Job { id, body: Bytes::from_static(b"x") })
}

#[tokio::test]
async fn the_reply_to_a_dropped_command_is_skipped() {
    let (mut connection, mut peer) = pair();
    start_and_drop(connection.touch(5));
    start_and_drop(connection.stats());
    let server = async {
        peer.expect("touch 5\r\n").await;
        peer.send_slowly("NOT_FOUND\r\n").await;
        peer.play(&[("delete 5\r\n", "DELETED\r\n")]).await;
    };
    // The second was dropped while it waited for the first one's reply, so it was never sent.
    assert_eq!(both(connection.delete(5), server).await.unwrap(), Outcome::Done);
}

#[tokio::test]
async fn a_dropped_put_is_sent_to_its_end() {
    let (mut connection, mut peer) = pair_with(ConnectionLimits::default(), 32);
    let body = [b'x'; 100];
    start_and_drop(connection.put(&body, PutOptions { priority: 1, delay: 2, ttr: 3 }));
    let server = async {
        peer.expect("put 1 2 3 100\r\n").await;
        peer.expect(body).await;
        peer.play(&[("\r\n", "INSERTED 1\r\n"), ("touch 9\r\n", "TOUCHED\r\n")]).await;
    };
    assert_eq!(both(connection.touch(9), server).await.unwrap(), Outcome::Done);
}

#[tokio::test]
async fn a_dropped_reserve_is_taken_up() {
    let (mut connection, mut peer) = pair();
    start_and_drop(connection.reserve());
    assert!(connection.is_reserve_pending());
    start_and_drop(connection.reserve_with_timeout(5));
    peer.expect("reserve\r\n").await;
    peer.send("RESERVED 5 1\r\nx\r\n").await;
    assert_eq!(soon(connection.reserve()).await.unwrap(), reserved(5));
    assert!(!connection.is_reserve_pending());
    let server = peer.play(&[("delete 5\r\n", "DELETED\r\n")]);
    assert_eq!(both(connection.delete(5), server).await.unwrap(), Outcome::Done);
}

#[tokio::test]
async fn while_a_reserve_is_pending_other_commands_fail_at_once() {
    let (mut connection, mut peer) = pair();
    start_and_drop(connection.reserve_with_timeout(60));
    for _ in 0..2 {
        let error = soon(connection.touch(5)).await.unwrap_err();
        assert!(matches!(error, Error::ReservePending), "{error:?}");
        assert!(!error.ends_connection() && !error.may_have_had_effect());
    }
    assert!(matches!(soon(connection.closed()).await, Error::ReservePending));
    assert!(soon(connection.pipeline()).await.is_err());
    peer.play(&[("reserve-with-timeout 60\r\n", "TIMED_OUT\r\n")]).await;
    assert_eq!(soon(connection.reserve()).await.unwrap(), Reservation::TimedOut);
    let server = peer.play(&[("touch 5\r\n", "TOUCHED\r\n")]);
    assert_eq!(both(connection.touch(5), server).await.unwrap(), Outcome::Done);
}

#[tokio::test]
async fn a_job_that_nobody_waited_for_goes_to_the_next_reserve() {
    let (mut connection, mut peer) = pair();
    start_and_drop(connection.reserve_with_timeout(0));
    peer.play(&[("reserve-with-timeout 0\r\n", "RESERVED 5 1\r\nx\r\n")]).await;
    let server = peer.play(&[("touch 5\r\n", "TOUCHED\r\n")]);
    assert_eq!(both(connection.touch(5), server).await.unwrap(), Outcome::Done);
    assert_eq!(soon(connection.reserve()).await.unwrap(), reserved(5));
    let server = peer.play(&[("reserve\r\n", "RESERVED 6 1\r\nx\r\n")]);
    assert_eq!(both(connection.reserve(), server).await.unwrap(), reserved(6));
}

#[tokio::test]
async fn a_dropped_reserve_job_can_be_asked_for_again() {
    let (mut connection, mut peer) = pair();
    start_and_drop(connection.reserve_job(5));
    peer.play(&[("reserve-job 5\r\n", "RESERVED 5 1\r\nx\r\n")]).await;
    let job = soon(connection.reserve_job(5)).await.unwrap();
    assert_eq!(job.map(|job| job.id), Some(5));
    let server = peer.play(&[("reserve-job 5\r\n", "NOT_FOUND\r\n")]);
    assert_eq!(both(connection.reserve_job(5), server).await.unwrap(), None);
}

#[tokio::test]
async fn jobs_of_a_connection_that_ended_are_not_handed_out() {
    let (mut connection, mut peer) = pair();
    start_and_drop(connection.reserve_with_timeout(0));
    peer.play(&[("reserve-with-timeout 0\r\n", "RESERVED 5 1\r\nx\r\n")]).await;
    let server = async move { peer.expect("touch 5\r\n").await };
    assert!(both(connection.touch(5), server).await.is_err());
    assert!(soon(connection.reserve()).await.is_err());
}
