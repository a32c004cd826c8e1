//! `cargo quickstart`: a queue, a worker, two jobs and what becomes of them, on this machine.
//!
//! Owns: the story that is told. [`Stage::set`] starts everything, [`show`] uses it as a website
//! would, and the rest is words.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use clap::Parser;
use indexmap::IndexMap;
use jq_client::{Address, Client, ClientOptions, PutOptions, TubeName};
use jq_quickstart::Failed;
use jq_quickstart::folder::Folder;
use jq_quickstart::http::{self, Event};
use jq_quickstart::input::{Document, InputServer};
use jq_quickstart::programs::{Programs, project};
use jq_quickstart::service::Service;
use serde_json::value::RawValue;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// What the jobs are given to work on.
const DOCUMENTS: &[Document] = &[
    ("/walk.json", r#"{"start": [0, 0], "wind": [0.1, 0.05], "seed": 42, "steps": 400}"#),
    (
        "/shanty.txt",
        "What shall we do with the drunken sailor,\n\
         What shall we do with the drunken sailor,\n\
         What shall we do with the drunken sailor,\n\
         Early in the morning?\n",
    ),
];

/// Where the jobs are queued.
const TUBE: &str = "simulations";

/// Most jobs at a time: both of ours.
const CONCURRENCY: &str = "2";

/// How long the jobs may take. They take two seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks for a job that has not been started.
const EVERY: Duration = Duration::from_millis(50);

/// Demonstrates jq-server and jq-worker
#[derive(Debug, Parser)]
#[command(name = "cargo quickstart")]
struct Cli {
    /// Stop as soon as the results are there, instead of waiting for Ctrl-C
    #[arg(long)]
    once: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            let _ = writeln!(io::stderr(), "quickstart: {failed}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> Result<(), Failed> {
    python()?;
    let programs = Programs::beside_us()?;
    let mut signals = Signals::register().map_err(Failed::to("listen for signals"))?;
    let stage = Stage::set(&programs).await?;
    let shown = tokio::select! {
        shown = show(&stage, &programs, cli.once) => shown,
        () = signals.next() => say("\nStopping."),
    };
    let stopped = stage.clear().await;
    shown.and(stopped)
}

/// The sample handlers are written in it.
fn python() -> Result<(), Failed> {
    let mut python = Command::new("python3");
    python.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if python.status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    let why = "the sample handlers need python3, which is not on PATH (Debian: apt-get install \
               python3; no packages are needed)";
    Err(Failed(why.to_owned()))
}

/// All that runs.
#[derive(Debug)]
struct Stage {
    input: InputServer,
    queue: Service,
    worker: Service,
    /// Last, so that it is removed when nobody writes to it any more.
    folder: Folder,
}

impl Stage {
    async fn set(programs: &Programs) -> Result<Self, Failed> {
        let folder = Folder::new()?;
        let input = InputServer::start(DOCUMENTS).await?;
        let queue = ["-l", "127.0.0.1", "-p", "0"];
        let queue = Service::start(&programs.server, &queue, folder.join("jq-server.log")).await?;
        let config = project().join("examples/handlers/jq-worker.toml");
        let results = folder.join("results");
        let (config, results) = (config.to_string_lossy(), results.to_string_lossy());
        let worker = [
            "--config",
            &config,
            "--server",
            &queue.address.to_string(),
            "--tube",
            TUBE,
            "--listen",
            "127.0.0.1:0",
            "--results",
            &results,
            // Addresses of this machine are refused unless they are named.
            "--allow-url",
            &input.url("/"),
            "--concurrency",
            CONCURRENCY,
            "--id",
            "quickstart",
        ];
        let log = folder.join("jq-worker.log");
        let worker = Service::start(&programs.worker, &worker, log).await?;
        Ok(Self { input, queue, worker, folder })
    }

    /// The worker first, so that it can give its jobs back.
    async fn clear(self) -> Result<(), Failed> {
        let worker = self.worker.stop().await;
        let queue = self.queue.stop().await;
        worker.and(queue)
    }
}

/// A job that was queued.
struct Queued {
    kind: &'static str,
    id: Uuid,
}

async fn show(stage: &Stage, programs: &Programs, once: bool) -> Result<(), Failed> {
    let results = format!("http://{}", stage.worker.address);
    say(&format!(
        "A queue (jq-server) is at {}, a worker (jq-worker) at {results}/.",
        stage.queue.address
    ))?;
    say(&format!("Its handlers are in examples/handlers. Queued in the tube {TUBE:?}:\n"))?;
    let address = Address::from(stage.queue.address);
    let mut client = Client::new(address, ClientOptions::default());
    let tube: TubeName = TUBE.parse().map_err(Failed::to("name a tube"))?;
    client.use_tube(&tube);
    let sailor = put(&mut client, "drunken_sailor", &stage.input.url("/walk.json"), 0.4).await?;
    let words = put(&mut client, "word_count", &stage.input.url("/shanty.txt"), 0.3).await?;
    say("")?;
    let at = stage.worker.address;
    let both = async { tokio::join!(finish(at, &sailor), finish(at, &words)) };
    let both = timeout(PATIENCE, both).await;
    let (sailor_result, words_result) =
        both.map_err(|_| Failed("the jobs take too long".to_owned()))?;
    let (sailor_result, words_result) = (sailor_result?, words_result?);

    say(&format!("\nThe result of the walk, at {results}/{}:\n", sailor.id))?;
    say(&sailor_result.text())?;
    say(&format!("\nA picture of it, at {results}/{}/walk.png\n", sailor.id))?;
    say(&format!("\nThe words of the shanty, at {results}/{}:\n", words.id))?;
    say(&format!("    {}", words_result.member("output")))?;
    for (job, result) in [(&sailor, &sailor_result), (&words, &words_result)] {
        if result.member("status") != "\"successful\"" {
            return Err(Failed(format!("{} is not successful", job.kind)));
        }
    }
    if once {
        return Ok(());
    }
    say(&further(stage, &programs.worker))?;
    std::future::pending().await
}

/// Queues a job as any client would.
async fn put(
    client: &mut Client,
    kind: &'static str,
    input: &str,
    pause: f64,
) -> Result<Queued, Failed> {
    let id = Uuid::new_v4();
    let body =
        format!(r#"{{"id":"{id}","type":"{kind}","input":"{input}","args":{{"pause":{pause}}}}}"#);
    client.put(body.as_bytes(), PutOptions::default()).await.map_err(Failed::to("queue a job"))?;
    say(&format!("    {body}"))?;
    Ok(Queued { kind, id })
}

/// Shows what a job does until its result is there.
async fn finish(worker: SocketAddr, job: &Queued) -> Result<Shown, Failed> {
    let Queued { kind, id } = job;
    let asking = || Failed::to::<io::Error>("ask the worker");
    let show = |event| match event {
        Event::Output(text) => {
            text.lines().try_for_each(|line| writeln!(io::stdout(), "    {kind:<14}  {line}"))
        }
        Event::Progress(percent) => writeln!(io::stdout(), "    {kind:<14}  {percent} %"),
    };
    loop {
        let (status, body) = http::get(worker, &format!("/{id}")).await.map_err(asking())?;
        match status {
            200 => return Shown::read(&body),
            202 => {
                let log = format!("/{id}/log");
                http::follow(worker, &log, show).await.map_err(asking())?;
            }
            // The worker has not taken it yet, or is about to start.
            404 | 503 => {}
            other => return Err(Failed(format!("the worker answers {other}: {body}"))),
        }
        sleep(EVERY).await;
    }
}

/// A result: its members as they were written, in their order.
struct Shown(IndexMap<String, Box<RawValue>>);

impl Shown {
    fn read(body: &str) -> Result<Self, Failed> {
        serde_json::from_str(body).map(Self).map_err(Failed::to("read the result"))
    }

    fn member(&self, name: &str) -> &str {
        self.0.get(name).map_or("null", |value| value.get())
    }

    /// A member a line.
    fn text(&self) -> String {
        serde_json::to_string_pretty(&self.0).expect("names of members are texts")
    }
}

/// Where to look while it is all there.
fn further(stage: &Stage, worker: &Path) -> String {
    let Stage { queue, worker: Service { address, .. }, folder, .. } = stage;
    let (queue, port) = (queue.address, queue.address.port());
    let here = std::env::current_dir().unwrap_or_default();
    let worker = worker.strip_prefix(&here).unwrap_or(worker).display();
    let jobs = project().join("examples/jobs");
    let jobs = jobs.strip_prefix(&here).unwrap_or(&jobs).display();
    let folder = folder.path().display();
    format!(
        "
Everything keeps running until you press Ctrl-C. Meanwhile:

    the worker's page     http://{address}/
    its metrics           curl http://{address}/metrics
    the queue             telnet 127.0.0.1 {port}     (type: stats)
    logs and results      {folder}
    one more job          {worker} submit {jobs}/drunken_sailor.json \\
                              --server {queue} --tube {TUBE} --results http://{address} --wait

docs/worker.md tells how to write a handler."
    )
}

fn say(text: &str) -> Result<(), Failed> {
    // With `?` and not `println!`, whose panic would leave our processes behind.
    writeln!(io::stdout(), "{text}").map_err(Failed::to("write to standard output"))
}

/// What ends us: Ctrl-C, a service manager, a terminal that is closed.
struct Signals([Signal; 3]);

impl Signals {
    fn register() -> io::Result<Self> {
        let [int, term, hup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        Ok(Self([int?, term?, hup?]))
    }

    async fn next(&mut self) {
        let [int, term, hup] = &mut self.0;
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
            _ = hup.recv() => {}
        }
    }
}
