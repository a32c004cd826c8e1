//! Queueing a job anew that is over.
//!
//! A job that is buried still is kicked: the queue has it as it was. Any other is put as it was kept beside its
//! result, into the same tube, with the same priority and time to run. Either way its retries begin anew, and its
//! result stays until there is another.
//!
//! That it is to be run again is on the disk before it is in the queue, and where it is there after that. So a
//! crash leaves it queued or not, and never answered by its own earlier result.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use jq_client::{Connection, Error, JobId, PutOptions, TubeName};
use serde::Deserialize;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{info, warn};
use uuid::Uuid;

use super::Lifecycle;
use super::cancel::is_of;
use crate::job::{Job, JobType};
use crate::result::{FinalStatus, JobResult, Previous, QueuePlace, Status};
use crate::store::{Found, QueuedJob, RequestError, Requests};

/// How long a queue may take for each of the things that it is asked.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of a job that is to be run again.
#[derive(Debug, Clone)]
pub enum Rerun {
    /// It is queued, and this is what is known of it now.
    Queued(Box<JobResult>),
    /// It is not, for this reason, which stays.
    Not(String),
    /// There is no result of it.
    Unknown,
    /// Its result has expired.
    Gone,
    /// It cannot be queued now, for this reason.
    Unavailable(String),
}

/// As much of a result as matters here.
#[derive(Debug, Deserialize)]
struct Over {
    status: FinalStatus,
    timestamp: Timestamp,
    #[serde(rename = "type")]
    kind: Option<JobType>,
    created: Option<Timestamp>,
    queue: Option<QueuePlace>,
    #[serde(default)]
    job_digest: Option<String>,
}

/// Why a job is not in the queue.
enum NotQueued {
    /// It never will be.
    Not(String),
    /// The queue cannot be asked, or refuses.
    Failed(String),
}

impl From<Error> for NotQueued {
    fn from(error: Error) -> Self {
        Self::Failed(format!("the queue: {error}"))
    }
}

impl Lifecycle {
    /// Queues a job anew that is over.
    pub async fn run_again(self: &Arc<Self>, id: Uuid) -> Rerun {
        let lifecycle = Arc::clone(self);
        // Whoever asked may not wait for it.
        let again = tokio::spawn(async move { lifecycle.queue_again(id).await });
        again.await.unwrap_or_else(|error| Rerun::Unavailable(error.to_string()))
    }

    async fn queue_again(&self, id: Uuid) -> Rerun {
        let _one_at_a_time = self.queueing.lock().await;
        if self.table.get(id).is_some() || self.table.waits_at(id).is_some() {
            return Rerun::Not("the job is not over".to_owned());
        }
        let over = match self.over(id).await {
            Ok(over) => over,
            Err(answer) => return answer,
        };
        if self.store.owed(id).is_some_and(|(_, done)| !done.is_delivered() || !done.dequeued) {
            let why = "the result of the job is still being sent, or that was given up: a job of which it was \
                       given up is kicked in the queue";
            return Rerun::Not(why.to_owned());
        }
        let Some(place) = over.queue.clone() else {
            return Rerun::Not("the result does not say where the job was queued".to_owned());
        };
        let kept_for = self.setup.get().config.retention;
        let noted = self.note(move |requests| requests.run_again(id, kept_for)).await;
        if let Err(why) = noted {
            return Rerun::Unavailable(why);
        }
        let place = match self.to_queue(id, &over, place).await {
            Ok(place) => place,
            Err(why) => {
                self.store.requests().forget(id);
                return match why {
                    NotQueued::Not(why) => Rerun::Not(why),
                    NotQueued::Failed(why) => Rerun::Unavailable(why),
                };
            }
        };
        info!(%id, queued_as = place.job, "queued anew");
        let document = self.again(id, &over, place.clone());
        let until = Timestamp::now().checked_add(kept_for).unwrap_or(Timestamp::MAX);
        if self.table.get(id).is_none() && self.store.requests().is_rerun(id) {
            self.table.set_waiting(document.clone(), until);
        }
        if !self.store.requests().is_rerun(id) {
            // It is over already.
            self.table.clear_waiting(id);
        }
        if let Err(error) = self.note(move |requests| requests.note_place(id, place)).await {
            warn!(%id, error, "cannot note where a job is that is to be run again");
        }
        Rerun::Queued(Box::new(document))
    }

    async fn note(
        &self,
        what: impl FnOnce(&Requests) -> Result<(), RequestError> + Send + 'static,
    ) -> Result<(), String> {
        let store = Arc::clone(&self.store);
        let noted = spawn_blocking(move || what(store.requests())).await;
        noted.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    async fn over(&self, id: Uuid) -> Result<Over, Rerun> {
        let store = Arc::clone(&self.store);
        let found = spawn_blocking(move || store.find(id)).await;
        let cannot = |error: &dyn std::fmt::Display| {
            Rerun::Unavailable(format!("cannot read the result: {error}"))
        };
        match found.map_err(|error| cannot(&error))?.map_err(|error| cannot(&error))? {
            Found::Result(body) => serde_json::from_slice(&body).map_err(|error| cannot(&error)),
            Found::Expired => Err(Rerun::Gone),
            Found::Nothing => Err(Rerun::Unknown),
        }
    }

    /// Returns where it is queued now.
    async fn to_queue(
        &self,
        id: Uuid,
        over: &Over,
        place: QueuePlace,
    ) -> Result<QueuePlace, NotQueued> {
        let Some(source) = self.settler.servers.named(&place.server) else {
            let why = format!("{} is none of the servers that jobs are taken from", place.server);
            return Err(NotQueued::Failed(why));
        };
        let no_answer = |_| NotQueued::Failed(format!("{} does not answer", place.server));
        let mut connection = timeout(PATIENCE, source.connection()).await.map_err(no_answer)??;
        let is_kicked = timeout(PATIENCE, kick(&mut connection, place.job, id));
        if is_kicked.await.map_err(no_answer)?? {
            source.give(connection);
            return Ok(place);
        }
        let store = Arc::clone(&self.store);
        let kept = spawn_blocking(move || store.queued_job(id)).await;
        let kept = kept.map_err(|error| NotQueued::Failed(error.to_string()))?;
        let kept = kept.map_err(|error| NotQueued::Failed(error.to_string()))?;
        // What is kept of an id may be of an earlier job than its result.
        let is_it = |job: &QueuedJob| {
            let digest = Job::parse(job.body.as_bytes()).map(|job| job.digest());
            digest.is_ok_and(|digest| over.job_digest.as_ref() == Some(&digest))
        };
        let Some(job) = kept.filter(is_it) else {
            let why = "the job left the queue, and was not kept: it is too large, or it was done when no token \
                       was configured";
            return Err(NotQueued::Not(why.to_owned()));
        };
        let tube: TubeName = place
            .tube
            .parse()
            .map_err(|error| NotQueued::Not(format!("{:?}: {error}", place.tube)))?;
        let put = async {
            connection.use_tube(&tube).await?;
            let options = PutOptions { priority: job.priority, delay: 0, ttr: job.ttr };
            let refused = |error| NotQueued::Failed(format!("the queue: {error}"));
            connection.put(anew(&job.body).as_bytes(), options).await.map_err(refused)
        };
        let number = timeout(PATIENCE, put).await.map_err(no_answer)??;
        source.give(connection);
        Ok(QueuePlace { job: number, ..place })
    }

    /// What is known of a job that was queued anew.
    fn again(&self, id: Uuid, over: &Over, place: QueuePlace) -> JobResult {
        let previous = Previous { status: over.status, finished: over.timestamp };
        let (name, created) = (self.setup.get().name.clone(), over.created);
        let (kind, place) = (over.kind.clone(), Some(place));
        let blank = JobResult::blank(id, kind, Status::Accepted, name, 1, created, place);
        JobResult { previous: Some(previous), ..blank }
    }

    /// Makes known which jobs wait in the queue that were to be run again when the worker stopped or died.
    pub fn remember_reruns(&self) {
        for (id, place, until) in self.store.requests().reruns() {
            let Ok(Found::Result(body)) = self.store.find(id) else { continue };
            let Ok(over) = serde_json::from_slice::<Over>(&body) else { continue };
            if self.table.waits_at(id).is_none() {
                self.table.set_waiting(self.again(id, &over, place), until);
            }
        }
    }
}

/// The earlier result of a job that is run again, as its document has it.
pub fn previous(body: &Bytes) -> Option<Previous> {
    let over: Over = serde_json::from_slice(body).ok()?;
    Some(Previous { status: over.status, finished: over.timestamp })
}

/// The body of a job, with the time at which it is queued anew: so no worker takes a result of before for its answer.
/// All else stays as it is written.
fn anew(body: &str) -> String {
    const MEMBER: &str = "\"rerun_at\":\"";
    // In the older form, the job is the first element of an array.
    let Some((before, members)) = body.split_once('{') else { return body.to_owned() };
    // What was queued anew before has it where we put it.
    let earlier = members.strip_prefix(MEMBER).and_then(|rest| rest.split_once(','));
    let members = earlier.map_or(members, |(_, members)| members);
    format!("{before}{{{MEMBER}{:.3}\",{members}", Timestamp::now())
}

/// Makes this job ready if it is buried. False: the queue does not have it.
async fn kick(connection: &mut Connection, number: JobId, id: Uuid) -> Result<bool, NotQueued> {
    if !connection.peek(number).await?.is_some_and(|job| is_of(id, &job.body)) {
        return Ok(false);
    }
    let Some(stats) = connection.stats_job(number).await? else { return Ok(false) };
    match stats.get("state") {
        Some("buried") if connection.kick_job(number).await?.is_done() => Ok(true),
        state => {
            let state = state.unwrap_or("in no state");
            Err(NotQueued::Not(format!("the job is in the queue: it is {state}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_is_queued_anew_is_the_same_job() {
        let id = "13775310-8f59-412e-aa2c-549a20077664";
        for body in [
            format!(r#"{{"id":"{id}","type":"t","args":{{"a" : 1.50}}}}"#),
            format!(r#" [{{ "uuid" : "{id}","jobtype":"t"}}, {{"x":[]}}]"#),
        ] {
            let first = Job::parse(body.as_bytes()).unwrap();
            let (once, twice) = (anew(&body), anew(&anew(&body)));
            for again in [&once, &twice] {
                let again = Job::parse(again.as_bytes()).unwrap();
                assert_eq!(again.digest(), first.digest());
                assert!(again.rerun_at.is_some() && first.rerun_at.is_none());
            }
            assert_eq!(once.len(), twice.len(), "{twice}");
        }
    }
}
