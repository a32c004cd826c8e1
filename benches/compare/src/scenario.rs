//! The scenarios and their names. The numbers in a name are parameters: `cycle-50` is one of many
//! possible `cycle-N`.

use std::{fmt, str::FromStr};

use crate::{
    load::Shape,
    metric::Metric,
    spec::Dialect,
    stall::{Event, Parting, Question, UNREAD},
    wire::Op::{self, Batch, Delete, Put, Reserve},
};

/// The scenarios that run when none are asked for.
pub(crate) const DEFAULT: &str = "cycle-1,cycle-50,pipeline-8x64,pipeline-8x64-shared,\
    put-only-50,take-only-50,body-60k,tubes-1,tubes-30k,wakeup,handover-50,waiting-10k,memory-1m,\
    deep-1m,delayed-1m,kick-1m,disconnect-1m,delete-300k,drain-300k,lists-close-10k,stats-close-10,\
    undisturbed";

/// The size of a job's body in bytes where the name does not say it.
const BODY: usize = 128;
/// The sizes of bodies of which a memory scenario measures each.
const MEMORY_BODIES: [usize; 2] = [100, 128];
/// The size of the jobs in a log.
const RESTART_BODY: usize = 100;
/// Connections where the name does not say it: of big bodies, and above a deep queue.
const BODY_CONNECTIONS: usize = 8;
const DEEP_CONNECTIONS: usize = 50;

/// The largest numbers that names may contain. They keep a slip of the pen from filling the
/// machine.
const MAX_CONNECTIONS: usize = 50_000;
const MAX_DEPTH: usize = 10_000;
const MAX_JOBS: u64 = 100_000_000;
const MAX_BODY: usize = 16 * 1024 * 1024;
const MAX_TUBES: u64 = 1_000_000;
/// The largest `-z` of both servers.
const MAX_LARGE: u64 = 1 << 30;

/// One thing to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The size of each job's body in bytes.
    pub(crate) body: usize,
}

/// What a scenario does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A load on an empty queue.
    Load(Shape),
    /// A load that takes from a queue filled before.
    Take(Shape),
    /// A load on top of so many ready jobs.
    Deep(Shape, u64),
    /// A load of one connection while so many tubes exist, each with a delayed job.
    Tubes(usize),
    /// A put wakes a worker that waits.
    Wakeup,
    /// So many workers wait, and one producer puts the next job when the last one is with a worker.
    HandOver(usize),
    /// So many connections wait.
    Waiting(usize),
    /// So many jobs are ready.
    Memory(u64),
    /// Something happens, to so many jobs for instance, and others notice.
    Stall(Event, u64),
    /// The server ends and comes back with so many jobs.
    Restart(u64),
}

const CYCLE: &[Op] = &[Put, Reserve, Delete];

fn shape(connections: usize, cycle: &'static [Op]) -> Shape {
    Shape { connections, depth: 1, cycle, own_tubes: false }
}

impl Kind {
    /// The load of [`Kind::Tubes`]: one connection shows what a command costs.
    pub(crate) fn tubes_shape() -> Shape {
        shape(1, CYCLE)
    }

    /// What is compared first of all.
    pub(crate) fn headlines(&self) -> &'static [Metric] {
        match self {
            Self::Load(_) | Self::Take(_) | Self::Deep(..) | Self::Tubes(_) => {
                &[Metric::CommandsPerSecond, Metric::CommandsPerCpuSecond]
            }
            Self::Wakeup => &[Metric::P50, Metric::P99],
            Self::HandOver(_) => &[Metric::HandOversPerSecond, Metric::P50, Metric::P99],
            Self::Waiting(_) => &[Metric::BytesPerConnection],
            Self::Memory(_) => &[Metric::BytesPerJob],
            Self::Stall(..) => &[Metric::LongestStall],
            Self::Restart(_) => &[Metric::RestartSeconds],
        }
    }

    /// Whether it makes sense for such a server. Constants are enough of an answer for loads, and a
    /// put that is forwarded for a wake-up; redis has no tubes that exist by themselves, no states
    /// of jobs, and no statistics of this kind.
    pub(crate) fn suits(&self, dialect: Dialect) -> bool {
        if matches!(self, Self::Take(shape) if shape.cycle.contains(&Batch)) {
            return dialect == Dialect::Queue;
        }
        let is_load = matches!(self, Self::Load(_) | Self::Take(_));
        match dialect {
            Dialect::Queue => true,
            Dialect::Echo => is_load || matches!(self, Self::Wakeup | Self::HandOver(_)),
            Dialect::Redis => {
                let is_alike = matches!(self, Self::Deep(..) | Self::Wakeup | Self::HandOver(_));
                is_load || is_alike || matches!(self, Self::Memory(_))
            }
        }
    }

    /// Whether what it measures repeats well, or takes long to prepare.
    pub(crate) fn wants_few_rounds(&self) -> bool {
        let has_many_jobs = matches!(self, Self::Deep(..) | Self::Stall(..) | Self::Restart(_));
        matches!(self, Self::Waiting(_) | Self::Memory(_)) || has_many_jobs
    }

    fn parse(name: &str) -> Result<Self, String> {
        let unknown = || format!("'{name}' is not a scenario; --list shows them");
        if name == "wakeup" {
            return Ok(Self::Wakeup);
        }
        if name == "undisturbed" {
            return Ok(Self::Stall(Event::Nothing, 0));
        }
        if name.starts_with("pipeline-") {
            return Self::parse_pipeline(name);
        }
        let (word, text) = name.rsplit_once('-').ok_or_else(unknown)?;
        let number = number(text).ok_or_else(unknown)?;
        let connections = || at_most(number, MAX_CONNECTIONS as u64, "connections");
        let jobs = || at_most(number, MAX_JOBS, "jobs");
        let unread = |question, parting| {
            let tubes = at_most(number, MAX_TUBES, "tubes")?;
            Ok::<_, String>(Self::Stall(Event::Unread(question, parting), tubes))
        };
        Ok(match word {
            "cycle" => Self::Load(shape(connections()? as usize, CYCLE)),
            "put-only" => Self::Load(shape(connections()? as usize, &[Put])),
            "reserve-only" => Self::Take(shape(connections()? as usize, &[Reserve])),
            "batch-only" => {
                // As many as a server gives at a time.
                let depth = at_most(number, 1000, "jobs in a batch")? as usize;
                Self::Take(Shape { depth, ..shape(1, &[Batch]) })
            }
            "take-only" => Self::Take(shape(connections()? as usize, &[Reserve, Delete])),
            "body" => Self::Load(shape(BODY_CONNECTIONS, CYCLE)),
            "tubes" => Self::Tubes(jobs()? as usize),
            "handover" => Self::HandOver(connections()? as usize),
            "waiting" => Self::Waiting(connections()? as usize),
            "memory" => Self::Memory(jobs()?),
            "deep" => Self::Deep(shape(DEEP_CONNECTIONS, CYCLE), jobs()?),
            "delayed" => Self::Stall(Event::Due, jobs()?),
            "kick" => Self::Stall(Event::Kick, jobs()?),
            "clear" => Self::Stall(Event::Clear, jobs()?),
            "disconnect" => Self::Stall(Event::Disconnect, jobs()?),
            "delete" => Self::Stall(Event::Delete, jobs()?),
            "drain" => Self::Stall(Event::Drain, jobs()?),
            "large-put" => Self::Stall(Event::LargePut, at_most(number, MAX_LARGE, "bytes")?),
            "lists-close" => unread(Question::Lists, Parting::Close)?,
            "lists-reset" => unread(Question::Lists, Parting::Reset)?,
            "stats-close" => unread(Question::Stats, Parting::Close)?,
            "stats-reset" => unread(Question::Stats, Parting::Reset)?,
            "restart" => Self::Restart(jobs()?),
            _ => return Err(unknown()),
        })
    }

    fn parse_pipeline(name: &str) -> Result<Self, String> {
        let unknown = || format!("'{name}' is not pipeline-CONNECTIONSxDEPTH[-shared]");
        let size = name.strip_prefix("pipeline-").ok_or_else(unknown)?;
        let (size, own_tubes) = match size.strip_suffix("-shared") {
            Some(size) => (size, false),
            None => (size, true),
        };
        let (connections, depth) = size.split_once('x').ok_or_else(unknown)?;
        let connections = number(connections).ok_or_else(unknown)?;
        let depth = number(depth).ok_or_else(unknown)?;
        Ok(Self::Load(Shape {
            connections: at_most(connections, MAX_CONNECTIONS as u64, "connections")? as usize,
            depth: at_most(depth, MAX_DEPTH as u64, "commands in flight")? as usize,
            cycle: CYCLE,
            own_tubes,
        }))
    }
}

/// What one name on the command line stands for: mostly one scenario.
#[derive(Clone, Debug)]
pub(crate) struct Scenarios(pub(crate) Vec<Scenario>);

impl FromStr for Scenarios {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, body) = match text.split_once('@') {
            Some((name, size)) => {
                (name, Some(number(size).ok_or_else(|| format!("'{size}' is not a size"))?))
            }
            None => (text, None),
        };
        let kind = Kind::parse(name)?;
        let one = |body: u64, name: String| {
            let body = if body == 0 { 0 } else { at_most(body, MAX_BODY as u64, "bytes")? };
            Ok(Scenario { name, kind: kind.clone(), body: body as usize })
        };
        let scenarios: Result<Vec<_>, String> = match (body, &kind) {
            (Some(body), _) => vec![one(body, text.to_owned())],
            (None, Kind::Memory(_)) => MEMORY_BODIES
                .into_iter()
                .map(|body| one(body as u64, format!("{name}@{body}")))
                .collect(),
            (None, Kind::Restart(_)) => vec![one(RESTART_BODY as u64, name.to_owned())],
            (None, _) => {
                let named = name.strip_prefix("body-").and_then(number);
                vec![one(named.unwrap_or(BODY as u64), name.to_owned())]
            }
        }
        .into_iter()
        .collect();
        scenarios.map(Self)
    }
}

/// A number that may end in `k` (thousands), `m` (millions) or `g` (thousand millions).
fn number(text: &str) -> Option<u64> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 1000),
        b'm' => (&text[..text.len() - 1], 1_000_000),
        b'g' => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1),
    };
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

fn at_most(number: u64, limit: u64, what: &str) -> Result<u64, String> {
    if (1..=limit).contains(&number) {
        return Ok(number);
    }
    Err(format!("{number} {what}: must be 1 to {limit}"))
}

/// What the scenario does, in a sentence.
impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = self.body;
        match &self.kind {
            Kind::Load(shape) => write!(f, "{}, {body}-byte bodies", Sentence(shape)),
            Kind::Take(shape) => {
                write!(f, "{}, from a queue filled beforehand, {body}-byte bodies", Sentence(shape))
            }
            Kind::Deep(shape, jobs) => {
                write!(f, "{}, on top of {jobs} ready jobs, {body}-byte bodies", Sentence(shape))
            }
            Kind::Tubes(tubes) => {
                let shape = Sentence(&Kind::tubes_shape());
                let plural = plural(*tubes);
                write!(f, "{shape}, {tubes} tube{plural} in existence, {body}-byte bodies")
            }
            Kind::Wakeup => write!(f, "a waiting worker gets a job of {body} bytes after its put"),
            Kind::HandOver(workers) => write!(
                f,
                "{workers} worker{} wait in reserve, 1 producer puts a job of {body} bytes when the \
                 last one was handed over and its own reply has come (p50 and p99 are the worker's)",
                plural(*workers)
            ),
            Kind::Waiting(connections) => write!(f, "{connections} connections wait in reserve"),
            Kind::Memory(jobs) => write!(f, "{jobs} ready jobs with {body}-byte bodies"),
            Kind::Stall(event, number) => {
                write!(f, "1 connection: put, reserve, delete while ")?;
                match event {
                    Event::Nothing => write!(f, "nothing else happens"),
                    Event::Due => write!(f, "{number} delayed jobs fall due together"),
                    Event::Kick => write!(f, "{number} buried jobs are kicked by one command"),
                    Event::Clear => write!(f, "a tube with {number} ready jobs is cleared"),
                    Event::Disconnect => {
                        write!(f, "{number} reserved jobs return because their connection closes")
                    }
                    Event::Delete => write!(f, "{number} jobs are deleted by one client"),
                    Event::Drain => {
                        write!(f, "{number} jobs are reserved and deleted by one client")
                    }
                    Event::LargePut => write!(f, "a job of {number} bytes is put and deleted"),
                    Event::Unread(question, parting) => {
                        let command = match question {
                            Question::Lists => "list-tubes",
                            Question::Stats => "stats",
                        };
                        let parting = match parting {
                            Parting::Close => "closes",
                            Parting::Reset => "resets",
                        };
                        write!(
                            f,
                            "a client sends {UNREAD} `{command}`, reads nothing and {parting}; \
                             {number} tube{} in existence",
                            plural(*number as usize)
                        )
                    }
                }
            }
            Kind::Restart(jobs) => {
                write!(f, "a server with {jobs} jobs of {body} bytes in its log is restarted")
            }
        }
    }
}

struct Sentence<'a>(&'a Shape);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape { connections, depth, cycle, own_tubes } = self.0;
        let verbs: Vec<_> = cycle
            .iter()
            .map(|op| match op {
                Put => "put",
                Reserve => "reserve",
                Batch => "batch-reserve",
                Delete => "delete",
            })
            .collect();
        let plural = plural(*connections);
        write!(f, "{connections} connection{plural}: {}", verbs.join(", "))?;
        match depth {
            1 => write!(f, ", no pipelining")?,
            _ => write!(f, ", {depth} commands in flight (latency is of {depth} together)")?,
        }
        if *depth > 1 {
            write!(f, ", {}", if *own_tubes { "own tubes" } else { "one shared tube" })?;
        }
        Ok(())
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Vec<Scenario> {
        text.parse::<Scenarios>().unwrap().0
    }

    #[test]
    fn numbers_in_names_are_parameters() {
        let load = |connections, depth, cycle, own_tubes| {
            Kind::Load(Shape { connections, depth, cycle, own_tubes })
        };
        for (name, kind, body) in [
            ("cycle-1", load(1, 1, CYCLE, false), 128),
            ("cycle-50@1k", load(50, 1, CYCLE, false), 1000),
            ("pipeline-8x64", load(8, 64, CYCLE, true), 128),
            ("pipeline-3x5-shared", load(3, 5, CYCLE, false), 128),
            ("put-only-50@0", load(50, 1, &[Put], false), 0),
            ("body-60k", load(8, 1, CYCLE, false), 60_000),
            ("tubes-30k", Kind::Tubes(30_000), 128),
            ("wakeup", Kind::Wakeup, 128),
            ("waiting-10k", Kind::Waiting(10_000), 128),
            ("delayed-1m", Kind::Stall(Event::Due, 1_000_000), 128),
            ("handover-50", Kind::HandOver(50), 128),
            ("large-put-1g", Kind::Stall(Event::LargePut, 1_000_000_000), 128),
            (
                "stats-reset-10",
                Kind::Stall(Event::Unread(Question::Stats, Parting::Reset), 10),
                128,
            ),
            ("restart-10k", Kind::Restart(10_000), 100),
            ("restart-10k@5", Kind::Restart(10_000), 5),
            ("memory-1m@7", Kind::Memory(1_000_000), 7),
        ] {
            assert_eq!(parse(name), [Scenario { name: name.to_owned(), kind, body }]);
        }
    }

    #[test]
    fn memory_is_measured_with_two_sizes() {
        let sizes: Vec<_> = parse("memory-5k").into_iter().map(|s| (s.name, s.body)).collect();
        assert_eq!(sizes, [("memory-5k@100".to_owned(), 100), ("memory-5k@128".to_owned(), 128)]);
    }

    #[test]
    fn the_default_ones_exist() {
        for name in DEFAULT.split(',') {
            assert!(!parse(name).is_empty(), "{name}");
        }
    }

    #[test]
    fn slips_are_refused() {
        for name in [
            "",
            "cycle",
            "cycle-",
            "cycle-0",
            "cycle-x",
            "cycle-50-shared",
            "cycle-1m",
            "-1",
            "pipeline-8",
            "pipeline-8x",
            "pipeline-0x1",
            "nothing-5",
            "cycle-5@",
            "cycle-5@99m",
            "large-put-2g",
            "lists-10",
            "lists-close-0",
            "waiting-18446744073709551615k",
            "cycle-+5",
        ] {
            assert!(name.parse::<Scenarios>().is_err(), "{name}");
        }
    }

    #[test]
    fn sentences() {
        assert_eq!(
            parse("pipeline-8x64")[0].to_string(),
            "8 connections: put, reserve, delete, 64 commands in flight (latency is of 64 \
             together), own tubes, 128-byte bodies"
        );
        assert_eq!(
            parse("tubes-30k")[0].to_string(),
            "1 connection: put, reserve, delete, no pipelining, 30000 tubes in existence, \
             128-byte bodies"
        );
    }
}
