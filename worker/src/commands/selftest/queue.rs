//! A queue of our own, within this process.

use std::ffi::OsString;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use jq_client::Address;
use jq_server::clock::Clock;
use jq_server::config::Config;
use jq_server::log::Opened;
use jq_server::server::{Bound, ServeError, Until, run_until};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::commands::Failed;

/// A running queue on a socket that nobody else knows. It ends when dropped.
pub(crate) struct Queue {
    path: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Queue {
    pub(crate) fn start() -> Result<Self, Failed> {
        // In the system's temporary folder: the path of a socket is 107 bytes at most.
        let path = std::env::temp_dir().join(format!("jq-selftest-{}", Uuid::new_v4().simple()));
        let listen = format!("unix:{}", path.display());
        let args = ["jq-server", "-l", &listen].map(OsString::from);
        let config = Config::from_args(args).map_err(|exit| Failed::other(exit.message))?;
        let bound = Bound::open(&config.listeners).map_err(Failed::other)?;
        let clock = Clock::start();
        let opened = Opened::open(&config, &clock).map_err(Failed::other)?;
        let (stop, told) = oneshot::channel();
        let run = move || run_until(bound, &config, clock, opened, Until::Told(told));
        let thread = thread::Builder::new().name("jq-selftest".to_owned()).spawn(run)?;
        Ok(Self { path, stop: Some(stop), thread: Some(thread) })
    }

    pub(crate) fn address(&self) -> Address {
        Address::Unix(self.path.clone())
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}
