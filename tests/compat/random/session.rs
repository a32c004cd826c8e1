//! A session that was made up: what to do, in which order.

use std::fmt;

use super::judge::{Judge, WAITER};
use crate::script::{Mode, escape};

/// The flags of the servers that sessions are played to: a small limit keeps bodies small.
pub(crate) const FLAGS: [&str; 2] = ["-z", "64"];

/// What `FLAGS` say.
pub(crate) const MAX_JOB_SIZE: u64 = 64;

/// What a connection does.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Sends commands, whole or mangled, cut into writes.
    Send { conn: u8, commands: Vec<Vec<u8>>, cuts: Vec<Cut> },
    /// Half-closes and reads to the end.
    Finish { conn: u8 },
    /// Closes with a reset.
    Reset { conn: u8 },
    /// The server is told to drain.
    Drain,
}

/// Where one write ends and the next begins.
#[derive(Debug, Clone)]
pub(crate) struct Cut {
    /// Bytes from the start, modulo how many there are.
    pub(crate) at: usize,
    /// Whether to wait until the server has seen the first part.
    pub(crate) settle: bool,
}

/// A whole session.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) mode: Mode,
    /// How many threads our server has.
    pub(crate) threads: u64,
    /// How both servers keep their jobs on disk, if they do.
    pub(crate) binlog: Option<&'static [&'static str]>,
    pub(crate) steps: Vec<Step>,
}

impl Session {
    /// Whether both servers must give the same replies.
    pub(crate) fn is_certain(&self) -> bool {
        let mut judge = Judge::new(self.mode);
        let next_steps = self.steps.iter().skip(1).map(Some).chain([None]);
        self.steps.iter().zip(next_steps).all(|(step, next)| match step {
            Step::Send { conn, commands, .. } => {
                let is_certain = judge.send(*conn, &commands.concat()).is_some();
                let framer = judge.framer(*conn);
                // Entry `half-uploaded-job`.
                let is_half_uploaded = framer.body_left().is_some();
                is_certain
                    && (*conn != WAITER || framer.is_at_rest())
                    && (!is_half_uploaded || next.is_some_and(|next| next.closes(*conn)))
            }
            Step::Finish { conn } | Step::Reset { conn } => {
                judge.close(*conn);
                true
            }
            Step::Drain => true,
        })
    }
}

impl Step {
    fn closes(&self, who: u8) -> bool {
        matches!(self, Self::Finish { conn } | Self::Reset { conn } if *conn == who)
    }
}

/// In the language of written sessions, so that it can be kept as one.
impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "flags: {}", FLAGS.join(" "))?;
        writeln!(f, "# (ours with {} threads)", self.threads)?;
        if let Some(flags) = self.binlog {
            writeln!(f, "# (both with -b and {flags:?})")?;
        }
        for step in &self.steps {
            match step {
                Step::Send { conn, commands, cuts } => {
                    for command in commands {
                        writeln!(f, "{conn}>> {}", escape(command))?;
                    }
                    if !cuts.is_empty() {
                        writeln!(f, "# (in writes of their own: {cuts:?})")?;
                    }
                }
                Step::Finish { conn } => writeln!(f, "{conn} fin")?,
                Step::Reset { conn } => writeln!(f, "{conn} reset")?,
                Step::Drain => writeln!(f, "drain")?,
            }
        }
        Ok(())
    }
}
