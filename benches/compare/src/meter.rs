//! Reads clocks and counters at both ends of what is measured.

use std::{
    collections::HashMap,
    fmt, process,
    time::{Duration, Instant},
};

use crate::{
    affinity::Cpus,
    failure::{Context, Failure},
    procfs::{self, Process},
};

/// Others may keep this many of the cores in use busy before a round counts as disturbed.
const QUIET_CORES: f64 = 0.05;

/// Whom to measure.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    /// The server's process, if it is known.
    pub(crate) server: Option<u32>,
    /// The cores that the server and the client use, which nobody else should.
    pub(crate) cpus: Cpus,
}

/// The counters at one moment.
pub(crate) struct Reading {
    counters: Counters,
    processes: HashMap<u32, Process>,
}

struct Counters {
    at: Instant,
    server: Option<Duration>,
    client: Duration,
    idle: Duration,
}

/// What happened between two readings.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    pub(crate) wall: Duration,
    /// CPU time of the server, if its process is known.
    pub(crate) server: Option<Duration>,
    /// CPU time of this process.
    pub(crate) client: Duration,
    /// What everybody else did on the cores in use. Unknown if the server is.
    pub(crate) others: Option<Others>,
}

/// What everybody else did.
#[derive(Clone, Debug)]
pub(crate) struct Others {
    /// How many cores they kept busy: 0.5 is half of one.
    pub(crate) cores: f64,
    /// Who did most of it.
    pub(crate) busiest: String,
}

impl Others {
    /// Whether they did so little that it does not matter.
    pub(crate) fn are_quiet(&self) -> bool {
        self.cores <= QUIET_CORES
    }
}

impl fmt::Display for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and others kept {:.2} cores busy", self.busiest, self.cores)
    }
}

impl Meter {
    /// Reads everything now.
    pub(crate) fn read(&self) -> Result<Reading, Failure> {
        // First what takes long, so that it is not part of what is measured.
        let processes = procfs::processes().during(reading)?;
        Ok(Reading { counters: self.counters()?, processes })
    }

    /// What happened since an earlier reading.
    pub(crate) fn since(&self, from: &Reading) -> Result<Usage, Failure> {
        let to = self.counters()?;
        let processes = procfs::processes().during(reading)?;
        let before = &from.counters;
        let wall = to.at - before.at;
        let server = to.server.zip(before.server).map(|(to, from)| to.saturating_sub(from));
        let client = to.client.saturating_sub(before.client);
        let others = self.server.zip(server).map(|(pid, server)| {
            let (used, busiest) = growth(&from.processes, &processes, [pid, process::id()]);
            // They may have run on other cores, and not all time that is not idle is theirs: the
            // kernel also takes some to wake up. The smaller number is nearer to the truth.
            let cores = self.cpus.iter().count() as u32;
            let busy = (wall * cores).saturating_sub(to.idle.saturating_sub(before.idle));
            let used = used.min(busy.saturating_sub(server + client));
            Others { cores: used.as_secs_f64() / wall.as_secs_f64(), busiest }
        });
        Ok(Usage { wall, server, client, others })
    }

    fn counters(&self) -> Result<Counters, Failure> {
        let client = procfs::cpu_time(process::id()).during(reading)?;
        let server = self.server.map(procfs::cpu_time).transpose().during(reading)?;
        let idle = procfs::idle_time(&self.cpus).during(reading)?;
        Ok(Counters { at: Instant::now(), server, client, idle })
    }

    /// Resident memory of the server in bytes, if its process is known.
    pub(crate) fn resident(&self) -> Result<Option<u64>, Failure> {
        self.server
            .map(procfs::resident)
            .transpose()
            .during(|| "cannot read the server's memory use".to_owned())
    }
}

fn reading() -> String {
    "cannot read CPU times".to_owned()
}

/// How much more CPU time all processes have used except ours, and which has used most. The time
/// of one that has ended is in its parent's.
fn growth(
    before: &HashMap<u32, Process>,
    after: &HashMap<u32, Process>,
    ours: [u32; 2],
) -> (Duration, String) {
    let (mut total, mut most, mut busiest) = (Duration::ZERO, Duration::ZERO, "");
    for (pid, process) in after.iter().filter(|(pid, _)| !ours.contains(pid)) {
        let used = match before.get(pid) {
            Some(earlier) => process.family.saturating_sub(earlier.family),
            None => process.family,
        };
        total += used;
        if used > most {
            (most, busiest) = (used, &process.name);
        }
    }
    (total, busiest.to_owned())
}
