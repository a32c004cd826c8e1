//! Wakes the queue when a deadline comes.
//!
//! Each batch lets overdue things happen before it is carried out, so this task matters when
//! nobody sends anything: it sleeps until the first deadline, or until one comes before that.

use std::sync::Arc;

use jq_engine::Nanos;
use tokio::time::sleep_until;

use crate::server::hub::Hub;

/// Runs for ever.
pub(crate) async fn run(hub: Arc<Hub>) {
    loop {
        let earlier = hub.earlier_deadline.notified();
        let Some(at) = hub.tick() else {
            earlier.await;
            continue;
        };
        if at <= hub.clock().now() {
            // There is more to do at once, but others have a turn first.
            tokio::task::yield_now().await;
            continue;
        }
        // A moment beyond what timers hold is as good as none.
        match hub.clock().instant(at).filter(|_| at < Nanos::NEVER) {
            Some(instant) => tokio::select! {
                () = sleep_until(instant) => {}
                () = earlier => {}
            },
            None => earlier.await,
        }
    }
}
