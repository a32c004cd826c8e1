//! Has a worker cancel a job, or run it again.

use std::io::{self, Write};
use std::path::PathBuf;

use reqwest::{Method, StatusCode};
use url::Url;
use uuid::Uuid;

use super::{EXIT_CONFIG, Failed};
use crate::config::{DEFAULT_LISTEN, secret};
use crate::outbound::{Options, Outbound};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The job's id
    id: Uuid,
    /// Where the worker serves its results [default: http://127.0.0.1:11380]
    #[arg(long, value_name = "URL")]
    results: Option<Url>,
    /// File with the token of the worker's control.token_file
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// PEM file with authorities that are trusted besides the system's
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted {
    /// The job is to end, wherever it is.
    Cancelled,
    /// It is over, and is to be queued anew.
    RunAgain,
}

/// Prints what the worker answers.
pub(super) fn control(args: &Args, wanted: Wanted) -> Result<(), Failed> {
    let base = match &args.results {
        Some(url) => url.as_str().trim_end_matches('/').to_owned(),
        None => format!("http://{DEFAULT_LISTEN}"),
    };
    let bad =
        |error: &dyn std::fmt::Display| Failed::new(EXIT_CONFIG, format!("--results: {error}"));
    let (method, path) = match wanted {
        Wanted::Cancelled => (Method::DELETE, format!("{base}/{}", args.id)),
        Wanted::RunAgain => (Method::POST, format!("{base}/{}/rerun", args.id)),
    };
    let url: Url = path.parse().map_err(|error| bad(&error))?;
    let token = secret("--token-file", &args.token_file)?;
    let options = Options {
        allow_urls: vec![format!("{base}/")],
        ca_files: args.tls_ca.iter().cloned().collect(),
        ..Options::default()
    };
    let outbound = Outbound::new(&options).map_err(|error| bad(&error))?;
    let (status, body) = super::runtime()?
        .block_on(outbound.command(method, &url, &token))
        .map_err(|error| Failed::other(format!("{error}")))?;
    if status.is_success() {
        let mut out = io::stdout();
        out.write_all(&body)?;
        if !body.ends_with(b"\n") {
            out.write_all(b"\n")?;
        }
        return Ok(out.flush()?);
    }
    let why = serde_json::from_slice::<serde_json::Value>(&body).ok();
    let why = why.as_ref().and_then(|body| body["error"].as_str());
    let why = why.map_or_else(|| format!("{url} answers {status}"), str::to_owned);
    let why = if status == StatusCode::UNAUTHORIZED {
        format!("{why}: the token in {} is not the worker's", args.token_file.display())
    } else {
        why
    };
    Err(Failed::other(why))
}
