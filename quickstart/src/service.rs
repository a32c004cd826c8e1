//! A server that runs for as long as this program does.
//!
//! It is started on port 0 and logs the port that it got, so ports never clash.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use crate::Failed;

/// How long it may take to start.
const START: Duration = Duration::from_secs(20);

/// How long it may take to stop when asked, before it is killed.
const STOP: Duration = Duration::from_secs(20);

/// A process that this program started. If it is dropped without having been stopped, it is killed.
#[derive(Debug)]
pub struct Service {
    name: String,
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Service {
    /// Starts it, and waits until it has logged where it listens. `log` is the file for its output.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or ends at once. The error has its output.
    pub async fn start(program: &Path, arguments: &[&str], log: PathBuf) -> Result<Self, Failed> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let starting = || Failed::to(format!("start {}", program.display()));
        let mut child = Command::new(program)
            .args(arguments)
            .args(["--log-format", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C is for this program, which stops its servers one after the other.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(starting())?;
        let stderr = child.stderr.take().ok_or_else(|| Failed("it has no stderr".to_owned()))?;
        let mut said = BufReader::new(stderr).lines();
        let mut file = File::create(&log).await.map_err(Failed::to("write a log"))?;
        let address = match timeout(START, address(&mut said, &mut file)).await {
            Ok(Ok(address)) => address,
            Ok(Err(said)) => return Err(Failed(format!("{name} does not start:\n{said}"))),
            Err(_) => return Err(Failed(format!("{name} does not say where it listens"))),
        };
        // It must not block on output that nobody reads.
        tokio::spawn(async move {
            while let Ok(Some(line)) = said.next_line().await {
                let _ = write(&mut file, &line).await;
            }
        });
        Ok(Self { name, child, address })
    }

    /// Asks it to stop, and waits until it has ended.
    ///
    /// # Errors
    ///
    /// If it had to be killed, or failed.
    pub async fn stop(mut self) -> Result<(), Failed> {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        if let Some(pid) = pid {
            // If it has just ended by itself, the status tells.
            let _ = kill_process(pid, Signal::TERM);
        }
        match timeout(STOP, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(Failed(format!("{} ended badly: {status}", self.name))),
            Ok(Err(error)) => Err(Failed(format!("{}: {error}", self.name))),
            Err(_) => {
                let _ = self.child.kill().await;
                Err(Failed(format!("{} did not stop, and was killed", self.name)))
            }
        }
    }
}

/// Reads up to the line that has the address. The error is all that was said, if it ended without.
async fn address(
    said: &mut Lines<BufReader<ChildStderr>>,
    log: &mut File,
) -> Result<SocketAddr, String> {
    let mut all = String::new();
    while let Ok(Some(line)) = said.next_line().await {
        let _ = write(log, &line).await;
        let record: Value = serde_json::from_str(&line).unwrap_or_default();
        let address = record["address"].as_str().and_then(|address| address.parse().ok());
        if let Some(address) = address {
            return Ok(address);
        }
        all += &line;
        all.push('\n');
    }
    Err(all)
}

async fn write(log: &mut File, line: &str) -> std::io::Result<()> {
    log.write_all(format!("{line}\n").as_bytes()).await?;
    log.flush().await
}
