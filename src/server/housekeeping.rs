//! Work that can wait for a quiet moment: memory goes back after a backlog has drained, and when the
//! process has grown without one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::memory;
use crate::server::hub::Hub;

/// A backlog that has begun to drain usually goes on; so it is given this time.
const SETTLE: Duration = Duration::from_secs(1);

/// How often it is looked whether memory is kept that neither jobs nor connections had, such as what a
/// restart has read.
const LOOK: Duration = Duration::from_secs(10);

/// So many bytes are worth a try to give them back.
const WORTHWHILE: u64 = 16 << 20;

/// Runs for ever.
pub(crate) async fn run(hub: Arc<Hub>) {
    // What could not be given back when that was last tried. More of it is needed than was thought, or
    // it lies between what is needed.
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
        if spawn_blocking(memory::give_back).await.is_ok() {
            debug!(micros = start.elapsed().as_micros() as u64, "gave memory back");
        }
        remains = hub.excess_bytes();
    }
}
