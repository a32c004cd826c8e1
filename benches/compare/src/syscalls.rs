//! Counts a server's system calls, with a program that knows how to.
//!
//! Counting slows the server down, so it happens in a short run of its own that is not timed.

use std::{
    fs, io,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    control::PATIENCE,
    failure::{Context, Failure},
    interrupt,
    load::{Shape, Until},
    session::Session,
};

/// The event that `perf` counts: every entry of every system call.
const EVENT: &str = "raw_syscalls:sys_enter";
/// How often is looked whether the counter is ready.
const ASK_EVERY: Duration = Duration::from_millis(5);
/// At least this many jobs pass while system calls are counted, and this many batches on each
/// connection. That leaves an error of about 1%, from the connections that close in the end.
const JOBS: u64 = 5000;
const BATCHES: u64 = 40;

/// A program that counts system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// Counts in the kernel, so the server hardly notices. Needs privileges.
    Perf,
    /// Stops the server at each system call.
    Strace,
}

impl Tool {
    /// The best one that works here.
    pub(crate) fn find() -> Option<Self> {
        [Self::Perf, Self::Strace].into_iter().find(|tool| {
            let counted = tool.command().arg("true").stdin(Stdio::null()).output();
            counted.is_ok_and(|output| tool.parse(&output.stderr).is_some())
        })
    }

    fn command(self) -> Command {
        let words: &[&str] = match self {
            Self::Perf => &["perf", "stat", "-x", ",", "-e", EVENT],
            Self::Strace => &["strace", "-c", "-f"],
        };
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command
    }

    /// The number of calls in what it has written.
    fn parse(self, output: &[u8]) -> Option<u64> {
        let text = String::from_utf8_lossy(output);
        match self {
            // The count, its unit, the event, and more.
            Self::Perf => text.lines().find(|line| line.contains(EVENT))?.split(',').next(),
            // Percent, seconds, microseconds per call, calls, perhaps errors, and "total".
            Self::Strace => {
                let line = text.lines().find(|line| line.ends_with(" total"))?;
                line.split_ascii_whitespace().nth(3)
            }
        }?
        .parse()
        .ok()
    }

    /// Whether it counts already what `server` does.
    fn is_attached(self, counter: u32, server: u32) -> io::Result<bool> {
        match self {
            // It has opened its counters, and sleeps until the end.
            Self::Perf => {
                let opened = fs::read_dir(format!("/proc/{counter}/fd"))?
                    .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
                    .any(|file| file.to_string_lossy().contains("[perf_event]"));
                Ok(opened && status(counter, counter, "State:")?.starts_with('S'))
            }
            Self::Strace => {
                let tracer = counter.to_string();
                for thread in fs::read_dir(format!("/proc/{server}/task"))? {
                    let thread = thread?.file_name().to_string_lossy().parse().unwrap_or(server);
                    if status(server, thread, "TracerPid:")? != tracer {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }
}

/// A line of what the kernel tells about a thread.
fn status(process: u32, thread: u32, key: &str) -> io::Result<String> {
    let text = fs::read_to_string(format!("/proc/{process}/task/{thread}/status"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(key));
    Ok(value.unwrap_or_default().trim().to_owned())
}

/// System calls per command of a load; `None` if the server's process is not known.
pub(crate) fn per_command(
    session: &mut Session<'_>,
    tool: Tool,
    shape: &Shape,
    body: usize,
) -> Result<Option<f64>, Failure> {
    let Some(server) = session.server.pid else { return Ok(None) };
    let channels = session.connect_all(shape)?;
    let counter = Counter::attach(tool, server)?;
    let jobs = jobs(shape);
    session.load_on(channels, shape, body, Until::Jobs(jobs))?;
    let calls = counter.finish()?;
    let commands = jobs * session.shape(shape).cycle.len() as u64;
    Ok(Some(calls as f64 / commands as f64))
}

/// How many jobs pass while system calls are counted.
pub(crate) fn jobs(shape: &Shape) -> u64 {
    JOBS.max(BATCHES * shape.connections as u64 * shape.depth as u64)
}

/// A counter at work. Dropping it ends it.
struct Counter {
    tool: Tool,
    child: Option<Child>,
}

impl Counter {
    fn attach(tool: Tool, server: u32) -> Result<Self, Failure> {
        let child = tool
            .command()
            .args(["-p", &server.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .during(|| "cannot start the counter of system calls".to_owned())?;
        let pid = child.id();
        let counter = Self { tool, child: Some(child) };
        let deadline = Instant::now() + PATIENCE;
        // Errors mean that it has ended, or has not begun; the deadline tells.
        while !tool.is_attached(pid, server).unwrap_or(false) {
            if interrupt::requested() {
                return Err(Failure::Interrupted);
            }
            if Instant::now() > deadline {
                return Err(Failure::Server("its system calls cannot be counted".to_owned()));
            }
            thread::sleep(ASK_EVERY);
        }
        Ok(counter)
    }

    /// Ends it and returns what it has counted.
    fn finish(mut self) -> Result<u64, Failure> {
        let child = self.child.take().expect("it is taken only here and when dropped");
        let output = kill_process(Pid::from_child(&child), Signal::INT)
            .map_err(io::Error::from)
            .and_then(|()| child.wait_with_output())
            .during(|| "cannot stop the counter of system calls".to_owned())?;
        self.tool.parse(&output.stderr).ok_or_else(|| {
            Failure::wrong("a number of system calls from the counter", &output.stderr)
        })
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Errors mean that it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_of_both_programs() {
        let perf = b"1234,,raw_syscalls:sys_enter,612392,100.00,,\n";
        assert_eq!(Tool::Perf.parse(perf), Some(1234));
        assert_eq!(Tool::Perf.parse(b"<not counted>,,raw_syscalls:sys_enter,0,0,,\n"), None);
        let strace = b"strace: Process 7 attached\n\
            % time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n \
            90.00    0.000100           1        60        10 read\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            100.00    0.000110           1        70        10 total\n";
        assert_eq!(Tool::Strace.parse(strace), Some(70));
        for tool in [Tool::Perf, Tool::Strace] {
            assert_eq!(tool.parse(b"Operation not permitted\n"), None);
        }
    }

    #[test]
    fn enough_jobs_for_every_shape() {
        let shape = |connections, depth| Shape { connections, depth, cycle: &[], own_tubes: false };
        assert_eq!(jobs(&shape(1, 1)), 5000);
        assert_eq!(jobs(&shape(8, 64)), 20_480);
    }
}
