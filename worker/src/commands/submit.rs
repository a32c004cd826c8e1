//! Puts a job into the queue, and waits for its result.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use jq_client::{Client, ClientOptions, Endpoint, EndpointParser, PutOptions, TubeName};
use tokio::time::sleep;
use url::Url;

use super::run::print;
use super::{EXIT_CONFIG, Failed, job_file};
use crate::config::{DEFAULT_LISTEN, ServerFlags};
use crate::job::Job;
use crate::outbound::{Failure, Options, Outbound};
use crate::result::{JobResult, Status};

/// Time between two looks for the result.
const EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File with the job; "-": standard input. A job without an id is given one
    job: PathBuf,
    /// Server to queue it on; beanstalks://HOST:PORT: by TLS
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:11300")]
    #[arg(value_parser = EndpointParser)]
    server: Endpoint,
    #[command(flatten)]
    shown: ServerFlags,
    /// Tube to put it in
    #[arg(long, value_name = "NAME")]
    tube: TubeName,
    /// Priority; the lowest number is taken first
    #[arg(long, value_name = "N", default_value_t = PutOptions::default().priority)]
    priority: u32,
    /// Delay in seconds before it can be taken
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    delay: u32,
    /// Time to run: seconds that a worker may be silent before another gets the job
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    ttr: u32,
    /// Wait for the job, show its progress, and print the result
    #[arg(long)]
    wait: bool,
    /// Where the worker serves its results [default: http://127.0.0.1:11380]
    #[arg(long, value_name = "URL")]
    results: Option<Url>,
}

pub(super) fn submit(args: &Args) -> Result<(), Failed> {
    let (body, job) = job_file::read(&args.job)?;
    let mut shown = args.shown.clone();
    if args.results.as_ref().is_some_and(|url| url.scheme() == "https") && !args.server.is_tls() {
        // It is for the result.
        shown.tls_ca = None;
    }
    let credentials = shown.credentials(std::slice::from_ref(&args.server))?;
    super::runtime()?.block_on(async {
        let options = ClientOptions {
            give_up_after: Some(Duration::from_secs(5)),
            ..ClientOptions::default()
        };
        let mut client = Client::new(credentials.connect_to(&args.server), options);
        client.use_tube(&args.tube);
        let put = PutOptions { priority: args.priority, delay: args.delay, ttr: args.ttr };
        let number = client.put(&body, put).await.map_err(Failed::other)?;
        // Without --wait it is for programs to read.
        let mut out: Box<dyn Write> =
            if args.wait { Box::new(io::stderr()) } else { Box::new(io::stdout()) };
        writeln!(out, "{} queued as job {number} in {}", job.id, args.tube)?;
        if !args.wait {
            return Ok(());
        }
        let result = wait(&job, args).await?;
        print(&result)?;
        if result.status == Status::Successful { Ok(()) } else { Err(Failed::other("")) }
    })
}

async fn wait(job: &Job, args: &Args) -> Result<JobResult, Failed> {
    let base = match &args.results {
        Some(url) => url.as_str().trim_end_matches('/').to_owned(),
        None => format!("http://{DEFAULT_LISTEN}"),
    };
    let bad =
        |error: &dyn std::fmt::Display| Failed::new(EXIT_CONFIG, format!("--results: {error}"));
    let url: Url = format!("{base}/{}", job.id).parse().map_err(|error| bad(&error))?;
    // It is named here, not in a job: it may be anywhere.
    let options = Options {
        allow_urls: vec![format!("{base}/")],
        ca_files: args.shown.tls_ca.iter().cloned().collect(),
        ..Options::default()
    };
    let outbound = Outbound::new(&options).map_err(|error| bad(&error))?;
    let mut shown = String::new();
    loop {
        let said = match outbound.fetch_any(&url).await {
            Ok(fetched) => {
                let document: JobResult = serde_json::from_slice(&fetched.bytes)
                    .map_err(|error| Failed::other(format!("{url} is not a result: {error}")))?;
                match document.status {
                    Status::Accepted | Status::Running => describe(&document),
                    Status::Successful | Status::Failed | Status::Dismissed | Status::Cancelled => {
                        end_line(&shown)?;
                        return Ok(document);
                    }
                }
            }
            // Nobody has taken it yet.
            Err(error) if error.status().is_some_and(|it| it == 404) => "queued".to_owned(),
            Err(error) if matches!(error.failure(), Failure::Refused(_)) => {
                return Err(bad(&error));
            }
            Err(error) => format!("cannot fetch the result: {error}"),
        };
        show(&mut shown, said)?;
        sleep(EVERY).await;
    }
}

fn describe(document: &JobResult) -> String {
    let mut text = document.status.as_str().to_owned();
    if document.attempt > 1 {
        text += &format!(", attempt {}", document.attempt);
    }
    if let Some(progress) = document.progress {
        text += &format!(", {progress} %");
    }
    if let Some(error) = &document.error {
        text += &format!(" (previous attempt: {})", error.message);
    }
    text
}

/// On a terminal one line that changes, elsewhere a line for each change.
fn show(shown: &mut String, said: String) -> io::Result<()> {
    if *shown != said {
        let mut err = io::stderr();
        if err.is_terminal() {
            write!(err, "\r\x1b[K{said}")?;
            err.flush()?;
        } else {
            writeln!(err, "{said}")?;
        }
        *shown = said;
    }
    Ok(())
}

fn end_line(shown: &str) -> io::Result<()> {
    let mut err = io::stderr();
    if err.is_terminal() && !shown.is_empty() { writeln!(err) } else { Ok(()) }
}
