//! A job of an id that is known here already.
//!
//! An id names one job and one document. So while a job of that id is here, a second one waits; and when
//! there is a result, a second one with the same content is answered by that, unless its handler is told to
//! run it again. Other content under the same id would overwrite somebody's result: it is refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use jq_client::JobId;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};
use tracing::debug;
use uuid::Uuid;

use super::Lifecycle;
use super::events::Event;
use super::follow::followers;
use crate::config::Rerun;
use crate::ending::{Ending, QueueAction, Verdict};
use crate::job::Job;
use crate::lease::{Lease, Lost};
use crate::parked::{Candidate, Parked, Wait};
use crate::result::{FinalStatus, JobResult, QueuePlace};
use crate::room::Permit;
use crate::store::{Entry, Found};

/// How long a queue may take to say whether it has a job.
const LOOK: Duration = Duration::from_secs(1);

/// How often it is looked whether the first job of an id is over.
const FREE: Duration = Duration::from_millis(500);

/// The queue is asked every so many times whether one that waits for its next attempt is there still.
const ASK: u32 = 4;

/// What is known of a job's id.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Earlier {
    /// Nothing that keeps the job from being run.
    Nothing,
    /// A job of this id is here, or waits for its retry.
    Here,
    /// There is a result, which answers this job too. That is to be done with it in the queue.
    Answered(QueueAction),
    /// Another worker has run this very job, and its result is in the shared store. It may not have sent it.
    Elsewhere(Bytes),
    /// There is a result of another job.
    Other,
}

/// As much of a result as matters here.
#[derive(Debug, Deserialize)]
struct Kept {
    status: FinalStatus,
    timestamp: Timestamp,
    queue: Option<QueuePlace>,
    #[serde(default)]
    job_digest: Option<String>,
}

impl Lifecycle {
    /// What is known of this job's id. The job is kept meanwhile.
    pub(super) async fn earlier(
        self: &Arc<Self>,
        lease: &mut Lease,
        job: &Job,
        rerun: Rerun,
    ) -> Result<Earlier, Lost> {
        let (place, lease_kicked) = (lease.facts.place.clone(), lease.facts.kicked > 0);
        let first = self.first_waiting(job.id, &place.server, place.job);
        if self.is_active(job.id) || lease.keep_while(self.is_waiting(job.id, first)).await? {
            return Ok(Earlier::Here);
        }
        if rerun == Rerun::Always || self.store.requests().is_rerun(job.id) {
            return Ok(Earlier::Nothing);
        }
        // For a new id it is found at once that there is no file.
        let Ok(Found::Result(body)) = self.store.find(job.id) else {
            return lease.keep_while(self.earlier_elsewhere(job, &place, lease_kicked)).await;
        };
        let kept = serde_json::from_slice(&body).ok();
        Ok(kept.map_or(Earlier::Nothing, |kept| judge(&kept, job, &place, lease.facts.kicked > 0)))
    }

    /// What the shared store has of this job's id. If it cannot be asked, the job is run: another worker may have
    /// done so, but nobody can tell.
    async fn earlier_elsewhere(&self, job: &Job, place: &QueuePlace, is_kicked: bool) -> Earlier {
        let Some(shared) = self.setup.get().shared.clone() else { return Earlier::Nothing };
        let body = match shared.result(job.id).await {
            Ok(Some(body)) => body,
            Ok(None) => return Earlier::Nothing,
            Err(error) => {
                debug!(%error, "cannot look for a result in the shared store");
                return Earlier::Nothing;
            }
        };
        let Ok(mut kept) = serde_json::from_slice::<Kept>(&body) else { return Earlier::Nothing };
        // Another worker may call the same server by another name.
        let is_same = |it: &QueuePlace| it.job == place.job && it.tube == place.tube;
        let is_same = kept.queue.as_ref().is_some_and(is_same);
        if is_same {
            kept.queue = Some(place.clone());
        }
        match judge(&kept, job, place, is_kicked) {
            Earlier::Answered(_) if is_same => Earlier::Elsewhere(body),
            earlier => earlier,
        }
    }

    /// The result of another worker, and all that may be owed for it still.
    pub(super) fn adopt(&self, job: &Job, place: &QueuePlace, body: &[u8]) -> Option<Entry> {
        let result: JobResult = serde_json::from_slice(body).ok()?;
        let text = std::str::from_utf8(body).ok()?.trim_end().to_owned();
        let status = serde_json::from_slice::<Kept>(body).ok()?.status;
        let row = Verdict::of(status).consequences();
        let outbound = &self.setup.get().outbound;
        let may = |url: &url::Url| outbound.check(url).is_ok();
        let target = job.result.clone().filter(|target| row.is_sent && may(&target.url));
        let callback = row.callback.and_then(|event| event.url(&job.callback));
        // They have the same ids as those that the other worker may have queued.
        let is_successful = status == FinalStatus::Successful;
        let then = if is_successful { followers(job, &result).0 } else { Vec::new() };
        Some(Entry {
            then,
            // It can be run again by the worker that has run it.
            job: None,
            id: job.id,
            place: Some(place.clone()),
            status,
            target,
            // They are not here.
            sends: BTreeMap::new(),
            callback: callback.filter(|url| may(url)).cloned(),
            finished: result.timestamp,
            result: RawValue::from_string(text).ok()?,
            artifacts: None,
        })
    }

    /// Whether there is a result of this id that belongs to another job in the queue.
    pub(super) fn is_of_another(&self, id: Uuid, place: &QueuePlace) -> bool {
        let Ok(Found::Result(body)) = self.store.find(id) else { return false };
        let kept = serde_json::from_slice::<Kept>(&body);
        kept.is_ok_and(|kept| kept.job_digest.is_some() && kept.queue.as_ref() != Some(place))
    }

    /// Whether another job of this id than the one of this number is to be over first, as far as that is known
    /// without asking anybody.
    pub(super) fn is_second(&self, id: Uuid, server: &str, number: JobId) -> bool {
        if self.first_waiting(id, server, number).is_some() {
            return true;
        }
        let is_itself = || {
            let place = self.store.owed(id).and_then(|(entry, _)| entry.place.clone());
            place.is_some_and(|place| place.job == number && place.server == server)
        };
        self.is_active(id) && !is_itself()
    }

    /// Gives a job back because another one of its id is to be over first, and remembers to take it again
    /// then.
    pub(super) async fn park_second(&self, lease: Lease, permit: Permit, id: Uuid) {
        let (wait, _) = Wait::of(&lease.body);
        let job = Parked { source: lease.source(), number: lease.facts.place.job, id: Some(id) };
        self.events.record(Ending::Duplicate, &Event::default());
        // Before it is ready again, as for all that are given back.
        self.parking.park(Candidate { wait, job, is_second: true });
        self.settler.let_go(lease, Ending::Duplicate, Duration::ZERO).await;
        drop(permit);
    }

    /// Takes jobs again that have waited for another one of their id. As long as it is polled.
    pub async fn keep_freeing_seconds(self: Arc<Self>) {
        for round in 1_u32.. {
            sleep(FREE).await;
            let mut waiting = Vec::new();
            let mut is_any_free = false;
            for (id, source, number) in self.parking.seconds() {
                match self.first_waiting(id, source.name(), number) {
                    Some(first) => waiting.push((id, first)),
                    None if self.is_second(id, source.name(), number) => {}
                    None => {
                        self.parking.free_seconds(id);
                        is_any_free = true;
                    }
                }
            }
            if round.is_multiple_of(ASK) {
                // As far as there is time; who was left out has a turn later.
                fastrand::shuffle(&mut waiting);
                let asked = async {
                    for (id, first) in waiting {
                        if !self.is_waiting(id, Some(first)).await {
                            self.parking.free_seconds(id);
                            is_any_free = true;
                        }
                    }
                };
                let _ = timeout(LOOK, asked).await;
            }
            if is_any_free {
                self.unpark();
            }
        }
    }

    fn is_active(&self, id: Uuid) -> bool {
        self.table.get(id).is_some() || self.deliveries.is_active(id)
    }

    /// Where the job of this id is that waits for its next attempt, if it is another one than this.
    fn first_waiting(&self, id: Uuid, server: &str, number: JobId) -> Option<QueuePlace> {
        let first = self.table.waits_at(id)?;
        (first.job != number || first.server != server).then_some(first)
    }

    /// Whether the job of this id that waits for its next attempt is in the queue still.
    async fn is_waiting(&self, id: Uuid, first: Option<QueuePlace>) -> bool {
        let Some(first) = first else { return false };
        let Some(source) = self.settler.servers.named(&first.server) else { return false };
        let is_it = |body: &[u8]| Job::parse(body).is_ok_and(|it| it.id == id);
        // If the queue does not say, the second one waits.
        let has_it = timeout(LOOK, source.has_job(first.job, is_it)).await;
        let is_gone = matches!(has_it, Ok(Ok(false)));
        if is_gone {
            self.table.clear_waiting(id);
        }
        !is_gone
    }
}

fn judge(kept: &Kept, job: &Job, place: &QueuePlace, is_kicked: bool) -> Earlier {
    // What was refused, or kept by an earlier version, does not say what the job was.
    let Some(digest) = &kept.job_digest else { return Earlier::Nothing };
    if *digest != job.digest() {
        return Earlier::Other;
    }
    // It was queued anew after that result, by whichever worker.
    if job.rerun_at.is_some_and(|at| kept.timestamp < at) {
        return Earlier::Nothing;
    }
    if kept.queue.as_ref() != Some(place) {
        return Earlier::Answered(QueueAction::Delete);
    }
    // The very same job. Somebody kicked it to have it run again; otherwise the queue has forgotten what was
    // done with it.
    if is_kicked {
        return Earlier::Nothing;
    }
    Earlier::Answered(Verdict::of(kept.status).consequences().queue)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(args: &str) -> Job {
        let id = Uuid::from_u128(7);
        Job::parse(format!(r#"{{"id":"{id}","type":"t","args":{args}}}"#).as_bytes()).unwrap()
    }

    fn place(number: u64) -> QueuePlace {
        QueuePlace { job: number, tube: "t".into(), server: "s".into() }
    }

    #[test]
    fn what_a_kept_result_means() {
        let kept = |status| Kept {
            status,
            timestamp: Timestamp::UNIX_EPOCH,
            queue: Some(place(1)),
            job_digest: Some(job("1").digest()),
        };
        let (done, failed) = (kept(FinalStatus::Successful), kept(FinalStatus::Failed));
        let judge = |kept: &Kept, args, number, is_kicked| {
            judge(kept, &job(args), &place(number), is_kicked)
        };
        for kept in [&done, &failed] {
            assert_eq!(judge(kept, "1", 2, false), Earlier::Answered(QueueAction::Delete));
            assert_eq!(judge(kept, "1", 2, true), Earlier::Answered(QueueAction::Delete));
            assert_eq!(judge(kept, "2", 2, false), Earlier::Other);
            assert_eq!(judge(kept, "1", 1, true), Earlier::Nothing);
        }
        assert_eq!(judge(&done, "1", 1, false), Earlier::Answered(QueueAction::Delete));
        assert_eq!(judge(&failed, "1", 1, false), Earlier::Answered(QueueAction::Bury));
        let unknown = Kept { job_digest: None, ..done };
        assert_eq!(judge(&unknown, "2", 2, false), Earlier::Nothing);
    }
}
