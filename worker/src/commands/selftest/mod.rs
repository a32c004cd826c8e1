//! Whether this machine with this configuration deals with jobs that misbehave.
//!
//! A private queue and a worker are run within this process, with the limits, the disk and the
//! concurrency of the configuration, and built-in handlers in the place of the configured ones.

mod behaviour;
mod cases;
pub(super) mod queue;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jq_client::{Client, ClientOptions, Credentials, PutOptions};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::Failed;
use crate::config::{Config, Flags, Handlers};
use crate::exec;
use crate::result::JobResult;
use crate::store::{Found, remove_tree};
use crate::worker::Worker;

pub(super) use behaviour::{Behaviour, behave};
use cases::{CASES, Case, MARKER, REFUSED};
use queue::Queue;

/// The tube of the private queue.
const TUBE: &str = "selftest";

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Time between two looks for results.
const EVERY: Duration = Duration::from_millis(20);

pub(super) fn selftest(flags: &Flags) -> Result<(), Failed> {
    let program = std::env::current_exe()?;
    let command = vec![program.to_string_lossy().into_owned()];
    // The handlers of the configuration are not what is tested; its defaults are.
    let config = Config::load(&Flags { command, handlers: None, ..flags.clone() })?;
    let folder = config.results.join(format!("selftest-{}", Uuid::new_v4()));
    fs::create_dir_all(&folder)
        .map_err(|error| Failed::other(format!("{}: {error}", folder.display())))?;
    exec::adopt_orphans()?;
    let tested = test(config, &folder);
    remove_tree(&folder)?;
    match tested? {
        0 => {
            writeln!(io::stdout(), "this machine handles all of them")?;
            Ok(())
        }
        failed => Err(Failed::other(format!("{failed} of the checks failed"))),
    }
}

/// How many checks failed.
fn test(mut config: Config, folder: &Path) -> Result<usize, Failed> {
    let queue = Queue::start()?;
    let marker = Uuid::new_v4().to_string();
    let template = config.handlers.iter().next().map(|(_, handler)| Arc::clone(handler));
    let template = template.ok_or_else(|| Failed::other("there is no handler to start from"))?;
    let handlers = CASES.iter().map(|case| case.handler(&template, &marker));
    config.handlers = Handlers::ByType(handlers.collect());
    config.servers = vec![queue.address().into()];
    config.credentials = Credentials::default();
    config.tubes = vec![TUBE.parse().expect("it is a tube's name")];
    config.results = folder.to_owned();
    config.listen = None;
    config.retry_delay = Duration::from_secs(1);
    config.callback_secrets.clear();
    super::runtime()?.block_on(async {
        let worker = Worker::new(config)?;
        worker.start();
        let ids = submit(&queue).await?;
        let mut checks = Checks::default();
        let until = Instant::now() + PATIENCE;
        for (case, id) in CASES.iter().zip(&ids) {
            checks.note(case.name, &judge(&worker, case, *id, until).await)?;
        }
        checks.note("queue", &tidy(&queue, until).await)?;
        worker.finish().await;
        worker.stop_processes().await;
        checks.note("processes", &left(&marker))?;
        drop(queue);
        Ok(checks.failed)
    })
}

/// Puts a job for each case, and what is no job.
async fn submit(queue: &Queue) -> Result<Vec<Uuid>, Failed> {
    let mut client = Client::new(queue.address(), ClientOptions::default());
    client.use_tube(&TUBE.parse().expect("it is a tube's name"));
    let mut ids = Vec::new();
    for case in CASES {
        let id = Uuid::new_v4();
        let job = case.job(id);
        // Short, so that jobs have to be touched; and not so short that a machine that is busy would lose them.
        let options = PutOptions { ttr: 6, ..PutOptions::default() };
        client.put(job.as_bytes(), options).await.map_err(Failed::other)?;
        ids.push(id);
    }
    for body in REFUSED {
        client.put(body.as_bytes(), PutOptions::default()).await.map_err(Failed::other)?;
    }
    Ok(ids)
}

async fn judge(worker: &Worker, case: &Case, id: Uuid, until: Instant) -> Result<String, String> {
    loop {
        match worker.store.find(id) {
            Ok(Found::Result(body)) => {
                let result = serde_json::from_slice::<JobResult>(&body);
                return case.judge(
                    &result.map_err(|error| format!("its result cannot be read: {error}"))?,
                );
            }
            Ok(Found::Expired) => return Err("its result has expired".to_owned()),
            Ok(Found::Nothing) if Instant::now() > until => {
                return Err("it has no result".to_owned());
            }
            Ok(Found::Nothing) => sleep(EVERY).await,
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Whether the queue is as it should be after all that.
async fn tidy(queue: &Queue, until: Instant) -> Result<String, String> {
    let mut client = Client::new(queue.address(), ClientOptions::default());
    let tube = TUBE.parse().expect("it is a tube's name");
    let buried = CASES.iter().filter(|case| case.is_buried()).count() + REFUSED.len();
    loop {
        let stats = client.stats_tube(&tube).await.map_err(|error| error.to_string())?;
        let stats = stats.unwrap_or_default();
        let count = |state| stats.number(&format!("current-jobs-{state}")).unwrap_or(0);
        let states = ["ready", "reserved", "delayed", "buried"].map(count);
        if states == [0, 0, 0, buried as u64] {
            return Ok(format!("the {buried} failed jobs are buried, and nothing else is left"));
        }
        if Instant::now() > until {
            let [ready, reserved, delayed, found] = states;
            return Err(format!(
                "{ready} ready, {reserved} reserved, {delayed} delayed, {found} of {buried} buried"
            ));
        }
        sleep(EVERY).await;
    }
}

/// Processes that carry the marker in their environment.
fn left(marker: &str) -> Result<String, String> {
    let marker = format!("{MARKER}={marker}");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").map_err(|error| error.to_string())?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environ.split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes()) {
            found.push(pid);
        }
    }
    if found.is_empty() {
        Ok("none is left".to_owned())
    } else {
        Err(format!("left behind: {found:?}"))
    }
}

#[derive(Default)]
struct Checks {
    failed: usize,
}

impl Checks {
    fn note(&mut self, name: &str, result: &Result<String, String>) -> io::Result<()> {
        let (word, text) = match result {
            Ok(text) => ("ok", text),
            Err(text) => ("FAILED", text),
        };
        self.failed += usize::from(result.is_err());
        writeln!(io::stdout(), "{word:>6}  {name}: {text}")
    }
}
