//! Work that can wait for a quiet moment: unused memory is returned to the system after a backlog
//! has drained, and when the process has grown without one.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::memory;
use crate::server::hub::Hub;

/// A backlog that has begun to drain usually continues to, so wait this long.
const SETTLE: Duration = Duration::from_secs(1);

/// How often to check for memory that is kept but not used by jobs or connections, such as what was
/// read at startup.
const LOOK: Duration = Duration::from_secs(10);

/// With this many unused bytes, an attempt to return them is worthwhile.
const WORTHWHILE: u64 = 16 << 20;

/// Never returns.
pub(crate) async fn run(hub: Arc<Hub>) {
    // What could not be returned in the last attempt: more of it is in use than was assumed, or it
    // is fragmented.
    let mut remains = 0;
    let returning = Returning::start();
    loop {
        if timeout(LOOK, hub.backlog_drained.notified()).await.is_ok() {
            sleep(SETTLE).await;
        } else {
            let excess = hub.excess_bytes();
            remains = excess.min(remains);
            if excess < remains + WORTHWHILE {
                continue;
            }
        }
        let start = Instant::now();
        returning.give_back().await;
        debug!(micros = start.elapsed().as_micros() as u64, "returned unused memory");
        remains = hub.excess_bytes();
    }
}

/// A thread that returns memory when it is told to. It is there from the start: when memory has run out, there
/// is none for a thread.
struct Returning(Option<SyncSender<oneshot::Sender<()>>>);

impl Returning {
    fn start() -> Self {
        let (tell, told) = sync_channel::<oneshot::Sender<()>>(1);
        let work = move || {
            while let Ok(done) = told.recv() {
                memory::give_back();
                // Nobody waits if the server has ended.
                let _ = done.send(());
            }
        };
        let started = thread::Builder::new().name("jq-memory".into()).spawn(work);
        Self(started.is_ok().then_some(tell))
    }

    async fn give_back(&self) {
        let (done, ended) = oneshot::channel();
        match self.0.as_ref().map(|tell| tell.try_send(done)) {
            Some(Ok(())) => drop(ended.await),
            _ => memory::give_back(),
        }
    }
}
