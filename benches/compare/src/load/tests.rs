//! Loads on a server that echoes, and on one that lies.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use super::*;
use crate::{affinity::Cpus, echo, ledger::Ids};

/// The built-in echo on a thread, until it is dropped.
struct Echo {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Echo {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || echo::serve(&listener, &stop)
        });
        Self { addr, stop, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

fn meter() -> Meter {
    Meter { server: None, cpus: Cpus::allowed().unwrap() }
}

/// A load without a server process, which therefore cannot be measured in full.
fn load(
    addr: SocketAddr,
    shape: Shape,
    body: usize,
    until: Until,
    ledger: &mut Ledger,
) -> Result<Option<Window>, Failure> {
    let channels =
        (0..shape.connections).map(|_| Channel::connect(&addr.into()).unwrap()).collect();
    run(channels, &shape, &Wire::new(body, shape.depth), until, ledger, &meter())
}

const CYCLE: &[Op] = &[Op::Put, Op::Reserve, Op::Delete];

fn shape(connections: usize, depth: usize, cycle: &'static [Op]) -> Shape {
    Shape { connections, depth, cycle, own_tubes: false }
}

#[test]
fn a_load_of_some_jobs_leaves_nothing_behind() {
    let echo = Echo::start();
    // One connection blocks, several use epoll; the last batch is smaller than the others.
    for (connections, depth) in [(1, 1), (1, 7), (5, 1), (3, 7)] {
        for body in [0, 128, 60_000] {
            let mut ledger = Ledger::new(Ids::Constant, 1);
            let mut jobs = |cycle, jobs| {
                let shape = shape(connections, depth, cycle);
                let window = load(echo.addr, shape, body, Until::Jobs(jobs), &mut ledger).unwrap();
                assert!(window.is_none());
                ledger.left()
            };
            assert_eq!(jobs(CYCLE, 200), 0, "{connections} {depth} {body}");
            assert_eq!(jobs(&[Op::Put], 50), 50, "{connections} {depth} {body}");
            assert_eq!(jobs(&[Op::Reserve, Op::Delete], 20), 30, "{connections} {depth} {body}");
        }
    }
}

#[test]
fn batches_that_no_socket_takes_at_once_arrive() {
    let echo = Echo::start();
    let mut ledger = Ledger::new(Ids::Constant, 1);
    let shape = shape(2, 200, CYCLE);
    load(echo.addr, shape, 60_000, Until::Jobs(400), &mut ledger).unwrap();
    assert_eq!(ledger.left(), 0);
}

#[test]
fn a_measured_load_counts_commands_and_latencies() {
    let echo = Echo::start();
    for connections in [1, 4] {
        let mut ledger = Ledger::new(Ids::Constant, 1);
        let (warm_up, time) = (Duration::ZERO, Duration::from_millis(200));
        let until = Until::Measured { warm_up, time, jobs: None };
        let window = load(echo.addr, shape(connections, 2, CYCLE), 128, until, &mut ledger);
        let window = window.unwrap().unwrap();
        assert!(window.commands > 0);
        assert!(window.usage.wall >= time);
        assert!(window.latency.quantile(0.5).unwrap() > Duration::ZERO);
        assert_eq!(ledger.left(), 0);
    }
}

#[test]
fn a_measurement_ends_when_the_jobs_run_out() {
    let echo = Echo::start();
    let mut ledger = Ledger::new(Ids::Constant, 1);
    let (warm_up, time) = (Duration::ZERO, Duration::from_secs(3600));
    let mut measure = |warm_up| {
        let until = Until::Measured { warm_up, time, jobs: Some(500) };
        load(echo.addr, shape(2, 1, CYCLE), 5, until, &mut ledger)
    };
    assert!(measure(warm_up).unwrap().is_some());
    assert!(measure(time).is_err(), "nothing was measured");
}

#[test]
fn constants_are_not_taken_for_a_queue() {
    let echo = Echo::start();
    let mut ledger = Ledger::new(Ids::Unique, 0);
    let outcome = load(echo.addr, shape(1, 1, CYCLE), 5, Until::Jobs(2), &mut ledger);
    let message = outcome.err().unwrap().to_string();
    assert_eq!(message, "impossible reply: two puts got the id 1");
}

/// What a load of one connection and two jobs says about a server that waits for a command and
/// then sends `reply` and closes.
fn verdict_on(reply: &'static str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    let liar = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        stream.write_all(reply.as_bytes()).unwrap();
    });
    let mut ledger = Ledger::new(Ids::Unique, 0);
    let outcome = load(addr, shape(1, 1, CYCLE), 5, Until::Jobs(2), &mut ledger);
    liar.join().unwrap();
    outcome.err().unwrap().to_string()
}

#[test]
fn lies_end_the_measurement() {
    assert_eq!(
        verdict_on("BURIED 1\r\n"),
        "wrong reply: expected INSERTED <id>, got \"BURIED 1\\r\\n\""
    );
    assert_eq!(
        verdict_on("INSERTED 1\r\nINSERTED 2\r\n"),
        "wrong reply: expected no more replies than commands, got \"INSERTED 2\\r\\n\""
    );
    assert_eq!(verdict_on("INSERTED 1"), "the server closed a connection");
}
