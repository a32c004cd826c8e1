//! Actions on many jobs, in steps on this thread.
//!
//! Each step is one short change of the queue, is committed before the next, and is followed by a
//! pause, so that clients hardly notice it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use beanstalk_protocol::TubeName;
use jq_api::server::{Bulk, BulkAction, BulkRequest, BulkState, ProblemKind};
use jq_engine::{self as engine, Action, BulkCounts, BulkFlow, Filter, JobChange, Nanos, StepSize};
use tracing::info;

use crate::admin::answer::Failure;
use crate::admin::extract::tube_name;
use crate::admin::routes::documents::{protocol_state, timestamp};
use crate::server::hub::Hub;

/// The most actions that go on at the same time.
pub(crate) const MOST: usize = 4;

/// Actions that are over and can still be asked for.
pub(crate) const KEPT: usize = 100;

/// The longest text that is looked for, in bytes.
const MAX_TEXT: usize = 1024;

/// Between two steps. On a machine with one core, others need it to get on.
const PAUSE: Duration = Duration::from_millis(1);

/// The actions of a server.
#[derive(Debug, Default)]
pub(crate) struct Bulks(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    last: u64,
    /// From the oldest.
    all: VecDeque<Arc<Running>>,
}

/// An action that goes on, or is over.
#[derive(Debug)]
pub(crate) struct Running {
    document: Mutex<Bulk>,
    /// Somebody wants it to stop.
    stopped: AtomicBool,
}

/// A request that is checked.
#[derive(Debug)]
pub(crate) struct Checked {
    tube: TubeName,
    action: Action,
    request: BulkRequest,
}

impl Bulks {
    /// Begins an action that `by` has asked for; it goes on by itself.
    pub(crate) fn start(
        &self,
        hub: &Arc<Hub>,
        checked: Checked,
        by: &str,
    ) -> Result<Arc<Running>, Failure> {
        let mut table = self.lock();
        let going = table.all.iter().filter(|bulk| bulk.document().state == BulkState::Running);
        if going.count() >= MOST {
            let detail = format!("{MOST} actions are going on, which is the maximum");
            return Err(Failure::new(ProblemKind::Busy, detail));
        }
        let Checked { tube, action, request } = checked;
        let dry_run = request.dry_run;
        let (bulk, jobs, now) = hub.read(|engine, now| {
            let filter = filter(&request, now);
            let jobs = engine.job_count();
            (engine::Bulk::new(engine, tube, filter, action, dry_run), jobs, now)
        });
        table.last += 1;
        let running = Arc::new(Running {
            document: Mutex::new(Bulk {
                id: table.last,
                request,
                state: BulkState::Running,
                matched: 0,
                changed: 0,
                refused: 0,
                progress: Some(0.0),
                error: None,
                by: by.to_owned(),
                started: timestamp(now),
                finished: None,
            }),
            stopped: AtomicBool::new(false),
        });
        table.all.push_back(Arc::clone(&running));
        if table.all.len() > KEPT + MOST {
            let over = table.all.iter().position(|it| it.document().state != BulkState::Running);
            over.and_then(|at| table.all.remove(at));
        }
        drop(table);
        tokio::spawn(run(Arc::clone(hub), Arc::clone(&running), bulk, jobs));
        Ok(running)
    }

    /// The action with this number, if it is remembered.
    pub(crate) fn find(&self, id: u64) -> Option<Arc<Running>> {
        self.lock().all.iter().find(|bulk| bulk.document().id == id).cloned()
    }

    /// All that are remembered, from the newest.
    pub(crate) fn list(&self) -> Vec<Bulk> {
        self.lock().all.iter().rev().map(|bulk| bulk.document().clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Consistent between any two statements that can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// How far it is.
    pub(crate) fn document(&self) -> MutexGuard<'_, Bulk> {
        self.document.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has it stop after the step that is going on.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn note(&self, counts: BulkCounts, jobs: usize) {
        let mut document = self.document();
        document.matched = counts.matched;
        document.changed = counts.changed;
        document.refused = counts.refused;
        // Others put and delete jobs meanwhile, so that it is an estimate.
        document.progress = Some((counts.looked as f64 / jobs.max(1) as f64).min(0.99));
    }

    fn end(&self, hub: &Hub, state: BulkState, error: Option<String>) {
        let mut document = self.document();
        if state == BulkState::Done {
            document.progress = Some(1.0);
        }
        document.state = state;
        document.error = error;
        document.finished = Some(timestamp(hub.clock().now()));
        // What was only counted is not said to be changed.
        let dry_run = document.request.dry_run;
        let what = if dry_run { "a dry run" } else { "an action on many jobs" };
        info!(
            token = document.by,
            bulk = document.id,
            tube = document.request.tube,
            matched = document.matched,
            changed = (!dry_run).then_some(document.changed),
            would_change = dry_run.then_some(document.changed),
            error = document.error,
            "{what} is over: {state:?}"
        );
    }
}

/// Takes all steps.
async fn run(hub: Arc<Hub>, running: Arc<Running>, mut bulk: engine::Bulk, jobs: usize) {
    loop {
        if running.stopped.load(Ordering::Relaxed) {
            return running.end(&hub, BulkState::Stopped, None);
        }
        if hub.is_stopping() {
            let why = "the server was stopped".to_owned();
            return running.end(&hub, BulkState::Stopped, Some(why));
        }
        let (flow, gated) = hub
            .change(|engine, mut sink, now| bulk.step(engine, now, StepSize::default(), &mut sink));
        running.note(bulk.counts(), jobs);
        let committed = hub.committed(gated).await;
        let failure = match (committed, flow) {
            (Err(_), _) => Failure::not_committed(&hub),
            (Ok(()), BulkFlow::NotRecorded) => Failure::not_recorded(&hub),
            (Ok(()), BulkFlow::Done) => return running.end(&hub, BulkState::Done, None),
            (Ok(()), BulkFlow::More) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        return running.end(&hub, BulkState::Failed, Some(failure.detail()));
    }
}

/// Which jobs a request is about, if it is made now.
fn filter(request: &BulkRequest, now: Nanos) -> Filter {
    let ago = |seconds: u64| Nanos(now.0.saturating_sub(Nanos::from_secs(seconds).0));
    Filter {
        state: request.state.map(protocol_state),
        // One that was put exactly so long ago is so old.
        put_before: request.older_than.map(|seconds| Nanos(ago(seconds).0 + 1)),
        put_from: request.younger_than.map(|seconds| Nanos(ago(seconds).0 + 1)),
        body: request.contains.as_ref().map(|text| text.clone().into_bytes()),
    }
}

/// Checks what a request asks for.
pub(crate) fn check(request: BulkRequest) -> Result<Checked, Failure> {
    use BulkAction::{Bury, Delete, Kick, Move, Release, Set};
    let tube = tube_name("tube", &request.tube)?;
    let BulkRequest { action, priority, delay, .. } = request;
    let only = |field: &'static str, is_given: bool, is_for: &[BulkAction], names: &str| {
        if is_given && !is_for.contains(&action) {
            return Err(Failure::field(field, format!("{field}: only with the action {names}")));
        }
        Ok(())
    };
    only("to", request.to.is_some(), &[Move], "move")?;
    only("priority", priority.is_some(), &[Set, Bury], "set or bury")?;
    only("delay", delay.is_some(), &[Set], "set")?;
    if let Some(text) = request.contains.as_ref()
        && !(1..=MAX_TEXT).contains(&text.len())
    {
        let detail = format!("contains: expected 1 to {MAX_TEXT} bytes");
        return Err(Failure::field("contains", detail));
    }
    let action = match action {
        Kick => Action::Kick,
        Bury => Action::Bury(priority),
        Delete => Action::Delete,
        Release => Action::Release,
        Move => {
            let to = request.to.as_deref();
            let to = to.ok_or_else(|| Failure::field("to", "to: expected the name of a tube"))?;
            Action::Move(tube_name("to", to)?)
        }
        Set if priority.is_none() && delay.is_none() => {
            let detail = "expected priority, delay or both with the action set";
            return Err(Failure::field("priority", detail));
        }
        Set => Action::Set(JobChange { priority, delay }),
    };
    Ok(Checked { tube, action, request })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (members, field) in [
            (r#""action":"kick","to":"b""#, "to"),
            (r#""action":"kick","priority":1"#, "priority"),
            (r#""action":"release","priority":1"#, "priority"),
            (r#""action":"bury","delay":1"#, "delay"),
            (r#""action":"move""#, "to"),
            (r#""action":"move","to":"-b""#, "to"),
            (r#""action":"set""#, "priority"),
            (r#""action":"delete","contains":"""#, "contains"),
        ] {
            let request = serde_json::from_str(&format!(r#"{{"tube":"a",{members}}}"#)).unwrap();
            let failure = format!("{:?}", check(request).unwrap_err());
            assert!(failure.contains(&format!("field: Some({field:?})")), "{members}: {failure}");
        }
        let request = serde_json::from_str(r#"{"tube":"a b","action":"kick"}"#).unwrap();
        assert!(check(request).is_err());
    }

    #[test]
    fn ages_are_counted_back_from_now() {
        let request = |members: &str| {
            serde_json::from_str(&format!(r#"{{"tube":"a","action":"kick",{members}}}"#)).unwrap()
        };
        let now = Nanos::from_secs(100);
        let older = filter(&request(r#""older_than":10"#), now);
        assert_eq!((older.put_before, older.put_from), (Some(Nanos(90_000_000_001)), None));
        let younger = filter(&request(r#""younger_than":10"#), now);
        assert_eq!((younger.put_before, younger.put_from), (None, Some(Nanos(90_000_000_001))));
        let ancient = filter(&request(&format!(r#""older_than":{}"#, u64::MAX)), now);
        assert_eq!(ancient.put_before, Some(Nanos(1)));
    }
}
