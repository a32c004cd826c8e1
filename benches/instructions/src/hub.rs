//! Whole batches, as connections bring them.

use std::sync::Arc;
use std::task::Waker;

use beanstalk_protocol::Request;
use jq_engine::{ConnId, Flow};
use jq_server::server::guard::Guard;
use jq_server::server::hub::{Batch, Hub};

use crate::{BATCH, TIMES};

#[path = "../../support/hub.rs"]
mod support;

/// Batches that a connection has read and decoded.
pub struct Batches {
    hub: Arc<Hub>,
    conn: ConnId,
    batches: Vec<Batch>,
    guard: Option<Guard>,
}

impl Batches {
    /// Of a client that may do everything.
    pub fn of(batches: Vec<Batch>) -> Self {
        let hub = support::hub(support::standing_clock());
        let conn = hub.connect(Waker::noop().clone());
        Self { hub, conn, batches, guard: None }
    }

    /// Of a client that does not have all rights, but those that it needs.
    pub fn guarded(batches: Vec<Batch>) -> Self {
        let (hub, mut guard) = support::guarded_hub(support::standing_clock());
        let conn = hub.connect(Waker::noop().clone());
        hub.renew(conn, &mut guard);
        Self { hub, conn, batches, guard: Some(guard) }
    }

    /// Has the hub carry them out.
    #[must_use]
    pub fn run(mut self) -> Self {
        for batch in &mut self.batches {
            let applied = match &mut self.guard {
                None => self.hub.apply(self.conn, batch),
                Some(guard) => {
                    self.hub.renew(self.conn, guard);
                    self.hub.apply_guarded(self.conn, batch, guard)
                }
            };
            assert_eq!(applied.flow, Flow::Continue);
        }
        self
    }
}

/// Many commands each: puts, then reserves, then deletes.
pub fn pipelined() -> Vec<Batch> {
    let jobs: Vec<u64> = (1..=u64::from(TIMES)).collect();
    batches(jobs.chunks(BATCH).flat_map(|jobs| {
        [
            jobs.iter().flat_map(|_| support::put()).collect(),
            jobs.iter().map(|_| support::reserve()).collect(),
            jobs.iter().map(|job| support::delete(*job)).collect(),
        ]
    }))
}

/// One command each.
pub fn single() -> Vec<Batch> {
    batches((1..=u64::from(TIMES)).flat_map(|job| {
        [support::put().into(), vec![support::reserve()], vec![support::delete(job)]]
    }))
}

fn batches(batches: impl Iterator<Item = Vec<Request>>) -> Vec<Batch> {
    let batch = |requests: Vec<Request>| {
        let requests = requests.into_iter().zip(1..).collect();
        Batch { requests, ..Batch::default() }
    };
    batches.map(batch).collect()
}
