//! What the server says at one moment: over HTTP if that is there, otherwise by the protocol.

use std::time::Instant;

use jq_api::server::{JobCounts, Server, Tube as ApiTube, TubeList, TubeQuery, TubeSort};
use jq_client::{Connection, TubeName};

use super::super::{Context, show};
use crate::failed::Failed;
use crate::http::Api;
use crate::look::{number, printable};

/// Number of tubes that are asked for. The server sorts them, so these are the ones that matter.
const FROM_API: u32 = 500;

/// Number of tubes that are looked at one by one.
const ONE_BY_ONE: usize = 5000;

/// Number of bytes of a body that are shown.
const SHOWN: usize = 4096;

/// A tube at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) name: TubeName,
    pub(super) ready: u64,
    pub(super) reserved: u64,
    pub(super) delayed: u64,
    pub(super) buried: u64,
    pub(super) watching: u64,
    pub(super) waiting: u64,
    /// Seconds left of its pause.
    pub(super) paused: Option<u64>,
    /// Jobs ever put, and deleted: rates are differences of these.
    pub(super) puts: u64,
    pub(super) deletes: u64,
    /// Puts that its policy has refused.
    pub(super) refused: u64,
    /// For how long its oldest ready job has been ready, in seconds, if the server says so.
    pub(super) oldest: Option<f64>,
}

/// The server at one moment.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) rows: Vec<Row>,
    /// Number of tubes, of which the rows may be a part.
    pub(super) tubes: u64,
    /// Which tubes the rows are, if they are not all.
    pub(super) part: &'static str,
    /// What the server as a whole has to say, in words.
    pub(super) server: Vec<String>,
}

/// A tube, looked into.
#[derive(Debug, Clone)]
pub(super) struct Inside {
    pub(super) tube: TubeName,
    /// Lines of text.
    pub(super) lines: Vec<String>,
}

/// Where samples come from.
#[derive(Debug)]
pub(super) struct Source {
    queue: Option<Connection>,
    api: Option<Api>,
}

impl Source {
    pub(super) fn new(context: &Context) -> Result<Self, Failed> {
        let api = context.target.http.as_ref().map(|_| Api::new(&context.target, "top"));
        Ok(Self { queue: None, api: api.transpose()? })
    }

    /// A connection, made anew if it was lost.
    pub(super) async fn queue(&mut self, context: &Context) -> Result<&mut Connection, Failed> {
        let open = self.queue.take().filter(Connection::is_open);
        let queue = match open {
            Some(queue) => queue,
            None => context.queue().await?,
        };
        Ok(self.queue.insert(queue))
    }

    pub(super) async fn look(&mut self, context: &Context) -> Result<Sample, Failed> {
        if let Some(api) = &self.api {
            return from_api(api).await;
        }
        let queue = self.queue(context).await?;
        let stats = queue.stats().await?;
        let count = |key: &str| stats.number(key).unwrap_or(0);
        let mut server = vec![
            format!("{} connections", number(count("current-connections"))),
            format!("{} workers", number(count("current-workers"))),
        ];
        if stats.flag("draining") == Some(true) {
            server.push("draining: new jobs are refused".to_owned());
        }
        match stats.get("binlog-state") {
            None | Some("good") => {}
            Some(state) => server.push(format!("the log is {state}")),
        }
        let tubes = count("current-tubes");
        let found = show::all_tubes(queue, None, ONE_BY_ONE).await?;
        let rows = found.iter().map(row).collect();
        Ok(Sample {
            at: Instant::now(),
            rows,
            tubes,
            part: "the first; --http shows those with trouble",
            server,
        })
    }

    /// Looks into a tube: the first jobs, and everything that the server says about it.
    pub(super) async fn inside(
        &mut self,
        context: &Context,
        tube: &TubeName,
    ) -> Result<Inside, Failed> {
        let queue = self.queue(context).await?;
        let stats = queue.stats_tube(tube).await?;
        let stats = stats.ok_or_else(|| Failed::not_found(format!("tube {tube}")))?;
        let mut lines = Vec::new();
        queue.use_tube(tube).await?;
        let first = [
            ("ready", queue.peek_ready().await?),
            ("delayed", queue.peek_delayed().await?),
            ("buried", queue.peek_buried().await?),
        ];
        for (state, job) in first {
            let Some(job) = job else { continue };
            lines.push(format!("first {state}: job {}, {} bytes", job.id, job.body.len()));
            let body = printable(&job.body[..job.body.len().min(SHOWN)]);
            lines.extend(body.lines().map(str::to_owned));
            lines.push(String::new());
        }
        // Behind the jobs: there is more of it than fits on a small screen.
        lines.extend(stats.iter().map(|(name, value)| format!("{name}: {value}")));
        Ok(Inside { tube: tube.clone(), lines })
    }
}

fn row(tube: &show::Tube) -> Row {
    let count = |key: &str| tube.count(key);
    Row {
        name: tube.name.clone(),
        ready: count("current-jobs-ready"),
        reserved: count("current-jobs-reserved"),
        delayed: count("current-jobs-delayed"),
        buried: count("current-jobs-buried"),
        watching: count("current-watching"),
        waiting: count("current-waiting"),
        paused: (count("pause") > 0).then(|| count("pause-time-left")),
        puts: count("total-jobs"),
        deletes: count("cmd-delete"),
        refused: count("refused-puts"),
        oldest: None,
    }
}

async fn from_api(api: &Api) -> Result<Sample, Failed> {
    let server: Server = api.get(&["api", "v1", "server"], &()).await?;
    let mut rows: Vec<Row> = Vec::new();
    let mut tubes = 0;
    // Most ready jobs, most buried jobs: between them is what hurts.
    for sort in [TubeSort::Ready, TubeSort::Buried] {
        let query = TubeQuery { sort: Some(sort), limit: Some(FROM_API), ..TubeQuery::default() };
        let list: TubeList = api.get(&["api", "v1", "tubes"], &query).await?;
        tubes = list.total;
        let complete = list.next.is_none();
        for tube in list.tubes {
            if let Some(row) = row_of_api(tube)
                && !rows.iter().any(|known| known.name == row.name)
            {
                rows.push(row);
            }
        }
        if complete {
            break;
        }
    }
    let part = "most ready or buried jobs";
    Ok(Sample { at: Instant::now(), rows, tubes, part, server: said(server) })
}

/// What the server as a whole has to say: also how near it is to the limits that are set.
fn said(server: Server) -> Vec<String> {
    let limit = |name: &str| server.limits.get(name).copied();
    let JobCounts { ready, reserved, delayed, buried, .. } = server.jobs;
    let jobs = ready + reserved + delayed + buried;
    let mut said = vec![
        of_limit(server.connections.open, limit("connections"), "connections"),
        format!("{} workers", number(server.connections.workers)),
    ];
    said.extend(limit("jobs").map(|most| of_limit(jobs, Some(most), "jobs")));
    let memory = |most| of_limit(server.job_memory_bytes >> 20, Some(most >> 20), "MiB of jobs");
    said.extend(limit("memory").map(memory));
    said.extend(server.reasons.into_iter().map(|reason| reason.detail));
    said
}

fn of_limit(count: u64, most: Option<u64>, what: &str) -> String {
    match most {
        Some(most) if count >= most => {
            format!("{} of {} {what} (full)", number(count), number(most))
        }
        Some(most) => format!("{} of {} {what}", number(count), number(most)),
        None => format!("{} {what}", number(count)),
    }
}

fn row_of_api(tube: ApiTube) -> Option<Row> {
    Some(Row {
        name: tube.name.parse().ok()?,
        ready: tube.jobs.ready,
        reserved: tube.jobs.reserved,
        delayed: tube.jobs.delayed,
        buried: tube.jobs.buried,
        watching: tube.watching,
        waiting: tube.waiting,
        paused: tube.pause.map(|pause| pause.left),
        puts: tube.total_jobs,
        deletes: tube.deletes,
        refused: tube.policy_counts.map_or(0, |counts| counts.refused),
        oldest: tube.oldest_ready,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_beside_what_they_limit() {
        assert_eq!(of_limit(40, Some(1000), "connections"), "40 of 1,000 connections");
        let full = of_limit(1000, Some(1000), "connections");
        assert_eq!(full, "1,000 of 1,000 connections (full)");
        assert_eq!(of_limit(1234, None, "connections"), "1,234 connections");
    }
}
