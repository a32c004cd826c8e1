//! The jobs of a tube, page by page.

use std::io::{self, Write};

use comfy_table::Cell;
use jq_api::server::{Job, JobList, JobQuery, JobState};

use super::Context;
use crate::cli::{JobsArgs, State};
use crate::failed::Failed;
use crate::http::Api;
use crate::look::{Align, number, print, table};

/// Most jobs that are asked for at a time.
pub(super) const PAGE: usize = 1000;

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
    let api = Api::new(&context.target, "a list of jobs")?;
    let mut jobs = Vec::new();
    let mut cursor = args.cursor.clone();
    loop {
        let left = args.limit.saturating_sub(jobs.len());
        let page = page(&api, args.tube.as_str(), args.state, cursor.take(), left).await?;
        jobs.extend(page.jobs);
        cursor = page.next;
        if cursor.is_none() || jobs.len() >= args.limit {
            break;
        }
    }
    let list = JobList { jobs, next: cursor };
    context.look.show(&list, print_jobs)
}

/// One page, of at most so many jobs.
pub(super) async fn page(
    api: &Api,
    tube: &str,
    state: Option<State>,
    cursor: Option<String>,
    limit: usize,
) -> Result<JobList, Failed> {
    let query = JobQuery {
        state: state.map(JobState::from),
        cursor,
        limit: Some(limit.clamp(1, PAGE) as u32),
    };
    api.get(&["api", "v1", "tubes", tube, "jobs"], &query).await
}

fn print_jobs(list: &JobList, out: &mut dyn Write) -> io::Result<()> {
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
    for job in &list.jobs {
        rows.add_row(row(job));
    }
    print(&rows, out)?;
    match &list.next {
        Some(cursor) => writeln!(out, "There may be more: --cursor {cursor}"),
        None => Ok(()),
    }
}

fn row(job: &Job) -> Vec<Cell> {
    let state = match job.state {
        JobState::Ready => "ready",
        JobState::Reserved => "reserved",
        JobState::Delayed => "delayed",
        JobState::Buried => "buried",
    };
    let left = job.time_left.map(|left| format!("{left} s")).unwrap_or_default();
    vec![
        Cell::new(job.id),
        Cell::new(state),
        Cell::new(job.priority),
        Cell::new(format!("{} s", number(job.age))),
        Cell::new(left),
        Cell::new(number(job.size)),
        Cell::new(job.reserves),
        Cell::new(job.timeouts),
        Cell::new(job.releases),
        Cell::new(job.buries),
        Cell::new(job.disconnects),
    ]
}
