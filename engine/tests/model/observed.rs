//! What is observed, in the model: every duration in a list.

use beanstalk_protocol::{JobId, TubeName};
use jq_engine::{Activity, Histogram, Nanos, Oldest, Times};

use super::{Job, Model, Place};

/// What has happened in a tube, or in all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) activity: Activity,
    waits: Vec<u64>,
    services: Vec<u64>,
}

impl Seen {
    pub(super) fn reserved(&mut self, now: Nanos, job: &Job) {
        self.activity.reserves += 1;
        if job.place == Place::Ready {
            self.waits.push(now.0.saturating_sub(job.ready_at.0));
        }
    }

    pub(super) fn deleted(&mut self, now: Nanos, job: &Job) {
        self.activity.deletes += 1;
        if let Place::Reserved { .. } = job.place {
            self.services.push(now.0.saturating_sub(job.reserved_at.0));
        }
    }

    /// As histograms.
    pub(crate) fn times(&self) -> Times {
        let histogram = |durations: &[u64]| {
            let mut histogram = Histogram::default();
            durations.iter().for_each(|nanos| histogram.add(*nanos));
            histogram
        };
        Times { wait: histogram(&self.waits), service: histogram(&self.services) }
    }
}

impl Model {
    /// Something happens to a job.
    pub(super) fn see(&mut self, id: JobId, happens: impl Fn(&mut Seen, &Job)) {
        let job = self.job(id).clone();
        happens(&mut self.seen, &job);
        if let Some(tube) = self.tube(&job.tube) {
            happens(&mut tube.seen, &job);
        }
    }

    /// The moment of a reserve. Of jobs that are delayed or reserved at one time, each has one that is
    /// a nanosecond later than that of the one before; `now` is 0 for those that are delayed.
    pub(super) fn moment(&mut self, now: Nanos) -> Nanos {
        let moment = self.next_moment.max(now.0);
        self.next_moment = moment + 1;
        Nanos(moment)
    }

    /// The ready jobs of the tube, and since when they are ready, from the oldest.
    pub(crate) fn ready(&self, tube: &TubeName) -> Vec<Oldest> {
        let ready = self.jobs.iter().filter(|job| job.place == Place::Ready && job.tube == *tube);
        let mut ready: Vec<_> =
            ready.map(|job| Oldest { job: job.id, since: job.ready_at }).collect();
        ready.sort_by_key(|oldest| (oldest.since, oldest.job));
        ready
    }
}
