//! `put`: queues jobs.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};

use jq_client::{Connection, JobId, PutOptions};
use serde_json::json;

use super::Context;
use super::import::{IN_FLIGHT, inserted};
use crate::cli::PutArgs;
use crate::failed::{EXIT_FILE, Failed};

pub(super) async fn put(context: &Context, args: &PutArgs) -> Result<(), Failed> {
    let options = args.options.into();
    let mut queue = context.queue().await?;
    queue.use_tube(&args.tube).await?;
    if args.lines {
        return put_lines(context, &mut queue, options).await;
    }
    let body = match (&args.body, &args.file) {
        (Some(body), _) => body.clone().into_bytes(),
        (None, Some(path)) => fs::read(path)
            .map_err(|error| Failed::new(EXIT_FILE, format!("{}: {error}", path.display())))?,
        (None, None) => {
            let mut body = Vec::new();
            io::stdin().lock().read_to_end(&mut body)?;
            body
        }
    };
    let id = queue.put(&body, options).await?;
    print_id(context, id)
}

/// A job for each line of standard input, as it comes.
async fn put_lines(
    context: &Context,
    queue: &mut Connection,
    options: PutOptions,
) -> Result<(), Failed> {
    let mut pipeline = queue.pipeline().await?;
    let mut input = BufReader::new(io::stdin().lock());
    let mut line = Vec::new();
    let mut queued = 0_u64;
    loop {
        line.clear();
        let ended = input.read_until(b'\n', &mut line)? == 0;
        if !ended {
            let body = line.strip_suffix(b"\n").unwrap_or(&line);
            pipeline.put(body.strip_suffix(b"\r").unwrap_or(body), options)?;
        }
        // While no more input is there, the numbers are waited for.
        let wanted = if ended || input.buffer().is_empty() { 0 } else { IN_FLIGHT };
        while pipeline.in_flight() > wanted
            && let Some(reply) = pipeline.next().await?
        {
            queued += 1;
            let id = inserted(reply)
                .map_err(|why| Failed::other(format!("line {queued} was not queued: {why}")))?;
            print_id(context, id)?;
        }
        if ended {
            return Ok(());
        }
    }
}

fn print_id(context: &Context, id: JobId) -> Result<(), Failed> {
    if context.look.json {
        return context.look.document(&json!({"id": id}));
    }
    Ok(writeln!(io::stdout(), "{id}")?)
}
