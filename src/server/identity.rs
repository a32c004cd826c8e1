//! What the stats show about the process and the machine.

use std::hash::{BuildHasher, RandomState};

use beanstalk_protocol::{AccessStats, BinlogStats, Dialect, ProcessStats, ServerStats};
use jq_engine::Nanos;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::sys::utsname::uname;

use crate::config::Config;
use crate::memory::Resident;

/// The parts of the stats that do not change while the server runs.
#[derive(Debug)]
pub(crate) struct Identity {
    id: String,
    hostname: String,
    os: String,
    platform: String,
    max_job_size: u32,
    started: Nanos,
    dialect: Dialect,
    resident: Resident,
}

impl Identity {
    pub(crate) fn new(config: &Config, started: Nanos) -> Self {
        // Seeded by the system's random numbers, differently in each process.
        let random = RandomState::new().hash_one(std::process::id());
        let (hostname, os, platform) = match uname() {
            Ok(name) => {
                let text = |value: &std::ffi::OsStr| value.to_string_lossy().into_owned();
                (text(name.nodename()), text(name.version()), text(name.machine()))
            }
            Err(_) => Default::default(),
        };
        Self {
            id: instance_id(random),
            hostname,
            os,
            platform,
            max_job_size: config.max_job_size,
            started,
            dialect: config.dialect,
            resident: Resident::new(),
        }
    }

    /// Random, and another after each start.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// As the kernel reports it.
    pub(crate) fn hostname(&self) -> &str {
        &self.hostname
    }

    /// Resident memory of the process, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.resident.bytes()
    }

    /// The text of `stats` for who may not see everything: nothing of the process, the machine and the log.
    pub(crate) fn to_yaml_in_part(
        &self,
        stats: &ServerStats,
        access: AccessStats,
        now: Nanos,
    ) -> Vec<u8> {
        let process = ProcessStats {
            max_job_size: self.max_job_size,
            version: crate::VERSION,
            uptime: now.seconds_since(self.started),
            id: &self.id,
            access: Some(access),
            ..ProcessStats::default()
        };
        stats.to_yaml(&process, &BinlogStats::default(), self.dialect)
    }

    /// The text of `stats`.
    pub(crate) fn to_yaml(
        &self,
        stats: &ServerStats,
        binlog: &BinlogStats,
        refused_connections: u64,
        access: Option<AccessStats>,
        now: Nanos,
    ) -> Vec<u8> {
        let (user_us, system_us) = match getrusage(UsageWho::RUSAGE_SELF) {
            Ok(usage) => (micros(usage.user_time()), micros(usage.system_time())),
            Err(_) => (0, 0),
        };
        let process = ProcessStats {
            max_job_size: self.max_job_size,
            pid: std::process::id(),
            version: crate::VERSION,
            user_us,
            system_us,
            uptime: now.seconds_since(self.started),
            id: &self.id,
            hostname: &self.hostname,
            os: &self.os,
            platform: &self.platform,
            resident_bytes: self.resident_bytes(),
            refused_connections,
            access,
        };
        stats.to_yaml(&process, binlog, self.dialect)
    }
}

/// Sixteen hexadecimal digits that begin with a letter. Some YAML readers take a text of digits
/// with one `e` among them for a number.
fn instance_id(random: u64) -> String {
    let first = char::from(b'a' + (random >> 60) as u8 % 6);
    format!("{first}{:015x}", random & (u64::MAX >> 4))
}

fn micros(time: TimeVal) -> u64 {
    let micros = time.tv_sec() * 1_000_000 + time.tv_usec();
    u64::try_from(micros).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instance_id_is_never_a_number() {
        for random in [0, 1, 0x1e00_0000_0000_0000, u64::MAX, 0x9000_0000_0000_0e11] {
            let id = instance_id(random);
            assert_eq!(id.len(), 16);
            assert!(('a'..='f').contains(&id.chars().next().unwrap()), "{id}");
        }
    }
}
