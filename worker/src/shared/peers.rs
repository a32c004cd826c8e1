//! Other workers, which are asked for what is not here.
//!
//! One hop: a question says that it comes from a worker, and whoever is asked like this answers from what it has
//! itself.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use axum::http::header::{HeaderMap, HeaderValue, RANGE};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;
use url::Url;
use uuid::Uuid;

use crate::outbound::{BuildError, Options, Outbound, Response};

use crate::web::{FROM_PEER, LogEvent, LogStream, Pieces};

/// How long connecting to one may take.
const CONNECT: Duration = Duration::from_secs(1);

/// How long it may take until one has answered.
const ANSWER: Duration = Duration::from_secs(3);

/// Longest that a log is passed on, as well as an artifact.
const PASS_ON: Duration = Duration::from_secs(24 * 3600);

/// The largest document that is taken from one, in bytes. A worker makes none that is larger.
const MAX_DOCUMENT: usize = (1 << 30) + (8 << 20);

/// The longest line of a log, in bytes.
const MAX_LINE: usize = 1 << 20;

/// See the [module](self).
#[derive(Debug)]
pub struct Peers {
    bases: Vec<Url>,
    outbound: Outbound,
}

/// What a worker knows of a job.
#[derive(Debug)]
pub enum Known {
    /// Its result.
    Done(Bytes),
    /// It has the job, and this is its document.
    Pending(Bytes),
}

impl Peers {
    /// Speaks to those at these URLs, each of which ends with a slash, and to nobody else. `options`: what else
    /// counts for exchanges.
    ///
    /// # Errors
    ///
    /// The options cannot be used.
    pub fn new(bases: Vec<Url>, options: &Options) -> Result<Self, BuildError> {
        let outbound = Outbound::new(&Options {
            allow_urls: bases.iter().map(Url::to_string).collect(),
            ca_files: options.ca_files.clone(),
            connect_timeout: CONNECT,
            timeout: PASS_ON,
            ..Options::default()
        })?;
        Ok(Self { bases, outbound })
    }

    /// What they know of a job: the result that came into being last, or else whoever runs it.
    pub async fn lookup(&self, id: Uuid) -> Option<Known> {
        let answers = self.ask(&id.to_string(), &HeaderMap::new()).await;
        let mut pending = None;
        let mut done: Option<Bytes> = None;
        for (status, body) in answers {
            match status {
                200 if done
                    .as_ref()
                    .is_none_or(|it| super::time_of(it) < super::time_of(&body)) =>
                {
                    done = Some(body);
                }
                202 => pending = Some(body),
                _ => {}
            }
        }
        // A job that is run again goes before its result of before.
        pending.map(Known::Pending).or(done.map(Known::Done))
    }

    /// The output of a job that one of them runs, after the piece with this number.
    pub async fn log(&self, id: Uuid, after: Option<u64>) -> Option<LogStream> {
        let mut headers = HeaderMap::new();
        if let Some(after) = after {
            headers.insert("last-event-id", HeaderValue::from(after));
        }
        let response = self.first(&format!("{id}/log"), &headers, 200).await?;
        Some(Box::pin(events(response.into_stream())))
    }

    /// A part of an artifact that one of them has. `path` is its name as a part of a URL.
    pub async fn artifact(&self, id: Uuid, path: &str, range: Range<u64>) -> Option<Pieces> {
        let mut headers = HeaderMap::new();
        let wanted = format!("bytes={}-{}", range.start, range.end.checked_sub(1)?);
        headers.insert(RANGE, HeaderValue::from_str(&wanted).ok()?);
        let response = self.first(&format!("{id}/{path}"), &headers, 206).await?;
        Some(Box::pin(response.into_stream()))
    }

    /// Asks all of them at the same time. Status and body of those that answer in time.
    async fn ask(&self, path: &str, headers: &HeaderMap) -> Vec<(u16, Bytes)> {
        let mut asked = self.send(path, headers, |response| async move {
            let status = response.status();
            let wanted = matches!(status, 200 | 202);
            let body = if wanted { response.bytes(MAX_DOCUMENT).await } else { Ok(Bytes::new()) };
            body.ok().map(|body| (status, body))
        });
        let mut answers = Vec::new();
        while let Some(answer) = asked.join_next().await {
            answers.extend(answer.ok().flatten());
        }
        answers
    }

    /// The first answer with this status.
    async fn first(&self, path: &str, headers: &HeaderMap, status: u16) -> Option<Response> {
        let mut asked = self.send(path, headers, move |response| async move {
            (response.status() == status).then_some(response)
        });
        while let Some(answer) = asked.join_next().await {
            if let Ok(Some(response)) = answer {
                return Some(response);
            }
        }
        None
    }

    fn send<T, F>(
        &self,
        path: &str,
        headers: &HeaderMap,
        read: impl Fn(Response) -> F + Clone + Send + Sync + 'static,
    ) -> JoinSet<Option<T>>
    where
        T: Send + 'static,
        F: Future<Output = Option<T>> + Send,
    {
        let mut asked = JoinSet::new();
        for base in &self.bases {
            let Ok(url) = base.join(path) else { continue };
            let mut headers = headers.clone();
            headers.insert(FROM_PEER, HeaderValue::from_static("1"));
            let (outbound, read) = (self.outbound.clone(), read.clone());
            asked.spawn(async move {
                let answer = async {
                    Ok::<_, String>(match outbound.ask(&url, headers).await {
                        Ok(response) => read(response).await,
                        Err(error) => return Err(error.to_string()),
                    })
                };
                match timeout(ANSWER, answer).await {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(error)) => {
                        debug!(%url, error, "a peer does not answer");
                        None
                    }
                    Err(_) => {
                        debug!(%url, "a peer does not answer in time");
                        None
                    }
                }
            });
        }
        asked
    }
}

/// Reads server-sent events, as [`crate::web`] writes them. If they break off, so does this.
fn events(
    content: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
) -> impl Stream<Item = LogEvent> + Send {
    let state = (Box::pin(content), BytesMut::new(), HashMap::<String, String>::new());
    stream::unfold(Some(state), |state| async {
        let (mut content, mut buffer, mut fields) = state?;
        loop {
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line = buffer.split_to(end + 1);
                let line = String::from_utf8_lossy(&line[..end]).into_owned();
                if let Some((name, value)) = line.split_once(':') {
                    fields.insert(name.to_owned(), value.trim_start().to_owned());
                } else if line.is_empty() {
                    let read = event(&fields);
                    fields.clear();
                    match read {
                        Some(LogEvent::End) => return Some((LogEvent::End, None)),
                        Some(event) => return Some((event, Some((content, buffer, fields)))),
                        None => {}
                    }
                }
            }
            if buffer.len() > MAX_LINE {
                return None;
            }
            let piece = content.next().await?.ok()?;
            buffer.extend_from_slice(&piece);
        }
    })
}

fn event(fields: &HashMap<String, String>) -> Option<LogEvent> {
    #[derive(Deserialize)]
    struct Output {
        stream: String,
        text: String,
        skipped: u64,
    }
    #[derive(Deserialize)]
    struct Progress {
        progress: f64,
    }
    let data = fields.get("data")?;
    match fields.get("event")?.as_str() {
        "output" => {
            let Output { stream, text, skipped } = serde_json::from_str(data).ok()?;
            let stream = if stream == "stderr" { "stderr" } else { "stdout" };
            let seq = fields.get("id")?.parse().ok()?;
            Some(LogEvent::Output { seq, stream, text, skipped })
        }
        "progress" => {
            Some(LogEvent::Progress(serde_json::from_str::<Progress>(data).ok()?.progress))
        }
        "end" => Some(LogEvent::End),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(parts: &[&str]) -> Vec<LogEvent> {
        let parts: Vec<_> =
            parts.iter().map(|part| Ok(Bytes::copy_from_slice(part.as_bytes()))).collect();
        events(stream::iter(parts)).collect().await
    }

    #[tokio::test]
    async fn events_are_read_as_they_are_written() {
        let output = |seq, text: &str| LogEvent::Output {
            seq,
            stream: "stderr",
            text: text.to_owned(),
            skipped: 3,
        };
        let text = "event: output\ndata: {\"skipped\":3,\"stream\":\"stderr\",\"text\":\"a\\n\"}\n\
                    id: 7\n\n: alive\n\nevent: progress\ndata: {\"progress\":40.5}\n\n\
                    event: end\ndata: {}\n\nevent: end\ndata: {}\n\n";
        let expected = [output(7, "a\n"), LogEvent::Progress(40.5), LogEvent::End];
        assert_eq!(read(&[text]).await, expected);
        for at in 0..text.len() {
            let (first, second) = text.split_at(at);
            assert_eq!(read(&[first, second]).await, expected, "{at}");
        }
    }

    #[tokio::test]
    async fn what_is_no_event_is_left_out_and_an_endless_line_ends_it() {
        assert_eq!(read(&["event: output\ndata: {}\n\nevent: x\n\ndata: 1\n\n"]).await, []);
        let long = "x".repeat(MAX_LINE + 1);
        assert_eq!(read(&[&long, "\n\nevent: end\ndata: {}\n\n"]).await, []);
    }
}
