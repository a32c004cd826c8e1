//! Serves the input of jobs: documents over HTTP.
//!
//! A minimal server: it reads the head of a request, answers, and closes.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::Failed;

/// Maximum size of a request in bytes.
const MAX_HEAD: u64 = 8192;

/// How long one request and its answer may take. Requests are served one after the other.
const PATIENCE: Duration = Duration::from_secs(5);

/// A document: its path, such as `/walk.json`, and its contents.
pub type Document = (&'static str, &'static str);

/// Serves documents until it is dropped.
#[derive(Debug)]
pub struct InputServer {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl InputServer {
    /// Serves these on a free loopback port.
    ///
    /// # Errors
    ///
    /// If no port is free.
    pub async fn start(documents: &'static [Document]) -> Result<Self, Failed> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(Failed::to("listen on loopback"))?;
        let address = listener.local_addr().map_err(Failed::to("listen on loopback"))?;
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A malformed or slow request gets no answer.
                let _ = timeout(PATIENCE, answer(stream, documents)).await;
            }
        });
        Ok(Self { address, serving })
    }

    /// The URL of a document.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for InputServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(mut stream: TcpStream, documents: &[Document]) -> std::io::Result<()> {
    let (reading, mut writing) = stream.split();
    let mut lines = BufReader::new(reading.take(MAX_HEAD)).lines();
    let request = lines.next_line().await?.unwrap_or_default();
    while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
    let path = request.split(' ').nth(1);
    let found = documents.iter().find(|(at, _)| Some(*at) == path);
    let (status, body) = match found {
        Some((_, body)) => ("200 OK", *body),
        None => ("404 Not Found", ""),
    };
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    writing.write_all(answer.as_bytes()).await?;
    writing.shutdown().await
}
