//! Reads from a worker over HTTP: documents, and the events of a running job.
//!
//! Just enough of HTTP/1.0 to query a server that this program has started on this machine.

use std::io;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;

/// Maximum size of an answer in bytes.
const MAX_ANSWER: u64 = 16 << 20;

/// An event of a running job.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A piece of its output.
    Output(String),
    /// Its progress in percent.
    Progress(f64),
}

/// The status and the body at a path.
///
/// # Errors
///
/// If there is no answer, or it is no text.
pub async fn get(server: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let (status, body) = get_bytes(server, path).await?;
    let body = String::from_utf8(body);
    Ok((status, body.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?))
}

/// The same for what is no text.
///
/// # Errors
///
/// If there is no answer.
pub async fn get_bytes(server: SocketAddr, path: &str) -> io::Result<(u16, Vec<u8>)> {
    let (status, mut lines) = ask(server, path).await?;
    let mut body = Vec::new();
    lines.get_mut().read_to_end(&mut body).await?;
    Ok((status, body))
}

/// Passes the events of a job to `said` until its attempt is over. Returns at once if it does not
/// run.
///
/// # Errors
///
/// If there is no answer.
pub async fn follow(
    server: SocketAddr,
    log: &str,
    mut said: impl FnMut(Event) -> io::Result<()>,
) -> io::Result<()> {
    let (status, mut lines) = ask(server, log).await?;
    if status != 200 {
        return Ok(());
    }
    while let Some(line) = lines.next_line().await? {
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let data: Value = serde_json::from_str(data).unwrap_or_default();
        if let Some(text) = data["text"].as_str() {
            said(Event::Output(text.to_owned()))?;
        } else if let Some(percent) = data["progress"].as_f64() {
            said(Event::Progress(percent))?;
        }
    }
    Ok(())
}

/// Requests a path, and reads the head of the answer.
async fn ask(
    server: SocketAddr,
    path: &str,
) -> io::Result<(u16, Lines<BufReader<impl AsyncReadExt + Unpin>>)> {
    let mut stream = TcpStream::connect(server).await?;
    // In the old form an answer ends where the connection does.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {server}\r\n\r\n").as_bytes()).await?;
    let mut lines = BufReader::new(stream.take(MAX_ANSWER)).lines();
    let first = lines.next_line().await?.unwrap_or_default();
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("the answer is not HTTP"))?;
    while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
    Ok((status, lines))
}
