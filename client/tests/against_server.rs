//! The client against a real server: `beanstalkd`, or the program that `JQ_SERVER` names, which must
//! take beanstalkd's flags.
//!
//! Without one, the tests say so and pass, unless `JQ_REQUIRE_PEERS=1` demands it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::time::Duration;

use jq_client::{
    Address, Client, ClientOptions, Command, Connection, Error, Ignored, Outcome, PutError,
    PutOptions, Refusal, ReleaseOptions, Released, Reply, Reservation, TubeName,
};
use tokio::time::{Instant, sleep, timeout};

#[path = "../../tests/support/peer.rs"]
mod peer;
#[path = "../../tests/support/program.rs"]
mod program;

/// Longest time that anything may take. Never reached when all is well.
const DEADLINE: Duration = Duration::from_secs(30);

/// Between two looks at something that is about to change.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A running server, ended when dropped.
struct Server {
    child: Child,
    address: Address,
}

impl Server {
    /// Starts one on a socket that is named after the test. `None`: there is no server to be had.
    async fn start(name: &str) -> Option<Self> {
        Some(Self::start_this(&find_server(name)?, name).await)
    }

    /// Starts this program on a socket that is named after the test.
    async fn start_this(program: &Path, name: &str) -> Self {
        let file = format!("jq-client-against-{name}-{}.sock", std::process::id());
        let address = Address::Unix(std::env::temp_dir().join(file));
        let flags = ["-l", &address.to_string()];
        Self::spawn(program, &flags, address.clone()).await.expect("the server listens")
    }

    /// The error is a server that ended.
    async fn spawn(program: &Path, flags: &[&str], address: Address) -> Result<Self, String> {
        let child = Process::new(program).args(flags).stdin(Stdio::null()).spawn();
        let mut server = Self { child: child.expect("the server starts"), address };
        let until = Instant::now() + DEADLINE;
        loop {
            let connected = Connection::connect(&server.address.clone().into()).await;
            if let Some(status) = server.child.try_wait().expect("its state can be asked for") {
                return Err(format!("the server ended with {status}"));
            }
            match connected {
                Ok(_) => return Ok(server),
                Err(error) => assert!(Instant::now() < until, "it does not listen: {error}"),
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn connect(&self) -> Connection {
        Connection::connect(&self.address.clone().into()).await.expect("the server listens")
    }

    fn client(&self) -> Client {
        let first_delay = Duration::from_millis(5);
        Client::new(self.address.clone(), ClientOptions { first_delay, ..Default::default() })
    }

    /// Ends it at once, as a crash would.
    fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Address::Unix(path) = &self.address {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn find_server(test: &str) -> Option<PathBuf> {
    if let Some(program) = std::env::var_os("JQ_SERVER") {
        return Some(program.into());
    }
    peer::beanstalkd(&format!("the client against a server: {test}"))
}

fn tube(name: &str) -> TubeName {
    name.parse().expect("a good name")
}

fn with_ttr(ttr: u32) -> PutOptions {
    PutOptions { ttr, ..PutOptions::default() }
}

/// The number of a job that must be there.
fn id_of(reservation: Reservation) -> u64 {
    reservation.into_job().expect("a job is ready").id
}

/// With a server that has them, and with one that has not.
#[tokio::test]
async fn extensions_or_what_stands_for_them() {
    extensions(Server::start_this(&program::program("jq-server"), "extensions").await).await;
    let Some(server) = Server::start("extensions").await else { return };
    extensions(server).await;
}

async fn extensions(server: Server) {
    let mut c = server.connect().await;
    let ids =
        [c.put(b"a", with_ttr(100)).await.unwrap(), c.put(b"b", with_ttr(100)).await.unwrap()];
    let first = c.reserve_batch(10, 0).await.unwrap().into_job().expect("two are ready");
    let second = match first.len() {
        1 => c.reserve_batch(10, 0).await.unwrap().into_job().expect("one is ready"),
        _ => Vec::new(),
    };
    let taken: Vec<u64> = first.iter().chain(&second).map(|job| job.id).collect();
    assert_eq!(taken, ids);
    assert_eq!(c.reserve_batch(10, 0).await.unwrap(), Reservation::TimedOut);

    let t = tube("t");
    assert_eq!(c.clear_tube(&t).await.unwrap(), None);
    c.use_tube(&t).await.unwrap();
    for delay in [0, 0, 100] {
        c.put(b"x", PutOptions { delay, ..PutOptions::default() }).await.unwrap();
    }
    c.use_tube(&tube("u")).await.unwrap();
    let moved = c.move_job(ids[0], &t).await;
    let listed = c.list_jobs(&t, None, 0, 100).await;
    let jobs = match (&moved, &listed) {
        (Ok(Outcome::Done), Ok(Some(listing))) => {
            assert_eq!((listing.next, listing.jobs.len()), (0, 4));
            4
        }
        (Err(moved), Err(listed)) => {
            for error in [moved, listed] {
                let refusal = Refusal::UnknownCommand;
                assert!(matches!(error, Error::Refused { refusal: it, .. } if *it == refusal));
            }
            3
        }
        both => panic!("{both:?}"),
    };
    assert_eq!(c.clear_tube(&t).await.unwrap(), Some(jobs));
    assert_eq!(c.list_tube_used().await.unwrap(), tube("u"));
    assert_eq!(c.stats().await.unwrap().number("current-jobs-ready"), Some(0));
}

#[tokio::test]
async fn the_life_of_jobs() {
    let Some(server) = Server::start("jobs").await else { return };
    let mut c = server.connect().await;
    let urgent = PutOptions { priority: 1, ..PutOptions::default() };
    let late = PutOptions { delay: 1000, ..PutOptions::default() };
    let first = c.put(b"first\r\nsecond line", PutOptions::default()).await.unwrap();
    let second = c.put(b"", urgent).await.unwrap();
    let third = c.put(&[0, 13, 10, 255], late).await.unwrap();

    assert_eq!(c.peek_ready().await.unwrap().unwrap().id, second);
    assert_eq!(c.peek_delayed().await.unwrap().unwrap().body[..], [0, 13, 10, 255]);
    assert_eq!(c.peek_buried().await.unwrap(), None);
    assert_eq!(c.peek(first).await.unwrap().unwrap().body[..], *b"first\r\nsecond line");

    assert_eq!(id_of(c.reserve().await.unwrap()), second);
    assert_eq!(c.touch(second).await.unwrap(), Outcome::Done);
    assert_eq!(c.bury(second, 5).await.unwrap(), Outcome::Done);
    assert_eq!(c.touch(second).await.unwrap(), Outcome::NotFound);
    assert_eq!(c.peek_buried().await.unwrap().unwrap().id, second);
    assert_eq!(c.kick(10).await.unwrap(), 1);
    assert_eq!(c.kick_job(third).await.unwrap(), Outcome::Done);
    assert_eq!(c.kick_job(third).await.unwrap(), Outcome::NotFound);

    assert_eq!(id_of(c.reserve_with_timeout(0).await.unwrap()), second);
    let later = ReleaseOptions { priority: 9, delay: 1000 };
    assert_eq!(c.release(second, later).await.unwrap(), Released::Released);
    assert_eq!(c.release(second, later).await.unwrap(), Released::NotFound);
    assert_eq!(c.reserve_job(second).await.unwrap().unwrap().id, second);
    assert_eq!(c.reserve_job(second).await.unwrap(), None);

    for id in [first, second, third] {
        assert_eq!(c.delete(id).await.unwrap(), Outcome::Done);
        assert_eq!(c.delete(id).await.unwrap(), Outcome::NotFound);
        assert_eq!(c.peek(id).await.unwrap(), None);
        assert_eq!(c.stats_job(id).await.unwrap(), None);
    }
    c.quit().await.unwrap();
}

#[tokio::test]
async fn tubes_and_stats() {
    let Some(server) = Server::start("tubes").await else { return };
    let mut c = server.connect().await;
    assert_eq!(c.list_tube_used().await.unwrap(), tube("default"));
    c.use_tube(&tube("a;b")).await.unwrap();
    assert_eq!(c.list_tube_used().await.unwrap(), tube("a;b"));
    assert_eq!(c.watch(&tube("a;b")).await.unwrap(), 2);
    assert_eq!(c.ignore(&tube("default")).await.unwrap(), Ignored::Watching(1));
    assert_eq!(c.ignore(&tube("a;b")).await.unwrap(), Ignored::LastOne);
    assert_eq!(c.list_tubes_watched().await.unwrap(), [tube("a;b")]);
    assert_eq!(c.list_tubes().await.unwrap(), [tube("default"), tube("a;b")]);

    let id = c.put(b"x", with_ttr(77)).await.unwrap();
    let job = c.stats_job(id).await.unwrap().unwrap();
    assert_eq!((job.number("id"), job.number("ttr")), (Some(id), Some(77)));
    assert_eq!((job.get("tube"), job.get("state")), (Some("a;b"), Some("ready")));
    let stats = c.stats_tube(&tube("a;b")).await.unwrap().unwrap();
    assert_eq!((stats.get("name"), stats.number("current-jobs-ready")), (Some("a;b"), Some(1)));
    assert_eq!(c.stats_tube(&tube("nowhere")).await.unwrap(), None);
    let stats = c.stats().await.unwrap();
    assert_eq!(stats.iter().next(), Some(("current-jobs-urgent", "0")));
    assert_eq!(stats.flag("draining"), Some(false));
    assert!(stats.decimal("rusage-utime").is_some());
    assert!(stats.get("version").unwrap().starts_with(|first: char| first.is_ascii_digit()));

    assert_eq!(c.pause_tube(&tube("a;b"), 1000).await.unwrap(), Outcome::Done);
    assert_eq!(c.reserve_with_timeout(0).await.unwrap(), Reservation::TimedOut);
    assert_eq!(c.pause_tube(&tube("a;b"), 0).await.unwrap(), Outcome::Done);
    assert_eq!(c.pause_tube(&tube("nowhere"), 0).await.unwrap(), Outcome::NotFound);
    assert_eq!(id_of(c.reserve_with_timeout(0).await.unwrap()), id);
}

#[tokio::test]
async fn waiting() {
    let Some(server) = Server::start("waiting").await else { return };
    let (mut worker, mut producer) = (server.connect().await, server.connect().await);
    assert_eq!(worker.reserve_with_timeout(1).await.unwrap(), Reservation::TimedOut);

    let (reserved, put) = tokio::join!(worker.reserve(), producer.put(b"x", with_ttr(2)));
    let id = put.unwrap();
    assert_eq!(id_of(reserved.unwrap()), id);
    // The last second of its time to run begins after the first.
    assert_eq!(worker.reserve().await.unwrap(), Reservation::DeadlineSoon);
    let lost = async {
        while worker.touch(id).await.unwrap().is_done() {
            sleep(Duration::from_millis(2100)).await;
        }
    };
    timeout(DEADLINE, lost).await.expect("the time to run ends");
    assert_eq!(id_of(producer.reserve().await.unwrap()), id);
}

#[tokio::test]
async fn a_dropped_reserve_goes_on_and_ends_with_the_connection() {
    let Some(server) = Server::start("dropped").await else { return };
    let (mut worker, mut producer) = (server.connect().await, server.connect().await);
    assert!(timeout(Duration::from_millis(50), worker.reserve()).await.is_err());
    assert!(matches!(worker.stats().await, Err(Error::ReservePending)));
    let id = producer.put(b"x", PutOptions::default()).await.unwrap();
    assert_eq!(id_of(worker.reserve().await.unwrap()), id);
    assert!(timeout(Duration::from_millis(50), worker.reserve()).await.is_err());
    drop(worker);
    let reserved = timeout(DEADLINE, producer.reserve()).await.expect("the job comes back");
    assert_eq!(id_of(reserved.unwrap()), id);
}

#[tokio::test]
async fn bodies_at_the_limit() {
    let Some(server) = Server::start("limits").await else { return };
    let mut c = server.connect().await;
    let max = c.stats().await.unwrap().parsed::<usize>("max-job-size").unwrap();
    let body: Vec<u8> = (0..=max).map(|at| at as u8).collect();
    let too_big = c.put(&body, PutOptions::default()).await.unwrap_err();
    assert!(matches!(too_big, PutError::JobTooBig { size } if size == max + 1), "{too_big:?}");
    let id = c.put(&body[..max], PutOptions::default()).await.unwrap();
    let job = c.reserve().await.unwrap().into_job().unwrap();
    assert_eq!(job.id, id);
    assert!(job.body == body[..max]);
}

#[tokio::test]
async fn a_thousand_jobs_in_flight() {
    const COUNT: usize = 1000;
    let Some(server) = Server::start("pipeline").await else { return };
    let mut connection = server.connect().await;
    let mut pipeline = connection.pipeline().await.unwrap();
    for number in 0..COUNT {
        pipeline.put(number.to_string().as_bytes(), PutOptions::default()).unwrap();
    }
    for _ in 0..COUNT {
        pipeline.send(&Command::Reserve);
    }
    let mut jobs = Vec::new();
    while let Some(reply) = pipeline.next().await.unwrap() {
        match reply {
            Reply::Inserted(_) => {}
            Reply::Reserved(id, body) => {
                assert_eq!(body[..], *jobs.len().to_string().as_bytes());
                jobs.push(id);
                pipeline.send(&Command::Delete(id));
            }
            reply => assert_eq!(reply, Reply::Deleted),
        }
    }
    assert_eq!(jobs.len(), COUNT);
    let stats = connection.stats().await.unwrap();
    assert_eq!(stats.number("cmd-delete"), Some(COUNT as u64));
    assert_eq!(stats.number("current-jobs-reserved"), Some(0));
}

#[tokio::test]
async fn draining() {
    let Some(server) = Server::start("draining").await else { return };
    let mut c = server.connect().await;
    let pid = server.child.id().to_string();
    let signalled = Process::new("kill").args(["-USR1", &pid]).status().expect("kill runs");
    assert!(signalled.success());
    let refused = async {
        loop {
            match c.put(b"x", PutOptions::default()).await {
                Ok(_) => sleep(LOOK_AGAIN).await,
                Err(error) => break error,
            }
        }
    };
    let error = timeout(DEADLINE, refused).await.expect("the server drains");
    assert!(matches!(error, PutError::Draining), "{error:?}");
    assert_eq!(c.stats().await.unwrap().flag("draining"), Some(true));
}

#[tokio::test]
async fn a_client_outlives_its_server() {
    let Some(mut server) = Server::start("restart").await else { return };
    let mut client = server.client();
    client.use_tube(&tube("work"));
    client.watch(&tube("work"));
    assert!(client.ignore(&tube("default")));
    let id = client.put(b"one", PutOptions::default()).await.unwrap();
    let lease = client.reserve().await.unwrap().into_job().unwrap();
    assert_eq!(lease.id(), id);
    assert_eq!(client.touch(&lease).await.unwrap(), Outcome::Done);

    server.kill();
    let ended = timeout(DEADLINE, client.closed()).await.expect("it is noticed");
    assert!(matches!(ended, Error::Disconnected { .. }), "{ended:?}");
    let restarted = async {
        let next = Server::start("restart").await.expect("it was there before");
        let mut producer = next.connect().await;
        producer.use_tube(&tube("work")).await.unwrap();
        assert_eq!(producer.put(b"two", PutOptions::default()).await.unwrap(), id);
        next
    };
    let (reserved, _server) = tokio::join!(client.reserve_with_timeout(30), restarted);
    let new_lease = reserved.unwrap().into_job().expect("from the tube that is still watched");
    // The new server counts from 1 again: the old lease must not hit the new job of its number.
    assert_eq!((new_lease.id(), &new_lease.body()[..]), (lease.id(), &b"two"[..]));
    assert_eq!(client.delete(&lease).await.unwrap(), Outcome::NotFound);
    assert_eq!(client.delete(&new_lease).await.unwrap(), Outcome::Done);
    let counted = client.stats_tube(&tube("work")).await.unwrap().unwrap();
    assert_eq!(counted.number("current-using"), Some(1));
    client.quit().await.unwrap();
}

/// The same of a client, whose server is replaced by one that has them while the client holds what
/// it knows of the first.
#[tokio::test]
async fn extensions_of_the_server_that_is_there() {
    let Some(mut server) = Server::start("upgraded").await else { return };
    let mut client = server.client();
    let has_extensions = client.stats().await.unwrap().get("extensions").is_some();
    use_extensions(&mut client, has_extensions).await;
    let lease = client.reserve().await.unwrap().into_job().expect("one is left");
    server.kill();
    let mut server = Server::start_this(&program::program("jq-server"), "upgraded").await;
    assert_eq!(client.move_reserved(&lease, &tube("t")).await.unwrap(), Outcome::NotFound);
    use_extensions(&mut client, true).await;
    server.kill();
    let _server = Server::start("upgraded").await.expect("it was there before");
    use_extensions(&mut client, has_extensions).await;
}

/// Uses all of them on an empty server, and leaves a ready job.
async fn use_extensions(client: &mut Client, has_extensions: bool) {
    let (t, u, all) = (tube("t"), tube("u"), PutOptions::default());
    client.watch(&t);
    client.use_tube(&t);
    let ids = [client.put(b"a", all).await.unwrap(), client.put(b"b", all).await.unwrap()];
    let batch = client.reserve_batch(10, 0).await.unwrap().into_job().expect("two are ready");
    assert_eq!(batch.len(), if has_extensions { 2 } else { 1 });
    assert_eq!((batch[0].id(), &batch[0].body()[..]), (ids[0], &b"a"[..]));
    let moved = [
        client.move_reserved(&batch[0], &u).await,
        client.move_job(ids[0], &t).await,
        client.list_jobs(&t, None, 0, 100).await.map(|jobs| {
            assert_eq!(jobs.expect("it is there").jobs.len(), 2);
            Outcome::Done
        }),
    ];
    for result in moved {
        match result {
            Ok(outcome) => assert!(outcome.is_done() && has_extensions),
            Err(Error::Refused { refusal: Refusal::UnknownCommand, .. }) => {
                assert!(!has_extensions);
            }
            Err(error) => panic!("{error}"),
        }
    }
    for lease in &batch {
        // The first was moved, if it could be.
        let done = client.delete(lease).await.unwrap().is_done();
        assert!(done || lease.id() == ids[0]);
    }
    assert_eq!(client.clear_tube(&tube("nowhere")).await.unwrap(), None);
    client.use_tube(&u);
    client.put(b"left", all).await.unwrap();
    client.clear_tube(&t).await.unwrap().expect("it is there");
    assert_eq!(client.stats_tube(&t).await.unwrap().unwrap().number("current-jobs-ready"), Some(0));
    // Clearing has not changed the used tube.
    let id = client.put(b"left", all).await.unwrap();
    assert_eq!(client.stats_job(id).await.unwrap().unwrap().get("tube"), Some("u"));
    assert_eq!(client.clear_tube(&u).await.unwrap(), Some(2));
    client.use_tube(&t);
    client.put(b"left", all).await.unwrap();
}

#[tokio::test]
async fn over_tcp() {
    let Some(program) = find_server("over_tcp") else { return };
    let mut attempts = 0;
    let server = loop {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).unwrap();
        let flags = ["-l", "127.0.0.1", "-p", &free.port().to_string()];
        match Server::spawn(&program, &flags, free.into()).await {
            Ok(server) => break server,
            // Somebody else may have taken the port meanwhile.
            Err(reason) => assert!(attempts < 5, "{reason}"),
        }
        attempts += 1;
    };
    let mut c = server.connect().await;
    let id = c.put(b"x", PutOptions::default()).await.unwrap();
    assert_eq!(c.delete(id).await.unwrap(), Outcome::Done);
}
