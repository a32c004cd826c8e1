//! A server of S3 behind a relay that can be down, and a load balancer: what stands between workers in production.

use std::fs;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::sys::signal::Signal;

use crate::http;
use crate::support::{Process, executable, scratch_path, skip};

/// What nobody but the store is to see.
pub(crate) const SECRET: &str = "wJalrXUtnFEMIs3cretEXAMPLEKEY";

/// The name of the bucket.
pub(crate) const BUCKET: &str = "results";

/// moto, with an empty bucket.
pub(crate) struct S3 {
    process: Process,
    relay: Relay,
}

impl S3 {
    /// `None`, after saying what is skipped: it is not installed.
    pub(crate) fn start(what: &str) -> Option<Self> {
        let clients = std::env::var_os("JQ_CLIENTS_DIR").map_or_else(
            || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/clients")),
            PathBuf::from,
        );
        let Some(program) = Some(clients.join("s3/bin/moto_server")).filter(|it| it.exists())
        else {
            skip(what, "moto is not installed: run tests/compat/clients/install");
            return None;
        };
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", "0"]);
        let process = Process::spawn(command);
        let line = process.await_output("Running on http://");
        let address = line.split("http://").nth(1).expect("it says where").trim();
        let address: SocketAddr = address.parse().expect("an address");
        let made = http::ask(address, "PUT", &format!("/{BUCKET}"), "Content-Length: 0\r\n");
        assert_eq!(made.status(), 200);
        Some(Self { process, relay: Relay::start(address) })
    }

    /// Adds to a worker's environment what it needs.
    pub(crate) fn show(&self, command: &mut Command) {
        command
            .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("AWS_REGION", "us-east-1").env("AWS_ALLOW_HTTP", "true");
        command.env("AWS_ENDPOINT_URL", format!("http://{}", self.relay.address));
    }

    /// Takes no connections, and ends those that there are; or takes them again.
    pub(crate) fn set_up(&self, is_up: bool) {
        self.relay.set_up(is_up);
    }

    /// Takes requests and does not answer them; or goes on.
    pub(crate) fn set_hanging(&self, hangs: bool) {
        self.process.signal(if hangs { Signal::SIGSTOP } else { Signal::SIGCONT });
    }
}

/// Passes connections on.
struct Relay {
    address: SocketAddr,
    is_up: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (is_up, open) = (Arc::new(AtomicBool::new(true)), Arc::<Mutex<Vec<_>>>::default());
        let (up, streams) = (Arc::clone(&is_up), Arc::clone(&open));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                // Under the lock, so that none is left over when it goes down.
                let mut streams = streams.lock().expect("nobody panics with it");
                if !up.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(other) = TcpStream::connect(to) else { continue };
                for (from, to) in [(&stream, &other), (&other, &stream)] {
                    let clone = |it: &TcpStream| it.try_clone().expect("a socket can be cloned");
                    let (mut from, mut to) = (clone(from), clone(to));
                    thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                        let _ = from.shutdown(Shutdown::Both);
                    });
                }
                streams.extend([stream, other]);
            }
        });
        Self { address, is_up, open }
    }

    fn set_up(&self, is_up: bool) {
        let mut open = self.open.lock().expect("nobody panics with it");
        self.is_up.store(is_up, Ordering::SeqCst);
        if !is_up {
            open.drain(..).for_each(|stream| _ = stream.shutdown(Shutdown::Both));
        }
    }
}

/// haproxy, in front of these workers.
pub(crate) struct Balancer {
    _process: Process,
    config: PathBuf,
    address: SocketAddr,
}

impl Balancer {
    /// `None`, after saying what is skipped: it is not installed.
    pub(crate) fn start(what: &str, workers: &[SocketAddr]) -> Option<Self> {
        let Some(program) = executable("haproxy").or_else(|| executable("/usr/sbin/haproxy"))
        else {
            skip(what, "haproxy is not installed (Debian: apt-get install haproxy)");
            return None;
        };
        // It takes no port 0. Nobody is given this one so soon again.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        let address = free.expect("a port is free");
        let mut text = format!(
            "defaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n retries 3\n \
             option redispatch\n retry-on conn-failure empty-response response-timeout\n\
             frontend all\n bind {address}\n default_backend workers\n\
             backend workers\n balance roundrobin\n"
        );
        for (number, worker) in workers.iter().enumerate() {
            text += &format!(" server w{number} {worker} check inter 200ms\n");
        }
        let config = scratch_path("haproxy");
        fs::write(&config, text).expect("the temporary folder is writable");
        let mut command = Command::new(program);
        command.arg("-db").arg("-f").arg(&config);
        Some(Self { _process: Process::spawn(command), config, address })
    }

    /// Where all workers are reached.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.config);
    }
}
