//! Work that can wait for a quiet moment: unused memory is returned to the system after a backlog
//! has drained, and when the process has grown without one.

use std::sync::Arc;
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
        give_back().await;
        debug!(micros = start.elapsed().as_micros() as u64, "returned unused memory");
        remains = hub.excess_bytes();
    }
}

/// On a thread of its own, if there is memory for one.
async fn give_back() {
    let (done, ended) = oneshot::channel();
    let work = move || {
        memory::give_back();
        // Nobody waits if the server has ended.
        let _ = done.send(());
    };
    match thread::Builder::new().name("jq-memory".into()).spawn(work) {
        Ok(_) => drop(ended.await),
        Err(_) => memory::give_back(),
    }
}
