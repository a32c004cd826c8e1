//! The jobs of a tube, page by page.

use std::io::{self, Write};

use comfy_table::Cell;
use jq_client::{Connection, Error, JobListing, JobState, ListedJob, Refusal, TubeName};
use serde_json::{Value, json};

use super::Context;
use crate::cli::{JobsArgs, State};
use crate::failed::{EXIT_FAILED, Failed};
use crate::look::{Align, number, print, table};

/// Most jobs that are asked for at a time.
pub(super) const PAGE: u32 = 1000;

impl From<State> for JobState {
    fn from(state: State) -> Self {
        match state {
            State::Ready => Self::Ready,
            State::Reserved => Self::Reserved,
            State::Delayed => Self::Delayed,
            State::Buried => Self::Buried,
        }
    }
}

pub(super) async fn jobs(context: &Context, args: &JobsArgs) -> Result<(), Failed> {
    let mut queue = context.queue().await?;
    let mut jobs = Vec::new();
    let mut cursor = args.cursor.unwrap_or(0);
    loop {
        let left = args.limit.saturating_sub(jobs.len());
        let left = u32::try_from(left).unwrap_or(u32::MAX).min(PAGE);
        let page = page(&mut queue, &args.tube, args.state, cursor, left).await?;
        jobs.extend(page.jobs.into_iter().filter(|job| {
            args.returned.is_none_or(|least| {
                [job.timeouts, job.releases, job.disconnects].map(u64::from).iter().sum::<u64>()
                    >= least
            })
        }));
        cursor = page.next;
        if cursor == 0 || jobs.len() >= args.limit {
            break;
        }
    }
    let documents: Vec<Value> = jobs.iter().map(document).collect();
    let next = (cursor != 0).then_some(cursor);
    context
        .look
        .show(&json!({"jobs": documents, "next": next}), |_, out| print_jobs(&jobs, next, out))
}

/// One page, of at most so many jobs.
pub(super) async fn page(
    queue: &mut Connection,
    tube: &TubeName,
    state: Option<State>,
    cursor: u32,
    limit: u32,
) -> Result<JobListing, Failed> {
    let state = state.map(JobState::from);
    match queue.list_jobs(tube, state, cursor, limit.max(1)).await {
        Ok(Some(listing)) => Ok(listing),
        Ok(None) => Err(Failed::not_found(format!("tube {tube}"))),
        Err(Error::Refused { refusal: Refusal::UnknownCommand, .. }) => Err(Failed::new(
            EXIT_FAILED,
            "this server cannot list jobs: beanstalkd shows only the first of each state (peek)",
        )),
        Err(error) => Err(error.into()),
    }
}

fn document(job: &ListedJob) -> Value {
    json!({
        "id": job.id,
        "state": job.state.as_str(),
        "pri": job.priority,
        "age": job.age,
        "delay": job.delay,
        "ttr": job.ttr,
        "time-left": job.time_left,
        "size": job.size,
        "reserves": job.reserves,
        "timeouts": job.timeouts,
        "releases": job.releases,
        "buries": job.buries,
        "kicks": job.kicks,
        "disconnects": job.disconnects,
    })
}

fn print_jobs(jobs: &[ListedJob], next: Option<u32>, out: &mut dyn Write) -> io::Result<()> {
    let mut rows = table(&[
        ("ID", Align::Right),
        ("STATE", Align::Left),
        ("PRIORITY", Align::Right),
        ("AGE", Align::Right),
        ("LEFT", Align::Right),
        ("BYTES", Align::Right),
        ("RESERVES", Align::Right),
        ("TIMEOUTS", Align::Right),
        ("RELEASES", Align::Right),
        ("BURIES", Align::Right),
        ("VANISHED", Align::Right),
    ]);
    for job in jobs {
        let timed = matches!(job.state, JobState::Reserved | JobState::Delayed);
        let left = if timed { format!("{} s", number(job.time_left)) } else { String::new() };
        rows.add_row(vec![
            Cell::new(job.id),
            Cell::new(job.state.as_str()),
            Cell::new(job.priority),
            Cell::new(format!("{} s", number(job.age))),
            Cell::new(left),
            Cell::new(number(job.size)),
            Cell::new(job.reserves),
            Cell::new(job.timeouts),
            Cell::new(job.releases),
            Cell::new(job.buries),
            Cell::new(job.disconnects),
        ]);
    }
    print(&rows, out)?;
    match next {
        Some(cursor) => writeln!(out, "There may be more: --cursor {cursor}"),
        None => Ok(()),
    }
}
