//! Commands that not every server has.

use jq_client::{Connection, Error, Job, JobState, Outcome, Refusal, Reservation};

use crate::cancel::start_and_drop;
use crate::fake::{both, pair};
use crate::tube;

fn ids(reserved: &Reservation<Vec<Job>>) -> Vec<u64> {
    match reserved {
        Reservation::Reserved(jobs) => jobs.iter().map(|job| job.id).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn a_batch() {
    let (mut c, mut peer) = pair();
    let reply = "BATCH 2\r\nRESERVED 1 1\r\na\r\nRESERVED 2 0\r\n\r\n";
    let taken = both(c.reserve_batch(5, 3), peer.play(&[("batch-reserve 5 3\r\n", reply)])).await;
    assert_eq!(ids(&taken.unwrap()), [1, 2]);
    for (reply, expected) in
        [("TIMED_OUT\r\n", Reservation::TimedOut), ("DEADLINE_SOON\r\n", Reservation::DeadlineSoon)]
    {
        // 0 counts as 1.
        let played = [("batch-reserve 1 0\r\n", reply)];
        assert_eq!(both(c.reserve_batch(0, 0), peer.play(&played)).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn without_batches_there_is_one_job_and_the_server_is_asked_once() {
    let (mut c, mut peer) = pair();
    let played = [
        ("batch-reserve 5 3\r\n", "UNKNOWN_COMMAND\r\n"),
        ("reserve-with-timeout 3\r\n", "RESERVED 1 1\r\na\r\n"),
    ];
    let taken = both(c.reserve_batch(5, 3), peer.play(&played)).await;
    assert_eq!(ids(&taken.unwrap()), [1]);
    let played = [("reserve-with-timeout 0\r\n", "TIMED_OUT\r\n")];
    let none = both(c.reserve_batch(5, 0), peer.play(&played)).await;
    assert_eq!(none.unwrap(), Reservation::TimedOut);
}

/// Nobody knows what follows: the connection ends.
#[tokio::test]
async fn a_batch_that_nobody_asked_for() {
    for reply in ["BATCH 0\r\n", "BATCH 6\r\n", "BATCH 18446744073709551615\r\n"] {
        let (mut c, mut peer) = pair();
        let played = [("batch-reserve 5 0\r\n", reply)];
        let error = both(c.reserve_batch(5, 0), peer.play(&played)).await.unwrap_err();
        assert!(matches!(error, Error::Unexpected { .. }), "{reply:?}: {error}");
        assert!(!c.is_open(), "{reply:?}");
    }
    let (mut c, mut peer) = pair();
    let error = both(c.touch(1), peer.play(&[("touch 1\r\n", "BATCH 1\r\n")])).await.unwrap_err();
    assert!(matches!(error, Error::Unexpected { .. }) && !c.is_open(), "{error}");
    // What follows is no job.
    let (mut c, mut peer) = pair();
    let played = [("batch-reserve 5 0\r\n", "BATCH 1\r\nDELETED\r\n")];
    let error = both(c.reserve_batch(5, 0), peer.play(&played)).await.unwrap_err();
    assert!(matches!(error, Error::Unexpected { .. }) && !c.is_open(), "{error}");
}

/// The wait goes on; whichever reserve comes next gets the jobs.
#[tokio::test]
async fn a_batch_whose_future_was_dropped() {
    let (mut c, mut peer) = pair();
    start_and_drop(c.reserve_batch(5, 100));
    peer.expect("batch-reserve 5 100\r\n").await;
    assert!(c.is_reserve_pending());
    assert!(matches!(c.touch(1).await, Err(Error::ReservePending)));
    peer.send("BATCH 2\r\nRESERVED 1 1\r\na\r\n").await;
    start_and_drop(c.reserve_batch(5, 100));
    peer.send("RESERVED 2 1\r\nb\r\n").await;
    assert_eq!(c.reserve().await.unwrap().into_job().map(|job| job.id), Some(1));
    let rest = c.reserve_batch(5, 0).await.unwrap();
    assert_eq!(ids(&rest), [2]);
}

#[tokio::test]
async fn clearing() {
    let clear = async |reply| {
        let (mut c, mut peer) = pair();
        both(c.clear_tube(&tube("t")), peer.play(&[("clear-tube t\r\n", reply)])).await
    };
    assert_eq!(clear("CLEARED 7\r\n").await.unwrap(), Some(7));
    assert_eq!(clear("NOT_FOUND\r\n").await.unwrap(), None);
    let error = clear("INTERNAL_ERROR\r\n").await.unwrap_err();
    assert!(matches!(error, Error::Refused { refusal: Refusal::InternalError, .. }), "{error}");
}

#[tokio::test]
async fn clearing_one_by_one() {
    let (mut c, mut peer) = pair();
    let stats = "---\ncurrent-jobs-ready: 1\ncurrent-jobs-delayed: 1\ncurrent-jobs-buried: 2\n";
    let stats = format!("OK {}\r\n{stats}\r\n", stats.len());
    let played = [
        ("clear-tube t\r\n", "UNKNOWN_COMMAND\r\n"),
        ("stats-tube t\r\n", &*stats),
        ("list-tube-used\r\n", "USING default\r\n"),
        ("use t\r\n", "USING t\r\n"),
        ("peek-ready\r\n", "FOUND 1 1\r\na\r\n"),
        ("delete 1\r\n", "DELETED\r\n"),
        ("peek-ready\r\n", "NOT_FOUND\r\n"),
        ("peek-buried\r\n", "FOUND 2 1\r\nb\r\n"),
        ("delete 2\r\n", "NOT_FOUND\r\n"),
        ("peek-ready\r\n", "NOT_FOUND\r\n"),
        ("peek-buried\r\n", "NOT_FOUND\r\n"),
        ("peek-delayed\r\n", "FOUND 3 1\r\nc\r\n"),
        ("delete 3\r\n", "DELETED\r\n"),
        ("peek-ready\r\n", "NOT_FOUND\r\n"),
        ("peek-buried\r\n", "NOT_FOUND\r\n"),
        ("peek-delayed\r\n", "NOT_FOUND\r\n"),
        ("use default\r\n", "USING default\r\n"),
    ];
    assert_eq!(both(c.clear_tube(&tube("t")), peer.play(&played)).await.unwrap(), Some(2));
}

#[tokio::test]
async fn listing() {
    let list =
        async |c: &mut Connection| c.list_jobs(&tube("t"), Some(JobState::Ready), 5, 9).await;
    const SENT: &str = "list-jobs t ready 5 9\r\n";
    let (mut c, mut peer) = pair();
    let text = "---\nnext: 7\njobs:\n- {id: 1, state: ready, pri: 2, age: 3, delay: 4, ttr: 5, \
                time-left: 6, reserves: 7, timeouts: 8, releases: 9, buries: 10, kicks: 11, \
                disconnects: 12, size: 13}\n";
    let reply = format!("OK {}\r\n{text}\r\n", text.len());
    let found = both(list(&mut c), peer.play(&[(SENT, &*reply)])).await.unwrap().unwrap();
    assert_eq!((found.next, found.jobs.len(), found.jobs[0].size), (7, 1, 13));
    assert_eq!(both(list(&mut c), peer.play(&[(SENT, "NOT_FOUND\r\n")])).await.unwrap(), None);
    let error = both(list(&mut c), peer.play(&[(SENT, "OK 3\r\nfoo\r\n")])).await.unwrap_err();
    assert!(matches!(&error, Error::BadText { line, .. } if line == "foo"), "{error}");
    let error = both(list(&mut c), peer.play(&[(SENT, "UNKNOWN_COMMAND\r\n")])).await.unwrap_err();
    assert!(matches!(error, Error::Refused { refusal: Refusal::UnknownCommand, .. }), "{error}");
    assert!(c.is_open());
}

#[tokio::test]
async fn moving() {
    let (mut c, mut peer) = pair();
    for (reply, expected) in [("MOVED\r\n", Outcome::Done), ("NOT_FOUND\r\n", Outcome::NotFound)] {
        let played = [("move 7 t\r\n", reply)];
        assert_eq!(both(c.move_job(7, &tube("t")), peer.play(&played)).await.unwrap(), expected);
    }
    let played = [("move 7 t\r\n", "UNKNOWN_COMMAND\r\n")];
    let error = both(c.move_job(7, &tube("t")), peer.play(&played)).await.unwrap_err();
    assert!(matches!(error, Error::Refused { refusal: Refusal::UnknownCommand, .. }), "{error}");
}
