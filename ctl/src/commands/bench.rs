//! `bench`: how fast this server is, from here.

use std::time::{Duration, Instant};

use jq_client::{Command, Connection, Error, JobId, PutOptions, Reply};
use serde_json::json;

use super::{Context, watch_only};
use crate::cli::BenchArgs;
use crate::failed::{Failed, answered};
use crate::look::{Align, number, print, table};

pub(super) async fn bench(context: &Context, args: &BenchArgs) -> Result<(), Failed> {
    let mut queue = context.queue().await?;
    if let Some(stats) = queue.stats_tube(&args.tube).await? {
        let states = ["ready", "reserved", "delayed", "buried"];
        let jobs = states.map(|state| stats.number(&format!("current-jobs-{state}")).unwrap_or(0));
        if jobs.iter().any(|jobs| *jobs > 0) {
            return Err(Failed::other(format!(
                "tube {} has jobs; --tube names an empty one",
                args.tube
            )));
        }
    }
    queue.use_tube(&args.tube).await?;
    watch_only(&mut queue, std::slice::from_ref(&args.tube)).await?;
    let bar = context.look.bar(Some(3 * args.jobs));
    let body = vec![b'x'; args.size as usize];
    let mut ids: Vec<JobId> = Vec::new();
    let put = run(
        &mut queue,
        args,
        &bar,
        |pipeline, _| pipeline.put(&body, PutOptions::default()).map_err(Failed::from),
        |reply| super::import::inserted(reply).map(drop),
    );
    let put = put.await?;
    let reserve = run(
        &mut queue,
        args,
        &bar,
        |pipeline, _| {
            pipeline.send(&Command::ReserveWithTimeout(Some(0)));
            Ok(())
        },
        |reply| match reply {
            Reply::Reserved(id, _) => {
                ids.push(id);
                Ok(())
            }
            reply => {
                let command = Command::ReserveWithTimeout(Some(0));
                Err(answered(&command, "RESERVED", &reply).message)
            }
        },
    );
    let reserve = reserve.await?;
    let delete = run(
        &mut queue,
        args,
        &bar,
        |pipeline, index| {
            pipeline.send(&Command::Delete(ids[index]));
            Ok(())
        },
        |reply| match reply {
            Reply::Deleted => Ok(()),
            reply => Err(Error::of_reply("delete", "DELETED", &reply).to_string()),
        },
    );
    let delete = delete.await?;
    bar.finish_and_clear();
    queue.quit().await?;
    let phases = [("put", put), ("reserve", reserve), ("delete", delete)];
    let rate = |took: Duration| args.jobs as f64 / took.as_secs_f64().max(1e-9);
    let documents: Vec<_> = phases
        .iter()
        .map(|(name, took)| {
            json!({"command": name, "jobs": args.jobs, "seconds": took.as_secs_f64(),
                "per_second": rate(*took).round()})
        })
        .collect();
    context.look.show(&documents, |_, out| {
        let mut rows = table(&[
            ("COMMAND", Align::Left),
            ("PER SECOND", Align::Right),
            ("SECONDS", Align::Right),
        ]);
        for (name, took) in phases {
            let rate = number(rate(took).round() as u64);
            rows.add_row([name.to_owned(), rate, format!("{:.3}", took.as_secs_f64())]);
        }
        print(&rows, out)
    })
}

/// Sends a command for each job, and returns how long it took until the last reply.
async fn run(
    queue: &mut Connection,
    args: &BenchArgs,
    bar: &indicatif::ProgressBar,
    mut send: impl FnMut(&mut jq_client::Pipeline<'_>, usize) -> Result<(), Failed>,
    mut check: impl FnMut(Reply<jq_client::Bytes>) -> Result<(), String>,
) -> Result<Duration, Failed> {
    let begun = Instant::now();
    let mut pipeline = queue.pipeline().await?;
    for index in 0..args.jobs as usize {
        while pipeline.in_flight() as u64 >= args.in_flight {
            if let Some(reply) = pipeline.next().await? {
                check(reply).map_err(Failed::other)?;
                bar.inc(1);
            }
        }
        send(&mut pipeline, index)?;
    }
    while let Some(reply) = pipeline.next().await? {
        check(reply).map_err(Failed::other)?;
        bar.inc(1);
    }
    Ok(begun.elapsed())
}
