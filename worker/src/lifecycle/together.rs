//! Jobs that were reserved at once, and share their connection.

use std::sync::Arc;

use jq_client::{Connection, Job as QueuedJob};
use tracing::info_span;

use super::Lifecycle;
use super::events::Event;
use crate::ending::Ending;
use crate::lease::{Lease, Lost};
use crate::room::Permit;
use crate::source::{Source, Taker};

impl Lifecycle {
    /// Deals with jobs that were just reserved over this connection, for which there are permits.
    pub(super) fn take_together(
        self: &Arc<Self>,
        source: Arc<Source>,
        connection: Connection,
        mut jobs: Vec<QueuedJob>,
        mut permits: Vec<Permit>,
    ) {
        if jobs.len() == 1
            && let (Some(job), Some(permit)) = (jobs.pop(), permits.pop())
        {
            return self.take(source, connection, job, permit);
        }
        let lifecycle = Arc::clone(self);
        let taken = async move {
            lifecycle.reserved_together(source, connection, jobs, permits).await;
        };
        self.tasks.spawn(taken);
    }

    async fn reserved_together(
        self: &Arc<Self>,
        source: Arc<Source>,
        connection: Connection,
        jobs: Vec<QueuedJob>,
        permits: Vec<Permit>,
    ) {
        let numbers: Vec<_> = jobs.iter().map(|job| job.id).collect();
        let from = Arc::clone(&source);
        let (stopping, metrics) = (self.tasks.stopping(), Arc::clone(&self.metrics));
        let lost = |queued_as: u64, lost: &Lost| {
            info_span!("job", server = from.name(), queued_as).in_scope(|| {
                self.events.lost(Ending::Unconfirmed, lost, &Event::default());
            });
        };
        match Lease::take_all(connection, source, jobs, stopping, metrics).await {
            Ok(leases) => {
                for ((lease, permit), number) in leases.into_iter().zip(permits).zip(numbers) {
                    match lease {
                        Ok(lease) => {
                            let lifecycle = Arc::clone(self);
                            self.tasks.spawn(async move { lifecycle.read(lease, permit).await });
                        }
                        Err(why) => lost(number, &why),
                    }
                }
            }
            Err(why) => numbers.into_iter().for_each(|number| lost(number, &why)),
        }
    }
}
