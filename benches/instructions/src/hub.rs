//! Whole batches, as connections bring them.

use std::sync::Arc;
use std::task::Waker;

use beanstalk_protocol::Request;
use jq_engine::{ConnId, Flow};
use jq_server::server::hub::{Batch, Hub};

use crate::{BATCH, TIMES};

#[path = "../../support/hub.rs"]
mod support;

/// Batches that a connection has read and decoded.
pub struct Batches {
    hub: Arc<Hub>,
    conn: ConnId,
    batches: Vec<Batch>,
}

impl Batches {
    fn of(batches: impl Iterator<Item = Vec<Request>>) -> Self {
        let batches = batches.map(|requests| {
            let requests = requests.into_iter().zip(1..).collect();
            Batch { requests, ..Batch::default() }
        });
        let batches = batches.collect();
        let hub = support::hub(support::standing_clock());
        let conn = hub.connect(Waker::noop().clone());
        Self { hub, conn, batches }
    }

    /// Many commands each: puts, then reserves, then deletes.
    pub fn pipelined() -> Self {
        let jobs: Vec<u64> = (1..=u64::from(TIMES)).collect();
        Self::of(jobs.chunks(BATCH).flat_map(|jobs| {
            [
                jobs.iter().flat_map(|_| support::put()).collect(),
                jobs.iter().map(|_| support::reserve()).collect(),
                jobs.iter().map(|job| support::delete(*job)).collect(),
            ]
        }))
    }

    /// One command each.
    pub fn single() -> Self {
        Self::of((1..=u64::from(TIMES)).flat_map(|job| {
            [support::put().into(), vec![support::reserve()], vec![support::delete(job)]]
        }))
    }

    /// Has the hub carry them out.
    #[must_use]
    pub fn run(mut self) -> Self {
        for batch in &mut self.batches {
            let applied = self.hub.apply(self.conn, batch);
            assert_eq!(applied.flow, Flow::Continue);
        }
        self
    }
}
