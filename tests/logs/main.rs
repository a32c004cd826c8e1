//! Logs that are not the binlog: the real server with one that commits when the test says so.
//!
//! What is shown here holds for every log: what a client is told and when, what a failure takes back,
//! how far a connection goes on while it waits, and that nothing leaves once the log is lost.

#[path = "../support/mod.rs"]
mod support;

mod fake;
mod served;
mod staged;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, Waker};

use beanstalk_protocol::{Command, PutHeader, Request};
use jq_engine::{ConnId, Flow, Nanos};
use jq_server::clock::Clock;
use jq_server::config::Config;
use jq_server::log::{Gate, LogDriver, LoggedQueue, Place};
use jq_server::server::hub::{Batch, Hub, NotCommitted, Outcome};

use self::fake::Fake;
use self::served::Served;
use self::support::{Input, PATIENCE, eventually};

/// Batches whose replies a connection holds before it reads no more.
const MAX_HELD: usize = 256;

const PUT: &[u8] = b"put 0 0 60 1\r\nx\r\n";

#[test]
fn a_connection_goes_on_while_its_replies_wait() {
    let (served, log) = Served::start();
    let mut client = served.connect();
    // Each is a batch of its own: it is sent when the one before it was carried out.
    for count in 1..=64 {
        client.send(PUT);
        eventually("the put is carried out", || log.appended() == count);
    }
    assert!(log.is_asked());
    let mut witness = served.connect();
    client.expect_silence(&mut witness);
    // All within one commit of the log: more than ten batches for each round trip.
    log.commit(20);
    for id in 1..=20 {
        assert_eq!(client.reply().line(), format!("INSERTED {id}").as_bytes());
    }
    client.expect_silence(&mut witness);
    log.commit(64);
    for id in 21..=64 {
        assert_eq!(client.reply().line(), format!("INSERTED {id}").as_bytes());
    }
}

#[test]
fn replies_leave_in_order_whatever_they_wait_for() {
    let (served, log) = Served::start();
    let mut client = served.connect();
    client.send(PUT);
    eventually("the put is carried out", || log.appended() == 1);
    // These need no commit, but come behind one that does; and the reserve waits for a job.
    client.send("list-tube-used\r\nreserve-with-timeout 0\r\n");
    client.send("list-tubes-watched\r\n");
    client.expect_silence(&mut served.connect());
    log.commit(log.appended());
    let lines: Vec<_> =
        (0..4).map(|_| String::from_utf8_lossy(client.reply().line()).into_owned()).collect();
    assert_eq!(lines, ["INSERTED 1", "USING default", "RESERVED 1 1", "OK 14"]);
}

#[test]
fn a_connection_reads_no_more_beyond_its_bound() {
    let (served, log) = Served::start();
    let mut client = served.connect();
    for count in 1..=MAX_HELD as u64 {
        client.send(PUT);
        eventually("the put is carried out", || log.appended() == count);
    }
    client.send(PUT);
    // Somebody else is served all the same, by a thread that has looked at both sockets since.
    let mut other = served.connect();
    for _ in 0..3 {
        other.send("list-tube-used\r\n");
        assert_eq!(other.reply().line(), b"USING default");
    }
    assert_eq!(log.appended(), MAX_HELD as u64, "one more is not read");
    log.commit(1);
    eventually("there is room for one more", || log.appended() == MAX_HELD as u64 + 1);
    log.commit(log.appended());
    for id in 1..=MAX_HELD + 1 {
        assert_eq!(client.reply().line(), format!("INSERTED {id}").as_bytes());
    }
}

#[test]
fn what_fails_is_taken_back_and_what_was_committed_before_is_not() {
    let (served, log) = Served::start();
    let mut client = served.connect();
    for count in 1..=6 {
        client.send(PUT);
        eventually("the put is carried out", || log.appended() == count);
    }
    log.commit(2);
    client.send("list-tube-used\r\n");
    log.fail();
    let lines: Vec<_> =
        (0..7).map(|_| String::from_utf8_lossy(client.reply().line()).into_owned()).collect();
    let failed = "INTERNAL_ERROR";
    assert_eq!(
        lines,
        ["INSERTED 1", "INSERTED 2", failed, failed, failed, failed, "USING default"],
        "what needed no commit has not failed"
    );
    // It works again.
    log.commit(log.appended());
    let mut other = served.connect();
    other.send("peek 2\r\npeek 3\r\n");
    assert_eq!(other.reply().line(), b"FOUND 2 1");
    assert_eq!(other.reply().line(), b"NOT_FOUND");
}

#[test]
fn nothing_leaves_once_the_log_is_lost() {
    let (served, log) = Served::start();
    let (mut producer, mut worker, mut idle) =
        (served.connect(), served.connect(), served.connect());
    producer.send("use other\r\n");
    assert_eq!(producer.reply().line(), b"USING other");
    idle.send("list-tube-used\r\n");
    assert_eq!(idle.reply().line(), b"USING default");
    producer.send(PUT);
    eventually("the put is carried out", || log.appended() == 1);
    worker.send("watch another\r\nreserve\r\n");
    assert_eq!(worker.reply().line(), b"WATCHING 2");
    log.lose("another server leads");
    for (who, client) in
        [("producer", &mut producer), ("worker", &mut worker), ("idle client", &mut idle)]
    {
        assert_eq!(client.next(PATIENCE), Input::Closed(Vec::new()), "the {who} is told nothing");
    }
    let ended = served.ended().expect_err("the server says why it ends");
    assert_eq!(ended, "the right to write the log was lost: another server leads");
    assert_eq!(log.lives(), (1, 1), "the driver is stopped, too");
}

#[test]
fn a_driver_is_started_before_anybody_is_served_and_stopped_after() {
    let (served, log) = Served::start();
    let mut client = served.connect();
    client.send(PUT);
    eventually("the put is carried out", || log.appended() == 1);
    assert_eq!(log.lives(), (1, 0));
    log.commit(1);
    assert_eq!(client.reply().line(), b"INSERTED 1");
    served.stop();
    served.ended().expect("it was asked to stop");
    assert_eq!(log.lives(), (1, 1));
}

/// A hub with such a log, and no sockets.
fn hub() -> (Arc<Hub>, Arc<Fake>) {
    let config = Config::from_args(["jq-server".into()]).expect("there are no wrong flags");
    let clock = Clock::told(Arc::new(AtomicU64::new(Nanos::from_secs(1).0)));
    let (opened, log) = Fake::open();
    let hub = Hub::new(&config, clock, opened);
    let queue = Arc::clone(&hub) as Arc<dyn LoggedQueue>;
    Arc::clone(&log).start(queue).expect("nothing can go wrong");
    (hub, log)
}

fn apply(hub: &Hub, conn: ConnId, requests: Vec<Request>) -> (Flow, Outcome) {
    let mut batch = Batch::default();
    batch.requests.extend(requests.into_iter().zip(1..));
    let flow = hub.apply(conn, &mut batch).flow;
    (flow, batch.outcome)
}

#[test]
fn what_falls_due_is_nobody_s_who_happens_to_ask() {
    let (hub, log) = hub();
    let [kicker, other] = [(); 2].map(|()| hub.connect(Waker::noop().clone()));
    let header = PutHeader { priority: 0, delay: 1000, ttr: 60, size: 1 };
    for _ in 0..3000 {
        let body = Request::Body(Box::from(&b"x"[..]));
        apply(&hub, kicker, vec![Request::Put(header), body]);
    }
    log.commit(log.appended());
    let (flow, _) = apply(&hub, kicker, vec![Request::Command(Command::Kick(3000))]);
    assert_eq!(flow, Flow::Blocked, "it takes steps");
    let before = log.appended();
    let (_, outcome) = apply(&hub, other, vec![Request::Command(Command::Stats)]);
    assert!(log.appended() > before, "some of the steps were taken meanwhile");
    assert!(!outcome.gated.is_needed(), "whoever asks for stats waits for nothing");
    while hub.tick().is_some_and(|at| at <= Nanos::from_secs(2)) {}
    let (_, gated) = hub.collect(kicker).expect("the kick is done");
    assert!(gated.is_needed(), "whoever kicked waits for all of it");
    let gate = |gated| hub.poll_gate(gated, &mut Place::default(), Waker::noop());
    assert_eq!(gate(gated), Gate::Held);
    log.commit(log.appended() - 1);
    assert_eq!(gate(gated), Gate::Held);
    log.commit(log.appended());
    assert_eq!(gate(gated), Gate::Open);
}

#[test]
fn a_change_from_outside_is_delivered_and_can_be_waited_for() {
    let (hub, log) = hub();
    let worker = hub.connect(Waker::noop().clone());
    let put = |delay| {
        let header = PutHeader { priority: 0, delay, ttr: 60, size: 1 };
        vec![Request::Put(header), Request::Body(Box::from(&b"x"[..]))]
    };
    let producer = hub.connect(Waker::noop().clone());
    apply(&hub, producer, put(1000));
    log.commit(log.appended());
    assert!(log.is_asked());
    let (flow, _) = apply(&hub, worker, vec![Request::Command(Command::Reserve)]);
    assert_eq!(flow, Flow::Blocked);
    assert_eq!(hub.read(|engine, _| engine.server_stats().delayed), 1);

    // Taking the job back is no news for the log, and ends nobody's wait.
    let (_, gated) = hub.change(|engine, mut sink, _| engine.set_draining(true, &mut sink));
    assert!(log.is_asked(), "the log hears of it at once");
    assert!(gated.is_needed());
    let mut cx = Context::from_waker(Waker::noop());
    let mut committed = pin!(hub.committed(gated));
    assert_eq!(committed.as_mut().poll(&mut cx), Poll::Pending);
    log.commit(log.appended());
    assert_eq!(committed.as_mut().poll(&mut cx), Poll::Ready(Ok(())));

    // One that fails is told so.
    let (_, gated) = hub.change(|engine, mut sink, _| engine.set_draining(false, &mut sink));
    log.fail();
    assert_eq!(pin!(hub.committed(gated)).poll(&mut cx), Poll::Ready(Err(NotCommitted)));

    // A wait that ends from outside is told of at once.
    hub.half_close(worker);
    let (answer, _) = hub.collect(worker).expect("the wait has ended");
    assert_eq!(answer.to_bytes(), b"TIMED_OUT\r\n");
}

/// A measurement, not a test: with a log whose commit takes 2 ms, how many batches of one connection go
/// into each, and how many jobs a second that is. `cargo test --release --test logs -- --ignored
/// --nocapture`.
#[test]
#[ignore = "it measures"]
fn what_a_slow_log_commits_at_a_time() {
    const IN_FLIGHT: u64 = 64;
    const JOBS: u64 = 20_000;
    let (served, log) = Served::start();
    let mut client = served.connect();
    let (mut commits, mut told) = (0, 0);
    let committing = Arc::clone(&log);
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        // As a log does that takes what there is, and has it acknowledged elsewhere.
        let pause = std::time::Duration::from_millis(2);
        while ended.recv_timeout(pause) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let taken = committing.appended();
            std::thread::sleep(pause);
            committing.commit(taken);
            commits += 1;
        }
        commits
    });
    let start = std::time::Instant::now();
    for _ in 0..IN_FLIGHT {
        client.send(PUT);
    }
    while told < JOBS {
        assert!(client.reply().line().starts_with(b"INSERTED "));
        told += 1;
        if told + IN_FLIGHT <= JOBS {
            client.send(PUT);
        }
    }
    let took = start.elapsed();
    drop(done);
    let commits = thread.join().expect("it does not panic");
    println!(
        "{JOBS} puts in {took:.2?}: {:.1} for each of {commits} commits",
        JOBS as f64 / f64::from(commits)
    );
}
