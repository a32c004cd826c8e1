//! A server with several listeners, through the library as another program would use it.

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use jq_server::clock::Clock;
use jq_server::config::{Config, ListenAddress, ListenTls, ListenerConfig, Service};
use jq_server::log::Opened;
use jq_server::server::{Bound, ServeError, Until, run_until};
use tokio::sync::oneshot;

use crate::support::{Conn, Endpoint, scratch_path};

/// The protocol on a port of the loopback interface; 0 is any.
fn tcp(port: u16) -> ListenerConfig {
    let address = ListenAddress::Tcp("127.0.0.1".to_owned(), port);
    ListenerConfig::plain(address, Service::Protocol)
}

/// The protocol on a socket in the file system.
fn unix(path: &Path) -> ListenerConfig {
    ListenerConfig::plain(ListenAddress::Unix(path.to_owned()), Service::Protocol)
}

/// A server on a thread of this process.
struct Server {
    endpoints: Vec<Endpoint>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<(), ServeError>>,
}

impl Server {
    fn start(listeners: Vec<ListenerConfig>, threads: &str) -> Self {
        let args = ["jq-server", "--threads", threads];
        let mut config = Config::from_args(args.map(Into::into)).expect("the flags are right");
        config.listeners = listeners;
        let bound = Bound::open(&config.listeners).expect("the addresses are free");
        let endpoint = |(bound, listener): (&Bound, &ListenerConfig)| match &listener.address {
            ListenAddress::Tcp(..) => Endpoint::Tcp(bound.tcp_address().expect("it is of TCP")),
            ListenAddress::Unix(path) => {
                assert_eq!(bound.tcp_address(), None);
                Endpoint::Unix(path.clone())
            }
        };
        let endpoints = bound.iter().zip(&config.listeners).map(endpoint).collect();
        let clock = Clock::start();
        let opened = Opened::open(&config, &clock).expect("it is in memory");
        let (stop, told) = oneshot::channel();
        let run = move || run_until(bound, &config, clock, opened, Until::Told(told));
        Self { endpoints, stop, thread: thread::spawn(run) }
    }

    fn stop(self) {
        drop(self.stop);
        self.thread.join().expect("it does not panic").expect("it stops in good order");
    }
}

/// A connection, as soon as the server listens.
fn connect(endpoint: &Endpoint) -> Conn {
    let mut conn = None;
    support::eventually("the server listens", || {
        conn = Conn::open(endpoint).ok();
        conn.is_some()
    });
    conn.expect("it was just made")
}

fn thread_names() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("there are threads");
    // One that ends meanwhile has no name.
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    tasks.flatten().filter_map(name).map(|name| name.trim_end().to_owned()).collect()
}

#[test]
fn all_listeners_lead_to_one_queue() {
    for threads in ["1", "2"] {
        let paths = [(); 2].map(|()| scratch_path("socket"));
        let listeners = vec![tcp(0), unix(&paths[0]), tcp(0), unix(&paths[1])];
        let server = Server::start(listeners, threads);
        let endpoints = server.endpoints.clone();

        // Each connection stays open, so that with two threads both kinds are handed over.
        let mut conns: Vec<Conn> = endpoints.iter().chain(&endpoints).map(connect).collect();
        let count = conns.len();
        for job in 1..=count {
            // Put through one listener, reserved and deleted through another.
            let (putter, worker) = ((job - 1) % count, job % count);
            conns[putter].send("put 0 0 60 4\r\nbody\r\n");
            conns[putter].expect(format!("INSERTED {job}\r\n"));
            conns[worker].send("reserve\r\n");
            conns[worker].expect(format!("RESERVED {job} 4\r\nbody\r\n"));
            conns[worker].send(format!("delete {job}\r\n"));
            conns[worker].expect("DELETED\r\n");
        }
        if threads == "2" {
            let names = thread_names();
            assert!(names.iter().any(|name| name == "jq-serve-1"), "{names:?}");
        }

        server.stop();
        for path in &paths {
            assert!(!path.exists(), "{} is gone", path.display());
        }
    }
}

#[test]
fn if_one_address_is_taken_all_are_left_alone() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
    let taken = other.local_addr().expect("a bound socket has an address").port();
    let path = scratch_path("socket");
    let error = Bound::open(&[unix(&path), tcp(taken)]).expect_err("it is taken").to_string();
    assert!(error.contains(&format!("127.0.0.1:{taken}")), "{error}");
    assert!(!path.exists(), "the other socket is gone again");
}

#[test]
fn a_socket_that_is_configured_twice_is_in_use() {
    let path = scratch_path("socket");
    let folder = path.parent().expect("it is in a folder");
    let name = path.file_name().expect("it has a name");
    let same: PathBuf = folder.join(".").join("..").join(folder.file_name().unwrap()).join(name);
    for second in [&path, &same] {
        let error = Bound::open(&[unix(&path), unix(second)]).expect_err("it is taken").to_string();
        assert!(error.contains(second.to_str().expect("it is text")), "{error}");
        assert!(!path.exists(), "the first socket is gone again");
    }
}

/// A program that uses the library may forget it.
#[test]
fn tls_needs_a_certificate() {
    let tls = Some(ListenTls { client_certificate: None });
    let server = Server::start(vec![tcp(0), ListenerConfig { tls, ..tcp(0) }], "1");
    let error = server.thread.join().expect("it does not panic").expect_err("it cannot serve");
    assert!(error.to_string().contains("there is no certificate"), "{error}");
}
