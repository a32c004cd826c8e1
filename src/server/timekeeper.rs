//! Ticks the queue when something is due.
//!
//! Each batch first carries out what is overdue, so this task matters when no client sends
//! anything. It sleeps until the first deadline, or until an earlier one is added.

use std::sync::Arc;

use jq_engine::Nanos;
use tokio::time::sleep_until;

use crate::server::hub::Hub;

/// Never returns.
pub(crate) async fn run(hub: Arc<Hub>) {
    loop {
        let earlier = hub.earlier_deadline.notified();
        let Some(at) = hub.tick() else {
            earlier.await;
            continue;
        };
        if at <= hub.clock().now() {
            // There is more to do, but others have a turn first.
            tokio::task::yield_now().await;
            continue;
        }
        // A moment out of the timers' range counts as none.
        match hub.clock().instant(at).filter(|_| at < Nanos::NEVER) {
            Some(instant) => tokio::select! {
                () = sleep_until(instant) => {}
                () = earlier => {}
            },
            None => earlier.await,
        }
    }
}
