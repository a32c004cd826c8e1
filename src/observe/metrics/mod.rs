//! The metrics, as OpenMetrics text; `docs/metrics.md` describes each, and a test compares it.
//!
//! Tubes come and go, and a counter must not go back. So which tubes have series of their own is the
//! engine's decision: those with histograms of their own, from their first job on. All others are
//! summed, under the empty name, which no tube has. There are never more than
//! `--metrics-max-tubes` and one.

mod compat;
mod families;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::process::Process;
use super::snapshot::{Snapshot, TubeRow};
use super::{Options, Standing};
use crate::access::Counts;
use crate::server::guard::{Account, PrincipalView};
use crate::server::hub::Hub;
use crate::server::tls::Outcome;

use self::families::Encoder;

/// An exporter for beanstalkd whose metrics are served as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compat {
    /// `messagebird/beanstalkd_exporter`.
    Messagebird,
    /// `davidtannock/beanstalkd_exporter`.
    Davidtannock,
}

impl Compat {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Messagebird, Self::Davidtannock];

    /// Its name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Messagebird => "messagebird",
            Self::Davidtannock => "davidtannock",
        }
    }
}

impl FromStr for Compat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|compat| compat.as_str() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(" or ");
            format!("expected {names}")
        })
    }
}

/// Everything that one scrape shows.
#[derive(Debug)]
pub(super) struct Exposition {
    snapshot: Arc<Snapshot>,
    options: Options,
    reasons: &'static [&'static str],
    standing: Standing,
    process: Process,
    resident_bytes: u64,
    started: f64,
    uptime: f64,
    max_job_size: u32,
    /// The limits that are set, with their names.
    limits: Vec<(&'static str, u64)>,
    refused_connections: u64,
    tls: Option<TlsNumbers>,
    access: Option<AccessNumbers>,
    compat_version: &'static str,
    log: LogNumbers,
}

/// What is shown if the server has a certificate.
#[derive(Debug)]
struct TlsNumbers {
    /// When it expires, in seconds since 1970.
    expires: u64,
    /// What is in the files now cannot be used.
    is_stale: bool,
    under_way: usize,
    /// How handshakes ended, with names.
    outcomes: Vec<(&'static str, u64)>,
}

impl TlsNumbers {
    fn of(hub: &Hub) -> Option<Self> {
        let certificates = hub.certificates()?;
        let handshakes = hub.handshakes();
        let total = |outcome: Outcome| handshakes.map_or(0, |it| it.outcomes().total(outcome));
        Some(Self {
            expires: certificates.expires(),
            is_stale: certificates.failure().is_some(),
            under_way: handshakes.map_or(0, |it| it.under_way_now()),
            outcomes: Outcome::ALL.map(|outcome| (outcome.name(), total(outcome))).into(),
        })
    }
}

/// What a server knows that asks who its clients are.
#[derive(Debug)]
struct AccessNumbers {
    principals: Vec<PrincipalView>,
    nobody: Arc<Account>,
    verified: Counts,
}

/// What only the log's progress says.
#[derive(Debug)]
struct LogNumbers {
    committed: u64,
    held: u64,
    syncs: jq_engine::Histogram,
}

impl Exposition {
    pub(super) fn new(
        hub: &Hub,
        snapshot: &Arc<Snapshot>,
        options: &Options,
        reasons: &'static [&'static str],
        standing: &Standing,
    ) -> Self {
        let clock = hub.clock();
        let progress = hub.progress();
        Self {
            snapshot: Arc::clone(snapshot),
            options: options.clone(),
            reasons,
            standing: standing.clone(),
            process: Process::now(),
            resident_bytes: hub.identity().resident_bytes(),
            started: clock.started().0 as f64 / 1e9,
            uptime: super::age(clock.now(), clock.started()),
            max_job_size: hub.max_job_size(),
            limits: hub.limits(),
            refused_connections: hub.crowd().total(),
            tls: TlsNumbers::of(hub),
            access: hub.access_control().map(|control| AccessNumbers {
                principals: control.principals(),
                nobody: Arc::clone(control.nobody()),
                verified: control.verified(),
            }),
            compat_version: hub.dialect().version(),
            log: LogNumbers {
                committed: progress.committed(),
                held: progress.waiting() as u64,
                syncs: progress.syncs(),
            },
        }
    }

    /// OpenMetrics text.
    pub(super) fn text(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &registry);
        text
    }

    /// The tubes with series of their own, and the others.
    fn split(&self) -> (Vec<&TubeRow>, Vec<&TubeRow>) {
        self.snapshot.tubes.iter().partition(|row| row.times.is_some())
    }
}

impl Collector for Exposition {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut encoder = Encoder(encoder);
        let (own, others) = self.split();
        self.server(&mut encoder)?;
        self.tls(&mut encoder)?;
        self.tubes(&mut encoder, &own, &others)?;
        self.log(&mut encoder)?;
        self.process(&mut encoder)?;
        for compat in &self.options.compat {
            self.compat(*compat, &mut encoder, &own, &others)?;
        }
        Ok(())
    }
}
