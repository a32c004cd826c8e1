//! `import`: puts the jobs of a file, and sets the policies in it if that is asked for.
//!
//! Puts are pipelined, so when something goes wrong, several are on their way. All replies that
//! come are counted, so that the message can say which lines are in the queue and where to go on.

mod policies;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use jq_client::{Command, Error, JobId, Pipeline, PutError, PutOptions, Reply, TubeName};
use serde_json::json;

use super::Context;
use super::record::{Line, Record, RecordState};
use crate::cli::ImportArgs;
use crate::failed::{EXIT_FAILED, EXIT_FILE, EXIT_UNREACHABLE, Failed};
use crate::look::number;
use policies::Policies;

/// Number of commands in flight.
pub(super) const IN_FLIGHT: usize = 1024;

/// Number of bytes of bodies in flight, so that large jobs do not fill the memory.
const BYTES_IN_FLIGHT: usize = 16 << 20;

/// Longest line, in bytes: the largest body there can be, each byte of it escaped.
const MAX_LINE: u64 = 6 << 30;

/// A job that is to be buried is put with this delay, in seconds: nobody must take it before.
const UNTIL_BURIED: u32 = 3600;

/// What a command in flight is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Use,
    /// The put of this line, with a body of this size.
    Put {
        line: u64,
        size: usize,
        then_bury: Option<u32>,
    },
    Reserve {
        line: u64,
    },
    Bury {
        line: u64,
    },
}

/// Why an import ended early.
#[derive(Debug)]
enum Stop {
    /// This line is wrong.
    Line { line: u64, why: String },
    /// The input cannot be read.
    Input(io::Error),
    /// The server refused something.
    Refused,
    /// The connection is lost, or the server answers nonsense.
    Lost(Failed),
    /// All jobs are in the queue, but a policy was not set.
    Policy(Failed),
}

/// An import in progress.
struct Import<'a, 'c> {
    pipeline: Pipeline<'c>,
    sent: VecDeque<Sent>,
    bytes_in_flight: usize,
    used: Option<TubeName>,
    into: Option<&'a TubeName>,
    /// Number of jobs in the queue.
    queued: u64,
    /// The lines that the server refused, each with its answer; only the first few are kept.
    refused: Vec<(u64, String)>,
    /// Why the job that is to be buried next could not be reserved, if that is not allowed.
    not_reserved: Option<String>,
    /// The last line that is in the queue.
    last_queued: u64,
}

/// Number of refused lines that are named.
const NAMED: usize = 10;

pub(super) async fn import(context: &Context, args: &ImportArgs) -> Result<(), Failed> {
    let mut input = open(&args.file)?;
    let mut policies = Policies::new(context, args.with_policy)?;
    let mut queue = context.queue().await?;
    let bar = context.look.bar(None);
    let mut import = Import {
        pipeline: queue.pipeline().await?,
        sent: VecDeque::with_capacity(IN_FLIGHT),
        bytes_in_flight: 0,
        used: None,
        into: args.tube.as_ref(),
        queued: 0,
        refused: Vec::new(),
        not_reserved: None,
        last_queued: 0,
    };
    let mut line = Vec::new();
    let mut lines = 0_u64;
    let stop = loop {
        line.clear();
        match (&mut input).take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) => break None,
            Ok(_) => lines += 1,
            Err(error) => break Some(Stop::Input(error)),
        }
        let is_done = lines < args.from_line;
        if line.trim_ascii().is_empty() || is_done && !policies.are_wanted() {
            continue;
        }
        let read = match Line::parse(&line) {
            Ok(Line::Policy(policy)) => {
                let taken = policies.take(lines, policy, args.tube.as_ref());
                taken.map_err(|why| Stop::Line { line: lines, why })
            }
            _ if is_done => Ok(()),
            Ok(Line::Job(record)) => import.send(lines, record).await,
            Err(why) => Err(Stop::Line { line: lines, why }),
        };
        if let Err(stop) = read {
            break Some(stop);
        }
        bar.set_position(import.queued);
    };
    // Whatever the reason, what was sent is waited for.
    let rest = match &stop {
        Some(Stop::Lost(_)) => Ok(()),
        _ => import.settle(0, true).await,
    };
    bar.finish_and_clear();
    let stop = match stop.or(rest.err()) {
        None => policies.set().await.map_err(Stop::Policy),
        Some(stop) => Err(stop),
    };
    if stop.is_ok() {
        policies.note(context);
    }
    import.report(context, args, stop, lines)
}

fn open(path: &Path) -> Result<BufReader<Box<dyn Read>>, Failed> {
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        let file = File::open(path);
        Box::new(
            file.map_err(|error| Failed::new(EXIT_FILE, format!("{}: {error}", path.display())))?,
        )
    };
    Ok(BufReader::with_capacity(1 << 20, input))
}

/// The number of a job that was put, or why it is not in the queue.
pub(super) fn inserted(reply: Reply<jq_client::Bytes>) -> Result<JobId, String> {
    match reply {
        Reply::Inserted(id) => Ok(id),
        Reply::InsertedBuried(id) => {
            Err(format!("the server is out of memory, and has buried the new job {id}"))
        }
        Reply::Draining => Err("the server is draining and accepts no new jobs".to_owned()),
        Reply::JobTooBig => Err("it exceeds the server's limit for a job".to_owned()),
        Reply::OutOfMemory => Err("the server has no space for it".to_owned()),
        reply => Err(Error::of_reply("put", "INSERTED", &reply).to_string()),
    }
}

impl Import<'_, '_> {
    /// Puts the job of a line.
    async fn send(&mut self, line: u64, record: Record<'_>) -> Result<(), Stop> {
        let wrong = |why: String| Stop::Line { line, why };
        let body = record.bytes().map_err(wrong)?;
        let tube = match self.into {
            Some(tube) => tube.clone(),
            None => record.tube().map_err(wrong)?.ok_or_else(|| {
                wrong("\"tube\" is not there; --tube can say where to put the jobs".to_owned())
            })?,
        };
        self.settle(IN_FLIGHT - 4, false).await?;
        while self.bytes_in_flight > 0 && self.bytes_in_flight + body.len() > BYTES_IN_FLIGHT {
            self.receive().await?;
        }
        if self.used.as_ref() != Some(&tube) {
            self.pipeline.send(&Command::Use(tube.clone()));
            self.sent.push_back(Sent::Use);
            self.used = Some(tube);
        }
        let then_bury = (record.state == Some(RecordState::Buried)).then_some(record.priority);
        let options = match then_bury {
            Some(_) => PutOptions { delay: UNTIL_BURIED, ..record.options() },
            None => record.options(),
        };
        self.pipeline.put(&body, options).map_err(|error| match error {
            PutError::Failed(error) => Stop::Lost(error.into()),
            error => Stop::Line { line, why: error.to_string() },
        })?;
        self.bytes_in_flight += body.len();
        self.sent.push_back(Sent::Put { line, size: body.len(), then_bury });
        Ok(())
    }

    /// Waits until at most this many commands are in flight. `to_the_end`: whatever the server
    /// refuses.
    async fn settle(&mut self, in_flight: usize, to_the_end: bool) -> Result<(), Stop> {
        while self.sent.len() > in_flight {
            match self.receive().await {
                Err(Stop::Refused) if to_the_end => {}
                result => result?,
            }
        }
        if to_the_end && !self.refused.is_empty() { Err(Stop::Refused) } else { Ok(()) }
    }

    /// Takes the next reply.
    async fn receive(&mut self) -> Result<(), Stop> {
        let reply = self.pipeline.next().await.map_err(|error| Stop::Lost(error.into()))?;
        let (Some(sent), Some(reply)) = (self.sent.pop_front(), reply) else { return Ok(()) };
        let refused = match (sent, reply) {
            (Sent::Use, Reply::Using(_)) => return Ok(()),
            (Sent::Use, reply) => {
                return Err(Stop::Lost(Error::of_reply("use", "USING", &reply).into()));
            }
            (Sent::Put { line, size, then_bury }, reply) => {
                self.bytes_in_flight -= size;
                match (inserted(reply), then_bury) {
                    (Ok(_), None) => return self.is_queued(line),
                    (Ok(id), Some(priority)) => {
                        self.pipeline.send(&Command::ReserveJob(id));
                        self.sent.push_back(Sent::Reserve { line });
                        self.pipeline.send(&Command::Bury { id, priority });
                        self.sent.push_back(Sent::Bury { line });
                        return Ok(());
                    }
                    (Err(why), _) => (line, why),
                }
            }
            // What went wrong shows in the next reply, too, but not why.
            (Sent::Reserve { .. }, reply) => {
                let is_denied = matches!(reply, Reply::InternalError);
                self.not_reserved = is_denied
                    .then(|| Error::of_reply("reserve-job", "RESERVED", &reply).to_string());
                return Ok(());
            }
            (Sent::Bury { line }, Reply::Buried) => return self.is_queued(line),
            (Sent::Bury { line }, _) => {
                let why = self.not_reserved.take().map(|why| format!(": {why}"));
                (line, format!("it is queued, but not buried{}", why.unwrap_or_default()))
            }
        };
        if self.refused.len() < NAMED {
            self.refused.push(refused);
        }
        Err(Stop::Refused)
    }

    fn is_queued(&mut self, line: u64) -> Result<(), Stop> {
        self.queued += 1;
        self.last_queued = self.last_queued.max(line);
        Ok(())
    }

    /// Says how it ended: with so many policies, or before its end.
    fn report(
        self,
        context: &Context,
        args: &ImportArgs,
        ended: Result<u64, Stop>,
        lines: u64,
    ) -> Result<(), Failed> {
        let queued = format!("{} jobs queued", number(self.queued));
        if context.look.json {
            let policies = ended.as_ref().copied().unwrap_or_default();
            context
                .look
                .document(&json!({"queued": self.queued, "lines": lines, "policies": policies}))?;
        }
        let file = args.file.display();
        let failed = match ended {
            Ok(0) => return context.look.done(queued),
            Ok(1) => return context.look.done(format!("{queued}, 1 policy set")),
            Ok(many) => return context.look.done(format!("{queued}, {many} policies set")),
            Err(Stop::Policy(failed)) => {
                let message = format!(
                    "{queued}, but {}. Only this is done again with --from-line {}",
                    failed.message,
                    lines + 1
                );
                Failed { message, ..failed }
            }
            Err(Stop::Line { line, why }) => Failed::new(
                EXIT_FILE,
                format!(
                    "{file}, line {line}: {why}. {queued}; mend the line, and go on with \
                     --from-line {line}"
                ),
            ),
            Err(Stop::Input(error)) => Failed::new(
                EXIT_FILE,
                format!("{file}: {error}. {queued}; go on with --from-line {}", lines + 1),
            ),
            Err(Stop::Refused) => self.refusal(&queued, lines),
            Err(Stop::Lost(failed)) => {
                let unknown = self.sent.iter().find_map(|sent| match sent {
                    Sent::Put { line, .. } => Some(*line),
                    _ => None,
                });
                let rest = match unknown {
                    Some(first) => format!(
                        "Whether lines {first} to {lines} are queued is not known: with \
                         --from-line {first}, some may be queued twice"
                    ),
                    None => format!("Go on with --from-line {}", lines + 1),
                };
                let status = failed.status.max(EXIT_FAILED);
                debug_assert!(status == EXIT_UNREACHABLE || status == EXIT_FAILED);
                Failed::new(status, format!("{}. {queued}. {rest}", failed.message))
            }
        };
        Err(failed)
    }

    /// The server refused lines. If none after the first of them was queued, that is where to go
    /// on; otherwise they have to be put by themselves.
    fn refusal(&self, queued: &str, lines: u64) -> Failed {
        let (first, why) = match self.refused.first() {
            Some((line, why)) => (*line, why.as_str()),
            None => (lines, "the server refused it"),
        };
        let rest = if self.last_queued < first {
            format!("go on with --from-line {first}")
        } else {
            let named: Vec<String> =
                self.refused.iter().map(|(line, _)| line.to_string()).collect();
            format!(
                "of those up to line {lines}, all are queued but {}; go on with --from-line {}",
                named.join(", "),
                lines + 1
            )
        };
        Failed::new(EXIT_FAILED, format!("line {first} was not queued: {why}. {queued}; {rest}"))
    }
}
