//! The protocol between worker and keeper: one message per datagram, on a `SOCK_SEQPACKET` pair.
//!
//! Both ends are the same executable, so there are no versions: a message that cannot be read is a
//! bug, and a keeper that receives one exits.
//!
//! Each run has a number. So an order about a run that has ended in the meantime is not taken for
//! one about the current run.

use super::command::{Command, Identity, Limits};
use super::priority::IoPriority;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

/// Maximum length of a message. The kernel refuses datagrams beyond about 200 KB, depending on a
/// setting; a longer message than this is refused with a clear error before it is sent.
pub(super) const MAX_MESSAGE: usize = 128 * 1024;

/// Standard input, output and error.
pub(super) const FILES: usize = 3;

/// The files to join a control group and to kill everything in it. Not all runs have them.
pub(super) const GROUP_FILES: usize = 2;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited, with this code: 0 to 255.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
}

/// The resources that a run used: all of its processes that were waited for together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// From before its start to the end of its first process.
    pub wall: Duration,
    /// Processor time, in user and in kernel mode.
    pub cpu: Duration,
    /// Largest resident memory of any one of its processes. Never less than a keeper's own, about
    /// two megabytes: the kernel counts from before the program was loaded.
    pub max_rss_bytes: u64,
}

/// A message from the worker.
#[derive(Debug, PartialEq)]
pub(super) enum Order {
    /// Start this. Its files come with the same message: [`FILES`], perhaps [`GROUP_FILES`].
    Run { run: u64, command: Box<Command> },
    /// Ask its process group to end.
    Term { run: u64 },
    /// Kill all of the run now.
    Kill { run: u64 },
}

/// A message from the keeper: exactly one for each [`Order::Run`].
#[derive(Debug, PartialEq)]
pub(super) enum Report {
    /// The run could not be started.
    Failed { errno: i32 },
    /// Its first process ended, and then all others were ended.
    Ended(Ended),
    /// The run was killed, but not even its first process is gone. This keeper can no longer be
    /// used.
    Unkillable,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ended {
    pub(super) exit: Exit,
    pub(super) usage: Usage,
    /// Whether the worker had ordered its end while its first process was still there.
    pub(super) stop_ordered: bool,
    /// Processes that were still there when the first one ended, and were killed.
    pub(super) left_behind: u32,
    /// Processes that SIGKILL did not end in time. If there are any, this keeper can no longer be
    /// used.
    pub(super) beyond_reach: u32,
}

/// What is added to a nice value, which may be negative.
const NICE_OFFSET: i64 = 20;

const RUN: u8 = 1;
const TERM: u8 = 2;
const KILL: u8 = 3;
const FAILED: u8 = 4;
const CODE: u8 = 5;
const SIGNAL: u8 = 6;
const UNKILLABLE: u8 = 7;

impl Order {
    /// [`Order::Run`] as a message, for a run whose number is set later, by [`Order::number`].
    /// The limits are those that each process is to have for itself.
    pub(super) fn encode_run(command: &Command, limits: &Limits) -> Vec<u8> {
        let Command { program, args, env, directory, limits: _ } = command;
        let mut out = Vec::with_capacity(512);
        out.push(RUN);
        put_u64(&mut out, 0);
        let Limits { cpu_seconds, memory_bytes, open_files, processes, file_bytes, .. } = limits;
        let Limits { cpu_cores: _, umask, nice, io_priority, .. } = limits;
        let numbers = [
            *cpu_seconds,
            *memory_bytes,
            *open_files,
            *processes,
            *file_bytes,
            umask.map(u64::from),
            // Not negative, so that it is one of these.
            nice.map(|nice| (i64::from(nice) + NICE_OFFSET).unsigned_abs()),
            io_priority.map(|IoPriority(number)| number.into()),
        ];
        for number in numbers {
            out.push(u8::from(number.is_some()));
            put_u64(&mut out, number.unwrap_or(0));
        }
        let Identity { uid, gid } = limits.identity.unwrap_or(Identity { uid: 0, gid: 0 });
        out.push(u8::from(limits.identity.is_some()));
        put_u64(&mut out, uid.into());
        put_u64(&mut out, gid.into());
        put_text(&mut out, program.as_os_str());
        put_text(&mut out, directory.as_os_str());
        put_u64(&mut out, args.len() as u64);
        for arg in args {
            put_text(&mut out, arg);
        }
        put_u64(&mut out, env.len() as u64);
        for (name, value) in env {
            put_text(&mut out, name);
            put_text(&mut out, value);
        }
        out
    }

    /// Sets which run a message is about.
    pub(super) fn number(message: &mut [u8], run: u64) {
        message[1..9].copy_from_slice(&run.to_le_bytes());
    }

    pub(super) fn encode_term(run: u64) -> [u8; 9] {
        short(TERM, run)
    }

    pub(super) fn encode_kill(run: u64) -> [u8; 9] {
        short(KILL, run)
    }

    /// `None`: not a valid message.
    pub(super) fn decode(message: &[u8]) -> Option<Self> {
        let mut message = Fields(message);
        let tag = message.u8()?;
        let run = message.u64()?;
        match tag {
            TERM => return Some(Self::Term { run }),
            KILL => return Some(Self::Kill { run }),
            RUN => {}
            _ => return None,
        }
        let limits = Limits {
            cpu_seconds: message.limit()?,
            memory_bytes: message.limit()?,
            open_files: message.limit()?,
            processes: message.limit()?,
            file_bytes: message.limit()?,
            cpu_cores: None,
            umask: message.limit()?.and_then(|it| it.try_into().ok()),
            nice: message
                .limit()?
                .and_then(|it| Some(i32::try_from(it).ok()? - NICE_OFFSET as i32)),
            io_priority: message.limit()?.and_then(|it| it.try_into().ok().map(IoPriority)),
            identity: message.identity()?,
        };
        let program = PathBuf::from(message.text()?);
        let directory = PathBuf::from(message.text()?);
        let args = (0..message.u64()?).map(|_| message.text()).collect::<Option<_>>()?;
        let env = (0..message.u64()?)
            .map(|_| Some((message.text()?, message.text()?)))
            .collect::<Option<_>>()?;
        let command = Box::new(Command { program, args, env, directory, limits });
        Some(Self::Run { run, command })
    }
}

impl Report {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self {
            Self::Failed { errno } => {
                out.push(FAILED);
                put_u64(&mut out, u64::from(errno.unsigned_abs()));
            }
            Self::Unkillable => {
                out.push(UNKILLABLE);
                put_u64(&mut out, 0);
            }
            Self::Ended(Ended { exit, usage, stop_ordered, left_behind, beyond_reach }) => {
                let (tag, number) = match exit {
                    Exit::Code(code) => (CODE, code),
                    Exit::Signal(signal) => (SIGNAL, signal),
                };
                out.push(tag);
                put_u64(&mut out, u64::from(number.unsigned_abs()));
                put_u64(&mut out, usage.wall.as_nanos() as u64);
                put_u64(&mut out, usage.cpu.as_nanos() as u64);
                put_u64(&mut out, usage.max_rss_bytes);
                put_u64(&mut out, u64::from(*stop_ordered));
                put_u64(&mut out, u64::from(*left_behind));
                put_u64(&mut out, u64::from(*beyond_reach));
            }
        }
        out
    }

    /// `None`: not a valid message.
    pub(super) fn decode(message: &[u8]) -> Option<Self> {
        let mut message = Fields(message);
        let tag = message.u8()?;
        let number = i32::try_from(message.u64()?).ok()?;
        let exit = match tag {
            FAILED => return Some(Self::Failed { errno: number }),
            UNKILLABLE => return Some(Self::Unkillable),
            CODE => Exit::Code(number),
            SIGNAL => Exit::Signal(number),
            _ => return None,
        };
        Some(Self::Ended(Ended {
            exit,
            usage: Usage {
                wall: Duration::from_nanos(message.u64()?),
                cpu: Duration::from_nanos(message.u64()?),
                max_rss_bytes: message.u64()?,
            },
            stop_ordered: message.u64()? != 0,
            left_behind: u32::try_from(message.u64()?).ok()?,
            beyond_reach: u32::try_from(message.u64()?).ok()?,
        }))
    }
}

fn short(tag: u8, run: u64) -> [u8; 9] {
    let mut message = [tag; 9];
    Order::number(&mut message, run);
    message
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &OsStr) {
    put_u64(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// The part of a message that is still to be read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn u64(&mut self) -> Option<u64> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*first))
    }

    fn limit(&mut self) -> Option<Option<u64>> {
        let is_set = self.u8()? != 0;
        let value = self.u64()?;
        Some(is_set.then_some(value))
    }

    fn identity(&mut self) -> Option<Option<Identity>> {
        let is_set = self.u8()? != 0;
        let uid = u32::try_from(self.u64()?).ok()?;
        let gid = u32::try_from(self.u64()?).ok()?;
        Some(is_set.then_some(Identity { uid, gid }))
    }

    fn text(&mut self) -> Option<OsString> {
        let length = usize::try_from(self.u64()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(OsString::from_vec(text.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        Command {
            program: "/bin/echo".into(),
            args: vec!["a b".into(), OsString::from_vec(vec![0xff, 0xfe]), "".into()],
            env: vec![("NAME".into(), "value=with=equals".into())],
            directory: "/tmp".into(),
            limits: Limits {
                cpu_seconds: Some(0),
                open_files: Some(u64::MAX),
                umask: Some(0o27),
                nice: Some(-20),
                io_priority: Some(IoPriority(2 << 13)),
                identity: Some(Identity { uid: 1, gid: u32::MAX }),
                ..Limits::default()
            },
        }
    }

    fn encode(command: &Command) -> Vec<u8> {
        Order::encode_run(command, &command.limits)
    }

    #[test]
    fn what_is_said_is_what_is_heard() {
        let mut run = encode(&command());
        Order::number(&mut run, 7);
        assert_eq!(Order::decode(&run), Some(Order::Run { run: 7, command: Box::new(command()) }));
        assert_eq!(Order::decode(&Order::encode_term(8)), Some(Order::Term { run: 8 }));
        assert_eq!(Order::decode(&Order::encode_kill(9)), Some(Order::Kill { run: 9 }));

        for report in [Report::Failed { errno: 2 }, Report::Unkillable] {
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
        for exit in [Exit::Code(255), Exit::Signal(9)] {
            let ended = Report::Ended(Ended {
                exit,
                usage: Usage {
                    wall: Duration::from_nanos(1),
                    cpu: Duration::from_nanos(2),
                    max_rss_bytes: 3,
                },
                stop_ordered: true,
                left_behind: 4,
                beyond_reach: 5,
            });
            assert_eq!(Report::decode(&ended.encode()), Some(ended));
        }
    }

    #[test]
    fn a_message_cut_short_is_none() {
        let run = encode(&command());
        for length in 0..run.len() {
            assert_eq!(Order::decode(&run[..length]), None, "cut at {length}");
        }
        // Lengths and counts far beyond the message cause neither panics nor allocations.
        let mut run = encode(&command());
        let program_length = 1 + 8 + 8 * 9 + 1 + 2 * 8;
        run[program_length..program_length + 8].fill(0xff);
        assert_eq!(Order::decode(&run), None);
    }
}
