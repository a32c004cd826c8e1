//! Work that can wait for a quiet moment: memory goes back after a backlog has drained.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tracing::debug;

use crate::memory;
use crate::server::hub::Hub;

/// A backlog that has begun to drain usually goes on; so it is given this time.
const SETTLE: Duration = Duration::from_secs(1);

/// Runs for ever.
pub(crate) async fn run(hub: Arc<Hub>) {
    loop {
        hub.backlog_drained.notified().await;
        tokio::time::sleep(SETTLE).await;
        let start = Instant::now();
        if spawn_blocking(memory::give_back).await.is_ok() {
            debug!(micros = start.elapsed().as_micros() as u64, "gave memory back");
        }
    }
}
