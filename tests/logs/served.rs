//! A server in this process, on a socket of its own.

use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use jq_server::clock::Clock;
use jq_server::config::Config;
use jq_server::server::{Bound, Until, run_until};
use tokio::sync::oneshot;

use crate::fake::Fake;
use crate::support::{Conn, Endpoint, comes_true, scratch_path};

/// A running server. It ends when dropped.
pub(crate) struct Served {
    endpoint: Endpoint,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

impl Served {
    /// With an empty queue and a log that commits when it is told to.
    pub(crate) fn start() -> (Self, Arc<Fake>) {
        let path = scratch_path("socket");
        let listen = format!("unix:{}", path.display());
        let args = ["jq-server", "-z200000", "-l", &listen].map(Into::into);
        let config = Config::from_args(args).expect("the flags are right");
        let bound = Bound::open(&config.listeners).expect("nobody has this path");
        let (opened, fake) = Fake::open();
        let (stop, told) = oneshot::channel();
        let thread = thread::spawn(move || {
            run_until(bound, &config, Clock::start(), opened, Until::Told(told))
                .map_err(|error| error.to_string())
        });
        let endpoint = Endpoint::Unix(path);
        assert!(comes_true(|| Conn::open(&endpoint).is_ok()), "the server listens");
        (Self { endpoint, stop: Mutex::new(Some(stop)), thread: Some(thread) }, fake)
    }

    pub(crate) fn connect(&self) -> Conn {
        Conn::open(&self.endpoint).expect("the server accepts")
    }

    /// Asks it to stop.
    pub(crate) fn stop(&self) {
        drop(self.stop.lock().expect("nobody panics while holding it").take());
    }

    /// Waits until it has ended, and tells how.
    pub(crate) fn ended(mut self) -> Result<(), String> {
        let thread = self.thread.take().expect("it is waited for once");
        thread.join().expect("the server does not panic")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join().expect("the server does not panic");
            if !thread::panicking() {
                ended.expect("it was asked to stop");
            }
        }
    }
}
