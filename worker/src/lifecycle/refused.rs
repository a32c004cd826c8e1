//! What is not a job, or none that may be run here: it is buried, and its result says why.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::task::spawn_blocking;
use url::Url;
use uuid::Uuid;

use super::Lifecycle;
use super::cancel::Told;
use super::events::Event;
use super::held::raw;
use super::settle::Kept;
use crate::ending::{Ending, Verdict};
use crate::job::{BadJob, Job};
use crate::lease::Lease;
use crate::result::{JobResult, Status};
use crate::room::Permit;
use crate::setup::Setup;
use crate::store::{Entry, Found};
use crate::table::ActiveJob;

impl Lifecycle {
    /// Buries a job whose id is another's. The document at its URL is that one's, so nothing is kept or sent.
    pub(super) async fn refuse_other(&self, lease: Lease, job: &Job, attempt: u32) {
        let ending = Ending::Over(Verdict::Refused);
        let why = "a job of the same id and other content was done here before: give it another id";
        let (kind, failure) = (Some(&job.kind), ending.failure(why));
        let event = Event { id: Some(job.id), kind, attempt, ..Event::default() };
        self.events.record(ending, &Event { failure: failure.as_ref(), ..event });
        self.settler.let_go(lease, ending, Duration::ZERO).await;
    }

    /// Buries what is not a job. If its id can be read, a result says so: it is served, and sent to
    /// where the job wanted it, as far as that can be read and is allowed.
    pub(super) async fn refuse(
        self: &Arc<Self>,
        mut lease: Lease,
        permit: Permit,
        bad: BadJob,
        attempt: u32,
    ) {
        if let Some(entry) = bad.id.and_then(|id| self.done_before(&lease, id)) {
            drop(permit);
            return self.settler.conclude(lease, entry).await;
        }
        if bad.id.is_some_and(|id| self.store.requests().is_cancelled(id, None))
            && let Some(told) = Told::of_bad(bad.clone())
        {
            return self.end_cancelled(lease, Some(permit), told, attempt, None).await;
        }
        let active = match &bad {
            BadJob { id: Some(id), kind: Some(kind), .. } => {
                let active = ActiveJob::new(*id, kind.clone(), attempt, None, None);
                let Some(active) = self.register(active) else {
                    return self.park_second(lease, permit, *id).await;
                };
                Some(active)
            }
            BadJob { id: Some(id), .. } if self.deliveries.is_active(*id) => {
                return self.park_second(lease, permit, *id).await;
            }
            _ => None,
        };
        let ending = Ending::Over(Verdict::Refused);
        let failure = ending.failure(&bad.reason);
        let (kind, failure) = (bad.kind.as_ref(), failure.as_ref());
        let event = Event { id: bad.id, kind, attempt, failure, ..Event::default() };
        self.events.record(ending, &event);
        let entry = match bad.id {
            // Whoever waits for that one has it.
            Some(id) if self.has_succeeded(id).await => None,
            Some(id) if self.is_of_another(id, &lease.facts.place) => None,
            _ => refusal(&self.setup.get(), &lease, bad, attempt),
        };
        let Some(entry) = entry else {
            self.settler.let_go(lease, ending, Duration::ZERO).await;
            return;
        };
        let entry = Arc::new(entry);
        match self.settler.keep(&mut lease, &entry).await {
            Ok(Kept::WithLease) => {
                // However long the sending takes, there is room for another job.
                drop((active, permit));
                self.settler.conclude(lease, entry).await;
            }
            Ok(Kept::WithoutLease) => {}
            Ok(Kept::Deleted) => self.settler.settle(entry),
            Err(lost) => self.events.lost(Ending::LostOnReturn, &lost, &Event::default()),
        }
    }

    /// Whether there is a result of success under this id.
    async fn has_succeeded(&self, id: Uuid) -> bool {
        #[derive(Deserialize)]
        struct Told {
            status: Status,
        }
        let store = Arc::clone(&self.store);
        let found = spawn_blocking(move || store.find(id)).await;
        let Ok(Ok(Found::Result(body))) = found else { return false };
        let told = serde_json::from_slice::<Told>(&body);
        told.is_ok_and(|told| told.status == Status::Successful)
    }
}

/// The result of what is not a job. `None`: it has no id under which somebody could look for it.
fn refusal(setup: &Setup, lease: &Lease, bad: BadJob, attempt: u32) -> Option<Entry> {
    let verdict = Verdict::Refused;
    let id = bad.id?;
    let may = |url: &Url| setup.outbound.check(url).is_ok();
    let event = verdict.consequences().callback;
    let callback = event.and_then(|event| event.url(&bad.callback)).filter(|url| may(url)).cloned();
    let target = bad.result.filter(|target| may(&target.url));
    let place = Some(lease.facts.place.clone());
    let created = Timestamp::now().checked_sub(lease.facts.age).ok();
    let (status, name) = (verdict.status().into(), setup.name.clone());
    let blank = JobResult::blank(id, bad.kind, status, name, attempt, created, place.clone());
    let failure = Ending::Over(verdict).failure(bad.reason);
    let (finished, custom) = (Some(blank.timestamp), bad.custom);
    let result = JobResult { finished, custom, error: failure, ..blank };
    Some(Entry {
        id,
        place,
        status: verdict.status(),
        target,
        callback,
        finished: result.timestamp,
        result: raw(&result),
        // It is buried, and can be kicked.
        job: None,
        then: Vec::new(),
        artifacts: None,
        sends: BTreeMap::new(),
    })
}
